//! From version 1 to 2, in one transaction.
//!
//! Version 1 had a row for each series in the table `series`: home (16 bytes), whether and on which
//! days sealed, label set. Version 2 keeps that table empty, so that a program of version 1 finds
//! all tables that it looks for, and says that the version is newer instead of setting the file
//! aside. The key frames in `streams` were not packed. Chunks of version 1 stay as they are until compaction takes them: all of them are marked,
//! and what they take, which version 1 did not note, is counted.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, TableDefinition, TableHandle, WriteTransaction};

use crate::binary::{Malformed, Reader, checked};
use crate::damage::{Affected, DamageLog};
use crate::index::SeriesRef;

use super::chunks::span_record;
use super::series::{SeriesRow, block_of, read_days, write_blocks};
use super::{
    BLOCKS, CHUNKS, ChunkKey, Database, Failure, MARKS, MarkKey, SPANS, STATE, STATE_KEY, STREAMS,
    State, StreamRecord, mark_record, stored_bytes,
};

/// Series by their numbers, in version 1.
pub(super) const SERIES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("series");

impl Database {
    /// Brings a database of version 1 to version 2. One of any other version stays as it is.
    pub(crate) fn migrate(&self, damage: &DamageLog) -> Result<(), Failure> {
        if self.read(is_version_1)? {
            let series = self.change(|transaction| migrate(transaction, damage))?;
            tracing::info!(series, "the database was brought to version 2");
        }
        Ok(())
    }
}

fn is_version_1(transaction: &ReadTransaction) -> Result<bool, Failure> {
    let state = transaction.open_table(STATE)?;
    let version = state.get(STATE_KEY)?.map(|record| State::version_of(STATE_KEY, record.value()));
    if let Some(Ok(version)) = version {
        return Ok(version == 1);
    }
    // Nothing was sealed yet, or the row is damaged; what is of version 2 was made with its tables.
    Ok(!transaction.list_tables()?.any(|table| table.name() == BLOCKS.name()))
}

/// Returns how many series were moved.
fn migrate(transaction: &WriteTransaction, damage: &DamageLog) -> Result<u64, Failure> {
    transaction.open_table(BLOCKS)?;
    let mut moved = 0;
    let mut block: Vec<SeriesRow> = Vec::new();
    let mut flush = |block: &mut Vec<SeriesRow>| match block.first() {
        Some(first) => {
            moved += block.len() as u64;
            write_blocks(transaction, [(block_of(first.number), std::mem::take(block))])
        }
        None => Ok(()),
    };
    for row in transaction.open_table(SERIES)?.iter()? {
        let (number, record) = row?;
        let number = number.value();
        match series_from(number, record.value()) {
            Ok(row) => {
                if block.first().is_some_and(|first| block_of(first.number) != block_of(number)) {
                    flush(&mut block)?;
                }
                block.push(row);
            }
            Err(error) => {
                let lost = format!("series {number}: {error}");
                damage.report_of(Affected::default(), "samples.redb, table series", lost);
            }
        }
    }
    flush(&mut block)?;
    transaction.delete_table(SERIES)?;
    transaction.open_table(SERIES)?;
    pack_streams(transaction)?;
    let chunk_bytes = mark_chunks(transaction)?;
    let mut table = transaction.open_table(STATE)?;
    let state = table.get(STATE_KEY)?.map(|record| State::from_bytes(STATE_KEY, record.value()));
    // What is damaged is told and guessed by whoever loads it.
    if let Some(Ok(state)) = state {
        let state = State { chunk_bytes, ..state };
        table.insert(STATE_KEY, state.to_bytes(STATE_KEY).as_slice())?;
    }
    Ok(moved)
}

/// Version 1 had key frames as they are. A damaged row stays; whoever loads it tells of it.
fn pack_streams(transaction: &WriteTransaction) -> Result<(), Failure> {
    let mut table = transaction.open_table(STREAMS)?;
    let mut packed = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        if let Ok(record) = StreamRecord::from_version_1(key.value(), value.value()) {
            packed.push((*key.value(), record.to_bytes(key.value())));
        }
    }
    for (key, record) in packed {
        table.insert(&key, record.as_slice())?;
    }
    Ok(())
}

/// Marks all chunks, and returns what they take.
fn mark_chunks(transaction: &WriteTransaction) -> Result<u64, Failure> {
    let mut table = transaction.open_table(MARKS)?;
    let (mut spans, mut last) = (BTreeMap::<i64, u64>::new(), None);
    for row in transaction.open_table(CHUNKS)?.iter()? {
        let (key, value) = row?;
        let Ok(ChunkKey { host, span, .. }) = ChunkKey::from_bytes(key.value()) else { continue };
        *spans.entry(span).or_default() += stored_bytes(value.value());
        let mark = MarkKey { span, host };
        if last != Some(mark) {
            let key = mark.to_bytes();
            table.insert(&key, mark_record(&key, span).as_slice())?;
            last = Some(mark);
        }
    }
    let mut table = transaction.open_table(SPANS)?;
    for (span, bytes) in &spans {
        table.insert(span, span_record(*span, *bytes).as_slice())?;
    }
    Ok(spans.values().sum())
}

fn series_from(number: SeriesRef, bytes: &[u8]) -> Result<SeriesRow, Malformed> {
    let mut reader = Reader(checked(&number.to_be_bytes(), bytes)?);
    let (home, days) = (reader.host()?, read_days(&mut reader)?);
    Ok(SeriesRow { number, home, days, labels: reader.labels()? })
}
