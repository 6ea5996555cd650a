//! One batch in the making: what an append writes and removes, all of it or nothing.

use std::sync::Arc;

use upkeep_model::{Event, EventKind, Gap, Lane, Observation, stale_marker};
use upkeep_wire::encode_event;

use super::entry::{Entry, Kind, remove};
use super::losses::Refused;
use super::recipe::Database;
use super::series;
use super::state::{Lanes, RecordHead, State};
use super::tree::Batch;
use super::{BufferError, Draft};

/// A record's body may not be longer: the collector takes no longer message than twice this.
const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;

/// An event that takes no more than this is not replaced to make room.
const SMALL_EVENT_BYTES: u64 = 512;

/// The series are numbered anew when they are more than twice those that were last seen, and so many
/// beside: where devices and containers come and go, those that ended would else be kept for ever.
const SPARE_SERIES: usize = 1024;

/// Records that were dropped to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) samples: u64,
    pub(super) events: u64,
    /// How many gaps declare the samples; each event is declared by one of its own.
    pub(super) sample_gaps: u64,
}

/// Records that were kept and go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unkept {
    /// None through this one is there any more; 0 if none goes.
    pub(super) through: u64,
    /// What those took that were no longer pending.
    pub(super) bytes: u64,
    /// What takes a key frame that is no longer pending, and stays for the records behind it.
    pub(super) key_bytes: u64,
}

/// What will be written, and what is known once it is.
pub(super) struct Change {
    pub(super) batch: Batch,
    pub(super) lanes: Lanes,
    pub(super) added_bytes: u64,
    pub(super) removed_bytes: u64,
    /// What of these are events.
    pub(super) added_event_bytes: u64,
    pub(super) removed_event_bytes: u64,
    pub(super) new_keys: Vec<u64>,
    pub(super) old_keys: Vec<u64>,
    /// What is no longer kept of samples and events.
    pub(super) kept: (Unkept, Unkept),
    pub(super) dropped: Dropped,
    pub(super) last_observation_bytes: Option<u64>,
    /// How many series there were, if they are numbered anew from this change on.
    pub(super) series_before: Option<u32>,
    latest_ms: i64,
}

impl Change {
    /// The change that appends drafts; `refused` were lost before and are declared with it. The
    /// state's dictionary and encoder move on, so if the change is not written, the state must be
    /// loaded anew.
    pub(super) fn of(
        state: &mut State,
        database: &Database,
        drafts: &[Draft],
        refused: Option<&Refused>,
    ) -> Result<Self, BufferError> {
        let mut change = Self {
            batch: Batch::default(),
            lanes: state.lanes,
            added_bytes: 0,
            removed_bytes: 0,
            added_event_bytes: 0,
            removed_event_bytes: 0,
            new_keys: Vec::new(),
            old_keys: Vec::new(),
            kept: Default::default(),
            dropped: Dropped::default(),
            last_observation_bytes: None,
            series_before: None,
            latest_ms: drafts.iter().map(Draft::at_ms).max().unwrap_or_default(),
        };
        if let Some(refused) = refused {
            change.put_event(&refused.declaration())?;
        }
        let mut first = state.dictionary.len();
        for draft in drafts {
            match draft {
                Draft::Observation(observation) => change.put_observation(state, observation)?,
                Draft::Event(event) => change.put_event(event)?,
            }
        }
        if change.series_before.is_some() {
            for entry in database.entries(Kind::Series, 0, u64::MAX) {
                entry?.remove(&mut change.batch);
            }
            change.drop_kept_samples(state, database)?;
            first = 0;
        }
        let new = state.dictionary.since(first);
        if !new.is_empty() {
            Entry::new(Kind::Series, u64::from(first), series::encode(new)).put(&mut change.batch);
        }
        Ok(change)
    }

    /// Drops old records until what is there and what comes fits into `limit` with an eighth of it
    /// to spare, so that not every append drops some. What was acknowledged goes first, then samples,
    /// oldest first; then events are replaced by the declaration of their loss.
    pub(super) fn make_room(
        &mut self,
        state: &State,
        database: &Database,
        limit: u64,
    ) -> Result<(), BufferError> {
        let used = state.record_bytes + self.added_bytes;
        if used <= limit + self.removed_bytes {
            return Ok(());
        }
        let wanted = used - (limit - limit / 8);
        self.drop_kept_events(state, database, wanted)?;
        if self.removed_bytes < wanted {
            self.drop_samples(state, database, wanted)?;
        }
        let all_dropped = self.kept.0.through + 1 >= state.lanes.samples.next_sequence;
        if all_dropped && self.removed_bytes < wanted {
            self.replace_events(state, database, wanted)?;
        }
        Ok(())
    }

    /// Closes the change with the counters.
    pub(super) fn close(&mut self) {
        self.lanes.to_entry().put(&mut self.batch);
    }

    fn put_observation(
        &mut self,
        state: &mut State,
        observation: &Observation,
    ) -> Result<(), BufferError> {
        let mut row = state.dictionary.row(observation);
        // Numbers may change only while no record waits that was written under them. Those that are
        // kept go.
        let has_many = state.dictionary.len() as usize > 2 * row.len() + SPARE_SERIES;
        if has_many && self.lanes.samples.pending() == 0 {
            self.series_before = Some(state.dictionary.len());
            row = number_anew(state, observation, &row);
        }
        let sequence = self.lanes.samples.next_sequence;
        let at_ms = observation.timestamp_ms;
        let encoded = state.encoder.encode(sequence, at_ms, row);
        if encoded.key.is_none() {
            self.new_keys.push(sequence);
        }
        self.put(Lane::Samples, RecordHead { at_ms, key: encoded.key }, &encoded.bytes)
    }

    fn put_event(&mut self, event: &Event) -> Result<(), BufferError> {
        let body = encode_event(event).map_err(BufferError::Event)?;
        self.put(Lane::Events, RecordHead { at_ms: event.at_ms, key: None }, &body)
    }

    fn put(&mut self, lane: Lane, head: RecordHead, body: &[u8]) -> Result<(), BufferError> {
        if body.len() > MAX_BODY_BYTES {
            return Err(BufferError::TooLong { lane, bytes: body.len() });
        }
        let state = self.lanes.of_mut(lane);
        let entry = head.entry(lane, state.next_sequence, body);
        state.next_sequence += 1;
        self.added_bytes += entry.stored_bytes();
        match lane {
            Lane::Samples => self.last_observation_bytes = Some(entry.stored_bytes()),
            Lane::Events => self.added_event_bytes += entry.stored_bytes(),
        }
        entry.put(&mut self.batch);
        Ok(())
    }

    /// Drops the samples that are there although they were acknowledged. None of them is pending when
    /// the series are numbered anew, and all were written under the numbers before.
    fn drop_kept_samples(&mut self, state: &State, database: &Database) -> Result<(), BufferError> {
        self.kept.0.through = state.lanes.samples.next_sequence - 1;
        for entry in database.entries(Kind::Samples, 0, self.kept.0.through) {
            let entry = entry?;
            entry.remove(&mut self.batch);
            self.removed_bytes += entry.stored_bytes();
            self.kept.0.bytes += entry.stored_bytes();
            self.old_keys.push(entry.number);
        }
        Ok(())
    }

    fn drop_kept_events(
        &mut self,
        state: &State,
        database: &Database,
        wanted: u64,
    ) -> Result<(), BufferError> {
        for entry in database.entries(Kind::Events, 0, state.lanes.events.settled()) {
            let entry = entry?;
            if self.removed_bytes >= wanted {
                break;
            }
            entry.remove(&mut self.batch);
            self.removed_bytes += entry.stored_bytes();
            self.removed_event_bytes += entry.stored_bytes();
            self.kept.1.bytes += entry.stored_bytes();
            self.kept.1.through = entry.number;
        }
        Ok(())
    }

    fn drop_samples(
        &mut self,
        state: &State,
        database: &Database,
        wanted: u64,
    ) -> Result<(), BufferError> {
        let lane = state.lanes.samples;
        let gone = self.kept.0.through;
        let (mut freed, mut through) = (self.removed_bytes, gone.max(state.kept.samples.from - 1));
        let (mut found, mut lost) = (Vec::new(), Vec::<Gap>::new());
        for entry in database.entries(Kind::Samples, gone + 1, lane.next_sequence - 1) {
            let entry = entry?;
            // A key frame may have stayed behind alone, before all that is kept.
            if entry.number > through {
                if freed >= wanted {
                    break;
                }
                through = entry.number;
                if entry.number > lane.settled() && !state.committed.contains(entry.number) {
                    let (head, _) = RecordHead::read(&entry)?;
                    note_lost(&mut lost, entry.number, head.at_ms);
                }
            }
            freed += entry.stored_bytes();
            found.push((entry.number, entry.parts(), entry.stored_bytes()));
        }
        self.kept.0.through = through;
        // The next record may be one of this very change.
        let needed = self.new_keys.iter().copied().filter(|key| *key <= through + 1).max();
        let needed = needed.or_else(|| state.key_needed_after(through));
        for (number, parts, bytes) in found {
            let was_pending = number > lane.settled();
            if Some(number) != needed {
                remove(&mut self.batch, Kind::Samples, number, parts);
                self.removed_bytes += bytes;
                self.kept.0.bytes += if was_pending { 0 } else { bytes };
                self.old_keys.push(number);
            } else if was_pending {
                self.kept.0.key_bytes = bytes;
            }
        }
        if through > lane.settled() {
            self.lanes.samples.lost_through = through;
        }
        for gap in lost {
            self.dropped.samples += gap.last - gap.first + 1;
            self.dropped.sample_gaps += 1;
            self.put_event(&Event { at_ms: self.latest_ms, kind: EventKind::Gap(gap) })?;
        }
        Ok(())
    }

    fn replace_events(
        &mut self,
        state: &State,
        database: &Database,
        wanted: u64,
    ) -> Result<(), BufferError> {
        let lane = state.lanes.events;
        for entry in database.entries(Kind::Events, lane.settled() + 1, lane.next_sequence - 1) {
            let entry = entry?;
            if self.removed_bytes >= wanted {
                break;
            }
            if entry.stored_bytes() <= SMALL_EVENT_BYTES {
                continue;
            }
            let (head, _) = RecordHead::read(&entry)?;
            let gap = Gap {
                lane: Lane::Events,
                first: entry.number,
                last: entry.number,
                from_ms: Some(head.at_ms),
                to_ms: Some(head.at_ms),
                reason: "the buffer was full".to_owned(),
            };
            let event = Event { at_ms: head.at_ms, kind: EventKind::Gap(gap) };
            let body = encode_event(&event).map_err(BufferError::Event)?;
            let declaration = head.entry(Lane::Events, entry.number, &body);
            entry.remove(&mut self.batch);
            declaration.put(&mut self.batch);
            self.removed_bytes += entry.stored_bytes();
            self.removed_event_bytes += entry.stored_bytes();
            self.added_bytes += declaration.stored_bytes();
            self.added_event_bytes += declaration.stored_bytes();
            self.dropped.events += 1;
        }
        Ok(())
    }
}

/// Begins a dictionary of the series that are in an observation, and of those that it ends; gives its
/// row under their new numbers. `row` is that under the old ones.
fn number_anew(
    state: &mut State,
    observation: &Observation,
    row: &[(u32, f64)],
) -> Vec<(u32, f64)> {
    let old = std::mem::take(&mut state.dictionary);
    let ended = std::mem::take(&mut state.encoder).ended(row);
    state.numbering = rand::random();
    let mut row = state.dictionary.row(observation);
    for series in ended.into_iter().filter_map(|number| old.since(number).first()) {
        row.push((state.dictionary.number(Arc::clone(series)), stale_marker()));
    }
    row
}

/// Adds a sample that is dropped to the gaps that will declare it; what the collector has lies between
/// them.
fn note_lost(gaps: &mut Vec<Gap>, number: u64, at_ms: i64) {
    if let Some(gap) = gaps.last_mut().filter(|gap| gap.last + 1 == number) {
        (gap.last, gap.to_ms) = (number, Some(at_ms));
        return;
    }
    gaps.push(Gap {
        lane: Lane::Samples,
        first: number,
        last: number,
        from_ms: Some(at_ms),
        to_ms: Some(at_ms),
        reason: "the buffer was full".to_owned(),
    });
}
