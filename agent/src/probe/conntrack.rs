//! Connections that the firewall follows: `/proc/sys/net/netfilter`, `/proc/net/stat/nf_conntrack`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const STAT: &str = "net/stat/nf_conntrack";

/// The two files of one number: their metrics, and what they say.
const TABLE: [(&str, &str, &str); 2] = [
    (
        "sys/net/netfilter/nf_conntrack_count",
        "node_nf_conntrack_entries",
        "Connections that the firewall follows.",
    ),
    (
        "sys/net/netfilter/nf_conntrack_max",
        "node_nf_conntrack_entries_limit",
        "How many connections the firewall can follow.",
    ),
];

/// The columns that are shown: their headings, metrics, and what they say.
const COLUMNS: [(&str, &str, &str); 8] = [
    ("found", "node_nf_conntrack_stat_found", "Connections looked up and found."),
    ("invalid", "node_nf_conntrack_stat_invalid", "Packets that belong to no connection."),
    ("ignore", "node_nf_conntrack_stat_ignore", "Packets that were not to be followed."),
    ("insert", "node_nf_conntrack_stat_insert", "Connections entered."),
    (
        "insert_failed",
        "node_nf_conntrack_stat_insert_failed",
        "Connections that could not be entered.",
    ),
    ("drop", "node_nf_conntrack_stat_drop", "Packets dropped since they could not be followed."),
    (
        "early_drop",
        "node_nf_conntrack_stat_early_drop",
        "Connections forgotten to make room for others.",
    ),
    (
        "search_restart",
        "node_nf_conntrack_stat_search_restart",
        "Look-ups begun anew since the table grew.",
    ),
];

/// The firewall's table of connections; hosts without one say nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConntrackProbe;

impl Probe for ConntrackProbe {
    fn name(&self) -> &'static str {
        "conntrack"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        for (file, metric, help) in TABLE {
            let read = host.read_if_present(Tree::Proc, file);
            let Some(text) = faults.keep(read).flatten() else { continue };
            if let Some(value) = faults.number(file, 1, metric, Some(text.trim())) {
                out.gauge(metric, help, &[], value);
            }
        }
        let read = host.read_if_present(Tree::Proc, STAT);
        if let Some(text) = faults.keep(read).flatten() {
            for ((_, metric, help), sum) in COLUMNS.into_iter().zip(sums(&text, &mut faults)) {
                if let Some(sum) = sum {
                    out.gauge(metric, help, &[], sum);
                }
            }
        }
        faults.into_result()
    }
}

/// Adds up each column over the processors, of which each has a line of hexadecimal numbers. A
/// column that one of them spoils is left out.
fn sums(text: &str, faults: &mut Faults) -> [Option<f64>; COLUMNS.len()] {
    let headings: Vec<&str> =
        text.lines().next().unwrap_or_default().split_ascii_whitespace().collect();
    COLUMNS.map(|(column, _, _)| {
        let position = headings.iter().position(|heading| *heading == column)?;
        let mut sum = 0.0;
        for (at, line) in text.lines().enumerate().skip(1) {
            let word = line.split_ascii_whitespace().nth(position).unwrap_or_default();
            match u32::from_str_radix(word, 16) {
                Ok(number) => sum += f64::from(number),
                Err(_) => {
                    let fault = format!("{word:?} is not a hexadecimal number");
                    faults.value(STAT, at + 1, column, fault);
                    return None;
                }
            }
        }
        Some(sum)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_their_heading_and_added_up() {
        let text = "entries  found new invalid drop\n21 0a 0 1 x\n21 01 0 ff 0\n";
        let mut faults = Faults::default();
        let sums = sums(text, &mut faults);
        assert_eq!(sums[..2], [Some(11.0), Some(256.0)]);
        assert!(sums[2..].iter().all(Option::is_none));
        let said = faults.into_result().unwrap_err().to_string();
        assert_eq!(said, "net/stat/nf_conntrack, line 2, drop: \"x\" is not a hexadecimal number");
    }
}
