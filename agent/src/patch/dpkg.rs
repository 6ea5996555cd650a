//! Installed packages of Debian and its kin: the package database.

use crate::host::{Host, HostError, Tree};

const STATUS: &str = "var/lib/dpkg/status";

/// An installed package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Package {
    /// Its name.
    pub(super) name: String,
    /// Its architecture.
    pub(super) architecture: String,
    /// Its version.
    pub(super) version: String,
}

impl Package {
    /// Whether `name`, with or without an architecture after a colon, means this package.
    pub(super) fn is_called(&self, name: &str) -> bool {
        match name.split_once(':') {
            Some((name, architecture)) => self.name == name && self.architecture == architecture,
            None => self.name == name,
        }
    }
}

/// Reads the installed packages; none where the host has no such database.
pub(super) fn installed(host: &Host) -> Result<Vec<Package>, HostError> {
    let text = host.read_if_present(Tree::Root, STATUS)?;
    Ok(parse(text.as_deref().unwrap_or_default()))
}

/// Reads paragraphs of `Key: value` lines; those that are not fully installed are passed over.
fn parse(text: &str) -> Vec<Package> {
    text.split("\n\n").filter_map(parse_paragraph).collect()
}

fn parse_paragraph(paragraph: &str) -> Option<Package> {
    let mut package = Package::default();
    let mut is_installed = false;
    for line in paragraph.lines() {
        let Some((key, value)) = line.split_once(": ") else { continue };
        match key {
            "Package" => package.name = value.to_owned(),
            "Architecture" => package.architecture = value.to_owned(),
            "Version" => package.version = value.to_owned(),
            "Status" => is_installed = value.ends_with(" installed"),
            _ => {}
        }
    }
    (is_installed && !package.name.is_empty()).then_some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let text = "Package: a\nStatus: install ok installed\nArchitecture: amd64\n\
            Description: x\n Package: b\nVersion: 1:2\n\n\
            Package: c\nStatus: deinstall ok config-files\nVersion: 1\n\n\
            Package: d\nStatus: hold ok installed\nVersion: 3\n";
        let seen = parse(text);
        let names: Vec<_> = seen.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["a", "d"]);
        assert_eq!((seen[0].architecture.as_str(), seen[0].version.as_str()), ("amd64", "1:2"));
        assert!(seen[0].is_called("a:amd64") && !seen[0].is_called("a:i386"));
    }
}
