//! How long processes ran and waited for each processor: `/proc/schedstat`.

use upkeep_model::Observation;

use super::device::is_number;
use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FILE: &str = "schedstat";

const NANOSECONDS_PER_SECOND: f64 = 1e9;

/// The columns that are shown: their place after the processor's name, metric, what one is worth,
/// and what they say.
const COLUMNS: [(usize, &str, f64, &str); 3] = [
    (
        6,
        "node_schedstat_running_seconds_total",
        NANOSECONDS_PER_SECOND,
        "Time that processes ran on a processor.",
    ),
    (
        7,
        "node_schedstat_waiting_seconds_total",
        NANOSECONDS_PER_SECOND,
        "Time that processes waited for a processor.",
    ),
    (8, "node_schedstat_timeslices_total", 1.0, "How often a process was given a processor."),
];

/// The scheduler's times; kernels that were built without them say nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct SchedstatProbe;

impl Probe for SchedstatProbe {
    fn name(&self) -> &'static str {
        "schedstat"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let Some(text) = host.read_if_present(Tree::Proc, FILE)? else { return Ok(()) };
        let mut faults = Faults::default();
        parse(&text, &mut faults, |cpu, metric, help, value| {
            out.counter(metric, help, &[("cpu", cpu)], value);
        });
        faults.into_result()
    }
}

/// Reads lines such as `cpu0 498494191 0 3533438552 … 2045936778163039 343796328169361 4767485306`;
/// the others describe the scheduler itself.
fn parse(text: &str, faults: &mut Faults, mut take: impl FnMut(&str, &str, &str, f64)) {
    for (at, line) in text.lines().enumerate() {
        let Some(rest) = line.strip_prefix("cpu") else { continue };
        let (cpu, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        if !is_number(cpu) {
            faults.value(FILE, at + 1, &format!("cpu{cpu}"), "not the number of a processor");
            continue;
        }
        for (place, metric, unit, help) in COLUMNS {
            let word = rest.split_ascii_whitespace().nth(place);
            if let Some(value) = faults.number(FILE, at + 1, metric, word) {
                take(cpu, metric, help, value / unit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_seconds() {
        let text = "version 15\ntimestamp 1\ncpu0 1 0 2 3 4 5 6000000000 7500000000 8\n\
            domain0 3 1\ncpu1 1 2 3 4 5 6 7 x\ncpu\n";
        let (mut faults, mut seen) = (Faults::default(), Vec::new());
        parse(text, &mut faults, |cpu, metric, _, value| {
            seen.push(format!("{cpu} {} {value}", &metric["node_schedstat_".len()..]));
        });
        let expect = [
            "0 running_seconds_total 6",
            "0 waiting_seconds_total 7.5",
            "0 timeslices_total 8",
            "1 running_seconds_total 0.000000007",
        ];
        assert_eq!(seen, expect);
        assert_eq!(
            faults.into_result().unwrap_err().to_string(),
            "schedstat, line 5, node_schedstat_waiting_seconds_total: \"x\" is not a number; \
             schedstat, line 5, node_schedstat_timeslices_total: missing; \
             schedstat, line 6, cpu: not the number of a processor"
        );
    }
}
