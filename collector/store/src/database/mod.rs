//! The database: everything sealed.
//!
//! # Format, version 2
//! One redb file, `samples.redb`. Every value ends with the CRC-32 of key and value (module
//! `binary`); numbers in keys are big endian, so that keys sort by them.
//!
//! | table | key | value |
//! |---|---|---|
//! | `state` | `state` | version 2, next series number, next chunk number, count of chunks, longest span (ms), coverage, bytes that the chunks take; for 5 minutes and for 1 hour: days that end by then have their summaries (begun, done) |
//! | `series_blocks` | number of the block (u32) | series, packed by zstd (module `series`): the homes (16 bytes each); then by field, of each series: its number, from the one before; its home's place; whether and on which days sealed; label set |
//! | `series` | | always empty; version 1 had the series there (module `migrate`) |
//! | `streams` | host, epoch | mark, generation, latest timestamp; the key frame that was used last, or in older files up to eight, packed by zstd: count, of each sequence and bytes; ranges committed behind the mark: first and last, to the end |
//! | `dictionaries` | host, epoch, generation (u32), first number (u32) | count, series numbers |
//! | `chunks` | host, span's start (i64, sign flipped), chunk number (u64) | a chunk (module `chunk`) |
//! | `deleted` | host | number of a segment: what the journal has of the host in those below counts no more |
//! | `marks` | span's start, host | when it was marked: the span has chunks to be packed again (module `compact`) |
//! | `spans` | span's start (i64) | the bytes that its chunks take, of all hosts |
//!
//! A label set at a home has one series number for ever; numbers are not given again, not even
//! after retention removed the series. Chunk numbers grow, so of two chunks of a span the lower
//! came first, and its values win.
//!
//! # Guarantees
//! Chunks, the series in them, the streams' marks and the coverage (which journal entries the
//! chunks hold, module `coverage`) change in one transaction with two-phase commit; a journal
//! segment is removed only after the transaction that covers it. A mark or range includes nothing
//! that is neither sealed, nor in the journal, nor skipped. redb keeps its allocator's state with every
//! commit, so opening after a crash does not read the whole file.
//!
//! redb trusts its pages and may panic on damaged ones: such a panic is caught here and told as an
//! error. A database that cannot be opened or loaded is moved to `quarantine/` and begun anew; what
//! the journal still has is then sealed again.

mod chunks;
mod copy;
mod marks;
mod migrate;
mod progress;
mod records;
mod series;
mod shrink;

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use redb::{
    Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, TableDefinition, TableHandle,
    WriteTransaction,
};

use crate::folder::Folder;
use crate::{Options, StoreError};

pub(crate) use chunks::{ChunkTable, bytes_beside_chunks, spans};
pub(crate) use copy::{CopyFailure, copy_tables};
pub(crate) use marks::{MarkKey, mark_from, mark_record, stored_bytes};
pub(crate) use progress::{Progress, Summarised};
pub(crate) use records::{
    ChunkKey, DictionaryKey, State, StreamRecord, VERSION, dictionary_from, dictionary_record,
};
pub(crate) use series::{SeriesRow, block_from, block_of, numbers_of, write_blocks};

pub(crate) const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");
pub(crate) const BLOCKS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("series_blocks");
pub(crate) const STREAMS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("streams");
pub(crate) const DICTIONARIES: TableDefinition<'_, &[u8; 40], &[u8]> =
    TableDefinition::new("dictionaries");
pub(crate) const MARKS: TableDefinition<'_, &[u8; 24], &[u8]> = TableDefinition::new("marks");
pub(crate) const SPANS: TableDefinition<'_, i64, &[u8]> = TableDefinition::new("spans");
pub(crate) const CHUNKS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("chunks");
pub(crate) const DELETED: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("deleted");

/// The one key of [`STATE`].
pub(crate) const STATE_KEY: &str = "state";

/// Why the database did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Its file is damaged.
    Damaged(String),
    /// The system refused to read or write it.
    Io(std::io::Error),
    /// Another process has it open.
    InUse,
    /// Anything else.
    Other(redb::Error),
}

impl Failure {
    pub(crate) fn told(self, action: &'static str, folder: &Folder) -> StoreError {
        match self {
            Self::Damaged(reason) => {
                StoreError::Damaged { action, path: folder.database(), reason }
            }
            Self::Io(source) => StoreError::io(action, &folder.database(), source),
            Self::InUse => StoreError::InUse { path: folder.database() },
            Self::Other(error) => StoreError::Database { action, reason: error.to_string() },
        }
    }
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::Corrupted(reason) => Self::Damaged(reason),
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::Io(source) => match source.kind() {
                // What redb reads beyond the end of its file is a file that was cut short.
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData => {
                    Self::Damaged(source.to_string())
                }
                _ => Self::Io(source),
            },
            // Nobody else makes tables in our file, nor was it ever in redb's older formats; so what
            // is not ours is damaged.
            error @ (redb::Error::UpgradeRequired(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableDoesNotExist(_)) => Self::Damaged(error.to_string()),
            other => Self::Other(other),
        }
    }
}

/// The open database. After an error redb may refuse everything, so it is then opened anew.
#[derive(Debug)]
pub(crate) struct Database {
    folder: Folder,
    cache_bytes: usize,
    /// Less that is free is not given back.
    free_bytes: u64,
    open: RwLock<Option<redb::Database>>,
    has_failed: AtomicBool,
    /// What the file takes beside chunks when nothing in it is free, as far as that was seen.
    beside_chunks: AtomicU64,
}

/// The chunks as they were at one moment.
pub(crate) struct Snapshot<'a> {
    chunks: ReadOnlyTable<&'static [u8; 32], &'static [u8]>,
    database: &'a Database,
    // Keeps the database from being opened anew under this snapshot.
    _open: RwLockReadGuard<'a, Option<redb::Database>>,
}

impl Database {
    /// Opens or makes the database, with all its tables.
    pub(crate) fn open(folder: &Folder, options: &Options) -> Result<Self, Failure> {
        let Options { cache_bytes, free_bytes, .. } = *options;
        // What a cut left of a file that was to take this one's place.
        folder.unfinished_database().map_err(Failure::Io)?;
        let open = RwLock::new(Some(open(folder, cache_bytes)?));
        let (folder, has_failed) = (folder.clone(), AtomicBool::default());
        let beside_chunks = AtomicU64::default();
        Ok(Self { folder, cache_bytes, free_bytes, open, has_failed, beside_chunks })
    }

    /// Runs a transaction and commits it; on an error nothing of it is done.
    pub(crate) fn write<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let open = self.ready(action)?;
        guarded(|| transact(database(&open)?, work)).map_err(|failure| self.told(failure, action))
    }

    /// The same while the store is being opened, when an error is not yet one of the store.
    fn change<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        guarded(|| transact(database(&open)?, work))
    }

    /// Reads with a transaction of its own.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        guarded(|| work(&database(&open)?.begin_read()?))
    }

    /// The chunks as they are now.
    pub(crate) fn snapshot(&self) -> Result<Snapshot<'_>, StoreError> {
        let open = self.ready("read")?;
        let chunks = guarded(|| Ok(database(&open)?.begin_read()?.open_table(CHUNKS)?))
            .map_err(|failure| self.told(failure, "read"))?;
        Ok(Snapshot { chunks, database: self, _open: open })
    }

    /// The open database, opened anew if it failed.
    fn ready(
        &self,
        action: &'static str,
    ) -> Result<RwLockReadGuard<'_, Option<redb::Database>>, StoreError> {
        if self.has_failed.swap(false, Ordering::AcqRel) {
            let mut slot = self.open.write().unwrap_or_else(PoisonError::into_inner);
            close(slot.take());
            let opened = open(&self.folder, self.cache_bytes);
            *slot = Some(opened.map_err(|failure| self.told(failure, action))?);
        }
        Ok(self.open.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn told(&self, failure: Failure, action: &'static str) -> StoreError {
        self.has_failed.store(true, Ordering::Release);
        failure.told(action, &self.folder)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        close(self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Snapshot<'_> {
    /// Gives the chunks of a range of keys as [`Self::chunks_until`] does, all of them.
    pub(crate) fn each_chunk(
        &self,
        first: ChunkKey,
        last: ChunkKey,
        mut each: impl FnMut(&[u8; 32], &[u8]),
    ) -> Result<(), StoreError> {
        self.chunks_until(first, last, |key, value| {
            each(key, value);
            ControlFlow::Continue(())
        })
    }

    /// Gives the chunks of a range of keys, ends included, in the order of their keys, until it is
    /// told to stop. The bytes are as they lie there, their checksum not looked at yet.
    pub(crate) fn chunks_until(
        &self,
        first: ChunkKey,
        last: ChunkKey,
        mut each: impl FnMut(&[u8; 32], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let (first, last) = (first.to_bytes(), last.to_bytes());
        let read = guarded(|| {
            for chunk in self.chunks.range::<&[u8; 32]>(&first..=&last)? {
                let (key, value) = chunk?;
                if each(key.value(), value.value()).is_break() {
                    break;
                }
            }
            Ok(())
        });
        read.map_err(|failure| self.database.told(failure, "read"))
    }
}

/// Opens the database. A new one is made under another name and gets its own when it is whole, so
/// that a file of that name which is no database is a damaged one.
fn open(folder: &Folder, cache_bytes: usize) -> Result<redb::Database, Failure> {
    guarded(|| {
        let mut builder = redb::Builder::new();
        builder.set_cache_size(cache_bytes);
        if !folder.database().exists() {
            let unfinished = folder.unfinished_database().map_err(Failure::Io)?;
            let database = builder.create(&unfinished)?;
            transact(&database, |transaction| {
                transaction.open_table(STATE)?;
                transaction.open_table(BLOCKS)?;
                transaction.open_table(migrate::SERIES)?;
                transaction.open_table(MARKS)?;
                transaction.open_table(SPANS)?;
                transaction.open_table(STREAMS)?;
                transaction.open_table(DICTIONARIES)?;
                transaction.open_table(CHUNKS)?;
                transaction.open_table(DELETED)?;
                Ok(())
            })?;
            drop(database);
            folder.finish_database(&unfinished).map_err(Failure::Io)?;
        }
        let database = builder.open(folder.database())?;
        let later = [DELETED.name(), SPANS.name()];
        let has_later = |transaction: &ReadTransaction| {
            let tables = transaction.list_tables()?;
            let found = tables.filter(|table| later.contains(&table.name())).count();
            Ok::<_, Failure>(found == later.len())
        };
        if !has_later(&database.begin_read()?)? {
            // These tables came later than the others.
            transact(&database, |transaction| {
                transaction.open_table(DELETED)?;
                transaction.open_table(SPANS)?;
                Ok(())
            })?;
        }
        Ok(database)
    })
}

/// Closing writes to the file, so damage can surface here as well; it is told at the next opening.
fn close(database: Option<redb::Database>) {
    let _ = guarded(|| {
        drop(database);
        Ok(())
    });
}

fn transact<T>(
    database: &redb::Database,
    work: impl FnOnce(&WriteTransaction) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

fn database(guard: &Option<redb::Database>) -> Result<&redb::Database, Failure> {
    guard.as_ref().ok_or(Failure::Other(redb::Error::DatabaseClosed))
}

/// Runs what calls redb, and turns a panic into an error: redb panics on some damaged pages.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(Failure::Damaged(text.unwrap_or_else(|| "its pages cannot be read".to_owned())))
        }
    }
}
