//! Installed packages of Red Hat, SUSE and their kin, as `rpm` reads them from its database, whose
//! format has changed several times.

use std::time::Duration;

use upkeep_model::InstalledPackage;

use super::PackageError;
use crate::host::Host;

/// Where the database may be, relative to the root, in its several formats.
pub const FILES: [&str; 8] = [
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
    "usr/lib/sysimage/rpm/Packages.db",
    "usr/lib/sysimage/rpm/Packages",
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/rpmdb.sqlite-wal",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/Packages",
];

/// Asks for name, architecture and version of each package with tabulators between them; the epoch
/// comes first in the version where there is one.
pub const QUERY: [&str; 4] =
    ["rpm", "-qa", "--qf", r"%{NAME}\t%{ARCH}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\n"];

/// How long it may take: some thousand packages in an old database on a slow disk.
const DEADLINE: Duration = Duration::from_secs(120);

/// The architecture of what has none: keys for signatures, which the database keeps as packages
/// called `gpg-pubkey`. They are told, since whoever has one may have packages installed.
const NO_ARCHITECTURE: [&str; 2] = ["(none)", "noarch"];

/// Asks for the installed packages.
///
/// # Errors
/// When `rpm` cannot be run or cannot read its database.
pub fn installed(host: &Host) -> Result<Vec<InstalledPackage>, PackageError> {
    let output = host.run(&QUERY, DEADLINE)?;
    if output.exit != Some(0) {
        return Err(PackageError::failed("rpm", &output));
    }
    Ok(output.stdout.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<InstalledPackage> {
    let mut words = line.split('\t');
    let (name, mut architecture, version) = (words.next()?, words.next()?, words.next()?);
    let [none, independent] = NO_ARCHITECTURE;
    if architecture == none {
        architecture = independent;
    }
    (!name.is_empty() && words.next().is_none()).then(|| InstalledPackage {
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        version: version.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_package() {
        let check = |line: &str, expect: Option<[&str; 3]>| {
            let seen = parse(line);
            let seen = seen.as_ref().map(|package| {
                [package.name.as_str(), package.architecture.as_str(), package.version.as_str()]
            });
            assert_eq!(seen, expect, "{line}");
        };
        check("bash\tx86_64\t5.1.8-9.el9", Some(["bash", "x86_64", "5.1.8-9.el9"]));
        check("dhcp\tx86_64\t12:4.4.2-1", Some(["dhcp", "x86_64", "12:4.4.2-1"]));
        check(
            "gpg-pubkey\t(none)\t3a893e63-627cbc0e",
            Some(["gpg-pubkey", "noarch", "3a893e63-627cbc0e"]),
        );
        check("error: rpmdb open failed", None);
        check("a\tb\tc\td", None);
    }

    /// Where `rpm` is at hand, it is asked about a database that it has just made.
    #[test]
    fn the_real_program_understands_the_query() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        let run = |arguments: &[&str]| {
            std::process::Command::new("rpm").arg("--root").arg(root).args(arguments).output()
        };
        match run(&["--initdb"]) {
            Ok(output) if output.status.success() => {}
            _ => return eprintln!("skipped: there is no rpm that can make a database"),
        }
        let [_, rest @ ..] = QUERY;
        let output = run(&rest).unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
}
