//! A spare copy of the database's folder, for as long as it is being opened.
//!
//! While it opens, the database replaces its snapshot and mends its file, and names of files change
//! meanwhile. Where a file system keeps the order of such changes (ext4, XFS, btrfs), a cut then does
//! no harm. Elsewhere a state may be found that the database takes for damage. So the folder is copied
//! before, and the copy takes its place if the opening was cut off:
//!
//! 1. `spare` is there: the last opening did not finish. The database's folder is removed and `spare`
//!    becomes it.
//! 2. The folder is copied to `spare.unfinished`, synced file by file, and renamed to `spare`.
//! 3. The database is opened and synced.
//! 4. `spare` is renamed to `spare.unfinished`, which is removed; whatever has that name counts for
//!    nothing.
//!
//! The folder that holds all these is synced after each step.

use std::fs;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::BufferError;
use super::folder::{Root, remove_folder, sync_file, sync_folder};

/// The copy, whole.
const SPARE: &str = "spare";

/// A copy that is being made or removed.
const UNFINISHED: &str = "spare.unfinished";

/// A longer folder is not copied: that is a queue after an outage of days, and opening must not take
/// long or need as much room again.
const LARGEST_BYTES: u64 = 32 * 1024 * 1024;

/// The copy, to be given up once the database is open and synced.
pub(super) struct Spare {
    root: PathBuf,
}

impl Spare {
    /// Whether an opening was cut off.
    pub(super) fn is_there(root: &Root) -> bool {
        root.path().join(SPARE).is_dir()
    }

    /// Steps 1 and 2.
    pub(super) fn prepare(root: &Root, number: u64) -> Result<Self, BufferError> {
        let (folder, path) = (root.folder(number), root.path().to_owned());
        let (spare, unfinished) = (path.join(SPARE), path.join(UNFINISHED));
        if spare.is_dir() {
            warn!("the buffer's last opening was cut off; what was there before it is taken");
            remove_folder(&folder)?;
            let failed = |error| BufferError::file("put back", &spare, error);
            fs::rename(&spare, &folder).map_err(failed)?;
            sync_folder(&path)?;
        }
        remove_folder(&unfinished)?;
        if bytes_in(&folder).is_some_and(|bytes| bytes <= LARGEST_BYTES) {
            let copied = copy(&folder, &unfinished).and_then(|()| {
                let failed = |error| BufferError::file("name", &spare, error);
                fs::rename(&unfinished, &spare).map_err(failed)
            });
            if let Err(error) = copied {
                // A full disk must not keep the buffer from opening.
                warn!("the buffer is opened without a spare copy: {error}");
                remove_folder(&unfinished)?;
            }
            sync_folder(&path)?;
        }
        Ok(Self { root: path })
    }

    /// Step 4.
    pub(super) fn give_up(self) -> Result<(), BufferError> {
        discard(&self.root)
    }

    /// Removes a copy that belongs to nothing any more.
    pub(super) fn discard(root: &Root) -> Result<(), BufferError> {
        discard(root.path())
    }
}

fn discard(root: &Path) -> Result<(), BufferError> {
    let (spare, unfinished) = (root.join(SPARE), root.join(UNFINISHED));
    if spare.is_dir() {
        remove_folder(&unfinished)?;
        fs::rename(&spare, &unfinished)
            .map_err(|error| BufferError::file("give up", &spare, error))?;
        sync_folder(root)?;
    }
    remove_folder(&unfinished)
}

/// How long all files are that are directly in a folder.
fn bytes_in(folder: &Path) -> Option<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).ok()? {
        bytes += entry.ok()?.metadata().ok()?.len();
    }
    Some(bytes)
}

/// Copies a folder and the folders in it, and syncs all of the copy.
fn copy(from: &Path, to: &Path) -> Result<(), BufferError> {
    let failed = |error| BufferError::file("copy", from, error);
    fs::create_dir(to).map_err(|error| BufferError::file("make", to, error))?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).map_err(failed)?;
            sync_file(&target)?;
        }
    }
    sync_folder(to)
}
