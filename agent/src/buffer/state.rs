//! What the buffer keeps in memory of what is in the database.

use std::collections::BTreeSet;

use upkeep_codec::{Dictionary, Encoder};
use upkeep_model::{Epoch, Lane, Ranges};

use super::BufferError;
use super::change::Change;
use super::entry::{Entry, Kind};
use super::kept::{Kept, KeptLanes};
use super::recipe::Database;
use super::series;

/// Where a lane stands. Its pending records are all those from the one after the larger of
/// `acknowledged` and `lost_through` to the one before `next_sequence`, without a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneState {
    /// The sequence number that the next record will get.
    pub next_sequence: u64,
    /// All records up to here are committed at the collector.
    pub acknowledged: u64,
    /// The records up to here that were not acknowledged were dropped, and declared as a gap.
    pub lost_through: u64,
}

impl LaneState {
    /// The last sequence number that is no longer pending.
    pub fn settled(&self) -> u64 {
        self.acknowledged.max(self.lost_through)
    }

    /// How many records are pending.
    pub fn pending(&self) -> u64 {
        self.next_sequence.saturating_sub(1).saturating_sub(self.settled())
    }
}

impl Default for LaneState {
    /// A lane that never had a record.
    fn default() -> Self {
        Self { next_sequence: 1, acknowledged: 0, lost_through: 0 }
    }
}

/// Both lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lanes {
    pub(super) samples: LaneState,
    pub(super) events: LaneState,
    /// Where the present life begins, until a collector was told of it. Before that it sends nothing, so
    /// if it ends, the next one begins where it did.
    pub(super) untold: Option<Begins>,
}

/// The first sequence numbers of a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begins {
    samples: u64,
    events: u64,
}

impl Begins {
    pub(super) fn of(self, lane: Lane) -> u64 {
        match lane {
            Lane::Samples => self.samples,
            Lane::Events => self.events,
        }
    }
}

impl Lanes {
    pub(super) fn of(&self, lane: Lane) -> LaneState {
        match lane {
            Lane::Samples => self.samples,
            Lane::Events => self.events,
        }
    }

    pub(super) fn of_mut(&mut self, lane: Lane) -> &mut LaneState {
        match lane {
            Lane::Samples => &mut self.samples,
            Lane::Events => &mut self.events,
        }
    }

    /// Where a life begins that nobody was told of.
    fn begins(self) -> Begins {
        let next =
            Begins { samples: self.samples.next_sequence, events: self.events.next_sequence };
        self.untold.unwrap_or(next)
    }

    pub(super) fn to_entry(self) -> Entry {
        let lanes = [self.samples, self.events]
            .map(|lane| [lane.next_sequence, lane.acknowledged, lane.lost_through]);
        let untold = self.untold.map_or([0; 2], |begins| [begins.samples, begins.events]);
        let numbers = lanes.concat().into_iter().chain(untold);
        Entry::new(Kind::Counters, 0, numbers.flat_map(u64::to_le_bytes).collect())
    }

    fn from_payload(payload: &[u8]) -> Option<Self> {
        let (numbers, rest) = payload.as_chunks::<8>();
        let numbers: Vec<u64> = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let lane = |numbers: &[u64]| match *numbers {
            [next_sequence, acknowledged, lost_through] => {
                let state = LaneState { next_sequence, acknowledged, lost_through };
                (state.settled() < next_sequence).then_some(state)
            }
            _ => None,
        };
        let (samples, numbers) = numbers.split_at_checked(3)?;
        let (events, numbers) = numbers.split_at_checked(3)?;
        let untold = match *numbers {
            // A buffer of before there were lives has no further numbers.
            [] | [0, 0] => None,
            [samples, events] => Some(Begins { samples, events }),
            _ => return None,
        };
        rest.is_empty().then_some(Self { samples: lane(samples)?, events: lane(events)?, untold })
    }
}

/// The part of a record's payload that comes before its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHead {
    /// Wall clock of the observation or event in milliseconds since 1970.
    pub(super) at_ms: i64,
    /// The key frame that the record leans on; `None` for key frames and events.
    pub(super) key: Option<u64>,
}

impl RecordHead {
    pub(super) fn entry(self, lane: Lane, sequence: u64, body: &[u8]) -> Entry {
        let mut payload = Vec::with_capacity(16 + body.len());
        payload.extend_from_slice(&self.at_ms.to_le_bytes());
        payload.extend_from_slice(&self.key.unwrap_or_default().to_le_bytes());
        payload.extend_from_slice(body);
        Entry::new(lane.into(), sequence, payload)
    }

    pub(super) fn read(entry: &Entry) -> Result<(Self, &[u8]), BufferError> {
        let split = || {
            let (at_ms, rest) = entry.payload.split_first_chunk::<8>()?;
            let (key, body) = rest.split_first_chunk::<8>()?;
            let key = Some(u64::from_le_bytes(*key)).filter(|key| *key != 0);
            Some((Self { at_ms: i64::from_le_bytes(*at_ms), key }, body))
        };
        split().ok_or_else(|| {
            BufferError::Damaged(format!("record {} is too short for its head", entry.number))
        })
    }
}

/// What is known without reading the database again.
pub(super) struct State {
    pub(super) epoch: Epoch,
    pub(super) lanes: Lanes,
    /// Where the present life begins, told or not.
    pub(super) begins: Begins,
    pub(super) dictionary: Dictionary,
    /// Names the numbers that the dictionary's series have; another at random with each dictionary.
    pub(super) numbering: u64,
    pub(super) encoder: Encoder,
    /// What is there although it was acknowledged.
    pub(super) kept: KeptLanes,
    /// The samples that the collector has, as far as it said so. Those behind `acknowledged` were sent
    /// beside a backlog.
    pub(super) committed: Ranges,
    /// The key frames that are there: those of all records that are, and the last before them.
    pub(super) keys: BTreeSet<u64>,
    /// What all records take that are there.
    pub(super) record_bytes: u64,
    /// What of that the events take.
    pub(super) event_bytes: u64,
}

impl State {
    /// An empty buffer's.
    pub(super) fn new(epoch: Epoch) -> Self {
        let lanes = Lanes::default();
        let begins = lanes.begins();
        Self {
            epoch,
            lanes: Lanes { untold: Some(begins), ..lanes },
            begins,
            dictionary: Dictionary::default(),
            numbering: rand::random(),
            encoder: Encoder::default(),
            kept: KeptLanes::none(),
            committed: Ranges::default(),
            keys: BTreeSet::new(),
            record_bytes: 0,
            event_bytes: 0,
        }
    }

    /// Reads and checks everything that is in a database, for a life that begins.
    pub(super) fn load(database: &Database) -> Result<Self, BufferError> {
        let (mut epoch, mut lanes, mut series) = (None, None, Vec::new());
        let mut records = Records::default();
        for entry in database.all() {
            let entry = entry?;
            match entry.kind {
                Kind::Sentinel => epoch = <[u8; 16]>::try_from(entry.payload.as_slice()).ok(),
                Kind::Counters => lanes = Lanes::from_payload(&entry.payload),
                Kind::Series if entry.number == series.len() as u64 => {
                    series.extend(series::decode(&entry.payload).ok_or_else(|| damaged("series"))?);
                }
                Kind::Series => return Err(damaged("series")),
                Kind::Samples => {
                    let lane = lanes.ok_or_else(|| damaged("counters"))?.samples;
                    records.take(lane, Lane::Samples, &entry)?;
                }
                Kind::Events => {
                    let lane = lanes.ok_or_else(|| damaged("counters"))?.events;
                    records.take(lane, Lane::Events, &entry)?;
                }
            }
        }
        let lanes = lanes.ok_or_else(|| damaged("counters"))?;
        let kept = records.end(lanes)?;
        let begins = lanes.begins();
        Ok(Self {
            epoch: Epoch(epoch.ok_or_else(|| damaged("sentinel"))?),
            lanes: Lanes { untold: Some(begins), ..lanes },
            begins,
            kept,
            committed: Ranges::through(lanes.samples.acknowledged),
            dictionary: Dictionary::restore(series),
            numbering: rand::random(),
            encoder: Encoder::default(),
            keys: records.keys,
            record_bytes: records.bytes,
            event_bytes: records.event_bytes,
        })
    }

    /// Goes on with a life, if it is one of this epoch: its database was opened again.
    pub(super) fn continue_life(&mut self, former: &Self) {
        if self.epoch == former.epoch {
            self.begins = former.begins;
            self.lanes.untold = former.lanes.untold;
        }
    }

    /// Takes over what a change says, once it is written.
    pub(super) fn take(&mut self, change: Change) {
        self.lanes = change.lanes;
        self.record_bytes += change.added_bytes;
        self.record_bytes = self.record_bytes.saturating_sub(change.removed_bytes);
        self.event_bytes += change.added_event_bytes;
        self.event_bytes = self.event_bytes.saturating_sub(change.removed_event_bytes);
        for (lane, removed) in [(Lane::Samples, change.kept.0), (Lane::Events, change.kept.1)] {
            let kept = self.kept.of_mut(lane);
            kept.from = kept.from.max(removed.through.saturating_add(1));
            kept.bytes = (kept.bytes + removed.key_bytes).saturating_sub(removed.bytes);
        }
        self.keys.extend(change.new_keys);
        for key in change.old_keys {
            self.keys.remove(&key);
        }
    }

    /// How many samples are not delivered.
    pub(super) fn pending_samples(&self) -> u64 {
        let lane = self.lanes.samples;
        let pending = lane.settled() + 1..=lane.next_sequence.saturating_sub(1);
        let holes = self.committed.missing(pending).into_iter();
        holes.map(|hole| hole.end() - hole.start() + 1).sum()
    }

    /// The key frame that the record after `through` leans on, where it is a delta: the last key
    /// frame at or before it.
    pub(super) fn key_needed_after(&self, through: u64) -> Option<u64> {
        self.keys.range(..=through.saturating_add(1)).next_back().copied()
    }
}

/// The entry that proves that the database is the one that was written.
pub(super) fn sentinel(epoch: Epoch) -> Entry {
    Entry::new(Kind::Sentinel, 0, epoch.0.to_vec())
}

/// The records of a database as they are read in order.
#[derive(Default)]
struct Records {
    keys: BTreeSet<u64>,
    bytes: u64,
    event_bytes: u64,
    /// How many pending records of each lane were seen.
    samples: u64,
    events: u64,
    /// The run of settled records of each lane that ended last, and the record after it.
    kept_samples: Run,
    kept_events: Run,
}

/// Records that are not pending.
#[derive(Clone, Copy, Default)]
struct Run {
    /// The last of them without a hole, and the record after them.
    from: u64,
    end: u64,
    /// What all of them take.
    bytes: u64,
}

impl Run {
    fn add(&mut self, number: u64) {
        if number != self.end {
            self.from = number;
        }
        self.end = number + 1;
    }

    /// What is kept, if the run reaches up to the pending records. A key frame that stayed for them may
    /// stand at its begin, although it was dropped.
    fn kept(self, lane: LaneState) -> Kept {
        let settled = lane.settled();
        let reaches = self.end == settled + 1 && self.from > 0;
        let from = if reaches { self.from.max(lane.lost_through + 1) } else { settled + 1 };
        Kept::new(from, self.bytes)
    }
}

impl Records {
    fn take(&mut self, state: LaneState, lane: Lane, entry: &Entry) -> Result<(), BufferError> {
        let (head, _) = RecordHead::read(entry)?;
        let (seen, kept) = match lane {
            Lane::Samples => (&mut self.samples, &mut self.kept_samples),
            Lane::Events => (&mut self.events, &mut self.kept_events),
        };
        if entry.number > state.settled() {
            *seen += 1;
            if entry.number != state.settled() + *seen {
                return Err(missing(lane, state.settled() + *seen));
            }
            if head.key.is_some_and(|key| !self.keys.contains(&key)) {
                return Err(missing(lane, head.key.unwrap_or_default()));
            }
        } else {
            kept.bytes += entry.stored_bytes();
            if head.key.is_none_or(|key| self.keys.contains(&key)) {
                kept.add(entry.number);
            }
        }
        if lane == Lane::Samples && head.key.is_none() {
            self.keys.insert(entry.number);
        }
        self.bytes += entry.stored_bytes();
        if lane == Lane::Events {
            self.event_bytes += entry.stored_bytes();
        }
        Ok(())
    }

    fn end(&self, lanes: Lanes) -> Result<KeptLanes, BufferError> {
        for (lane, seen) in [(Lane::Samples, self.samples), (Lane::Events, self.events)] {
            if seen != lanes.of(lane).pending() {
                return Err(missing(lane, lanes.of(lane).settled() + seen + 1));
            }
        }
        Ok(KeptLanes {
            samples: self.kept_samples.kept(lanes.samples),
            events: self.kept_events.kept(lanes.events),
        })
    }
}

fn damaged(what: &str) -> BufferError {
    BufferError::Damaged(format!("its {what} cannot be read"))
}

/// The error for a record that should be there.
pub(super) fn missing(lane: Lane, sequence: u64) -> BufferError {
    BufferError::Damaged(format!("record {sequence} of lane {lane} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_come_back_and_those_of_before_there_were_lives_can_be_read() {
        let lane = |next_sequence| LaneState { next_sequence, acknowledged: 2, lost_through: 1 };
        let told = Lanes { samples: lane(9), events: lane(4), untold: None };
        let untold = Lanes { untold: Some(Begins { samples: 7, events: 3 }), ..told };
        for lanes in [told, untold] {
            assert_eq!(Lanes::from_payload(&lanes.to_entry().payload), Some(lanes));
        }
        let payload = told.to_entry().payload;
        assert_eq!(Lanes::from_payload(&payload[..48]), Some(told));
        for cut in [0, 24, 40, 47, 49, 56, 63] {
            assert_eq!(Lanes::from_payload(&payload[..cut]), None, "{cut} bytes");
        }
    }
}
