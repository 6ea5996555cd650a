//! What the kernel knows about its clock.

use std::io;

use serde::{Deserialize, Serialize};

/// The clock's state in the kernel's own units, as `adjtimex` fills them in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockState {
    /// Whether the clock follows a reliable one.
    pub synchronized: bool,
    /// How far it is from that one; the status tells whether in nano- or microseconds.
    pub offset: i64,
    /// The correction of its pace, in parts of a million with 16 bits after the point.
    pub frequency: i64,
    /// Its largest error in microseconds.
    pub max_error: i64,
    /// Its estimated error in microseconds.
    pub estimated_error: i64,
    /// Bits about it.
    pub status: i32,
    /// How slowly it is corrected.
    pub constant: i64,
    /// The time between two ticks in microseconds.
    pub tick: i64,
    /// The frequency of a pulse a second, as that above.
    pub pulse_frequency: i64,
    /// The jitter of the pulse, in the unit of the offset.
    pub pulse_jitter: i64,
    /// The interval of the pulse, in seconds as a power of two.
    pub pulse_shift: i32,
    /// The stability of the pulse, in parts of a million with 16 bits after the point.
    pub pulse_stability: i64,
    /// How often the pulse jittered too much.
    pub pulse_jitter_exceeded: i64,
    /// How many intervals of the pulse there were.
    pub pulse_calibrations: i64,
    /// How many of them failed.
    pub pulse_errors: i64,
    /// How often the pulse was too unstable.
    pub pulse_stability_exceeded: i64,
    /// How far atomic time is ahead of UTC, in seconds.
    pub tai: i32,
}

/// What the call answers for a clock that follows no reliable one.
#[cfg(target_os = "linux")]
const NOT_SYNCHRONIZED: i32 = 5;

/// Asks the kernel that this process runs on. It changes nothing, for which no privilege is needed.
#[cfg(target_os = "linux")]
pub(super) fn state() -> io::Result<ClockState> {
    use rtime_clock::adjtime::{Timex, adjtimex};

    // All zero: nothing is set.
    let mut timex = Timex::new();
    let answer = adjtimex(&mut timex)?;
    let timex = timex.0;
    Ok(ClockState {
        synchronized: answer != NOT_SYNCHRONIZED,
        offset: integer(timex.offset),
        frequency: integer(timex.freq),
        max_error: integer(timex.maxerror),
        estimated_error: integer(timex.esterror),
        status: timex.status,
        constant: integer(timex.constant),
        tick: integer(timex.tick),
        pulse_frequency: integer(timex.ppsfreq),
        pulse_jitter: integer(timex.jitter),
        pulse_shift: timex.shift,
        pulse_stability: integer(timex.stabil),
        pulse_jitter_exceeded: integer(timex.jitcnt),
        pulse_calibrations: integer(timex.calcnt),
        pulse_errors: integer(timex.errcnt),
        pulse_stability_exceeded: integer(timex.stbcnt),
        tai: timex.tai,
    })
}

/// The kernel's `long`, which has 32 bits on some processors.
#[cfg(target_os = "linux")]
fn integer(number: impl Into<i64>) -> i64 {
    number.into()
}

/// Asks the kernel that this process runs on.
#[cfg(not(target_os = "linux"))]
pub(super) fn state() -> io::Result<ClockState> {
    Err(io::ErrorKind::Unsupported.into())
}
