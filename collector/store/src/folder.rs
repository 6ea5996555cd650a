//! The store's folder.
//!
//! | name | what |
//! |---|---|
//! | `journal/` | segments of what came in since the last sealing, and how far they are confirmed (module `journal`) |
//! | `samples.redb` | everything sealed (module `database`); `samples.redb.new` while it is made |
//! | `followed/` | segments that are sealed, and that somebody who follows the journal has not read (module `follow`) |
//! | `quarantine/` | files that were found damaged, for somebody to look at; never read again |

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::StoreError;

/// The paths in a store's folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        // What hosts report is for nobody else on this machine.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| StoreError::io("create", path, source))?;
        // Whoever made it, perhaps an earlier run that was cut off: its name must be durable before
        // anything in it is confirmed.
        sync_parent(path).map_err(|source| StoreError::io("sync the parent of", path, source))?;
        Ok(Self { path: path.to_owned() })
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("samples.redb")
    }

    /// Where a new database is made; what a cut left there is removed.
    pub(crate) fn unfinished_database(&self) -> io::Result<PathBuf> {
        let path = self.path.join("samples.redb.new");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(path),
        }
    }

    /// Gives a new database its name, durably.
    pub(crate) fn finish_database(&self, unfinished: &Path) -> io::Result<()> {
        File::open(unfinished)?.sync_all()?;
        fs::rename(unfinished, self.database())?;
        sync_folder(&self.path)
    }

    pub(crate) fn followed(&self) -> PathBuf {
        self.path.join("followed")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.path.join("quarantine")
    }

    /// Makes durable which files are in the folder.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        sync_folder(&self.path).map_err(|source| StoreError::io("sync", &self.path, source))
    }

    /// Moves the database out of the way, under a name that no earlier one has.
    pub(crate) fn set_database_aside(&self) -> Result<PathBuf, StoreError> {
        let quarantine = self.quarantine();
        let error = |source| StoreError::io("set aside", &self.database(), source);
        fs::create_dir_all(&quarantine).map_err(error)?;
        let name = |number: u32| quarantine.join(format!("samples.{number}.redb"));
        let target = (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0));
        fs::rename(self.database(), &target)
            .and_then(|()| sync_folder(&quarantine))
            .map_err(error)?;
        self.sync()?;
        Ok(target)
    }
}

/// Makes durable which files are in a folder.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes durable that a file or folder is in the one it is in.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        // A relative name without folders is in the current one.
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}
