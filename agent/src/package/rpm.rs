//! Installed packages of Red Hat, SUSE and their kin, as `rpm` reads them from its database, whose
//! format has changed several times.

use std::time::Duration;

use upkeep_model::InstalledPackage;

use super::{PackageError, whole};
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
    let packages = output.stdout.lines().map(parse);
    Ok(whole("rpm", packages.collect()))
}

/// Reads a line; one of another form is a package without a name.
fn parse(line: &str) -> InstalledPackage {
    let words: Vec<&str> = line.split('\t').collect();
    let [name, architecture, version] = words.as_slice() else {
        return InstalledPackage::default();
    };
    let [none, independent] = NO_ARCHITECTURE;
    let architecture = if *architecture == none { independent } else { architecture };
    InstalledPackage {
        name: (*name).to_owned(),
        architecture: architecture.to_owned(),
        version: (*version).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_package() {
        let check = |line: &str, expect: [&str; 3]| {
            let InstalledPackage { name, architecture, version } = parse(line);
            assert_eq!([name, architecture, version], expect, "{line}");
        };
        check("bash\tx86_64\t5.1.8-9.el9", ["bash", "x86_64", "5.1.8-9.el9"]);
        check("dhcp\tx86_64\t12:4.4.2-1", ["dhcp", "x86_64", "12:4.4.2-1"]);
        check(
            "gpg-pubkey\t(none)\t3a893e63-627cbc0e",
            ["gpg-pubkey", "noarch", "3a893e63-627cbc0e"],
        );
        check("error: rpmdb open failed", [""; 3]);
        check("a\tb\tc\td", [""; 3]);
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
