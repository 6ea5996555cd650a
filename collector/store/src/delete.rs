//! Deletion of a host: nothing of it is left in memory, in the database, or to be read again.
//!
//! The committer takes it out of memory between two groups and ends the segment, so that whatever
//! came before stands in segments below one number, and whatever comes later does not. One transaction
//! then removes the host from the database and notes that number there. What older segments still have
//! of the host is passed over when the journal is read again, as what was sealed is; the segments go
//! as they always do.
//!
//! Whoever asked is told once the transaction is durable. If it fails, it is tried again before the next
//! sealing, which therefore never seals the host's absence without its deletion; if the power goes first,
//! the host was not deleted.

use std::collections::BTreeSet;

use upkeep_model::{Epoch, HostId, StreamKey};

use redb::WriteTransaction;

use crate::StoreError;
use crate::binary::{Malformed, Reader, checked, put_unsigned, stream_bytes, with_checksum};
use crate::core::Core;
use crate::damage::Affected;
use crate::database::{
    ChunkTable, DELETED, DICTIONARIES, DictionaryKey, Failure, MARKS, MarkKey, STATE, STATE_KEY,
    STREAMS, State, block_of, write_blocks,
};
use crate::index::{Index, SeriesRef};
use crate::seal::blocks_of;

/// A host that is out of memory, and is to be removed from the database.
#[derive(Clone, Debug)]
pub(crate) struct Deletion {
    home: HostId,
    /// What segments below this one have of it counts no more.
    below: u64,
    series: Vec<SeriesRef>,
}

impl Core {
    pub(crate) fn delete_home(&self, home: HostId) -> Result<(), StoreError> {
        // Keeps sealing and retention from writing what is being removed.
        let mut state = self.state();
        let deletion = self.forget_by_committer(home)?;
        self.deletions().push(deletion);
        self.apply_deletions(&mut state)
    }

    /// Takes a host out of memory; for the committer, between two groups.
    pub(crate) fn forget(&self, home: HostId, below: u64) -> Deletion {
        let mut intake = self.intake();
        intake.streams.retain(|stream, _| stream.host != home);
        intake.streams.shrink_to_fit();
        intake.dirty.retain(|stream| stream.host != home);
        let mut index = self.index_mut();
        let series: Vec<SeriesRef> = index
            .iter()
            .filter(|(_, series)| series.home == home)
            .map(|(number, _)| number)
            .collect();
        index.remove(&series);
        let mut head = self.head_mut();
        head.streams.retain(|stream, _| stream.host != home);
        head.points.remove(home);
        Deletion { home, below, series }
    }

    /// Removes from the database what is out of memory already. The state's lock is the caller's.
    pub(crate) fn apply_deletions(&self, state: &mut State) -> Result<(), StoreError> {
        let pending = self.deletions().clone();
        if pending.is_empty() {
            return Ok(());
        }
        let oldest = self.journal.numbers()?.first().copied();
        let removed = self.database.write("delete a host from", |transaction| {
            let mut kept = *state;
            for deletion in &pending {
                deletion.write(transaction, &self.index(), &mut kept)?;
            }
            forget_notes(transaction, oldest)?;
            let record = kept.to_bytes(STATE_KEY);
            transaction.open_table(STATE)?.insert(STATE_KEY, record.as_slice())?;
            Ok(kept)
        });
        *state = self.reported(Affected::default(), removed)?;
        self.deletions().clear();
        Ok(())
    }
}

impl Deletion {
    fn write(
        &self,
        transaction: &WriteTransaction,
        index: &Index,
        state: &mut State,
    ) -> Result<(), Failure> {
        let host = self.home;
        let mut chunks = ChunkTable::open(transaction)?;
        chunks.remove_through(state, host, i64::MAX)?;
        chunks.finish(transaction)?;
        let is_of_another =
            |key: &[u8; 24]| MarkKey::from_bytes(key).map_or(true, |mark| mark.host != host);
        transaction.open_table(MARKS)?.retain(|key, _| is_of_another(key))?;
        let streams = [0, u8::MAX].map(|byte| StreamKey { host, epoch: Epoch([byte; 16]) });
        let [first, last] = streams.map(stream_bytes);
        transaction.open_table(STREAMS)?.retain_in::<&[u8; 32], _>(&first..=&last, |_, _| false)?;
        let [first, last] = streams;
        let first = DictionaryKey { stream: first, generation: 0, first_number: 0 }.to_bytes();
        let (generation, first_number) = (u32::MAX, u32::MAX);
        let last = DictionaryKey { stream: last, generation, first_number }.to_bytes();
        let mut dictionaries = transaction.open_table(DICTIONARIES)?;
        dictionaries.retain_in::<&[u8; 40], _>(&first..=&last, |_, _| false)?;
        let blocks: BTreeSet<u32> = self.series.iter().copied().map(block_of).collect();
        write_blocks(transaction, blocks_of(index, blocks, |_, series| series.days))?;
        let key = *host.0.as_bytes();
        let note = note(&key, self.below);
        transaction.open_table(DELETED)?.insert(&key, note.as_slice())?;
        Ok(())
    }
}

/// Removes the notes that concern no segment from the oldest on.
fn forget_notes(transaction: &WriteTransaction, oldest: Option<u64>) -> Result<(), Failure> {
    let mut notes = transaction.open_table(DELETED)?;
    notes.retain(|key, record| {
        // One that is damaged is told when the store is opened.
        deleted_below(key, record).map_or(true, |below| oldest.is_some_and(|oldest| oldest < below))
    })?;
    Ok(())
}

fn note(key: &[u8; 16], below: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_unsigned(&mut out, below);
    with_checksum(key, out)
}

/// From which segment on what the journal has of a deleted host counts.
pub(crate) fn deleted_below(key: &[u8; 16], record: &[u8]) -> Result<u64, Malformed> {
    Reader(checked(key, record)?).unsigned()
}
