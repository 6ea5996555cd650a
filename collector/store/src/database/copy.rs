//! Copies a database record by record, whatever its tables are.

use std::path::Path;

use redb::{Key, ReadTransaction, ReadableTable, TableDefinition, TableHandle};

use super::{Failure, guarded};
use crate::binary::{Malformed, checked};

/// So many bytes are written in one transaction, which keeps them in memory.
const BYTES_AT_ONCE: usize = 16 * 1024 * 1024;

/// Which of the two databases refuses.
#[derive(Debug)]
pub(crate) enum CopyFailure {
    /// The one that is copied.
    Source(Failure),
    /// The copy.
    Target(Failure),
}

/// Copies all tables into a new database. A record that does not pass its checksum is told with its table
/// and key, and copied as it lies there: the copy tells of it as this one does. Gives how many records
/// there are.
pub(crate) fn copy_tables(
    source: &ReadTransaction,
    target: &Path,
    cache_bytes: usize,
    damaged: &mut dyn FnMut(&str, &[u8], Malformed),
) -> Result<u64, CopyFailure> {
    let made = guarded(|| {
        let mut builder = redb::Builder::new();
        Ok(builder.set_cache_size(cache_bytes).create(target)?)
    });
    let target = made.map_err(CopyFailure::Target)?;
    let tables = source.list_tables().map_err(|error| CopyFailure::Source(error.into()))?;
    let mut records = 0;
    for table in tables {
        let mut table = Table { name: table.name(), source, target: &target, damaged };
        let copied = table.copy_any()?;
        records += copied.ok_or_else(|| {
            let reason = format!("the table {} has keys of a kind that is not known", table.name);
            CopyFailure::Source(Failure::Damaged(reason))
        })?;
    }
    guarded(|| {
        drop(target);
        Ok(records)
    })
    .map_err(CopyFailure::Target)
}

/// A kind of keys, as the checksums of records have them.
trait Keyed: Key + 'static {
    fn bytes(key: &Self::SelfType<'_>) -> Vec<u8>;
}

impl Keyed for u32 {
    fn bytes(key: &u32) -> Vec<u8> {
        key.to_be_bytes().to_vec()
    }
}

impl Keyed for i64 {
    fn bytes(key: &i64) -> Vec<u8> {
        key.to_be_bytes().to_vec()
    }
}

impl Keyed for &'static str {
    fn bytes(key: &&str) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

impl<const N: usize> Keyed for &'static [u8; N] {
    fn bytes(key: &&[u8; N]) -> Vec<u8> {
        key.to_vec()
    }
}

struct Table<'a> {
    name: &'a str,
    source: &'a ReadTransaction,
    target: &'a redb::Database,
    damaged: &'a mut dyn FnMut(&str, &[u8], Malformed),
}

impl Table<'_> {
    /// Copies the table, whichever of the kinds its keys are of.
    fn copy_any(&mut self) -> Result<Option<u64>, CopyFailure> {
        let kinds = [
            Self::copy::<&[u8; 32]>,
            Self::copy::<&[u8; 40]>,
            Self::copy::<&[u8; 24]>,
            Self::copy::<&[u8; 16]>,
            Self::copy::<u32>,
            Self::copy::<i64>,
            Self::copy::<&str>,
        ];
        for copy in kinds {
            if let Some(records) = copy(self)? {
                return Ok(Some(records));
            }
        }
        Ok(None)
    }

    /// Copies the table if its keys are of this kind.
    fn copy<K: Keyed>(&mut self) -> Result<Option<u64>, CopyFailure> {
        let definition = TableDefinition::<K, &'static [u8]>::new(self.name);
        let rows = match self.source.open_table(definition) {
            Ok(rows) => rows,
            Err(redb::TableError::TableTypeMismatch { .. }) => return Ok(None),
            Err(error) => return Err(source(error)),
        };
        let mut rows = rows.iter().map_err(source)?;
        let mut records = 0;
        loop {
            let mut bytes = 0;
            let transaction = self.target.begin_write().map_err(target)?;
            let mut copy = transaction.open_table(definition).map_err(target)?;
            while bytes < BYTES_AT_ONCE
                && let Some(row) = rows.next()
            {
                let (key, value) = row.map_err(source)?;
                let (key, value) = (key.value(), value.value());
                if let Err(error) = checked(&K::bytes(&key), value) {
                    (self.damaged)(self.name, &K::bytes(&key), error);
                }
                copy.insert(&key, value).map_err(target)?;
                bytes += value.len();
                records += 1;
            }
            drop(copy);
            transaction.commit().map_err(target)?;
            if bytes < BYTES_AT_ONCE {
                return Ok(Some(records));
            }
        }
    }
}

fn source(error: impl Into<redb::Error>) -> CopyFailure {
    CopyFailure::Source(Failure::from(error))
}

fn target(error: impl Into<redb::Error>) -> CopyFailure {
    CopyFailure::Target(Failure::from(error))
}
