//! Installed packages of Debian and its kin: the package database.

use upkeep_model::InstalledPackage;

use super::whole;
use crate::host::{Host, HostError, Tree};

/// The database, relative to the root.
pub const STATUS: &str = "var/lib/dpkg/status";

/// What the last word of a package's status says where no version of it is there.
const ABSENT: [&str; 2] = ["not-installed", "config-files"];

/// Reads the installed packages; none where the host has no such database. One that is being
/// unpacked or configured counts, since one version or the other of it is there.
///
/// # Errors
/// When the database is there and cannot be read.
pub fn installed(host: &Host) -> Result<Vec<InstalledPackage>, HostError> {
    let mut reader = Reader::default();
    match host.each_line(Tree::Root, STATUS, |line| reader.line(line)) {
        Err(error) if error.is_absent() => Ok(Vec::new()),
        answer => answer.map(|()| whole("dpkg", reader.finish())),
    }
}

/// Whether `name`, with or without an architecture after a colon, means this package.
pub fn is_called(package: &InstalledPackage, name: &str) -> bool {
    match name.split_once(':') {
        Some((name, architecture)) => package.name == name && package.architecture == architecture,
        None => package.name == name,
    }
}

/// Reads paragraphs of `Key: value` lines, a line at a time: the database of a crowded host is too
/// long to be held whole for the little that is wanted of it.
#[derive(Default)]
struct Reader {
    packages: Vec<InstalledPackage>,
    package: InstalledPackage,
    is_there: bool,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if line.is_empty() {
            return self.end_paragraph();
        }
        let Some((key, value)) = line.split_once(": ") else { return };
        let field = match key {
            "Package" => &mut self.package.name,
            "Architecture" => &mut self.package.architecture,
            "Version" => &mut self.package.version,
            "Status" => {
                let state = value.rsplit(' ').next().unwrap_or_default();
                self.is_there = !ABSENT.contains(&state);
                return;
            }
            _ => return,
        };
        value.clone_into(field);
    }

    fn end_paragraph(&mut self) {
        let package = std::mem::take(&mut self.package);
        let is_there = std::mem::take(&mut self.is_there);
        if is_there {
            self.packages.push(package);
        }
    }

    fn finish(mut self) -> Vec<InstalledPackage> {
        self.end_paragraph();
        self.packages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_that_are_there_count() {
        let text = "Package: a\nStatus: install ok installed\nArchitecture: amd64\n\
            Description: x\n Package: b\nVersion: 1:2\n\n\
            Package: c\nStatus: deinstall ok config-files\nVersion: 1\n\n\
            Package: e\nStatus: purge ok not-installed\n\n\
            Package: f\nStatus: install ok unpacked\nVersion: 4\n\n\
            Package: d\nStatus: hold ok installed\nVersion: 3\n";
        let mut reader = Reader::default();
        text.lines().for_each(|line| reader.line(line));
        let seen = reader.finish();
        let names: Vec<_> = seen.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["a", "f", "d"]);
        assert_eq!((seen[0].architecture.as_str(), seen[0].version.as_str()), ("amd64", "1:2"));
        assert!(is_called(&seen[0], "a:amd64") && !is_called(&seen[0], "a:i386"));
    }
}
