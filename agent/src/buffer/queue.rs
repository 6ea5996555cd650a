//! The queue itself.

mod delivered;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use tracing::{info, warn};
use upkeep_model::{Epoch, Lane, Life, Series};
use upkeep_wire::encode_event;

use super::change::{Change, Dropped};
use super::entry::{Entry, Kind};
use super::folder::Root;
use super::losses::{Loss, LossCause, Losses, Refused, unnumbered_gap};
use super::memory::Memory;
use super::recipe::{self, Database, Opening};
use super::room::Room;
use super::state::{LaneState, Lanes, RecordHead, State, missing, sentinel};
use super::tide::Tide;
use super::{BufferError, Draft, Options, Portion, Record, Statistics};

/// A drained database whose file is longer is replaced by a fresh one.
const SHRINK_BYTES: u64 = 16 * 1024 * 1024;

/// The queue. All its methods block on the disk.
pub struct Buffer {
    root: Root,
    tide: Tide,
    room: Room,
    /// `None` after a failure, until it could be opened again.
    database: Option<Database>,
    state: State,
    life: Life,
    /// Whether the file's content is in doubt and has to be copied to a fresh folder.
    in_doubt: bool,
    shrink_bytes: u64,
    refused: Option<Refused>,
    refused_records: u64,
    last_observation_bytes: u64,
    dropped: Dropped,
    appended_bytes: u64,
    losses: Losses,
    latest_ms: i64,
    _lock: File,
}

impl Buffer {
    /// Opens the buffer in a folder of its own, which is made if it is not there. `now_ms` is the
    /// wall clock, for the declaration of a loss.
    ///
    /// # Errors
    /// When the folder cannot be used, or another process uses it. Damage is no error: what is
    /// damaged is put aside and declared.
    pub fn open(folder: &Path, options: Options, now_ms: i64) -> Result<Self, BufferError> {
        Self::open_root(Root::prepare(folder)?, options, now_ms)
    }

    /// The same with the records in memory, which are lost as a disk would lose them; what stands
    /// beside the database is in the folder all the same.
    ///
    /// # Errors
    /// As [`Buffer::open`].
    pub fn open_in_memory(
        folder: &Path,
        memory: &Memory,
        options: Options,
        now_ms: i64,
    ) -> Result<Self, BufferError> {
        Self::open_root(Root::prepare_in_memory(folder, memory)?, options, now_ms)
    }

    fn open_root(root: Root, options: Options, now_ms: i64) -> Result<Self, BufferError> {
        let lock = recipe::lock(&root)?;
        let tide = Tide::open(&root)?;
        let mut buffer = Self {
            root,
            tide,
            room: Room::new(options),
            database: None,
            state: State::new(Epoch([0; 16])),
            life: Life(rand::random()),
            in_doubt: false,
            shrink_bytes: SHRINK_BYTES,
            refused: None,
            refused_records: 0,
            last_observation_bytes: 0,
            dropped: Dropped::default(),
            appended_bytes: 0,
            losses: Losses::default(),
            latest_ms: now_ms,
            _lock: lock,
        };
        buffer.heal()?;
        Ok(buffer)
    }

    /// The name of this buffer.
    pub fn epoch(&self) -> Epoch {
        self.state.epoch
    }

    /// The name of its life since [`Buffer::open`].
    pub fn life(&self) -> Life {
        self.life
    }

    /// Where the life begins in a lane.
    pub fn life_from(&self, lane: Lane) -> u64 {
        self.state.begins.of(lane)
    }

    /// Where a lane stands.
    pub fn lane(&self, lane: Lane) -> LaneState {
        self.state.lanes.of(lane)
    }

    /// Appends drafts, all or none; they are durable when this returns. Where the buffer is full,
    /// old records go to make room.
    ///
    /// # Errors
    /// When they could not be written. Observations are then counted, and declared as a gap by the
    /// next append that succeeds; events are for the caller to bring again.
    pub fn append(&mut self, drafts: &[Draft]) -> Result<(), BufferError> {
        self.latest_ms = drafts.iter().map(Draft::at_ms).max().unwrap_or(self.latest_ms);
        let outcome = self.heal().and_then(|()| self.try_append(drafts));
        match &outcome {
            Ok(()) => {
                if let Some(refused) = self.refused.take() {
                    self.note_loss(Lane::Samples, LossCause::NotWritten, Some(refused.records), 1);
                }
            }
            Err(error) => self.note_refused(drafts, error),
        }
        outcome
    }

    /// The first record of a lane that is still there, acknowledged or not; all after it are.
    pub fn kept_from(&self, lane: Lane) -> u64 {
        self.state.kept.of(lane).from
    }

    /// Pending records of a lane after a sequence number, in order. Records that were settled
    /// meanwhile are passed over.
    ///
    /// # Errors
    /// When the database cannot be read. If it is damaged, the buffer has a new epoch afterwards.
    pub fn pending(
        &mut self,
        lane: Lane,
        after: u64,
        portion: Portion,
    ) -> Result<Vec<Record>, BufferError> {
        self.heal()?;
        let state = self.state.lanes.of(lane);
        let read = |database: &Database| read_pending(database, state, lane, after, portion);
        read(self.healthy()?).map_err(|error| self.fail(error))
    }

    /// Names the numbers that series have at the moment. They are numbered anew, from 0 on, when
    /// most have ended and every record was acknowledged.
    pub fn numbering(&self) -> u64 {
        self.state.numbering
    }

    /// The series that have numbers, from a number on, in the order of their numbers.
    pub fn series_since(&self, number: u32) -> &[Arc<Series>] {
        self.state.dictionary.since(number)
    }

    /// The key frame of a sequence number, as long as a pending record may lean on it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn key_frame(&mut self, sequence: u64) -> Result<Option<Vec<u8>>, BufferError> {
        if !self.state.keys.contains(&sequence) {
            return Ok(None);
        }
        let read = |database: &Database| {
            let entry = database.entry(Kind::Samples, sequence)?;
            entry.map(|entry| RecordHead::read(&entry).map(|(_, body)| body.to_vec())).transpose()
        };
        read(self.healthy()?).map_err(|error| self.fail(error))
    }

    /// What the buffer tells about itself.
    pub fn statistics(&self) -> Statistics {
        let Lanes { events, .. } = self.state.lanes;
        let oldest_of = |lane: Lane| {
            let state = self.state.lanes.of(lane);
            let first = state.settled() + 1;
            let entry = (first < state.next_sequence)
                .then(|| self.database.as_ref()?.entry(lane.into(), first).ok().flatten())??;
            RecordHead::read(&entry).ok().map(|(head, _)| head.at_ms)
        };
        Statistics {
            samples: self.state.pending_samples(),
            events: events.pending(),
            bytes: self.state.record_bytes.saturating_sub(self.state.kept.bytes()),
            event_bytes: self.state.event_bytes.saturating_sub(self.state.kept.events.bytes),
            limit_bytes: self.room.limit_bytes(),
            disk_left_bytes: self.room.left_on_disk(),
            appended_bytes: self.appended_bytes,
            oldest_ms: Lane::ALL.into_iter().filter_map(oldest_of).min(),
            dropped_samples: self.dropped.samples,
            dropped_events: self.dropped.events,
            refused: self.refused_records,
            undeclared: self.refused.as_ref().map_or(0, |refused| refused.records),
            last_observation_bytes: self.last_observation_bytes,
        }
    }

    /// What was lost and declared since the buffer was opened.
    pub fn losses(&self) -> &[Loss] {
        self.losses.as_slice()
    }

    /// Puts everything aside and begins a new epoch, which opens with the declaration of the loss.
    /// For a buffer whose sequence numbers cannot be trusted, such as one from an old copy of the
    /// disk.
    ///
    /// # Errors
    /// When no fresh database can be made.
    pub fn start_over(&mut self, reason: &str) -> Result<(), BufferError> {
        let number = self.database.take().map(|database| database.number());
        match recipe::lose(&self.root, number, reason)? {
            Opening::Lost { next, reason } => self.begin(next, Some(reason)),
            Opening::Sound(_) | Opening::Fresh(_) => self.heal(),
        }
    }

    /// Drops the handle, so that the next use opens the database again. For a buffer whose thread
    /// panicked, and whose memory may therefore not agree with the disk.
    pub(super) fn distrust(&mut self) {
        self.database = None;
    }

    fn healthy(&mut self) -> Result<&Database, BufferError> {
        self.heal()?;
        self.database.as_ref().ok_or_else(|| BufferError::Locked(self.root.path().to_owned()))
    }

    /// Opens the database if it is not open.
    fn heal(&mut self) -> Result<(), BufferError> {
        if self.database.is_some() {
            return Ok(());
        }
        match recipe::open(&self.root)? {
            Opening::Fresh(number) => self.begin(number, None),
            Opening::Lost { next, reason } => self.begin(next, Some(reason)),
            Opening::Sound(database) => match State::load(&database) {
                Ok(mut state) => {
                    if let Some(missing) = self.tide.missing(state.epoch, &state.lanes) {
                        self.database = Some(database);
                        return self.start_over(&missing);
                    }
                    state.continue_life(&self.state);
                    self.state = state;
                    if self.in_doubt {
                        self.replace(database)
                    } else {
                        self.database = Some(database);
                        Ok(())
                    }
                }
                Err(BufferError::Damaged(reason)) => {
                    self.database = Some(database);
                    self.start_over(&reason)
                }
                Err(error) => Err(error),
            },
        }
    }

    /// Makes a fresh database of a new epoch.
    fn begin(&mut self, number: u64, loss: Option<String>) -> Result<(), BufferError> {
        let mut state = State::new(Epoch(rand::random()));
        let mut entries = vec![sentinel(state.epoch)];
        let is_loss = loss.is_some();
        if let Some(reason) = loss {
            warn!(epoch = %state.epoch, "{reason}; a new epoch begins");
            let at_ms = self.latest_ms;
            for lane in Lane::ALL {
                let gap = unnumbered_gap(lane, None, at_ms, reason.clone());
                let body = encode_event(&gap).map_err(BufferError::Event)?;
                let head = RecordHead { at_ms, key: None };
                let entry = head.entry(Lane::Events, state.lanes.events.next_sequence, &body);
                state.lanes.events.next_sequence += 1;
                state.record_bytes += entry.stored_bytes();
                state.event_bytes += entry.stored_bytes();
                entries.push(entry);
            }
        }
        entries.push(state.lanes.to_entry());
        let database = Database::create(&self.root, number, entries.into_iter().map(Ok))?;
        self.database = Some(database);
        self.state = state;
        self.in_doubt = false;
        if is_loss {
            for lane in Lane::ALL {
                self.note_loss(lane, LossCause::DatabaseLost, None, 1);
            }
        }
        Ok(())
    }

    fn try_append(&mut self, drafts: &[Draft]) -> Result<(), BufferError> {
        let outcome = self.write(drafts);
        let Err((error, written)) = outcome else { return Ok(()) };
        // The batch may be on the disk all the same; opening again syncs what is there.
        self.fail_quietly(&error);
        match (self.heal(), written) {
            (Ok(()), Some(lanes)) if self.state.lanes == lanes => Ok(()),
            _ => Err(error),
        }
    }

    /// Writes one append. An error comes with the counters that are in force if the batch reached
    /// the disk, where it was given to the database at all.
    fn write(&mut self, drafts: &[Draft]) -> Result<(), (BufferError, Option<Lanes>)> {
        let early = |error| (error, None);
        let Some(database) = &self.database else { return Ok(()) };
        let change = Change::of(&mut self.state, database, drafts, self.refused.as_ref());
        let mut change = change.map_err(early)?;
        let limit = self.room.limit(self.state.record_bytes, self.root.path());
        change.make_room(&self.state, database, limit).map_err(early)?;
        change.close();
        if let Some(bytes) = change.last_observation_bytes {
            self.last_observation_bytes = bytes;
        }
        let written = change.lanes;
        let batch = std::mem::take(&mut change.batch);
        database.commit(batch).map_err(|error| (error, Some(written)))?;
        if let Some(before) = change.series_before {
            let series = self.state.dictionary.len();
            info!(before, series, "series that ended are forgotten, and the others numbered anew");
        }
        self.note_dropped(change.dropped);
        self.appended_bytes += change.added_bytes;
        if change.dropped != Dropped::default() {
            warn!(
                samples = change.dropped.samples,
                events = change.dropped.events,
                "the buffer is full: the oldest records were dropped and declared as a gap"
            );
        }
        self.state.take(change);
        self.tide.note(self.state.epoch, &self.state.lanes);
        Ok(())
    }

    /// Moves to a fresh folder when nothing is pending and the file is much longer than it need be.
    fn shrink(&mut self) {
        let Lanes { samples, events, .. } = self.state.lanes;
        if samples.pending() + events.pending() > 0 {
            return;
        }
        let Some(database) = self.database.take() else { return };
        let before = database.file_bytes();
        if before <= self.shrink_bytes {
            self.database = Some(database);
            return;
        }
        match self.replace(database) {
            Ok(()) => {
                let after = self.database.as_ref().map_or(0, Database::file_bytes);
                self.shrink_bytes = SHRINK_BYTES.max(after * 2);
                info!(before, after, "the drained buffer moved to a fresh folder");
            }
            Err(error) => {
                // It is only about room, so there is no hurry to try again.
                self.shrink_bytes = before * 2;
                warn!("the drained buffer cannot move to a fresh folder: {error}");
            }
        }
    }

    /// Copies all that counts to a fresh folder and goes on there. If that fails, the old folder
    /// still counts, and is opened again when it is next needed.
    fn replace(&mut self, database: Database) -> Result<(), BufferError> {
        let State { kept, keys, .. } = &self.state;
        let counts = |entry: &Entry| match entry.kind {
            Kind::Samples => entry.number >= kept.samples.from || keys.contains(&entry.number),
            Kind::Events => entry.number >= kept.events.from,
            Kind::Sentinel | Kind::Counters | Kind::Series => true,
        };
        let entries = database.all().filter(|entry| entry.as_ref().map_or(true, counts));
        let number = database.number();
        let fresh = Database::create(&self.root, number + 1, entries)?;
        drop(database);
        self.database = Some(fresh);
        self.in_doubt = false;
        if let Err(error) = self.root.remove(number) {
            warn!("the buffer's former folder stays for now: {error}");
        }
        Ok(())
    }

    /// Drops the handle after a failure and tries to open the database again.
    fn fail(&mut self, error: BufferError) -> BufferError {
        self.fail_quietly(&error);
        if let Err(again) = self.heal() {
            warn!("the buffer cannot be opened again yet: {again}");
        }
        error
    }

    fn fail_quietly(&mut self, error: &BufferError) {
        self.in_doubt |= error.leaves_doubt();
        match error {
            BufferError::Damaged(reason) => {
                if let Err(again) = self.start_over(reason) {
                    warn!("no fresh buffer can be made yet: {again}");
                }
            }
            _ => self.database = None,
        }
    }

    fn note_dropped(&mut self, dropped: Dropped) {
        let Dropped { samples, events, sample_gaps } = dropped;
        self.dropped.samples += samples;
        self.dropped.events += events;
        self.note_loss(Lane::Samples, LossCause::Full, Some(samples), sample_gaps);
        self.note_loss(Lane::Events, LossCause::Full, Some(events), events);
    }

    fn note_loss(&mut self, lane: Lane, cause: LossCause, records: Option<u64>, gaps: u64) {
        self.losses.note(Loss { lane, cause, records, gaps, last_ms: self.latest_ms });
    }

    fn note_refused(&mut self, drafts: &[Draft], error: &BufferError) {
        let times = drafts.iter().filter_map(|draft| match draft {
            Draft::Observation(observation) => Some(observation.timestamp_ms),
            Draft::Event(_) => None,
        });
        for at_ms in times {
            self.refused_records += 1;
            let refused = self.refused.get_or_insert_with(|| Refused {
                from_ms: at_ms,
                to_ms: at_ms,
                records: 0,
                reason: String::new(),
            });
            refused.to_ms = at_ms;
            refused.records += 1;
            refused.reason = error.to_string();
        }
    }
}

fn read_pending(
    database: &Database,
    state: LaneState,
    lane: Lane,
    after: u64,
    portion: Portion,
) -> Result<Vec<Record>, BufferError> {
    let first = after.max(state.settled()) + 1;
    let last = state.next_sequence.min(first.saturating_add(portion.records)).saturating_sub(1);
    let (mut records, mut bytes) = (Vec::new(), 0);
    if first > last {
        return Ok(records);
    }
    for (entry, sequence) in database.entries(lane.into(), first, last).zip(first..) {
        let entry = entry?;
        let (head, body) = RecordHead::read(&entry)?;
        if entry.number != sequence {
            return Err(missing(lane, sequence));
        }
        bytes += body.len();
        if bytes > portion.bytes && !records.is_empty() {
            return Ok(records);
        }
        let body = body.to_vec();
        records.push(Record { sequence, at_ms: head.at_ms, key: head.key, body });
    }
    if records.is_empty() { Err(missing(lane, first)) } else { Ok(records) }
}
