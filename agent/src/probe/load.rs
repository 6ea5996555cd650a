//! How many processes want to run: `/proc/loadavg`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FILE: &str = "loadavg";

/// The three averages: their metric, and what they say.
const AVERAGES: [(&str, &str); 3] = [
    ("node_load1", "Processes that run or wait, averaged over one minute."),
    ("node_load5", "Processes that run or wait, averaged over five minutes."),
    ("node_load15", "Processes that run or wait, averaged over fifteen minutes."),
];

/// Load averages.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadProbe;

impl Probe for LoadProbe {
    fn name(&self) -> &'static str {
        "loadavg"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let text = host.read(Tree::Proc, FILE)?;
        let mut faults = Faults::default();
        for ((name, help), value) in AVERAGES.into_iter().zip(parse(&text, &mut faults)) {
            if let Some(value) = value {
                out.gauge(name, help, &[], value);
            }
        }
        faults.into_result()
    }
}

fn parse(text: &str, faults: &mut Faults) -> [Option<f64>; 3] {
    let mut words = text.split_ascii_whitespace();
    AVERAGES.map(|(name, _)| faults.number(FILE, 1, name, words.next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loadavg_is_read() {
        let check = |text: &str, expect: [Option<f64>; 3], fault: &str| {
            let mut faults = Faults::default();
            assert_eq!(parse(text, &mut faults), expect, "{text:?}");
            let said =
                faults.into_result().map_or_else(|error| error.to_string(), |()| String::new());
            assert_eq!(said, fault);
        };
        check("0.21 0.37 0.39 1/719 19737\n", [Some(0.21), Some(0.37), Some(0.39)], "");
        check(
            "0.21 nan 0.39 1/719 19737\n",
            [Some(0.21), None, Some(0.39)],
            "loadavg, line 1, node_load5: \"nan\" is not a number",
        );
        check("0.21 1", [Some(0.21), Some(1.0), None], "loadavg, line 1, node_load15: missing");
    }
}
