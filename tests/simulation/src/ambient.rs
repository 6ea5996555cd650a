//! What a program asks of the system without being handed it: random bytes and the wall clock.
//!
//! Epochs, back-off, the seeds of hash maps and of `select!`, the agent's wall clock: all of it comes
//! from two functions of the C library. This program has its own in their place. On the thread of
//! the simulation they answer by the seed and by simulated time, everywhere else as the system does.

#![expect(unsafe_code, reason = "functions of the C library are replaced, which take raw pointers")]

use std::cell::Cell;
use std::ffi::{c_int, c_uint};
use std::io;
use std::slice;

use rustix::rand::GetRandomFlags;
use rustix::time::{ClockId, Timespec, clock_gettime as system_clock};

thread_local! {
    static RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
    static WALL_MS: Cell<Option<i64>> = const { Cell::new(None) };
}

/// From now on this thread's random bytes come from a seed.
pub fn seed(seed: u64) {
    RANDOM.set(Some(seed));
}

/// Sets the wall clock that this thread sees; gives the one before.
pub fn set_wall(now_ms: Option<i64>) -> Option<i64> {
    WALL_MS.replace(now_ms)
}

/// The wall clock that this thread sees, in milliseconds since 1970.
pub fn wall_ms() -> i64 {
    WALL_MS.get().unwrap_or_default()
}

/// One step of SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(into: *mut u8, length: usize, flags: c_uint) -> isize {
    if into.is_null() || length == 0 {
        return 0;
    }
    if length > isize::MAX as usize {
        return -1;
    }
    let Some(mut state) = RANDOM.get() else {
        // SAFETY: the caller owns `length` bytes from `into` on.
        let bytes = unsafe { slice::from_raw_parts_mut(into, length) };
        let flags = GetRandomFlags::from_bits_retain(flags);
        return match rustix::rand::getrandom(bytes, flags) {
            Ok(filled) => filled as isize,
            Err(error) => fail(error),
        };
    };
    for at in 0..length {
        // SAFETY: as above.
        unsafe { into.add(at).write((next(&mut state) >> 32) as u8) };
    }
    RANDOM.set(Some(state));
    length as isize
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, into: *mut Timespec) -> c_int {
    let simulated = WALL_MS.get().filter(|_| clock == ClockId::Realtime as c_int);
    let now = match (simulated, ClockId::try_from(clock)) {
        (Some(now_ms), _) => Timespec {
            tv_sec: now_ms.div_euclid(1_000),
            tv_nsec: now_ms.rem_euclid(1_000) * 1_000_000,
        },
        (None, Ok(clock)) => system_clock(clock),
        (None, Err(error)) => return fail(error) as c_int,
    };
    // SAFETY: the caller gives a place for the answer.
    unsafe { into.write(now) };
    0
}

/// The answer of a function of the C library that failed.
fn fail(error: rustix::io::Errno) -> isize {
    drop(io::Error::from(error));
    -1
}
