//! Installed packages of Arch and its kin: pacman's local database, a folder a package.

use upkeep_model::InstalledPackage;

use super::whole;
use crate::host::{Host, HostError, Tree};

/// The database, relative to the root. Each of its folders is called after a package and its
/// version, so that this one changes whenever a package does.
pub const FOLDER: &str = "var/lib/pacman/local";

/// Reads the installed packages; none where the host has no such database. A package that goes away
/// meanwhile is passed over.
///
/// # Errors
/// When the database is there and cannot be read.
pub fn installed(host: &Host) -> Result<Vec<InstalledPackage>, HostError> {
    let mut packages = Vec::new();
    for entry in host.list_if_present(Tree::Root, FOLDER)? {
        let file = format!("{FOLDER}/{}/desc", entry.name);
        if let Some(text) = host.read_if_present(Tree::Root, &file)? {
            packages.push(parse(&text));
        }
    }
    Ok(whole("pacman", packages))
}

/// Reads a description: headings such as `%NAME%`, each followed by its values.
fn parse(text: &str) -> InstalledPackage {
    let mut package = InstalledPackage::default();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let field = match line {
            "%NAME%" => &mut package.name,
            "%VERSION%" => &mut package.version,
            "%ARCH%" => &mut package.architecture,
            _ => continue,
        };
        lines.next().unwrap_or_default().clone_into(field);
    }
    package
}

#[cfg(test)]
mod tests {
    use super::super::tests::host_with;
    use super::*;

    #[test]
    fn each_folder_is_a_package() {
        let zlib = "%NAME%\nzlib\n\n%VERSION%\n1:1.3.1-2\n\n%DESC%\n%ARCH%\n\n%ARCH%\nx86_64\n\n";
        let (_folder, host) = host_with(&[
            ("var/lib/pacman/local/ALPM_DB_VERSION", "9\n"),
            ("var/lib/pacman/local/zlib-1:1.3.1-2/desc", zlib),
            ("var/lib/pacman/local/zlib-1:1.3.1-2/files", "%FILES%\nusr/\n"),
            ("var/lib/pacman/local/torn-1-1/desc", ""),
        ]);
        let seen = installed(&host).unwrap();
        let expect = InstalledPackage {
            name: "zlib".to_owned(),
            architecture: "x86_64".to_owned(),
            version: "1:1.3.1-2".to_owned(),
        };
        assert_eq!(seen, [expect]);
    }
}
