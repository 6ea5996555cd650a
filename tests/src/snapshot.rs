//! A copy of a folder that is put back later, as a backup or an older disk is.

use std::fs;
use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

/// What a folder held at a moment.
pub struct Snapshot(TempDir);

impl Snapshot {
    /// Copies a folder that nobody writes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(folder: &Path) -> Result<Self> {
        let snapshot = Self(tempfile::tempdir()?);
        copy(folder, snapshot.0.path())?;
        Ok(snapshot)
    }

    /// Puts it in the place of a folder that nobody uses.
    ///
    /// # Errors
    /// When it cannot be removed or written.
    pub fn put_back(&self, folder: &Path) -> Result<()> {
        fs::remove_dir_all(folder)?;
        copy(self.0.path(), folder)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
