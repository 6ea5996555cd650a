//! The packages that are installed on a host.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Installed packages of one manager: all of them, or what changed since an earlier state. A state
/// is a set of [`InstalledPackage`]s; some managers keep several versions of one package beside
/// each other. What was updated is in `removed` with its old version and in `installed` with its
/// new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageInventory {
    /// Whose packages they are: `dpkg`, `rpm`, `pacman`, `apk`.
    pub manager: String,
    /// The hash of the state that this is the difference to; `None` if `installed` is everything.
    pub base: Option<String>,
    /// The hash of the state that this leads to, as [`state_hash`] has it.
    pub hash: String,
    /// What is installed, or has come since the base.
    pub installed: Vec<InstalledPackage>,
    /// What is gone since the base.
    pub removed: Vec<InstalledPackage>,
}

/// One installed package.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstalledPackage {
    /// Its name.
    pub name: String,
    /// Its architecture, as the manager names it.
    pub architecture: String,
    /// Its version.
    pub version: String,
}

/// The hash of a state: SHA-256 in lower-case hexadecimal digits over the sorted packages, each as
/// name, architecture and version with a tabulator between them and a line feed at the end.
pub fn state_hash<'state>(state: impl IntoIterator<Item = &'state InstalledPackage>) -> String {
    let mut sorted: Vec<&InstalledPackage> = state.into_iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut digest = Sha256::new();
    for package in sorted {
        for (part, end) in
            [(&package.name, "\t"), (&package.architecture, "\t"), (&package.version, "\n")]
        {
            digest.update(part.as_bytes());
            digest.update(end.as_bytes());
        }
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> InstalledPackage {
        let architecture = "amd64".to_owned();
        InstalledPackage { name: name.to_owned(), architecture, version: version.to_owned() }
    }

    /// The digest is that of `printf 'bash\tamd64\t5.2\nzlib\tamd64\t1.3\n' | sha256sum`.
    #[test]
    fn the_hash_knows_neither_order_nor_repetition() {
        let (bash, zlib) = (package("bash", "5.2"), package("zlib", "1.3"));
        let hash = state_hash([&bash, &zlib]);
        assert_eq!(hash, "5678a4e1b506d1028d0cc58fea94da1bde7f302a2e4c6549723b15aad5e87b33");
        assert_eq!(state_hash([&zlib, &bash, &zlib]), hash);
        assert_ne!(state_hash([&bash, &package("zlib", "1.4")]), hash);
        assert_ne!(state_hash([&bash]), hash);
    }
}
