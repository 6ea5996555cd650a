//! The chunks while they are being written: what they take is counted, in all and by span.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, Table, WriteTransaction};
use upkeep_model::HostId;

use crate::binary::{Malformed, Reader, checked, put_unsigned, with_checksum};

use super::{
    BLOCKS, CHUNKS, ChunkKey, DICTIONARIES, Failure, MARKS, SPANS, STREAMS, State, stored_bytes,
};

/// The table of chunks in a transaction. What it counts is written by [`ChunkTable::finish`].
pub(crate) struct ChunkTable<'t> {
    chunks: Table<'t, &'static [u8; 32], &'static [u8]>,
    /// Bytes that came and went, by span.
    changes: BTreeMap<i64, (u64, u64)>,
}

impl<'t> ChunkTable<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, Failure> {
        Ok(Self { chunks: transaction.open_table(CHUNKS)?, changes: BTreeMap::new() })
    }

    /// Adds a chunk under the next number.
    pub(crate) fn add(
        &mut self,
        state: &mut State,
        host: HostId,
        span: i64,
        chunk: Vec<u8>,
    ) -> Result<(), Failure> {
        let key = ChunkKey { host, span, number: state.next_chunk }.to_bytes();
        let value = with_checksum(&key, chunk);
        self.chunks.insert(&key, value.as_slice())?;
        let bytes = stored_bytes(&value);
        state.next_chunk += 1;
        state.chunks += 1;
        state.chunk_bytes += bytes;
        self.changes.entry(span).or_default().0 += bytes;
        Ok(())
    }

    pub(crate) fn remove(&mut self, state: &mut State, key: ChunkKey) -> Result<(), Failure> {
        let bytes = self.chunks.remove(&key.to_bytes())?.map(|value| stored_bytes(value.value()));
        if let Some(bytes) = bytes {
            self.note_removed(state, key.span, bytes);
        }
        Ok(())
    }

    /// Removes all chunks of a host with spans up to one.
    pub(crate) fn remove_through(
        &mut self,
        state: &mut State,
        host: HostId,
        last_span: i64,
    ) -> Result<(), Failure> {
        let first = ChunkKey { host, span: i64::MIN, number: 0 }.to_bytes();
        let last = ChunkKey { host, span: last_span, number: u64::MAX }.to_bytes();
        let mut removed = Vec::new();
        self.chunks.retain_in::<&[u8; 32], _>(&first..=&last, |key, value| {
            // A key that is in the range has its host, span and number.
            let span = ChunkKey::from_bytes(key).map_or(last_span, |key| key.span);
            removed.push((span, stored_bytes(value)));
            false
        })?;
        for (span, bytes) in removed {
            self.note_removed(state, span, bytes);
        }
        Ok(())
    }

    fn note_removed(&mut self, state: &mut State, span: i64, bytes: u64) {
        state.chunks = state.chunks.saturating_sub(1);
        state.chunk_bytes = state.chunk_bytes.saturating_sub(bytes);
        self.changes.entry(span).or_default().1 += bytes;
    }

    /// Writes what each span takes now.
    pub(crate) fn finish(self, transaction: &WriteTransaction) -> Result<(), Failure> {
        let mut spans = transaction.open_table(SPANS)?;
        for (span, (came, went)) in self.changes {
            // What is damaged counts as nothing: then more is kept for a while than was allowed.
            let before = spans.get(span)?.map(|value| span_from(span, value.value()));
            let before = before.and_then(Result::ok).unwrap_or_default();
            match (before + came).saturating_sub(went) {
                0 => drop(spans.remove(span)?),
                bytes => drop(spans.insert(span, span_record(span, bytes).as_slice())?),
            }
        }
        Ok(())
    }
}

/// The bytes of each span, the oldest first.
pub(crate) fn spans(transaction: &ReadTransaction) -> Result<Vec<(i64, u64)>, Failure> {
    let mut spans = Vec::new();
    for row in transaction.open_table(SPANS)?.iter()? {
        let (span, value) = row?;
        let span = span.value();
        spans.push((span, span_from(span, value.value()).unwrap_or_default()));
    }
    Ok(spans)
}

/// What is in the database beside chunks takes so many bytes.
pub(crate) fn bytes_beside_chunks(transaction: &ReadTransaction) -> Result<u64, Failure> {
    let all = [
        transaction.open_table(BLOCKS)?.stats()?,
        transaction.open_table(STREAMS)?.stats()?,
        transaction.open_table(DICTIONARIES)?.stats()?,
        transaction.open_table(MARKS)?.stats()?,
    ];
    let bytes = all
        .iter()
        .map(|table| table.stored_bytes() + table.metadata_bytes() + table.fragmented_bytes());
    Ok(bytes.sum())
}

pub(super) fn span_record(span: i64, bytes: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_unsigned(&mut out, bytes);
    with_checksum(&span.to_be_bytes(), out)
}

fn span_from(span: i64, bytes: &[u8]) -> Result<u64, Malformed> {
    Reader(checked(&span.to_be_bytes(), bytes)?).unsigned()
}
