//! The packages that are installed on a host, one file a package manager's database.
//!
//! A database may change while it is read, for which no lock is taken: what is read then is the
//! state before, after or between, and since the stamp was taken first, the next look finds the rest.

pub mod apk;
pub mod dpkg;
pub mod pacman;
pub mod rpm;

use thiserror::Error;
use tracing::warn;
use upkeep_model::InstalledPackage;

use crate::host::{Host, HostError, Output, Stamp, Tree};

/// The longest part of a program's complaint that is told.
const COMPLAINT_CHARACTERS: usize = 300;

/// Why installed packages are not known.
#[derive(Debug, Error)]
pub enum PackageError {
    /// The database could not be read, or its program not be run.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The program that reads the database failed.
    #[error("{program} ended with {end}: {said}")]
    Failed {
        /// The program.
        program: &'static str,
        /// Its exit status, in words.
        end: String,
        /// What it said.
        said: String,
    },
}

impl PackageError {
    fn failed(program: &'static str, output: &Output) -> Self {
        let end = output.exit.map_or("a signal".to_owned(), |exit| format!("status {exit}"));
        let said = output.stderr.trim().chars().take(COMPLAINT_CHARACTERS).collect();
        Self::Failed { program, end, said }
    }
}

/// One package manager's database.
#[derive(Clone, Copy, Debug)]
pub struct Database {
    /// The manager, as [`upkeep_model::PackageInventory`] names it.
    pub manager: &'static str,
    /// The files or folders of which at least one changes with every change of the database.
    files: &'static [&'static str],
    read: fn(&Host) -> Result<Vec<InstalledPackage>, PackageError>,
}

/// Every database that is known.
pub const DATABASES: [Database; 4] = [
    Database {
        manager: "dpkg",
        files: &[dpkg::STATUS],
        read: |host| dpkg::installed(host).map_err(PackageError::from),
    },
    Database { manager: "rpm", files: &rpm::FILES, read: rpm::installed },
    Database {
        manager: "pacman",
        files: &[pacman::FOLDER],
        read: |host| pacman::installed(host).map_err(PackageError::from),
    },
    Database {
        manager: "apk",
        files: &apk::FILES,
        read: |host| apk::installed(host).map_err(PackageError::from),
    },
];

impl Database {
    /// What tells one state of the database from another without reading it, a stamp for each of
    /// its files that is there. None where the host does not have this database.
    pub fn stamps(&self, host: &Host) -> Vec<Stamp> {
        self.files.iter().filter_map(|file| host.stamp(Tree::Root, file).ok()).collect()
    }

    /// Reads the installed packages, sorted and each once. It may start a program.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn installed(&self, host: &Host) -> Result<Vec<InstalledPackage>, PackageError> {
        let mut packages = (self.read)(host)?;
        packages.sort_unstable();
        packages.dedup();
        Ok(packages)
    }
}

/// The packages without those whose name or version cannot be read, which are told in the log.
fn whole(manager: &str, mut packages: Vec<InstalledPackage>) -> Vec<InstalledPackage> {
    let all = packages.len();
    packages.retain(|package| !package.name.is_empty() && !package.version.is_empty());
    let torn = all - packages.len();
    if torn > 0 {
        warn!("{torn} packages in the database of {manager} cannot be read and are left out");
    }
    packages
}

#[cfg(test)]
mod tests {
    pub(super) use crate::host::tests::host_with_texts as host_with;

    #[test]
    fn a_database_that_is_not_there_has_no_stamp_and_one_that_changes_another() {
        let (folder, host) = host_with(&[("lib/apk/db/installed", "P:musl\nV:1\nA:x86\n\n")]);
        let stamps = || super::DATABASES.map(|database| database.stamps(&host));
        let [dpkg, rpm, pacman, apk] = stamps();
        assert!(dpkg.is_empty() && rpm.is_empty() && pacman.is_empty());
        assert_eq!(apk.len(), 1);
        assert_eq!(stamps()[3], apk);
        std::fs::write(folder.path().join("lib/apk/db/installed"), "P:musl\nV:22\n").unwrap();
        assert_ne!(stamps()[3], apk);
    }
}
