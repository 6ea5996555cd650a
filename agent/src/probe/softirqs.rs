//! Deferred work of interrupts by processor: `/proc/softirqs`.

use upkeep_model::Observation;

use super::interrupts::processors;
use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FILE: &str = "softirqs";

/// Deferred work by processor and kind, as `node_softirqs_functions_total`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoftirqsProbe;

impl Probe for SoftirqsProbe {
    fn name(&self) -> &'static str {
        "softirqs"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let text = host.read(Tree::Proc, FILE)?;
        let mut faults = Faults::default();
        parse(&text, &mut faults, |cpu, kind, value| {
            let help = "How often a processor did work that interrupts had deferred.";
            let labels = [("cpu", cpu), ("type", kind)];
            out.counter("node_softirqs_functions_total", help, &labels, value);
        });
        faults.into_result()
    }
}

/// Reads lines such as `NET_RX:  43066  104508` below a heading of processors.
fn parse(text: &str, faults: &mut Faults, mut take: impl FnMut(&str, &str, f64)) {
    let mut lines = text.lines().enumerate();
    let cpus = lines.next().map_or_else(Vec::new, |(_, heading)| processors(heading));
    if cpus.is_empty() {
        faults.value(FILE, 1, "heading", "no processor");
        return;
    }
    for (at, line) in lines {
        let Some((kind, rest)) = line.split_once(':') else {
            faults.value(FILE, at + 1, line.trim(), "no colon after the name");
            continue;
        };
        let (kind, mut counts) = (kind.trim(), rest.split_ascii_whitespace());
        for cpu in &cpus {
            if let Some(value) = faults.number(FILE, at + 1, kind, counts.next()) {
                take(cpu, kind, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_by_processor() {
        let text = "      CPU0  CPU1\n   HI:  7  1\nTIMER: 4\nNET_TX: x 3\nodd\n";
        let (mut faults, mut seen) = (Faults::default(), Vec::new());
        parse(text, &mut faults, |cpu, kind, value| seen.push(format!("{cpu} {kind} {value}")));
        assert_eq!(seen, ["0 HI 7", "1 HI 1", "0 TIMER 4", "1 NET_TX 3"]);
        assert_eq!(
            faults.into_result().unwrap_err().to_string(),
            "softirqs, line 3, TIMER: missing; softirqs, line 4, NET_TX: \"x\" is not a number; \
             softirqs, line 5, odd: no colon after the name"
        );
    }

    #[test]
    fn without_a_heading_nothing_is_guessed() {
        let mut faults = Faults::default();
        parse("HI: 1\n", &mut faults, |_, _, _| panic!("nothing can be read"));
        let said = faults.into_result().unwrap_err().to_string();
        assert_eq!(said, "softirqs, line 1, heading: no processor");
    }
}
