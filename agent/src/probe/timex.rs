//! How well the kernel's clock is disciplined: `adjtimex`, which only reads here.

use std::time::Duration;

use upkeep_model::{MetricKind, Observation};

use super::{AskedOfHelper, Probe, ProbeError};
use crate::helper;
use crate::host::{ClockState, Host};

/// How often the helper is asked. To start it costs 80 ms of a processor, most of which systemd takes
/// to make its sandbox; that is as much as the agent itself takes in two minutes. A clock that is
/// disciplined changes slowly.
const RHYTHM: Duration = Duration::from_secs(600);

const MICROSECONDS_PER_SECOND: f64 = 1e6;

const NANOSECONDS_PER_SECOND: f64 = 1e9;

/// The kernel gives frequencies in parts of a million, with 16 bits after the point.
const FREQUENCY_UNITS: f64 = 1e6 * 65536.0;

/// The bit of the status by which the kernel counts offsets in nanoseconds.
const COUNTS_NANOSECONDS: i32 = 0x2000;

/// The discipline of the clock, as `node_timex_<name>`. Where a sandbox refuses the call, the helper is
/// asked every ten minutes, and in between its last answer stands.
#[derive(Debug)]
pub struct TimexProbe {
    asked: AskedOfHelper<ClockState>,
}

impl Default for TimexProbe {
    fn default() -> Self {
        Self { asked: AskedOfHelper::new("clock", RHYTHM, helper::clock) }
    }
}

impl Probe for TimexProbe {
    fn name(&self) -> &'static str {
        "timex"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let state = match host.clock_state() {
            Err(error) if error.is_denied() => {
                let tell = |state: &_| {
                    observe_state(state, out);
                    Ok(())
                };
                return self.asked.tell(&error, host, tell);
            }
            state => state?,
        };
        if let Some(state) = state {
            observe_state(&state, out);
        }
        Ok(())
    }
}

fn observe_state(state: &ClockState, out: &mut Observation) {
    let counts_nanoseconds = state.status & COUNTS_NANOSECONDS != 0;
    let offset_unit =
        if counts_nanoseconds { NANOSECONDS_PER_SECOND } else { MICROSECONDS_PER_SECOND };
    let integer = |number: i64| number as f64;
    let microseconds = |number: i64| number as f64 / MICROSECONDS_PER_SECOND;
    let frequency = |number: i64| number as f64 / FREQUENCY_UNITS;
    let offset = |number: i64| number as f64 / offset_unit;
    let synchronized = if state.synchronized { 1.0 } else { 0.0 };
    let mut gauge = |name, help, value| add(out, MetricKind::Gauge, name, help, value);
    gauge("sync_status", "Whether the clock follows a reliable one.", synchronized);
    gauge("offset_seconds", "How far the clock is from the one it follows.", offset(state.offset));
    let help = "By how much the clock's pace is corrected.";
    gauge("frequency_adjustment_ratio", help, 1.0 + frequency(state.frequency));
    gauge("maxerror_seconds", "The clock's largest error.", microseconds(state.max_error));
    let help = "The clock's estimated error.";
    gauge("estimated_error_seconds", help, microseconds(state.estimated_error));
    gauge("status", "The kernel's bits about the clock.", f64::from(state.status));
    gauge("loop_time_constant", "How slowly the clock is corrected.", integer(state.constant));
    gauge("tick_seconds", "Time between two ticks of the clock.", microseconds(state.tick));
    let help = "Frequency of a pulse a second.";
    gauge("pps_frequency_hertz", help, frequency(state.pulse_frequency));
    gauge("pps_jitter_seconds", "Jitter of a pulse a second.", offset(state.pulse_jitter));
    gauge("pps_shift_seconds", "Interval of a pulse a second.", f64::from(state.pulse_shift));
    let help = "Stability of a pulse a second.";
    gauge("pps_stability_hertz", help, frequency(state.pulse_stability));
    gauge("tai_offset_seconds", "How far atomic time is ahead of UTC.", f64::from(state.tai));
    let mut counter = |name, help, value| add(out, MetricKind::Counter, name, help, integer(value));
    let help = "How often a pulse a second jittered too much.";
    counter("pps_jitter_total", help, state.pulse_jitter_exceeded);
    counter("pps_calibration_total", "Intervals of a pulse a second.", state.pulse_calibrations);
    let help = "Intervals of a pulse a second that failed.";
    counter("pps_error_total", help, state.pulse_errors);
    let help = "How often a pulse a second was too unstable.";
    counter("pps_stability_exceeded_total", help, state.pulse_stability_exceeded);
}

fn add(out: &mut Observation, kind: MetricKind, name: &str, help: &str, value: f64) {
    let metric = format!("node_timex_{name}");
    match kind {
        MetricKind::Counter => out.counter(&metric, help, &[], value),
        _ => out.gauge(&metric, help, &[], value),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{host_with, page_of};
    use super::*;

    fn state() -> ClockState {
        ClockState {
            synchronized: true,
            offset: -1_500_000,
            frequency: 65_536,
            max_error: 2_500_000,
            estimated_error: 250,
            status: 0x2001,
            constant: 7,
            tick: 10_000,
            pulse_frequency: 131_072,
            pulse_jitter: 3_000,
            pulse_shift: 4,
            pulse_stability: 65_536,
            pulse_jitter_exceeded: 1,
            pulse_calibrations: 2,
            pulse_errors: 3,
            pulse_stability_exceeded: 4,
            tai: 37,
        }
    }

    #[test]
    fn units_are_seconds_and_ratios() {
        let check = |state: &ClockState, expect: &[&str]| {
            let mut out = Observation::at(0);
            observe_state(state, &mut out);
            let page = page_of(&out);
            assert_eq!(page.len(), 17);
            for line in expect {
                assert!(page.contains(&format!("node_timex_{line}")), "{line} is not in {page:#?}");
            }
        };
        let expect = [
            "sync_status 1",
            "offset_seconds -0.0015",
            "frequency_adjustment_ratio 1.000001",
            "maxerror_seconds 2.5",
            "estimated_error_seconds 0.00025",
            "status 8193",
            "loop_time_constant 7",
            "tick_seconds 0.01",
            "pps_frequency_hertz 2e-06",
            "pps_jitter_seconds 3e-06",
            "pps_shift_seconds 4",
            "pps_stability_hertz 1e-06",
            "pps_jitter_total 1",
            "pps_calibration_total 2",
            "pps_error_total 3",
            "pps_stability_exceeded_total 4",
            "tai_offset_seconds 37",
        ];
        check(&state(), &expect);
        let counts_microseconds = ClockState { status: 1, synchronized: false, ..state() };
        check(&counts_microseconds, &["offset_seconds -1.5", "sync_status 0"]);
    }

    #[test]
    fn another_machine_has_another_clock() {
        let (_folder, host) = host_with(&[("proc/sys/kernel/random/boot_id", b"another\n")]);
        let mut out = Observation::at(0);
        TimexProbe::default().observe(&host, &mut out).unwrap();
        assert!(page_of(&out).is_empty());
    }
}
