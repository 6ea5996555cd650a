//! What is known to be wrong with the processors: `/sys/devices/system/cpu/vulnerabilities`, which
//! node_exporter leaves out by default.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FOLDER: &str = "devices/system/cpu/vulnerabilities";

/// By which words a state begins, in upper or lower case.
const STATES: [&str; 4] = [NOT_AFFECTED, "vulnerable", "mitigation", UNKNOWN];

const NOT_AFFECTED: &str = "not affected";

const UNKNOWN: &str = "unknown";

/// The vulnerabilities that the kernel knows of, and what it does about them.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuVulnerabilitiesProbe;

impl Probe for CpuVulnerabilitiesProbe {
    fn name(&self) -> &'static str {
        "cpu_vulnerabilities"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        for entry in host.list_if_present(Tree::Sys, FOLDER)? {
            let path = format!("{FOLDER}/{}", entry.name);
            let text = faults.keep(host.read_if_present(Tree::Sys, &path)).flatten();
            let Some(text) = text else { continue };
            let (state, mitigation) = parse(&text);
            let labels =
                [("codename", entry.name.as_str()), ("state", state), ("mitigation", &mitigation)];
            let help = "What the kernel says about a vulnerability of the processors.";
            out.gauge("node_cpu_vulnerabilities_info", help, &labels, 1.0);
        }
        faults.into_result()
    }
}

/// The state, and what stands behind its first word. What begins like none of the states is unknown
/// and told whole.
fn parse(text: &str) -> (&'static str, String) {
    let text = text.trim();
    let begins_with = |start: &str| {
        text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    match STATES.into_iter().find(|state| begins_with(state)) {
        None => (UNKNOWN, text.to_owned()),
        Some(NOT_AFFECTED) => (NOT_AFFECTED, String::new()),
        Some(state) => {
            let words: Vec<&str> = text.split_whitespace().skip(1).collect();
            (state, words.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn states_are_told_from_what_is_done() {
        let check = |text: &str, expect: (&str, &str)| {
            let (state, mitigation) = parse(text);
            assert_eq!((state, mitigation.as_str()), expect, "{text:?}");
        };
        check("Not affected\n", ("not affected", ""));
        check("Vulnerable\n", ("vulnerable", ""));
        check(
            "Vulnerable: No  microcode; SMT vulnerable\n",
            ("vulnerable", "No microcode; SMT vulnerable"),
        );
        check("Mitigation: PTI\n", ("mitigation", "PTI"));
        check("Unknown: No mitigations\n", ("unknown", "No mitigations"));
        check("Processor vulnerable\n", ("unknown", "Processor vulnerable"));
        check("KVM: Mitigation: VMX disabled", ("unknown", "KVM: Mitigation: VMX disabled"));
        check("", ("unknown", ""));
        check("übel", ("unknown", "übel"));
    }

    #[test]
    fn each_vulnerability_is_a_series() {
        let (_folder, host) = host_with(&[
            ("sys/devices/system/cpu/vulnerabilities/mds", b"Not affected\n"),
            ("sys/devices/system/cpu/vulnerabilities/retbleed", b"Mitigation: Enhanced IBRS\n"),
        ]);
        let mut out = Observation::at(0);
        CpuVulnerabilitiesProbe.observe(&host, &mut out).unwrap();
        assert_eq!(
            page_of(&out),
            [
                "node_cpu_vulnerabilities_info{codename=\"mds\",mitigation=\"\",state=\"not affected\"} 1",
                "node_cpu_vulnerabilities_info{codename=\"retbleed\",\
                 mitigation=\"Enhanced IBRS\",state=\"mitigation\"} 1",
            ]
        );
    }
}
