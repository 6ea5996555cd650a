//! Neighbours in local networks: `/proc/net/arp`.

use std::collections::BTreeMap;

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FILE: &str = "net/arp";

/// How many words a neighbour's line has; the device is the last one.
const WORDS: usize = 6;

/// How many neighbours each network device knows.
#[derive(Clone, Copy, Debug)]
pub struct ArpProbe {
    leaves_out: fn(&str) -> bool,
}

impl ArpProbe {
    /// A probe that leaves out some devices.
    pub fn new(leaves_out: fn(&str) -> bool) -> Self {
        Self { leaves_out }
    }
}

impl Default for ArpProbe {
    fn default() -> Self {
        Self::new(|_| false)
    }
}

impl Probe for ArpProbe {
    fn name(&self) -> &'static str {
        "arp"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let Some(text) = host.read_if_present(Tree::Proc, FILE)? else { return Ok(()) };
        let mut faults = Faults::default();
        let counts = parse(&text, &mut faults);
        // A line that cannot be read may be of any device, so that none of the counts is known.
        if !faults.is_empty() {
            return faults.into_result();
        }
        for (device, count) in counts.into_iter().filter(|(device, _)| !(self.leaves_out)(device)) {
            let help = "Neighbours that a network device knows.";
            out.gauge("node_arp_entries", help, &[("device", device)], f64::from(count));
        }
        faults.into_result()
    }
}

/// Counts the lines of each device below the line of headings.
fn parse<'text>(text: &'text str, faults: &mut Faults) -> BTreeMap<&'text str, u32> {
    let mut counts = BTreeMap::new();
    for (at, line) in text.lines().enumerate().skip(1) {
        match line.split_ascii_whitespace().nth(WORDS - 1) {
            Some(device) => *counts.entry(device).or_default() += 1,
            None => faults.value(FILE, at + 1, "device", "missing"),
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_counted() {
        let text = "IP address HW type Flags HW address Mask Device\n\
            10.0.0.1 0x1 0x2 aa * eth0\n10.0.0.2 0x1 0x2 bb * eth0\n10.0.0.3 0x1 0x2 cc * wg0\nodd\n";
        let mut faults = Faults::default();
        assert_eq!(parse(text, &mut faults), BTreeMap::from([("eth0", 2), ("wg0", 1)]));
        let said = faults.into_result().unwrap_err().to_string();
        assert_eq!(said, "net/arp, line 5, device: missing");
    }
}
