//! A mounted file system that writes down what is done to it.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackgroundSession, Config, MountOption};
use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

use crate::DiskError;
use crate::file_system::{FileSystem, State};
use crate::operation::Operation;
use crate::tree::Tree;

/// A file system in memory, mounted for as long as this lives.
pub struct Recording {
    state: Arc<Mutex<State>>,
    // Unmounted before its folder goes.
    _session: BackgroundSession,
    folder: TempDir,
}

impl Recording {
    /// Mounts a file system with what is in a tree.
    ///
    /// # Errors
    /// Without root or `/dev/fuse`.
    pub fn mount(tree: Tree) -> Result<Self, DiskError> {
        let folder = tempfile::tempdir()
            .map_err(|source| DiskError::Mount { path: std::env::temp_dir(), source })?;
        let state = Arc::new(Mutex::new(State::new(tree)));
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("recording".to_owned()), MountOption::NoAtime];
        let file_system = FileSystem(Arc::clone(&state));
        let session = fuser::spawn_mount(file_system, folder.path(), &config)
            .map_err(|source| DiskError::Mount { path: folder.path().to_owned(), source })?;
        Ok(Self { state, _session: session, folder })
    }

    /// The mounted folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes down that the program relies on what it did so far; `mark` says what it is.
    pub fn mark(&self, mark: u64) {
        self.state().operations.push(Operation::Mark(mark));
    }

    /// Makes the next syncs of files whose name ends so fail, so many of them.
    pub fn fail_syncs(&self, end_of_name: &str, times: u32) {
        self.state().failing = Some((end_of_name.to_owned(), times));
    }

    /// Whether all syncs that were to fail have failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state().failing.as_ref().is_none_or(|(_, times)| *times == 0)
    }

    /// What was done so far, and forgets it.
    #[must_use]
    pub fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut self.state().operations)
    }

    /// What programs see now.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.state().tree.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // A database may close its files a moment later, on a thread of its own. Detached, the file
        // system goes with the last of them; whoever is not root leaves that to the session.
        let _ = unmount(self.folder.path(), UnmountFlags::DETACH);
    }
}
