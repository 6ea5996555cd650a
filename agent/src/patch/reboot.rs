//! Whether a restart of the host is due, and why.

use upkeep_model::{Knowledge, RebootReport, RestartReason, Virtualization};

use super::kernel::{self, Kernel};
use super::microcode;
use crate::host::{Host, HostError, Tree};

/// The files by which packages of Debian and its kin ask for a restart.
const REQUESTS: [&str; 2] = ["run/reboot-required", "var/run/reboot-required"];

/// Finds out whether a restart is due.
pub(super) fn report(host: &Host) -> Knowledge<RebootReport> {
    if let Virtualization::Container(_) = host.virtualization() {
        // A container has no kernel of its own; whoever runs it restarts the host around it.
        return Knowledge::Known(RebootReport::default());
    }
    match reasons(host) {
        Ok(knowledge) => knowledge,
        Err(error) => Knowledge::Unknown(error.to_string()),
    }
}

fn reasons(host: &Host) -> Result<Knowledge<RebootReport>, HostError> {
    let mut reasons: Vec<RestartReason> = requested(host)?.into_iter().collect();
    let kernel = kernel::look(host);
    reasons.extend(microcode::look(host));
    match kernel {
        Ok(Kernel::Outdated(reason)) => reasons.push(reason),
        Ok(Kernel::Current) => {}
        // What is certain stays certain, whatever else cannot be told.
        _ if !reasons.is_empty() => {}
        Ok(Kernel::Unknown(reason)) => return Ok(Knowledge::Unknown(reason)),
        Err(error) => return Err(error),
    }
    Ok(Knowledge::Known(RebootReport { reasons }))
}

/// What packages ask for; beside the request lies the list of them, one a line.
fn requested(host: &Host) -> Result<Option<RestartReason>, HostError> {
    for request in REQUESTS {
        if host.read_if_present(Tree::Root, request)?.is_none() {
            continue;
        }
        let text = host.read_if_present(Tree::Root, &format!("{request}.pkgs"))?;
        let lines = text.as_deref().unwrap_or_default().lines();
        let mut packages: Vec<String> = lines.map(|line| line.trim().to_owned()).collect();
        packages.retain(|package| !package.is_empty());
        packages.sort();
        packages.dedup();
        let reason = "updated packages ask for a restart".to_owned();
        return Ok(Some(RestartReason { reason, packages }));
    }
    Ok(None)
}
