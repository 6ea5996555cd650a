//! Installed packages of Alpine: the database of apk.

use upkeep_model::InstalledPackage;

use super::whole;
use crate::host::{Host, HostError, Tree};

/// Where the database may be, relative to the root.
pub const FILES: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];

/// Reads the installed packages; none where the host has no such database.
///
/// # Errors
/// When the database is there and cannot be read.
pub fn installed(host: &Host) -> Result<Vec<InstalledPackage>, HostError> {
    let mut reader = Reader::default();
    for file in FILES {
        match host.each_line(Tree::Root, file, |line| reader.line(line)) {
            Err(error) if error.is_absent() => continue,
            answer => answer?,
        }
        reader.end_paragraph();
        break;
    }
    Ok(whole("apk", reader.packages))
}

/// Reads paragraphs of `K:value` lines: `P` is the name, `V` the version, `A` the architecture.
#[derive(Default)]
struct Reader {
    packages: Vec<InstalledPackage>,
    package: InstalledPackage,
}

impl Reader {
    fn line(&mut self, line: &str) {
        match line.split_once(':') {
            Some(("P", name)) => name.clone_into(&mut self.package.name),
            Some(("V", version)) => version.clone_into(&mut self.package.version),
            Some(("A", architecture)) => architecture.clone_into(&mut self.package.architecture),
            None if line.is_empty() => self.end_paragraph(),
            _ => {}
        }
    }

    fn end_paragraph(&mut self) {
        let package = std::mem::take(&mut self.package);
        if package != InstalledPackage::default() {
            self.packages.push(package);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::host_with;
    use super::*;

    #[test]
    fn paragraphs_are_packages() {
        let text = "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nF:lib\nR:ld-musl-x86_64.so.1\n\
            Z:Q1V:=\n\nC:Q1def=\nP:busybox\nV:1.36.1-r29\nA:x86_64\n";
        let (_folder, host) = host_with(&[("usr/lib/apk/db/installed", text)]);
        let seen = installed(&host).unwrap();
        let words: Vec<_> = seen
            .iter()
            .map(|package| format!("{} {} {}", package.name, package.version, package.architecture))
            .collect();
        assert_eq!(words, ["musl 1.2.5-r0 x86_64", "busybox 1.36.1-r29 x86_64"]);
        let (_folder, host) = host_with(&[]);
        assert!(installed(&host).unwrap().is_empty());
    }
}
