//! How the kernel keeps up with packets, by processor: `/proc/net/softnet_stat`.

use upkeep_model::{MetricKind, Observation};

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FILE: &str = "net/softnet_stat";

/// The column that names the processor, since Linux 5.10; the lines before were in their order.
const PROCESSOR: usize = 12;

/// One column.
struct Column {
    place: usize,
    metric: &'static str,
    kind: MetricKind,
    help: &'static str,
}

/// The columns that are shown. Those that every kernel has come first.
const COLUMNS: [Column; 7] = [
    Column {
        place: 0,
        metric: "node_softnet_processed_total",
        kind: MetricKind::Counter,
        help: "Packets processed.",
    },
    Column {
        place: 1,
        metric: "node_softnet_dropped_total",
        kind: MetricKind::Counter,
        help: "Packets dropped since the queue was full.",
    },
    Column {
        place: 2,
        metric: "node_softnet_times_squeezed_total",
        kind: MetricKind::Counter,
        help: "How often packets were left over when the time for them was used up.",
    },
    Column {
        place: 8,
        metric: "node_softnet_cpu_collision_total",
        kind: MetricKind::Counter,
        help: "How often a device was busy sending for another processor.",
    },
    Column {
        place: 9,
        metric: "node_softnet_received_rps_total",
        kind: MetricKind::Counter,
        help: "How often another processor asked this one to process packets.",
    },
    Column {
        place: 10,
        metric: "node_softnet_flow_limit_count_total",
        kind: MetricKind::Counter,
        help: "Packets dropped since their flow had more than its share.",
    },
    Column {
        place: 11,
        metric: "node_softnet_backlog_len",
        kind: MetricKind::Gauge,
        help: "Packets that wait.",
    },
];

/// The last column that every kernel has.
const LAST_ALWAYS: usize = 8;

/// The kernel's processing of packets.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoftnetProbe;

impl Probe for SoftnetProbe {
    fn name(&self) -> &'static str {
        "softnet"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let Some(text) = host.read_if_present(Tree::Proc, FILE)? else { return Ok(()) };
        let mut faults = Faults::default();
        let mut cpu = String::new();
        parse(&text, &mut faults, |number, column, value| {
            cpu.clear();
            cpu.push_str(&number.to_string());
            let labels = [("cpu", cpu.as_str())];
            match column.kind {
                MetricKind::Counter => out.counter(column.metric, column.help, &labels, value),
                _ => out.gauge(column.metric, column.help, &labels, value),
            }
        });
        faults.into_result()
    }
}

/// Reads lines of hexadecimal numbers, one a processor. What an older kernel does not count is
/// zero, as node_exporter has it.
fn parse(text: &str, faults: &mut Faults, mut take: impl FnMut(u32, &Column, f64)) {
    for (at, line) in text.lines().enumerate() {
        let words = || line.split_ascii_whitespace();
        let mut number = |place: usize, item: &str| match words().nth(place) {
            Some(word) => u32::from_str_radix(word, 16)
                .inspect_err(|_| {
                    let fault = format!("{word:?} is not a hexadecimal number");
                    faults.value(FILE, at + 1, item, fault);
                })
                .ok(),
            None if place <= LAST_ALWAYS => {
                faults.value(FILE, at + 1, item, "missing");
                None
            }
            None => Some(0),
        };
        let place = u32::try_from(at).unwrap_or(u32::MAX);
        let named = words().nth(PROCESSOR).map(|_| number(PROCESSOR, "processor"));
        let Some(cpu) = named.unwrap_or(Some(place)) else { continue };
        for column in &COLUMNS {
            if let Some(value) = number(column.place, column.metric) {
                take(cpu, column, f64::from(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<String>, String) {
        let (mut faults, mut seen) = (Faults::default(), Vec::new());
        parse(text, &mut faults, |cpu, column, value| {
            seen.push(format!("{cpu} {} {value}", &column.metric["node_softnet_".len()..]));
        });
        let said = faults.into_result().map_or_else(|error| error.to_string(), |()| String::new());
        (seen, said)
    }

    #[test]
    fn columns_are_read_and_the_processor_is_the_named_one() {
        let (seen, said) = read("0a 1 2 0 0 0 0 0 3 4 5 ff 1f 0 0\n");
        assert_eq!(said, "");
        let expect = [
            "31 processed_total 10",
            "31 dropped_total 1",
            "31 times_squeezed_total 2",
            "31 cpu_collision_total 3",
            "31 received_rps_total 4",
            "31 flow_limit_count_total 5",
            "31 backlog_len 255",
        ];
        assert_eq!(seen, expect);
    }

    #[test]
    fn older_kernels_have_fewer_columns_and_garbage_is_left_out() {
        let (seen, said) = read("1 0 0 0 0 0 0 0 0\nzz 2\n0 0 0 0 0 0 0 0 0 0 0 0 what\n");
        assert_eq!(seen.len(), COLUMNS.len() + 4, "{seen:?}");
        assert_eq!(seen[COLUMNS.len()], "1 dropped_total 2");
        assert_eq!(
            said,
            "net/softnet_stat, line 2, node_softnet_processed_total: \"zz\" is not a hexadecimal \
             number; net/softnet_stat, line 2, node_softnet_times_squeezed_total: missing; \
             net/softnet_stat, line 2, node_softnet_cpu_collision_total: missing; \
             net/softnet_stat, line 3, processor: \"what\" is not a hexadecimal number"
        );
    }
}
