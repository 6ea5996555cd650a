//! What is charted: the shipped signals, and those that an operator adds or drops.

use thiserror::Error;
use upkeep_promql::Query;

/// The longest name of a signal.
const MAX_NAME: usize = 64;

/// So many signals there may be: each has a chart for every host.
const MAX_SIGNALS: usize = 32;

/// One signal: a number that every host has, every five minutes.
#[derive(Clone, Debug)]
pub struct Signal {
    /// What it is called in series and in the API.
    pub name: String,
    /// Gives one series for each `instance`.
    pub query: Query,
    /// What its numbers count.
    pub unit: String,
    /// A smaller distance from the centre line never counts.
    pub floor: f64,
}

/// A signal as it is written down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignalText<'a> {
    /// What it is called.
    pub name: &'a str,
    /// The expression in PromQL.
    pub expr: &'a str,
    /// What its numbers count.
    pub unit: &'a str,
    /// A smaller distance from the centre line never counts.
    pub floor: f64,
}

/// The shipped signals; one more is one more entry.
pub const SHIPPED: &[SignalText<'static>] = &[
    SignalText {
        name: "load_per_core",
        expr: "max by (instance) (avg_over_time(node_load1[5m]))
            / max by (instance) (count by (instance, job) (node_cpu_seconds_total{mode=\"idle\"}))",
        unit: "processes per core",
        floor: 0.2,
    },
    SignalText {
        name: "memory_used",
        expr: "1 - max by (instance) (avg_over_time(node_memory_MemAvailable_bytes[5m]))
            / max by (instance) (node_memory_MemTotal_bytes)",
        unit: "share of the memory",
        floor: 0.05,
    },
    SignalText {
        name: "disk_latency",
        expr: "max by (instance) (
            (rate(node_disk_read_time_seconds_total{device!~\"(loop|ram|dm-|zram).*\"}[5m])
                + rate(node_disk_write_time_seconds_total{device!~\"(loop|ram|dm-|zram).*\"}[5m]))
            / (rate(node_disk_reads_completed_total{device!~\"(loop|ram|dm-|zram).*\"}[5m])
                + rate(node_disk_writes_completed_total{device!~\"(loop|ram|dm-|zram).*\"}[5m]) > 0.1))",
        unit: "seconds per request, of the slowest disk",
        floor: 0.01,
    },
    SignalText {
        name: "network_errors",
        expr: "sum by (instance) (rate(node_network_receive_errs_total[5m])
            + rate(node_network_transmit_errs_total[5m]))",
        unit: "packets per second",
        floor: 1.0,
    },
    SignalText {
        name: "swap_in",
        expr: "max by (instance) (rate(node_vmstat_pswpin[5m]))",
        unit: "pages per second",
        floor: 50.0,
    },
    SignalText {
        name: "process_count",
        expr: "max by (instance) (avg_over_time(upkeep_processes[5m]))",
        unit: "processes",
        floor: 10.0,
    },
    SignalText {
        name: "response_time",
        expr: "max by (instance) (avg_over_time(upkeep_agent_observation_duration_seconds[5m]))",
        unit: "seconds that the host takes to answer the agent's questions",
        floor: 0.05,
    },
];

/// What is wrong with a signal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignalFault {
    /// Its name cannot be one.
    #[error("{0:?} cannot be a signal's name: 1 to 64 lower-case letters, digits and '_'")]
    Name(String),
    /// Two have the same name.
    #[error("the signal {0:?} is there twice; to replace a shipped one, name it in `drop`")]
    Twice(String),
    /// None that is shipped has this name.
    #[error("{0:?} is none of the shipped signals: {known}", known = known())]
    Unknown(String),
    /// Its expression is none.
    #[error("the signal {name:?}: expr: {fault}")]
    Expression {
        /// Which signal.
        name: String,
        /// What is wrong with the expression.
        fault: String,
    },
    /// Its floor cannot be one.
    #[error("the signal {0:?}: floor: it must be a number above 0")]
    Floor(String),
    /// There are too many.
    #[error("there are {0} signals, and at most {MAX_SIGNALS} are charted")]
    TooMany(usize),
}

/// The shipped signals without those that are dropped, and then the added ones.
///
/// # Errors
/// With everything that is wrong with them.
pub fn chosen(
    dropped: &[String],
    added: &[SignalText<'_>],
) -> Result<Vec<Signal>, Vec<SignalFault>> {
    let mut faults = Vec::new();
    let mut signals: Vec<Signal> = Vec::new();
    let is_shipped = |name: &String| SHIPPED.iter().any(|signal| signal.name == name);
    faults
        .extend(dropped.iter().filter(|name| !is_shipped(name)).cloned().map(SignalFault::Unknown));
    let kept = SHIPPED.iter().filter(|signal| !dropped.iter().any(|name| name == signal.name));
    for text in kept.chain(added) {
        match text.read() {
            Ok(signal) if signals.iter().any(|other| other.name == signal.name) => {
                faults.push(SignalFault::Twice(signal.name));
            }
            Ok(signal) => signals.push(signal),
            Err(fault) => faults.push(fault),
        }
    }
    if signals.len() > MAX_SIGNALS {
        faults.push(SignalFault::TooMany(signals.len()));
    }
    if faults.is_empty() { Ok(signals) } else { Err(faults) }
}

impl SignalText<'_> {
    fn read(&self) -> Result<Signal, SignalFault> {
        let name = self.name.to_owned();
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_plain) {
            return Err(SignalFault::Name(name));
        }
        if !self.floor.is_finite() || self.floor <= 0.0 {
            return Err(SignalFault::Floor(name));
        }
        let query = upkeep_promql::parse(self.expr).map_err(|error| SignalFault::Expression {
            name: name.clone(),
            fault: error.to_string(),
        })?;
        Ok(Signal { name, query, unit: self.unit.to_owned(), floor: self.floor })
    }
}

fn known() -> String {
    let names: Vec<_> = SHIPPED.iter().map(|signal| signal.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &'static str, expr: &'static str, floor: f64) -> SignalText<'static> {
        SignalText { name, expr, unit: "x", floor }
    }

    #[test]
    fn what_is_shipped_can_be_dropped_and_more_added() {
        let names = |dropped: &[&str], added: &[SignalText<'_>]| {
            let dropped: Vec<_> = dropped.iter().map(|name| (*name).to_owned()).collect();
            let signals = chosen(&dropped, added).unwrap();
            signals.into_iter().map(|signal| signal.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[], &[]).len(), SHIPPED.len());
        let all_but_one = names(&["swap_in"], &[text("requests", "sum by (instance) (x)", 1.0)]);
        assert!(!all_but_one.contains(&"swap_in".to_owned()));
        assert_eq!(all_but_one.last().unwrap(), "requests");
        let own = names(&["swap_in"], &[text("swap_in", "x", 1.0)]);
        assert_eq!(own.len(), SHIPPED.len());
    }

    #[test]
    fn faults_name_what_is_wrong_and_where() {
        let check = |dropped: &[String], added: SignalText<'_>, expect: &str| {
            let faults = chosen(dropped, &[added]).unwrap_err();
            let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
            assert!(told.iter().any(|fault| fault.contains(expect)), "{told:?}");
        };
        check(&["swapin".to_owned()], text("a", "x", 1.0), "\"swapin\" is none of the shipped");
        check(&[], text("A b", "x", 1.0), "\"A b\" cannot be a signal's name");
        check(&[], text("", "x", 1.0), "\"\" cannot be a signal's name");
        check(&[], text("swap_in", "x", 1.0), "\"swap_in\" is there twice");
        check(&[], text("a", "rate(", 1.0), "the signal \"a\": expr: ");
        check(&[], text("a", "x", 0.0), "the signal \"a\": floor");
        check(&[], text("a", "x", f64::NAN), "the signal \"a\": floor");
        let many: Vec<_> = (0..40).map(|number| format!("s{number}")).collect();
        let many: Vec<_> =
            many.iter().map(|name| SignalText { name, ..text("", "x", 1.0) }).collect();
        let faults = chosen(&[], &many).unwrap_err();
        assert_eq!(faults, [SignalFault::TooMany(SHIPPED.len() + 40)]);
    }
}
