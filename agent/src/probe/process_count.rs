//! How many processes there are: the folders of `/proc`, none of which is looked into.

use upkeep_model::Observation;

use super::device::is_number;
use super::{Probe, ProbeError};
use crate::host::{Host, Tree};

/// The number of processes alone. Their states cost a look at each of them, see
/// [`super::ProcessesProbe`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessCountProbe;

impl Probe for ProcessCountProbe {
    fn name(&self) -> &'static str {
        "process_count"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let processes = host.list_if_present(Tree::Proc, "")?;
        let count = processes.iter().filter(|entry| is_number(&entry.name)).count();
        // There is one at least, this one; a recording may have left them all out.
        if count > 0 {
            out.gauge("upkeep_processes", "Processes that there are.", &[], count as f64);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{host_with, page_of};
    use super::*;

    #[test]
    fn folders_of_processes_are_counted_and_nothing_else() {
        let check = |files: &[(&str, &[u8])], expect: &[&str]| {
            let (_folder, host) = host_with(files);
            let mut out = Observation::at(0);
            ProcessCountProbe.observe(&host, &mut out).unwrap();
            assert_eq!(page_of(&out), expect, "{files:?}");
        };
        let stat: &[u8] = b"not looked at";
        check(&[("proc/1/stat", stat), ("proc/20/stat", stat)], &["upkeep_processes 2"]);
        check(&[("proc/1/stat", stat), ("proc/self/stat", stat)], &["upkeep_processes 1"]);
        check(&[("proc/loadavg", b"0 0 0 1/1 1\n")], &[]);
        check(&[], &[]);
    }
}
