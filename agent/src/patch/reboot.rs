//! Whether a restart of the host is due, and why.

use upkeep_model::{Knowledge, RebootReport, RestartReason, Virtualization};

use super::kernel::{self, Kernel};
use super::microcode;
use super::needrestart::{Needrestart, Standing};
use super::zypper;
use crate::host::{Host, HostError, Tree};

/// The files by which packages of Debian and its kin ask for a restart, and that of SUSE.
const REQUESTS: [&str; 3] = ["run/reboot-required", "var/run/reboot-required", zypper::REBOOT_FLAG];

/// Finds out whether a restart is due, beside the `certain` reasons that were found already.
/// `hints` asks package managers for what they know; a container is not asked.
pub(super) fn report(
    host: &Host,
    needrestart: &Needrestart,
    certain: Vec<RestartReason>,
    hints: impl FnOnce(&Host) -> Result<Vec<RestartReason>, String>,
) -> Knowledge<RebootReport> {
    if let Virtualization::Container(_) = host.virtualization() {
        // A container has no kernel of its own; whoever runs it restarts the host around it.
        return Knowledge::Known(RebootReport::default());
    }
    let mut reasons = Vec::new();
    let mut unknown = Vec::new();
    match requested(host) {
        Ok(request) => reasons.extend(request),
        Err(error) => unknown.push(error.to_string()),
    }
    match kernel(kernel::look(host), needrestart) {
        Kernel::Outdated(reason) => reasons.push(reason),
        Kernel::Current => {}
        Kernel::Unknown(reason) => unknown.push(reason),
    }
    reasons.extend(microcode(host, needrestart));
    match hints(host) {
        Ok(hints) => reasons.extend(hints),
        Err(reason) => unknown.push(reason),
    }
    reasons.extend(certain);
    // What is certain stays certain, whatever else cannot be told.
    if reasons.is_empty() && !unknown.is_empty() {
        return Knowledge::Unknown(unknown.join("; "));
    }
    Knowledge::Known(RebootReport { reasons })
}

/// Joins our own look at the kernels with needrestart's, which knows nothing of flavours: it counts
/// where ours tells nothing, and where it speaks of the flavour that runs.
fn kernel(own: Result<Kernel, HostError>, needrestart: &Needrestart) -> Kernel {
    let own = own.unwrap_or_else(|error| Kernel::Unknown(error.to_string()));
    let Needrestart { kernel_current: current, kernel_expected: expected, .. } = needrestart;
    match (own, needrestart.kernel) {
        (Kernel::Unknown(_), Standing::Current) => Kernel::Current,
        (Kernel::Unknown(_) | Kernel::Current, Standing::Outdated)
            if expected != current && kernel::same_flavour(expected, current) =>
        {
            Kernel::Outdated(RestartReason {
                reason: format!("kernel {expected} is installed, {current} runs"),
                packages: Vec::new(),
            })
        }
        (Kernel::Unknown(_) | Kernel::Current, Standing::Rebuilt) => {
            Kernel::Outdated(RestartReason {
                reason: format!("another build of the running kernel {current} is installed"),
                packages: Vec::new(),
            })
        }
        (own, _) => own,
    }
}

fn microcode(host: &Host, needrestart: &Needrestart) -> Option<RestartReason> {
    let own = microcode::look(host);
    if own.is_some() || needrestart.microcode != Standing::Outdated {
        return own;
    }
    let Needrestart { microcode_current: current, microcode_expected: expected, .. } = needrestart;
    let reason = format!("microcode {expected} is installed, {current} is loaded");
    Some(RestartReason { reason, packages: Vec::new() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needrestart_fills_what_our_own_look_cannot_tell() {
        let outdated = |reason: &str| {
            Kernel::Outdated(RestartReason { reason: reason.to_owned(), packages: Vec::new() })
        };
        let unknown = || Kernel::Unknown("no kernel".to_owned());
        let check = |own: Kernel, standing: Standing, expected: &str, expect: Kernel| {
            let needrestart = Needrestart {
                kernel: standing,
                kernel_current: "6.1.0-28-amd64".to_owned(),
                kernel_expected: expected.to_owned(),
                ..Needrestart::default()
            };
            assert_eq!(kernel(Ok(own), &needrestart), expect, "{standing:?} {expected}");
        };
        let newer = outdated("kernel 6.1.0-30-amd64 is installed, 6.1.0-28-amd64 runs");
        let rebuilt = outdated("another build of the running kernel 6.1.0-28-amd64 is installed");
        check(unknown(), Standing::Unknown, "", unknown());
        check(unknown(), Standing::Current, "6.1.0-28-amd64", Kernel::Current);
        check(unknown(), Standing::Outdated, "6.1.0-30-amd64", newer);
        check(unknown(), Standing::Rebuilt, "6.1.0-28-amd64", rebuilt);
        check(Kernel::Current, Standing::Outdated, "6.1.0-30-cloud-amd64", Kernel::Current);
        check(outdated("ours"), Standing::Current, "6.1.0-28-amd64", outdated("ours"));
    }
}
