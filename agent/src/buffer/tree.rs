//! The database beneath the recipe: sled on the disk, or a map in memory that has the disk's moods.

use std::fs::File;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::Instant;

use sled::IVec;

use super::BufferError;
use super::entry::Key;
use super::folder::{Root, sync_file};
use super::memory::Shelf;
use super::recipe::{LOCK_PATIENCE, LOCK_RETRY};
use super::slack::with_slack;

/// The database's cache; its default of 1 GB would be most of a small host.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// The database's own flusher; at its default of 500 ms it syncs although nothing happens. Every
/// append flushes by itself.
const FLUSH_EVERY_MS: u64 = 60_000;

/// What is written together or not at all: values under their keys, and keys whose values go. Of
/// several under one key the last counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch(Vec<(Key, Option<Vec<u8>>)>);

impl Batch {
    pub(super) fn insert(&mut self, key: Key, value: Vec<u8>) {
        self.0.push((key, Some(value)));
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.0.push((key, None));
    }

    pub(super) fn into_writes(self) -> impl Iterator<Item = (Key, Option<Vec<u8>>)> {
        self.0.into_iter()
    }
}

/// An open tree of keys and values.
pub(super) enum Tree {
    /// A folder of sled's.
    Disk {
        /// The database.
        tree: sled::Db,
        /// Our own handle of the file that it appends to.
        file: File,
    },
    /// A map that is lost with the process that keeps it.
    Memory(Shelf),
}

impl Tree {
    /// Step 3 of the recipe: opens the database of a folder, and the file for our own syncs.
    pub(super) fn open(root: &Root, number: u64) -> Result<Self, BufferError> {
        match root.memory() {
            Some(memory) => Ok(Self::Memory(memory.shelf(number))),
            None => open_disk(&root.folder(number)),
        }
    }

    /// One batch, which may be lost as a whole until the next sync.
    pub(super) fn apply(&self, batch: Batch) -> Result<(), BufferError> {
        match self {
            Self::Disk { tree, .. } => {
                let mut writes = sled::Batch::default();
                for (key, value) in batch.into_writes() {
                    match value {
                        Some(value) => writes.insert(key.as_slice(), value),
                        None => writes.remove(key.as_slice()),
                    }
                }
                guard(|| tree.apply_batch(writes))?;
                give_back_memory();
                Ok(())
            }
            Self::Memory(shelf) => {
                shelf.apply(batch);
                Ok(())
            }
        }
    }

    /// Makes durable what was applied.
    pub(super) fn sync(&self) -> Result<(), BufferError> {
        match self {
            Self::Disk { tree, file } => {
                guard(|| tree.flush().map(drop))?;
                give_back_memory();
                file.sync_all().map_err(BufferError::Sync)
            }
            Self::Memory(shelf) => shelf.sync().map_err(BufferError::Sync),
        }
    }

    /// Syncs the file that the database itself never syncs.
    pub(super) fn sync_settings(&self, folder: &Path) -> Result<(), BufferError> {
        match self {
            Self::Disk { .. } => sync_file(&folder.join("conf")).map(drop),
            Self::Memory(_) => Ok(()),
        }
    }

    /// The pairs of a range in the order of their keys.
    pub(super) fn scan(&self, keys: RangeInclusive<Key>) -> Scan {
        match self {
            Self::Disk { tree, .. } => Scan::Disk { scan: Box::new(tree.range(keys)), over: false },
            Self::Memory(shelf) => Scan::Memory(shelf.pairs(keys).into_iter()),
        }
    }

    pub(super) fn contains(&self, key: Key) -> Result<bool, BufferError> {
        match self {
            Self::Disk { tree, .. } => guard(|| tree.contains_key(key)),
            Self::Memory(shelf) => Ok(shelf.contains(key)),
        }
    }

    /// How long the file is that the database appends to.
    pub(super) fn file_bytes(&self) -> u64 {
        match self {
            Self::Disk { file, .. } => file.metadata().map_or(0, |metadata| metadata.len()),
            Self::Memory(_) => 0,
        }
    }
}

/// A scan that ends with an error where the database would panic.
pub(super) enum Scan {
    Disk { scan: Box<sled::Iter>, over: bool },
    Memory(std::vec::IntoIter<(IVec, IVec)>),
}

impl Iterator for Scan {
    type Item = sled::Result<(IVec, IVec)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (scan, over) = match self {
            Self::Disk { scan, over } => (scan, over),
            Self::Memory(pairs) => return pairs.next().map(Ok),
        };
        if *over {
            return None;
        }
        let next = catch_unwind(AssertUnwindSafe(|| scan.next())).unwrap_or_else(|_| {
            let reason = "the database panicked during a scan".to_owned();
            Some(Err(sled::Error::ReportableBug(reason)))
        });
        *over = !matches!(next, Some(Ok(_)));
        next
    }
}

fn open_disk(folder: &Path) -> Result<Tree, BufferError> {
    let config = sled::Config::new()
        .path(folder)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MS));
    let begun = Instant::now();
    // The flush starts the database's threads, if opening it did not; without it they would be
    // started by the first write, and without the slack.
    let open = || config.open().and_then(|tree| tree.flush().map(|_| tree));
    let tree = loop {
        match with_slack(|| guard(open)) {
            Err(BufferError::Database(error)) if is_lock(&error) => {
                if begun.elapsed() >= LOCK_PATIENCE {
                    return Err(BufferError::Locked(folder.to_owned()));
                }
                thread::sleep(LOCK_RETRY);
            }
            other => break other?,
        }
    };
    let path = folder.join("db");
    let file = File::open(&path).map_err(|error| BufferError::file("open", &path, error))?;
    Ok(Tree::Disk { tree, file })
}

/// Lets go of what the database no longer needs. By itself it does so in each thread only after that
/// thread has replaced some sixty things, and each of them may hold a buffer of half a megabyte: with
/// threads that write seldom, several megabytes for hours.
fn give_back_memory() {
    crossbeam_epoch::pin().flush();
}

fn is_lock(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

/// Runs an operation of the database, which panics on some kinds of damage.
fn guard<T>(operation: impl FnOnce() -> sled::Result<T>) -> Result<T, BufferError> {
    let outcome = catch_unwind(AssertUnwindSafe(operation));
    outcome
        .map_err(|_| BufferError::Damaged("the database panicked".to_owned()))?
        .map_err(Into::into)
}
