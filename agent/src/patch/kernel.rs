//! The running kernel against those that are installed.

use std::cmp::Ordering;

use upkeep_model::{InstalledPackage, RestartReason};

use super::{rpm, version};
use crate::host::{Host, HostError, Tree};
use crate::package::dpkg;

/// How the packages of kernels are called; what follows is the kernel's release.
const PACKAGES: [&str; 4] =
    ["linux-image-unsigned-", "linux-image-", "proxmox-kernel-", "pve-kernel-"];

/// What may follow the release in the name of a package: whether the image is signed.
const PACKAGE_ENDS: [&str; 2] = ["-signed", "-unsigned"];

const BOOT: &str = "boot";

/// How the images of kernels are called in the boot folder, by architecture and distribution.
const IMAGES: [&str; 5] = ["vmlinuz-", "vmlinux-", "kernel-", "Image-", "image-"];

/// The modules of each kernel, in a folder of its release.
const MODULES: &str = "lib/modules";

/// Files among the modules of a kernel that is there as a whole: its image, and Arch's note of the
/// package. Without an image of that name in the boot folder, the list of what it has built in.
const IMAGE_AMONG_MODULES: [&str; 2] = ["vmlinuz", "pkgbase"];
const LIST_AMONG_MODULES: &str = "modules.builtin";

/// What kernels of a distribution write before the version of their package:
/// `#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)`.
const BUILD_MARKS: [&str; 2] = [" Debian ", " PMX "];

/// How the running kernel stands to the installed ones.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// There is no newer one.
    Current,
    /// There is a newer one.
    Outdated(RestartReason),
    /// That cannot be told, and why.
    Unknown(String),
}

/// Compares the running kernel with the installed ones.
pub(super) fn look(host: &Host) -> Result<Kernel, HostError> {
    let running = host.read(Tree::Proc, "sys/kernel/osrelease")?;
    let running = running.trim();
    let packages = dpkg::installed(host)?;
    let mut images: Vec<Image> = packages.iter().filter_map(Image::of_package).collect();
    images.extend(images_in_boot(host)?);
    let has_images = !images.is_empty();
    images.extend(images_among_modules(host, has_images)?);
    let decision = decide(running, &images);
    if decision == Kernel::Current {
        let build = host.read(Tree::Proc, "sys/kernel/version")?;
        return Ok(rebuilt(running, &build, &packages).map_or(decision, Kernel::Outdated));
    }
    Ok(decision)
}

/// Whether two releases are of the same flavour.
pub(super) fn same_flavour(one: &str, other: &str) -> bool {
    Release::parse(one).flavour == Release::parse(other).flavour
}

/// An installed kernel.
#[derive(Debug)]
struct Image {
    release: String,
    /// The package that it is of, where the host has a database that tells.
    package: Option<String>,
}

impl Image {
    fn of_package(package: &InstalledPackage) -> Option<Self> {
        let release = release_of(package)?.to_owned();
        Some(Self { release, package: Some(package.name.clone()) })
    }

    fn of_file(release: &str) -> Option<Self> {
        let is_release = release.starts_with(|letter: char| letter.is_ascii_digit())
            && !release.ends_with(".old")
            // Fedora's image for emergencies is no kernel of a version.
            && !release.starts_with("0-rescue-");
        is_release.then(|| Self { release: release.to_owned(), package: None })
    }
}

/// The release of the kernel in a package; `None` for other packages and those that only lead to
/// the newest kernel.
fn release_of(package: &InstalledPackage) -> Option<&str> {
    let name = package.name.as_str();
    let release = PACKAGES.iter().find_map(|start| name.strip_prefix(start))?;
    let release = PACKAGE_ENDS.iter().find_map(|end| release.strip_suffix(end)).unwrap_or(release);
    release.starts_with(|letter: char| letter.is_ascii_digit()).then_some(release)
}

fn images_in_boot(host: &Host) -> Result<Vec<Image>, HostError> {
    let entries = host.list_if_present(Tree::Root, BOOT)?;
    let release =
        |name: &str| IMAGES.iter().find_map(|start| name.strip_prefix(start).map(str::to_owned));
    Ok(entries.iter().filter_map(|entry| Image::of_file(&release(&entry.name)?)).collect())
}

/// Kernels that are known by their modules. A folder that is only left over, since a module was
/// built outside of the package, has none of the files that are looked for.
fn images_among_modules(host: &Host, has_images: bool) -> Result<Vec<Image>, HostError> {
    let entries = host.list_if_present(Tree::Root, MODULES)?;
    let has =
        |release: &str, file: &str| host.exists(Tree::Root, &format!("{MODULES}/{release}/{file}"));
    let is_whole = |release: &str| {
        IMAGE_AMONG_MODULES.iter().any(|file| has(release, file))
            || (!has_images && has(release, LIST_AMONG_MODULES))
    };
    let images = entries.iter().filter(|entry| is_whole(&entry.name));
    Ok(images.filter_map(|entry| Image::of_file(&entry.name)).collect())
}

/// Compares the running kernel with the installed ones of the same flavour: a cloud kernel is not
/// outdated by a newer one for desktops.
fn decide(running: &str, images: &[Image]) -> Kernel {
    if images.is_empty() {
        return Kernel::Unknown(
            "no kernel is installed to compare the running one with".to_owned(),
        );
    }
    let of_flavour = images.iter().filter(|image| same_flavour(&image.release, running));
    // One kernel may be found both as a package and as a file; the package tells more.
    let newest = of_flavour.max_by(|one, other| {
        let by_release = compare(&one.release, &other.release);
        by_release.then(one.package.is_some().cmp(&other.package.is_some()))
    });
    let Some(newest) = newest else {
        let reason = format!("the running kernel {running} is of no installed flavour");
        return Kernel::Unknown(reason);
    };
    if compare(&newest.release, running) != Ordering::Greater {
        return Kernel::Current;
    }
    Kernel::Outdated(RestartReason {
        reason: format!("kernel {} is installed, {running} runs", newest.release),
        packages: newest.package.iter().cloned().collect(),
    })
}

/// A newer build of the very kernel that runs, under the same release.
fn rebuilt(running: &str, build: &str, packages: &[InstalledPackage]) -> Option<RestartReason> {
    let after =
        BUILD_MARKS.iter().find_map(|mark| build.split_once(mark).map(|(_, after)| after))?;
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

/// A kernel's release in two parts.
#[derive(Debug, PartialEq, Eq)]
struct Release<'text> {
    /// What grows from one kernel to the next.
    version: &'text str,
    /// What stays: `cloud-amd64`, `generic`, `rpi-v8`, `uek`.
    flavour: String,
}

/// Marks of kernels that stand beside those of the distribution under the same form of release.
const MARKS: [&str; 2] = ["uek", "elrepo"];

/// How architectures end a release of rpm's world, before `+` and a variant: `x86_64+rt`.
const ARCHITECTURES: [&str; 4] = ["x86_64+", "aarch64+", "ppc64le+", "s390x+"];

impl<'text> Release<'text> {
    /// The parts between dashes are of the version while they begin with a digit, or are a word and
    /// a number that another part follows (`arch1-2`, `rpi7-rpi-v8`). The rest is the flavour.
    fn parse(release: &'text str) -> Self {
        let mut flavour = String::new();
        let mut end = release.find('-').unwrap_or(release.len());
        while let Some(rest) = release.get(end + 1..) {
            let length = rest.find('-');
            let part = rest.get(..length.unwrap_or(rest.len())).unwrap_or_default();
            let word = part.trim_end_matches(|letter: char| letter.is_ascii_digit());
            let is_counted = word.len() < part.len()
                && word.bytes().all(|byte| byte.is_ascii_alphabetic())
                && length.is_some();
            if !part.starts_with(|letter: char| letter.is_ascii_digit()) && !is_counted {
                flavour.push_str(rest);
                break;
            }
            if is_counted {
                flavour.push_str(word);
            }
            end += 1 + part.len();
        }
        let version = release.get(..end).unwrap_or(release);
        let variants = ARCHITECTURES.iter().filter_map(|end| version.split_once(end));
        flavour.extend(variants.map(|(_, variant)| variant));
        flavour.extend(MARKS.iter().filter(|mark| version.contains(**mark)).copied());
        Self { version, flavour }
    }
}

/// Compares the versions of two releases as rpm does, which suits the others too: numbers by value,
/// words by letter, a number after a word's place is newer, and so is what goes on.
fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Release::parse(one), Release::parse(other));
    rpm::compare(one.version, other.version)
}

#[cfg(test)]
mod tests;
