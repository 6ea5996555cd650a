//! Gives back what is free in the file.
//!
//! Freed pages are used again, so the file of a store that has run for a while hardly grows beyond
//! what is in it. But after the first hours, or when much was dropped, much of it is free: then
//! everything is copied into a new file, which takes the old one's name once it is whole and synced.
//! Queries go on meanwhile.

use std::os::unix::fs::MetadataExt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use redb::{Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, Value};
use redb::{TableHandle, WriteTransaction};

use crate::StoreError;

use super::migrate::SERIES;
use super::{
    BLOCKS, CHUNKS, DELETED, DICTIONARIES, Database, Failure, MARKS, SPANS, STATE, STREAMS, close,
    database, guarded, open, transact,
};

/// It pays when one part in so many is free.
const FREE_PART: u64 = 10;

/// More than this is not copied while the store runs: sealing waits for it, and the disk must hold
/// both files.
const MOST_BYTES: u64 = 1 << 30;

impl Database {
    /// Writes the database anew if much of its file is free, given what its chunks take; the caller
    /// sees to it that nothing is written meanwhile. Tells what the file took before and takes now.
    pub(crate) fn shrink(&self, chunk_bytes: u64) -> Result<Option<(u64, u64)>, StoreError> {
        let before = self.bytes_on_disk();
        let beside = self.beside_chunks.load(Ordering::Relaxed);
        let free = before.saturating_sub(chunk_bytes.saturating_add(beside));
        if free < self.free_bytes || free < before / FREE_PART || chunk_bytes > MOST_BYTES {
            return Ok(None);
        }
        let copied = {
            let open = self.ready("write anew")?;
            guarded(|| self.copy(database(&open)?))
        };
        let unfinished = copied.map_err(|failure| self.told(failure, "write anew"))?;
        let mut slot = self.open.write().unwrap_or_else(PoisonError::into_inner);
        close(slot.take());
        let named = self.folder.finish_database(&unfinished).map_err(Failure::Io);
        let opened = open(&self.folder, self.cache_bytes);
        *slot = Some(opened.map_err(|failure| self.told(failure, "write anew"))?);
        drop(slot);
        named.map_err(|failure| self.told(failure, "write anew"))?;
        let after = self.bytes_on_disk();
        // What a file takes that has nothing free, so that it is not tried again for this.
        self.beside_chunks.store(after.saturating_sub(chunk_bytes), Ordering::Relaxed);
        Ok(Some((before, after)))
    }

    /// What the file takes on disk.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        // A file that cannot be looked at is one that cannot be written either, which is told there.
        std::fs::metadata(self.folder.database()).map_or(0, |file| file.blocks() * 512)
    }

    fn copy(&self, from: &redb::Database) -> Result<std::path::PathBuf, Failure> {
        let unfinished = self.folder.unfinished_database().map_err(Failure::Io)?;
        let mut builder = redb::Builder::new();
        builder.set_cache_size(self.cache_bytes);
        let mut to = builder.create(&unfinished)?;
        let reading = from.begin_read()?;
        transact(&to, |writing| {
            copy_table(&reading, writing, STATE)?;
            copy_table(&reading, writing, BLOCKS)?;
            copy_table(&reading, writing, SERIES)?;
            copy_table(&reading, writing, STREAMS)?;
            copy_table(&reading, writing, DICTIONARIES)?;
            copy_table(&reading, writing, MARKS)?;
            copy_table(&reading, writing, SPANS)?;
            copy_table(&reading, writing, DELETED)?;
            copy_table(&reading, writing, CHUNKS)
        })?;
        to.compact().map_err(|error| Failure::Damaged(error.to_string()))?;
        drop(to);
        Ok(unfinished)
    }
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<(), Failure> {
    let source = from.open_table(TableDefinition::<K, V>::new(table.name()))?;
    let mut target = to.open_table(TableDefinition::<K, V>::new(table.name()))?;
    for row in source.iter()? {
        let (key, value) = row?;
        target.insert(key.value(), value.value())?;
    }
    Ok(())
}
