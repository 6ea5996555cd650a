//! The kernel's own counters: `/proc/stat`.

use upkeep_model::{MetricKind, Observation};

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FILE: &str = "stat";

/// One line of the file that holds one number.
struct Counter {
    key: &'static str,
    metric: &'static str,
    kind: MetricKind,
    help: &'static str,
}

const COUNTERS: [Counter; 6] = [
    Counter {
        key: "intr",
        metric: "node_intr_total",
        kind: MetricKind::Counter,
        help: "Interrupts serviced since boot.",
    },
    Counter {
        key: "ctxt",
        metric: "node_context_switches_total",
        kind: MetricKind::Counter,
        help: "Context switches since boot.",
    },
    Counter {
        key: "btime",
        metric: "node_boot_time_seconds",
        kind: MetricKind::Gauge,
        help: "When the host booted, in seconds since 1970.",
    },
    Counter {
        key: "processes",
        metric: "node_forks_total",
        kind: MetricKind::Counter,
        help: "Processes and threads started since boot.",
    },
    Counter {
        key: "procs_running",
        metric: "node_procs_running",
        kind: MetricKind::Gauge,
        help: "Processes that run or could run now.",
    },
    Counter {
        key: "procs_blocked",
        metric: "node_procs_blocked",
        kind: MetricKind::Gauge,
        help: "Processes that wait for input or output now.",
    },
];

/// The kinds of work that interrupts defer, in the order of the line's numbers after their sum.
const DEFERRED: [&str; 10] = [
    "hi",
    "timer",
    "net_tx",
    "net_rx",
    "block",
    "block_iopoll",
    "tasklet",
    "sched",
    "hrtimer",
    "rcu",
];

/// Boot time and the kernel's counters of work done.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatProbe {
    /// Whether to show the work that interrupts deferred by its kind, too.
    pub softirq: bool,
}

impl Probe for StatProbe {
    fn name(&self) -> &'static str {
        "stat"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let text = host.read(Tree::Proc, FILE)?;
        let mut faults = Faults::default();
        parse(&text, &mut faults, |counter, value| match counter.kind {
            MetricKind::Counter => out.counter(counter.metric, counter.help, &[], value),
            _ => out.gauge(counter.metric, counter.help, &[], value),
        });
        if self.softirq {
            parse_deferred(&text, &mut faults, |vector, value| {
                let help = "How often work was done that interrupts had deferred.";
                out.counter("node_softirqs_total", help, &[("vector", vector)], value);
            });
        }
        faults.into_result()
    }
}

fn parse(text: &str, faults: &mut Faults, mut take: impl FnMut(&Counter, f64)) {
    let mut seen = [false; COUNTERS.len()];
    let mut lines = 0;
    for (at, line) in text.lines().enumerate() {
        lines = at + 1;
        let mut words = line.split_ascii_whitespace();
        let Some(key) = words.next() else { continue };
        let known = COUNTERS.iter().zip(&mut seen).find(|(counter, _)| counter.key == key);
        let Some((counter, is_seen)) = known else { continue };
        *is_seen = true;
        if let Some(value) = faults.number(FILE, lines, key, words.next()) {
            take(counter, value);
        }
    }
    // Every kernel has all of them.
    for (counter, _) in COUNTERS.iter().zip(seen).filter(|(_, is_seen)| !is_seen) {
        faults.value(FILE, lines, counter.key, "missing");
    }
}

/// Reads the line `softirq`: a sum, and a number for each kind.
fn parse_deferred(text: &str, faults: &mut Faults, mut take: impl FnMut(&str, f64)) {
    let line = text.lines().enumerate().find(|(_, line)| line.starts_with("softirq "));
    let Some((at, line)) = line else { return };
    let words = line.split_ascii_whitespace().skip(2).map(Some).chain(std::iter::repeat(None));
    for (vector, word) in DEFERRED.into_iter().zip(words) {
        if let Some(value) = faults.number(FILE, at + 1, vector, word) {
            take(vector, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_and_the_rest_is_passed_over() {
        let text =
            "cpu  1 2\nintr 8885917 17 0 0\nctxt x\nbtime 1418183276\nprocs_running\nsoftirq 5\n";
        let (mut faults, mut seen) = (Faults::default(), Vec::new());
        parse(text, &mut faults, |counter, value| seen.push((counter.metric, value)));
        assert_eq!(
            seen,
            [("node_intr_total", 8_885_917.0), ("node_boot_time_seconds", 1_418_183_276.0)]
        );
        assert_eq!(
            faults.into_result().unwrap_err().to_string(),
            "stat, line 3, ctxt: \"x\" is not a number; stat, line 5, procs_running: missing; \
             stat, line 6, processes: missing; stat, line 6, procs_blocked: missing"
        );
    }

    #[test]
    fn deferred_work_is_read_by_kind() {
        let (mut faults, mut seen) = (Faults::default(), Vec::new());
        let text = "ctxt 1\nsoftirq 60 1 2 x 4 5 6 7 8 9\n";
        parse_deferred(text, &mut faults, |vector, value| seen.push(format!("{vector} {value}")));
        let expect = "hi 1,timer 2,net_rx 4,block 5,block_iopoll 6,tasklet 7,sched 8,hrtimer 9";
        assert_eq!(seen.join(","), expect);
        assert_eq!(
            faults.into_result().unwrap_err().to_string(),
            "stat, line 2, net_tx: \"x\" is not a number; stat, line 2, rcu: missing"
        );
    }
}
