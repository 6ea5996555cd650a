//! Pending updates of Debian and its kin: what `apt-get` would do if it were told to upgrade.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use upkeep_model::{Knowledge, ManagerReport, PackageUpdate, Stay};

use super::apt_policy;
use crate::host::{Host, HostError, Output, Tree};
use crate::package::dpkg;

const NAME: &str = "apt";

/// The simulation that is read. Without the lock it works for any user and disturbs nobody.
const SIMULATE: [&str; 5] = ["apt-get", "-s", "-o", "Debug::NoLocking=1", "dist-upgrade"];

/// How long the simulation may take: a small device with a slow disk needs most of it.
const DEADLINE: Duration = Duration::from_secs(180);

const LISTS: &str = "var/lib/apt/lists";

/// What changes whenever the lists are refreshed: one stamp is kept where refreshing is automatic,
/// the other is the folder through which new lists come.
const REFRESH_STAMPS: [&str; 2] =
    ["var/lib/apt/periodic/update-success-stamp", "var/lib/apt/lists/partial"];

/// The headings above packages that would stay as they are.
const STAY_HEADINGS: [&str; 2] = [
    "The following packages have been kept back:",
    "The following upgrades have been deferred due to phasing:",
];

/// The longest reason that is shown.
const REASON_CHARACTERS: usize = 300;

/// Asks apt; `None` if the host does not have it.
pub(super) fn report(host: &Host) -> Option<ManagerReport> {
    if !host.has_program("apt-get") {
        return None;
    }
    Some(ManagerReport {
        manager: NAME.to_owned(),
        lists_refreshed_at_ms: refreshed_at_ms(host),
        refresh: Knowledge::default(),
        updates: match updates(host) {
            Ok(updates) => Knowledge::Known(updates),
            Err(reason) => Knowledge::Unknown(reason),
        },
        ..ManagerReport::default()
    })
}

fn updates(host: &Host) -> Result<Vec<PackageUpdate>, String> {
    let output = host.run(&SIMULATE, DEADLINE).map_err(|error| error.to_string())?;
    if output.exit != Some(0) {
        return Err(failure(&output));
    }
    let plan = Plan::parse(&output.stdout);
    if plan.updates.is_empty() && !plan.is_complete {
        return Err("apt-get ended without saying what it would do".to_owned());
    }
    if plan.updates.is_empty() && has_no_lists(host).map_err(|error| error.to_string())? {
        return Err("the package lists were never downloaded; run `apt-get update`".to_owned());
    }
    let mut updates = plan.updates;
    updates.extend(staying(host, &plan.staying));
    Ok(updates)
}

/// What the simulation says.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// What would be installed.
    updates: Vec<PackageUpdate>,
    /// The names of what could be updated and would not be.
    staying: Vec<String>,
    /// Whether the closing line with the sums was there.
    is_complete: bool,
}

impl Plan {
    fn parse(text: &str) -> Self {
        let mut plan = Self::default();
        let mut among_staying = false;
        for line in text.lines() {
            if among_staying && line.starts_with(' ') {
                plan.staying.extend(line.split_ascii_whitespace().map(str::to_owned));
                continue;
            }
            among_staying = STAY_HEADINGS.contains(&line.trim_end());
            plan.is_complete |= is_sums(line);
            plan.updates.extend(parse_install(line));
        }
        plan
    }
}

/// Whether a line is such as `3 upgraded, 1 newly installed, 0 to remove and 2 not upgraded.`
fn is_sums(line: &str) -> bool {
    let Some((count, rest)) = line.split_once(' ') else { return false };
    count.parse::<u32>().is_ok()
        && rest.starts_with("upgraded, ")
        && rest.ends_with("not upgraded.")
}

/// Reads a line such as
/// `Inst bash [5.1-2] (5.1-2+deb11u1 Debian:11.6/stable, Debian-Security:11/stable-security [amd64])`.
/// The installed version is missing where the package would be new, and after the parenthesis
/// there may be the names of packages that are broken at that point.
fn parse_install(line: &str) -> Option<PackageUpdate> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
    let (before, rest) = rest.split_once('(')?;
    let (inside, _) = rest.split_once(')')?;
    let installed = before.trim().trim_start_matches('[').trim_end_matches(']');
    let (offered, rest) = inside.split_once(' ')?;
    let (origins, architecture) = rest.rsplit_once('[')?;
    let origin = origins.trim();
    Some(PackageUpdate {
        package: name.split(':').next()?.to_owned(),
        architecture: architecture.trim_end_matches(']').to_owned(),
        installed: installed.to_owned(),
        offered: offered.to_owned(),
        origin: origin.to_owned(),
        security: origin.split(", ").any(is_security),
        ..PackageUpdate::default()
    })
}

/// Whether an origin such as `Debian-Security:12/stable-security` or `Ubuntu:22.04/jammy-security`
/// is one for security updates. What a package or a foreign repository calls itself says nothing.
fn is_security(origin: &str) -> bool {
    let Some((label, release)) = origin.split_once(':') else { return false };
    let archive = release.rsplit_once('/').map(|(_, archive)| archive);
    label == "Debian-Security" || archive.is_some_and(|archive| archive.ends_with("-security"))
}

/// What is known of packages that stay: the simulation gives no more than their names.
fn staying(host: &Host, names: &[String]) -> Vec<PackageUpdate> {
    if names.is_empty() {
        return Vec::new();
    }
    let candidates = apt_policy::candidates(host, names);
    let installed = dpkg::installed(host).unwrap_or_default();
    names
        .iter()
        .map(|name| {
            let package = installed.iter().find(|package| dpkg::is_called(package, name));
            let candidate = candidates.get(name);
            PackageUpdate {
                package: name.split(':').next().unwrap_or_default().to_owned(),
                architecture: package.map(|found| found.architecture.clone()).unwrap_or_default(),
                installed: package.map(|found| found.version.clone()).unwrap_or_default(),
                offered: candidate.map(|found| found.version.clone()).unwrap_or_default(),
                origin: candidate.map(|found| found.origins.join(", ")).unwrap_or_default(),
                security: candidate.is_some_and(apt_policy::Candidate::is_security),
                stays: Some(Stay::KeptBack),
                ..PackageUpdate::default()
            }
        })
        .collect()
}

/// Why apt could not answer, in its own words.
fn failure(output: &Output) -> String {
    let complaints: Vec<&str> = output
        .stderr
        .lines()
        .chain(output.stdout.lines())
        .filter_map(|line| line.strip_prefix("E: "))
        .collect();
    let said = if complaints.is_empty() { output.stderr.trim() } else { &complaints.join(" ") };
    let end = output.exit.map_or("a signal".to_owned(), |exit| format!("status {exit}"));
    let said: String = said.chars().take(REASON_CHARACTERS).collect();
    format!("apt-get ended with {end}: {said}")
}

/// Whether the folder of package lists is there and holds none. Then apt finds nothing to do, which
/// does not mean that there is nothing.
fn has_no_lists(host: &Host) -> Result<bool, HostError> {
    match host.list(Tree::Root, LISTS) {
        Ok(entries) => Ok(!entries.iter().any(|entry| entry.name.contains("_Packages"))),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(error),
    }
}

fn refreshed_at_ms(host: &Host) -> Option<i64> {
    let changed = REFRESH_STAMPS.iter().filter_map(|path| host.modified(Tree::Root, path).ok());
    milliseconds(changed.max()?)
}

fn milliseconds(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_update() {
        let check = |line: &str, expect: Option<[&str; 5]>, security: bool| {
            let update = parse_install(line);
            let seen = update.as_ref().map(|update| {
                [
                    update.package.as_str(),
                    &update.architecture,
                    &update.installed,
                    &update.offered,
                    &update.origin,
                ]
            });
            assert_eq!(seen, expect, "{line}");
            assert_eq!(update.is_some_and(|update| update.security), security, "{line}");
        };
        check(
            "Inst bash [5.1-2] (5.1-3 Debian:11.6/stable, Debian-Security:11/stable-security [amd64]) []",
            Some([
                "bash",
                "amd64",
                "5.1-2",
                "5.1-3",
                "Debian:11.6/stable, Debian-Security:11/stable-security",
            ]),
            true,
        );
        check(
            "Inst libc6:i386 [2.31] (2.32 Ubuntu:22.04/jammy-security [i386]) [libc6:amd64 on libc6:i386] []",
            Some(["libc6", "i386", "2.31", "2.32", "Ubuntu:22.04/jammy-security"]),
            true,
        );
        check(
            "Inst x [1] (2 UbuntuESMApps:22.04/jammy-apps-security [all])",
            Some(["x", "all", "1", "2", "UbuntuESMApps:22.04/jammy-apps-security"]),
            true,
        );
        check(
            "Inst docker-security [1:1~2] (1:2 Docker CE:bookworm [amd64])",
            Some(["docker-security", "amd64", "1:1~2", "1:2", "Docker CE:bookworm"]),
            false,
        );
        check(
            "Inst new (1.0 my-security:my-security [all])",
            Some(["new", "all", "", "1.0", "my-security:my-security"]),
            false,
        );
        check(
            "Inst old [1] (2 Debian-Security:10/oldstable [all])",
            Some(["old", "all", "1", "2", "Debian-Security:10/oldstable"]),
            true,
        );
        check("Inst local [1] (2  [amd64])", Some(["local", "amd64", "1", "2", ""]), false);
        check("Conf bash (5.1-3 Debian:11.6/stable [amd64])", None, false);
        check("Remv bash [5.1-2]", None, false);
        check("Inst bash [5.1-2] (5.1-3", None, false);
        check("Installed", None, false);
    }

    #[test]
    fn the_plan_tells_what_stays() {
        let text = "Reading package lists...\n\
            The following upgrades have been deferred due to phasing:\n  snapd\n\
            The following packages have been kept back:\n  linux-image-amd64 libc6:i386\n  grub2\n\
            The following packages will be upgraded:\n  bash\n\
            1 upgraded, 0 newly installed, 0 to remove and 4 not upgraded.\n\
            Inst bash [5.1-2] (5.1-3 Debian:11.6/stable [amd64])\n";
        let plan = Plan::parse(text);
        assert_eq!(plan.staying, ["snapd", "linux-image-amd64", "libc6:i386", "grub2"]);
        assert_eq!(plan.updates.len(), 1);
        assert!(plan.is_complete);
        assert!(!Plan::parse("Reading package lists...\n").is_complete);
    }

    #[test]
    fn a_failure_is_told_in_the_managers_words() {
        let check = |stderr: &str, exit: Option<i32>, expect: &str| {
            let output = Output { exit, stdout: String::new(), stderr: stderr.to_owned() };
            assert_eq!(failure(&output), expect);
        };
        check(
            "W: odd\nE: Unmet dependencies.\nE: Broken.\n",
            Some(100),
            "apt-get ended with status 100: Unmet dependencies. Broken.",
        );
        check("segfault\n", None, "apt-get ended with a signal: segfault");
    }
}
