//! The packages that are installed on a host.

use serde::{Deserialize, Serialize};

/// Installed packages of one manager: all of them, or what changed since an earlier state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageInventory {
    /// Whose packages they are: `dpkg`, `rpm`, `pacman`, `apk`.
    pub manager: String,
    /// The hash of the state that this is the difference to; `None` if `installed` is everything.
    pub base: Option<String>,
    /// The hash of the state that this leads to.
    pub hash: String,
    /// What is installed, or has come or changed since the base, by name and architecture.
    pub installed: Vec<InstalledPackage>,
    /// What is gone since the base; the versions are those that were installed.
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
