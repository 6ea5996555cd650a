//! What the running kernel calls itself.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

/// The labels that are read from files, and the files.
const LABELS: [(&str, &str); 5] = [
    ("sysname", "sys/kernel/ostype"),
    ("release", "sys/kernel/osrelease"),
    ("version", "sys/kernel/version"),
    ("nodename", "sys/kernel/hostname"),
    ("domainname", "sys/kernel/domainname"),
];

/// `node_uname_info`.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnameProbe;

impl Probe for UnameProbe {
    fn name(&self) -> &'static str {
        "uname"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        let machine = faults.keep(host.architecture()).unwrap_or_default();
        let texts = LABELS.map(|(label, file)| (label, faults.keep(host.read(Tree::Proc, file))));
        let mut labels = vec![("machine", machine.as_str())];
        for (label, text) in &texts {
            labels.push((label, text.as_deref().unwrap_or_default().trim_end()));
        }
        out.gauge("node_uname_info", "The running kernel in its own words.", &labels, 1.0);
        faults.into_result()
    }
}
