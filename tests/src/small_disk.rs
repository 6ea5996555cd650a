//! A disk of a few megabytes that can be filled up.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use crate::process::run;

/// A file system in memory, mounted for as long as this lives.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts it; `None` where the system does not allow that, as without root.
    ///
    /// # Errors
    /// When no folder for it can be made.
    pub fn mount(megabytes: u32) -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path());
        let mounted = run(&mut mount, "").is_ok_and(|output| output.code == Some(0));
        Ok(mounted.then_some(Self { folder }))
    }

    /// The mounted folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the room that is left, to the last page.
    pub fn fill(&self) {
        let mut fillers = 0;
        for bytes in [64 * 1024, 4096] {
            // The write that fails is the purpose.
            while std::fs::write(self.filler(fillers), vec![0_u8; bytes]).is_ok() {
                fillers += 1;
            }
        }
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn empty(&self) -> Result<()> {
        for entry in std::fs::read_dir(self.path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "filler") {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn filler(&self, number: u32) -> PathBuf {
        self.path().join(format!("{number}.filler"))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached, since a program that is just ending may still hold a file.
        let _ = run(Command::new("umount").arg("--lazy").arg(self.folder.path()), "");
    }
}
