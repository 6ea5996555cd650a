//! A disk under a real program, whose power can be cut and whose syncs can be made to fail.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::Result;
use rand::rngs::StdRng;
use tempfile::TempDir;
use upkeep_disk::{Disk, DiskError, Ordering, Recording, Tree};

/// A recording file system, under a path that stays the same over power cuts.
pub struct CutDisk {
    folder: TempDir,
    recording: Option<Recording>,
    /// What was on the disk as the recording began.
    before: Tree,
}

impl CutDisk {
    /// Mounts an empty one; `None` where the system does not allow that, as without root.
    ///
    /// # Errors
    /// When no folder for it can be made.
    pub fn mount() -> Result<Option<Self>> {
        let disk = Self { folder: tempfile::tempdir()?, recording: None, before: Tree::default() };
        disk.begin(Tree::default())
    }

    /// Where a program finds it.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Makes the next syncs of files whose name ends so fail, so many of them.
    pub fn fail_syncs(&self, end_of_name: &str, times: u32) {
        if let Some(recording) = &self.recording {
            recording.fail_syncs(end_of_name, times);
        }
    }

    /// Whether all syncs that were to fail have failed.
    pub fn has_failed(&self) -> bool {
        self.recording.as_ref().is_some_and(Recording::has_failed)
    }

    /// Cuts the power: what was not synced is lost in part or whole. The programs that use the disk
    /// must have been killed.
    ///
    /// # Errors
    /// When what is left cannot be mounted.
    pub fn cut(mut self, ordering: Ordering, random: &mut StdRng) -> Result<Self> {
        let operations = self.recording.take().map(|recording| recording.take());
        let mut disk = Disk::new(ordering, std::mem::take(&mut self.before));
        operations.iter().flatten().for_each(|operation| disk.apply(operation));
        let left = disk.after_cut(random);
        std::fs::remove_file(self.path())?;
        let mounted = self.begin(left)?;
        mounted.ok_or_else(|| anyhow::anyhow!("the disk cannot be mounted again"))
    }

    fn begin(mut self, tree: Tree) -> Result<Option<Self>> {
        self.before = tree.clone();
        match Recording::mount(tree) {
            Ok(recording) => {
                symlink(recording.path(), self.path())?;
                self.recording = Some(recording);
                Ok(Some(self))
            }
            Err(DiskError::Mount { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
