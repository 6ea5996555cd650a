//! Time lost waiting for processors, memory, devices and interrupts: `/proc/pressure`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

/// One kind of wait: the file, the start of its line, the metric, and what it says.
struct Wait {
    file: &'static str,
    share: &'static str,
    metric: &'static str,
    help: &'static str,
}

const WAITS: [Wait; 6] = [
    Wait {
        file: "pressure/cpu",
        share: "some",
        metric: "node_pressure_cpu_waiting_seconds_total",
        help: "Time in which some task waited for a processor.",
    },
    Wait {
        file: "pressure/io",
        share: "some",
        metric: "node_pressure_io_waiting_seconds_total",
        help: "Time in which some task waited for a device.",
    },
    Wait {
        file: "pressure/io",
        share: "full",
        metric: "node_pressure_io_stalled_seconds_total",
        help: "Time in which every task waited for a device.",
    },
    Wait {
        file: "pressure/memory",
        share: "some",
        metric: "node_pressure_memory_waiting_seconds_total",
        help: "Time in which some task waited for memory.",
    },
    Wait {
        file: "pressure/memory",
        share: "full",
        metric: "node_pressure_memory_stalled_seconds_total",
        help: "Time in which every task waited for memory.",
    },
    Wait {
        file: "pressure/irq",
        share: "full",
        metric: "node_pressure_irq_stalled_seconds_total",
        help: "Time in which every task waited for interrupts to be served.",
    },
];

/// Pressure stall information; kernels that were built or started without it say nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct PressureProbe;

impl Probe for PressureProbe {
    fn name(&self) -> &'static str {
        "pressure"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        for of_one_file in WAITS.chunk_by(|one, other| one.file == other.file) {
            let Some(file) = of_one_file.first().map(|wait| wait.file) else { continue };
            let read = host.read_if_present(Tree::Proc, file);
            let Some(text) = faults.keep(read).flatten() else { continue };
            for wait in of_one_file {
                if let Some(seconds) = total_seconds(&text, wait.share, file, &mut faults) {
                    out.counter(wait.metric, wait.help, &[], seconds);
                }
            }
        }
        faults.into_result()
    }
}

/// The `total` of the line that starts with `share`. The kernel counts microseconds.
fn total_seconds(text: &str, share: &str, file: &str, faults: &mut Faults) -> Option<f64> {
    let numbered = text.lines().enumerate();
    let Some((at, rest)) =
        numbered.filter_map(|(at, line)| Some((at, line.strip_prefix(share)?))).next()
    else {
        faults.value(file, 1, share, "missing");
        return None;
    };
    let total = rest.split_ascii_whitespace().find_map(|word| word.strip_prefix("total="));
    let microseconds = faults.number(file, at + 1, share, total)?;
    Some(microseconds / 1000.0 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read() {
        let text =
            "some avg10=0.18 avg60=0.34 avg300=0.10 total=159886802\nfull avg10=0.00 total=x\n";
        let mut faults = Faults::default();
        assert_eq!(total_seconds(text, "some", "pressure/io", &mut faults), Some(159.886802));
        assert_eq!(total_seconds(text, "none", "pressure/io", &mut faults), None);
        assert_eq!(total_seconds(text, "full", "pressure/io", &mut faults), None);
        let said = faults.into_result().unwrap_err().to_string();
        let expect =
            "pressure/io, line 1, none: missing; pressure/io, line 2, full: \"x\" is not a number";
        assert_eq!(said, expect);
    }
}
