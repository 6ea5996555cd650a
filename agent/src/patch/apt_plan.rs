//! What `apt-get` would do if it were told to upgrade: the lines of its simulation.

use upkeep_model::PackageUpdate;

/// The headings above packages that could be updated and would not be. Before version 3, apt has
/// phased ones under the first.
const STAY_HEADINGS: [&str; 4] = [
    "The following packages have been kept back:",
    "The following upgrades have been deferred due to phasing:",
    "Not upgrading:",
    "Not upgrading yet due to phasing:",
];

/// A word of the headings under which all packages are phased.
const PHASING: &str = "due to phasing:";

/// What the simulation says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// What would be installed.
    pub(super) updates: Vec<PackageUpdate>,
    /// The names of those that are installed already, as apt wants to be asked for them.
    pub(super) names: Vec<String>,
    /// What could be updated and would not be.
    pub(super) staying: Vec<Staying>,
    /// Whether the closing line with the sums was there.
    pub(super) is_complete: bool,
}

/// A package that could be updated and would not be.
#[derive(Debug, PartialEq)]
pub(super) struct Staying {
    /// Its name, with its architecture after a colon where that is not the host's own.
    pub(super) name: String,
    /// Whether apt says that it is phased.
    pub(super) is_phased: bool,
}

impl Plan {
    pub(super) fn parse(text: &str) -> Self {
        let mut plan = Self::default();
        let mut among_staying = None;
        for line in text.lines() {
            if let (Some(is_phased), true) = (among_staying, line.starts_with(' ')) {
                let names = line.split_ascii_whitespace().map(str::to_owned);
                plan.staying.extend(names.map(|name| Staying { name, is_phased }));
                continue;
            }
            let heading = line.trim_end();
            let is_heading = STAY_HEADINGS.contains(&heading);
            among_staying = is_heading.then(|| heading.ends_with(PHASING));
            plan.is_complete |= is_sums(line);
            if let Some((name, update)) = parse_install(line) {
                if !update.installed.is_empty() {
                    plan.names.push(name.to_owned());
                }
                plan.updates.push(update);
            }
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
/// `Inst bash [5.1-2] (5.1-2+deb11u1 Debian:11.6/stable, Debian-Security:11/stable-security [amd64])`
/// into the name by which apt knows the package, and the update. The installed version is missing
/// where the package would be new, and after the parenthesis there may be the names of packages
/// that are broken at that point.
fn parse_install(line: &str) -> Option<(&str, PackageUpdate)> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
    let (before, rest) = rest.split_once('(')?;
    // What a source calls itself may have parentheses too; broken packages have none.
    let (inside, _) = rest.rsplit_once(')')?;
    let installed = before.trim().trim_start_matches('[').trim_end_matches(']');
    let (offered, rest) = inside.split_once(' ')?;
    let (origins, architecture) = rest.rsplit_once('[')?;
    let origin = origins.trim();
    let update = PackageUpdate {
        package: name.split(':').next()?.to_owned(),
        architecture: architecture.trim_end_matches(']').to_owned(),
        installed: installed.to_owned(),
        offered: offered.to_owned(),
        origin: origin.to_owned(),
        security: origin.split(", ").any(is_security),
        ..PackageUpdate::default()
    };
    Some((name, update))
}

/// Whether an origin such as `Debian-Security:12/stable-security` or `Ubuntu:22.04/jammy-security`
/// is one for security updates. What a package or a foreign repository calls itself says nothing.
pub(super) fn is_security(origin: &str) -> bool {
    let Some((label, release)) = origin.split_once(':') else { return false };
    let archive = release.rsplit_once('/').map(|(_, archive)| archive);
    label == "Debian-Security" || archive.is_some_and(|archive| archive.ends_with("-security"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_update() {
        let check = |line: &str, expect: Option<[&str; 5]>, security: bool| {
            let update = parse_install(line).map(|(_, update)| update);
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
            "Inst libpam-bin [1.4] (1.5 Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security [amd64]) \
             [libpam-modules:amd64 on libpam-bin:amd64] [libpam-modules:amd64 ]",
            Some([
                "libpam-bin",
                "amd64",
                "1.4",
                "1.5",
                "Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security",
            ]),
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
        check(
            "Inst pve-manager [8.1.4] (8.2.2 Proxmox VE (no subscription):stable [all]) []",
            Some(["pve-manager", "all", "8.1.4", "8.2.2", "Proxmox VE (no subscription):stable"]),
            false,
        );
        check(
            "Inst libssl3 [3.0.2] (3.0.3 Raspbian:12/oldstable [armhf])",
            Some(["libssl3", "armhf", "3.0.2", "3.0.3", "Raspbian:12/oldstable"]),
            false,
        );
        check(
            "Inst kali-menu [2024.1] (2024.2 Kali:2024.2/kali-rolling [all])",
            Some(["kali-menu", "all", "2024.1", "2024.2", "Kali:2024.2/kali-rolling"]),
            false,
        );
        check(
            "Inst down [2] (1 Pinned:1/x [all])",
            Some(["down", "all", "2", "1", "Pinned:1/x"]),
            false,
        );
        check("Inst local [1] (2  [amd64])", Some(["local", "amd64", "1", "2", ""]), false);
        check("Conf bash (5.1-3 Debian:11.6/stable [amd64])", None, false);
        check("Remv bash [5.1-2]", None, false);
        check("Inst bash [5.1-2] (5.1-3", None, false);
        check("Installed", None, false);
    }

    #[test]
    fn the_plan_tells_what_stays() {
        let check = |text: &str, expect: &[(&str, bool)]| {
            let plan = Plan::parse(text);
            let staying: Vec<_> =
                plan.staying.iter().map(|one| (one.name.as_str(), one.is_phased)).collect();
            assert_eq!(staying, expect);
            assert_eq!(plan.names, ["bash:i386"]);
            assert_eq!(plan.updates.len(), 2);
            assert!(plan.is_complete);
        };
        let rest = "The following packages will be upgraded:\n  bash:i386\n\
            1 upgraded, 1 newly installed, 0 to remove and 4 not upgraded.\n\
            Inst extra (1 Debian:11.6/stable [all])\n\
            Inst bash:i386 [5.1-2] (5.1-3 Debian:11.6/stable [i386])\n";
        check(
            &format!(
                "Reading package lists...\n\
                 The following upgrades have been deferred due to phasing:\n  snapd\n\
                 The following packages have been kept back:\n  linux-image-amd64 libc6:i386\n  grub2\n\
                 {rest}"
            ),
            &[
                ("snapd", true),
                ("linux-image-amd64", false),
                ("libc6:i386", false),
                ("grub2", false),
            ],
        );
        check(
            &format!(
                "Not upgrading yet due to phasing:\n  snapd\n\nNot upgrading:\n  grub2\n\n{rest}"
            ),
            &[("snapd", true), ("grub2", false)],
        );
    }

    #[test]
    fn adverts_are_no_packages() {
        let text = "Get more security updates through Ubuntu Pro with 'esm-apps' enabled:\n\
            \x20 libvlc5 vlc-data imagemagick\nLearn more about Ubuntu Pro at https://ubuntu.com/pro\n\
            The following security updates require Ubuntu Pro with 'esm-infra' enabled:\n\
            \x20 libc6 openssl\n\
            The following packages were automatically installed and are no longer required:\n\
            \x20 linux-image-5.15.0-1\nUse 'apt autoremove' to remove them.\n\
            The following packages will be REMOVED:\n  old-thing\n\
            #\n# An OpenSSL vulnerability has recently been fixed\n#\n\
            0 upgraded, 0 newly installed, 1 to remove and 0 not upgraded.\nRemv old-thing [1]\n";
        assert_eq!(Plan::parse(text), Plan { is_complete: true, ..Plan::default() });
        assert!(!Plan::parse("Reading package lists...\n").is_complete);
    }
}
