//! Whether a restart of the host is due, and why.

use std::cmp::Ordering;

use upkeep_model::{InstalledPackage, Knowledge, RebootReport, RestartReason, Virtualization};

use super::version;
use crate::host::{Host, HostError, Tree};
use crate::package::dpkg;

/// The file by which packages of Debian and its kin ask for a restart.
const REQUEST: &str = "run/reboot-required";

/// The packages that asked, one a line.
const REQUEST_PACKAGES: &str = "run/reboot-required.pkgs";

const BOOT: &str = "boot";

/// How the images of kernels are called in the boot folder.
const IMAGE: &str = "vmlinuz-";

/// How the packages of kernels are called; what follows is the kernel's release.
const IMAGE_PACKAGES: [&str; 2] = ["linux-image-unsigned-", "linux-image-"];

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
    let kernel = kernel(host);
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

/// What packages ask for.
fn requested(host: &Host) -> Result<Option<RestartReason>, HostError> {
    if host.read_if_present(Tree::Root, REQUEST)?.is_none() {
        return Ok(None);
    }
    let text = host.read_if_present(Tree::Root, REQUEST_PACKAGES)?;
    let mut packages: Vec<String> =
        text.as_deref().unwrap_or_default().lines().map(|line| line.trim().to_owned()).collect();
    packages.retain(|package| !package.is_empty());
    packages.sort();
    packages.dedup();
    Ok(Some(RestartReason { reason: "updated packages ask for a restart".to_owned(), packages }))
}

/// How the running kernel stands to the installed ones.
#[derive(Debug, PartialEq, Eq)]
enum Kernel {
    Current,
    Outdated(RestartReason),
    Unknown(String),
}

fn kernel(host: &Host) -> Result<Kernel, HostError> {
    let running = host.read(Tree::Proc, "sys/kernel/osrelease")?;
    let build = host.read(Tree::Proc, "sys/kernel/version")?;
    let packages = dpkg::installed(host)?;
    let images = host.list_if_present(Tree::Root, BOOT)?;
    let mut kernels: Vec<Image<'_>> = packages
        .iter()
        .filter_map(|package| Some(Image { release: release_of(package)?, package: Some(package) }))
        .collect();
    let in_boot = images.iter().filter_map(|entry| entry.name.strip_prefix(IMAGE));
    kernels.extend(in_boot.map(|release| Image { release, package: None }));
    let decision = decide(running.trim(), &kernels);
    if decision == Kernel::Current
        && let Some(reason) = rebuilt(running.trim(), &build, &packages)
    {
        return Ok(Kernel::Outdated(reason));
    }
    Ok(decision)
}

/// The release of the kernel in a package; `None` for other packages and those that only lead to
/// the newest kernel.
fn release_of(package: &InstalledPackage) -> Option<&str> {
    let release = IMAGE_PACKAGES.iter().find_map(|start| package.name.strip_prefix(start))?;
    release.starts_with(|letter: char| letter.is_ascii_digit()).then_some(release)
}

/// An installed kernel.
struct Image<'host> {
    release: &'host str,
    /// The package that it is of, where the host has a database that tells.
    package: Option<&'host InstalledPackage>,
}

/// Compares the running kernel with the installed ones of the same flavour: a cloud kernel is not
/// outdated by a newer one for desktops.
fn decide(running: &str, kernels: &[Image<'_>]) -> Kernel {
    if kernels.is_empty() {
        return Kernel::Unknown(
            "no kernel is installed to compare the running one with".to_owned(),
        );
    }
    let (running_version, flavour) = split_release(running);
    let of_flavour = kernels.iter().filter(|kernel| split_release(kernel.release).1 == flavour);
    let version_of = |kernel: &Image<'_>| split_release(kernel.release).0.to_owned();
    // One kernel may be found both as a package and as a file; the package tells more.
    let newest = of_flavour.max_by(|one, other| {
        let by_version = version::compare(&version_of(one), &version_of(other));
        by_version.then(one.package.is_some().cmp(&other.package.is_some()))
    });
    let Some(newest) = newest else {
        let reason = format!("the running kernel {running} is of no installed flavour");
        return Kernel::Unknown(reason);
    };
    if version::compare(&version_of(newest), running_version) != Ordering::Greater {
        return Kernel::Current;
    }
    Kernel::Outdated(RestartReason {
        reason: format!("kernel {} is installed, {running} runs", newest.release),
        packages: newest.package.iter().map(|package| package.name.clone()).collect(),
    })
}

/// A newer build of the very kernel that runs, under the same release. Debian's kernels say which
/// version of their package they are: `#1 SMP Debian 6.1.119-1 (2024-11-22)`.
fn rebuilt(running: &str, build: &str, packages: &[InstalledPackage]) -> Option<RestartReason> {
    let (_, after) = build.split_once(" Debian ")?;
    let running_version = after.split_ascii_whitespace().next()?;
    let package = packages.iter().find(|package| release_of(package) == Some(running))?;
    (version::compare(&package.version, running_version) == Ordering::Greater).then(|| {
        RestartReason {
            reason: format!(
                "kernel {running} is installed in version {}, {running_version} runs",
                package.version
            ),
            packages: vec![package.name.clone()],
        }
    })
}

/// Parts a release such as `6.1.0-28-cloud-amd64` into its version and its flavour, which starts
/// at the first dash that is followed by a letter.
fn split_release(release: &str) -> (&str, &str) {
    let starts_flavour = |at: &usize| {
        release
            .get(at + 1..)
            .is_some_and(|rest| rest.starts_with(|letter: char| letter.is_alphabetic()))
    };
    let dash = release.match_indices('-').map(|(at, _)| at).find(starts_flavour);
    dash.and_then(|at| release.split_at_checked(at)).unwrap_or((release, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_is_compared_within_its_flavour() {
        let check = |running: &str, installed: &[&str], expect: &str| {
            let packages: Vec<InstalledPackage> = installed
                .iter()
                .map(|release| InstalledPackage {
                    name: format!("linux-image-{release}"),
                    ..InstalledPackage::default()
                })
                .collect();
            let of_package =
                |package| Image { release: release_of(package).unwrap(), package: Some(package) };
            let mut kernels: Vec<Image<'_>> = packages.iter().map(of_package).collect();
            kernels.extend(installed.iter().map(|release| Image { release, package: None }));
            let seen = match decide(running, &kernels) {
                Kernel::Current => "current".to_owned(),
                Kernel::Outdated(reason) => {
                    format!("{}; {}", reason.reason, reason.packages.join(" "))
                }
                Kernel::Unknown(reason) => format!("unknown: {reason}"),
            };
            assert_eq!(seen, expect);
        };
        check("6.1.0-28-amd64", &["6.1.0-28-amd64", "6.1.0-9-amd64"], "current");
        check(
            "6.1.0-9-amd64",
            &["6.1.0-9-amd64", "6.1.0-28-amd64", "6.1.0-30-cloud-amd64"],
            "kernel 6.1.0-28-amd64 is installed, 6.1.0-9-amd64 runs; linux-image-6.1.0-28-amd64",
        );
        check(
            "6.12.43+deb13-amd64",
            &["6.12.48+deb13-amd64"],
            "kernel 6.12.48+deb13-amd64 is installed, 6.12.43+deb13-amd64 runs; \
             linux-image-6.12.48+deb13-amd64",
        );
        check("6.6.31+rpt-rpi-v8", &["6.6.31+rpt-rpi-v8", "6.6.31+rpt-rpi-2712"], "current");
        check(
            "6.1.30-custom",
            &["6.1.0-28-amd64"],
            "unknown: the running kernel 6.1.30-custom is of no installed flavour",
        );
        check("5.15.0-91-generic", &["5.4.0-100-generic"], "current");
        check("6.1.0", &[], "unknown: no kernel is installed to compare the running one with");
    }

    #[test]
    fn a_rebuilt_kernel_of_the_same_release_is_found() {
        let package = |version: &str| InstalledPackage {
            name: "linux-image-6.1.0-28-amd64".to_owned(),
            architecture: "amd64".to_owned(),
            version: version.to_owned(),
        };
        let build = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)\n";
        let check = |version: &str, build: &str, expect: bool| {
            let found = rebuilt("6.1.0-28-amd64", build, &[package(version)]);
            assert_eq!(found.is_some(), expect, "{version}");
        };
        check("6.1.119-1", build, false);
        check("6.1.124-1", build, true);
        check("6.1.124-1", "#101-Ubuntu SMP", false);
    }

    #[test]
    fn releases_have_flavours() {
        let check =
            |release: &str, expect: (&str, &str)| assert_eq!(split_release(release), expect);
        check("6.1.0-28-cloud-amd64", ("6.1.0-28", "-cloud-amd64"));
        check("5.14.0-362.24.1.el9_3.x86_64", ("5.14.0-362.24.1.el9_3.x86_64", ""));
        check("6.8.12-4-pve", ("6.8.12-4", "-pve"));
        check("6.1.0-0.deb11.5-amd64", ("6.1.0-0.deb11.5", "-amd64"));
    }
}
