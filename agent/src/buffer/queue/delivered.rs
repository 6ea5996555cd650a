//! What becomes of records that the collector has.

use std::ops::RangeInclusive;
use std::time::Instant;

use tracing::info;
use upkeep_model::{Lane, Ranges};

use super::Buffer;
use crate::buffer::BufferError;
use crate::buffer::recipe::Database;
use crate::buffer::state::Lanes;
use crate::buffer::tree::Batch;

/// What the acknowledged records of a lane may take that are kept: a sixteenth of the limit. That is a
/// quarter of an hour of all but the busiest hosts.
const KEPT_SHARE: u64 = 16;

/// So many acknowledged records are removed in one batch.
const REMOVED_AT_ONCE: usize = 1024;

impl Buffer {
    /// Notes that the collector has records of a lane. They are kept for a while and then removed, as
    /// by [`Buffer::forget_through`].
    ///
    /// # Errors
    /// When the database cannot be read or written; what is not noted will be sent and skipped again.
    pub fn acknowledge(
        &mut self,
        lane: Lane,
        numbers: RangeInclusive<u64>,
        now: Instant,
    ) -> Result<(), BufferError> {
        self.heal()?;
        let state = self.state.lanes.of(lane);
        let last = state.next_sequence.saturating_sub(1);
        let numbers = *numbers.start()..=last.min(*numbers.end());
        let through = match lane {
            Lane::Events => *numbers.end(),
            Lane::Samples => {
                self.state.committed.insert(1..=state.settled());
                self.state.committed.insert(numbers);
                self.state.committed.prefix()
            }
        };
        if through <= state.settled() {
            return Ok(());
        }
        let bytes = self.bytes_of(lane, state.settled() + 1..=through)?;
        self.state.lanes.of_mut(lane).acknowledged = through;
        let kept = self.state.kept.of_mut(lane);
        kept.bytes += bytes;
        let due = kept.note(now, through).max(self.kept_too_much(lane)?);
        self.forget_through(lane, due)?;
        self.shrink();
        Ok(())
    }

    /// Notes that a collector was told of this life. That must be durable before any of its records is
    /// sent: the next life then begins behind all of them.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_told(&mut self) -> Result<(), BufferError> {
        self.heal()?;
        if self.state.lanes.untold.is_none() {
            return Ok(());
        }
        let lanes = Lanes { untold: None, ..self.state.lanes };
        let mut batch = Batch::default();
        lanes.to_entry().put(&mut batch);
        self.healthy()?.commit(batch).map_err(|error| self.fail(error))?;
        self.state.lanes = lanes;
        Ok(())
    }

    /// The records that went, without a declaration, since they were kept from `kept_from` on: they
    /// were taken for committed, and the collector has no more than `committed`.
    pub fn forgotten_since(
        &self,
        lane: Lane,
        kept_from: u64,
        committed: &Ranges,
    ) -> Vec<RangeInclusive<u64>> {
        let mut missing = committed.missing(kept_from..=self.kept_from(lane).saturating_sub(1));
        if lane == Lane::Samples {
            let had = &self.state.committed;
            missing.retain(|numbers| had.missing(numbers.clone()) != [numbers.clone()]);
        }
        missing
    }

    /// Takes the collector's word for what it has of a lane, as a connection is made. What it had
    /// acknowledged and no longer has is pending again, as far as it is still there.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub fn reconcile(
        &mut self,
        lane: Lane,
        committed: &Ranges,
        now: Instant,
    ) -> Result<(), BufferError> {
        self.heal()?;
        let state = self.state.lanes.of(lane);
        let removed = self.state.kept.of(lane).from - 1;
        // What was removed and not lost was acknowledged, and the collector has declared it by now if
        // it no longer has it.
        let removed = if removed > state.lost_through { removed } else { 0 };
        let through = committed.prefix().max(removed).min(state.next_sequence - 1);
        if through < state.acknowledged {
            let settled = state.lost_through.max(through);
            let again = self.bytes_of(lane, settled + 1..=state.settled())?;
            let records = state.settled() - settled;
            info!(%lane, records, "the collector lost what it had acknowledged; it is sent again");
            let kept = self.state.kept.of_mut(lane);
            kept.bytes = kept.bytes.saturating_sub(again);
            kept.begin_again();
            self.state.lanes.of_mut(lane).acknowledged = through;
        }
        if lane == Lane::Samples {
            self.state.committed = committed.clone();
        }
        self.acknowledge(lane, 1..=through, now)
    }

    /// Forgets the records of a lane up to and including a number, which the collector has. The removal
    /// becomes durable with the next append.
    ///
    /// # Errors
    /// When the database cannot be written; what is not forgotten will be sent and skipped again.
    pub fn forget_through(&mut self, lane: Lane, sequence: u64) -> Result<(), BufferError> {
        let state = self.state.lanes.of(lane);
        let through = sequence.min(state.next_sequence.saturating_sub(1));
        if through < self.state.kept.of(lane).from {
            return Ok(());
        }
        self.healthy()?;
        self.try_forget(lane, through).map_err(|error| self.fail(error))?;
        self.shrink();
        Ok(())
    }

    fn try_forget(&mut self, lane: Lane, through: u64) -> Result<(), BufferError> {
        let Some(database) = &self.database else { return Ok(()) };
        let needed = match lane {
            Lane::Samples => self.state.key_needed_after(through),
            Lane::Events => None,
        };
        let settled = self.state.lanes.of(lane).settled();
        let mut lanes = self.state.lanes;
        let acknowledged = &mut lanes.of_mut(lane).acknowledged;
        *acknowledged = through.max(*acknowledged);
        let mut batch = Batch::default();
        // Without them, what goes would be missed after a crash.
        lanes.to_entry().put(&mut batch);
        let (mut removed, mut bytes, mut kept_bytes, mut keys) = (0, 0, 0, Vec::new());
        let mut key_bytes = 0;
        for entry in database.entries(lane.into(), 0, through) {
            let entry = entry?;
            let was_pending = entry.number > settled;
            if Some(entry.number) == needed {
                key_bytes = if was_pending { entry.stored_bytes() } else { 0 };
                continue;
            }
            kept_bytes += if was_pending { 0 } else { entry.stored_bytes() };
            entry.remove(&mut batch);
            bytes += entry.stored_bytes();
            keys.push(entry.number);
            removed += 1;
            if removed == REMOVED_AT_ONCE {
                database.apply(std::mem::take(&mut batch))?;
                removed = 0;
            }
        }
        database.apply(batch)?;
        self.state.lanes = lanes;
        let kept = self.state.kept.of_mut(lane);
        kept.from = through + 1;
        kept.bytes = (kept.bytes + key_bytes).saturating_sub(kept_bytes);
        self.state.record_bytes = self.state.record_bytes.saturating_sub(bytes);
        if lane == Lane::Events {
            self.state.event_bytes = self.state.event_bytes.saturating_sub(bytes);
        } else {
            for key in keys {
                self.state.keys.remove(&key);
            }
        }
        Ok(())
    }

    /// What records of a lane take.
    fn bytes_of(&mut self, lane: Lane, numbers: RangeInclusive<u64>) -> Result<u64, BufferError> {
        let sum = |database: &Database| -> Result<u64, BufferError> {
            let entries = database.entries(lane.into(), *numbers.start(), *numbers.end());
            entries.map(|entry| entry.map(|entry| entry.stored_bytes())).sum()
        };
        sum(self.healthy()?).map_err(|error| self.fail(error))
    }

    /// The last record of a lane that has to go because too much is kept; 0 if none has to.
    fn kept_too_much(&mut self, lane: Lane) -> Result<u64, BufferError> {
        let kept = self.state.kept.of(lane);
        let (from, settled) = (kept.from, self.state.lanes.of(lane).settled());
        let excess = kept.bytes.saturating_sub(self.room.limit_bytes() / KEPT_SHARE);
        if excess == 0 {
            return Ok(0);
        }
        let find = |database: &Database| -> Result<u64, BufferError> {
            let (mut through, mut bytes) = (0, 0);
            for entry in database.entries(lane.into(), from, settled) {
                let entry = entry?;
                through = entry.number;
                bytes += entry.stored_bytes();
                if bytes >= excess {
                    break;
                }
            }
            Ok(through)
        };
        find(self.healthy()?).map_err(|error| self.fail(error))
    }
}
