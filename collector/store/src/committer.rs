//! Group commit: one thread gathers what all streams brought, writes once, syncs once, tells all.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use upkeep_model::{HostId, Labels, Ranges, StreamKey};

use crate::carried::Carried;
use crate::core::{Core, Intake};
use crate::delete::Deletion;
use crate::hold::next_hold;
use crate::journal::{Entry, Group, Journal, WriteError};
use crate::options::JOURNAL_OVERFULL;
use crate::points::NumberedPoint;
use crate::rows::Row;
use crate::store::{Append, Done};
use crate::stream::{Accepted, Stream};
use crate::{StoreError, seal};

/// A group is written once it has so many bytes, however much more is waiting.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// What the committer is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Make durable.
    Append(Submission),
    /// End the current segment and answer with the next one's number.
    Rotate(SyncSender<u64>),
    /// Take a host out of memory, and answer with what the database has yet to lose.
    Forget(HostId, SyncSender<Deletion>),
    /// Write what was declared, answer, and end.
    Stop(SyncSender<Result<(), StoreError>>),
}

/// What somebody waits for. Whoever drops it unanswered has closed the store.
pub(crate) struct Submission {
    appends: Vec<Append>,
    done: Option<Done>,
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Submission").field("appends", &self.appends.len()).finish()
    }
}

impl Submission {
    pub(crate) fn new(appends: Vec<Append>, done: Done) -> Self {
        Self { appends, done: Some(done) }
    }

    /// What it was made of; none where it was answered.
    pub(crate) fn into_parts(mut self) -> Option<(Vec<Append>, Done)> {
        let done = self.done.take()?;
        Some((std::mem::take(&mut self.appends), done))
    }

    fn tell(mut self, result: Result<(), StoreError>) {
        if let Some(done) = self.done.take() {
            done(result);
        }
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Err(StoreError::Closed));
        }
    }
}

/// The committer's own state.
#[derive(Debug)]
pub(crate) struct Committer {
    core: Arc<Core>,
    journal: Journal,
    carried: Carried,
    poison: Option<String>,
    /// How long the next group waits for more.
    hold: Duration,
    /// Wakes whoever seals when the journal has grown too long.
    pressure: SyncSender<seal::Wake>,
}

/// A group that is being put together.
#[derive(Debug)]
struct Staging {
    segment: u64,
    group: Group,
    rows: Vec<StagedRow>,
    points: Vec<(HostId, Vec<NumberedPoint>)>,
    /// What each stream had accepted before the group.
    before: HashMap<StreamKey, Ranges>,
    dirty: BTreeSet<StreamKey>,
}

#[derive(Debug)]
struct StagedRow {
    stream: StreamKey,
    sequence: u64,
    accepted: Accepted,
    body: Range<usize>,
}

impl Committer {
    pub(crate) fn new(core: Arc<Core>, journal: Journal, pressure: SyncSender<seal::Wake>) -> Self {
        let hold = core.options.hold;
        Self { core, journal, carried: Carried::default(), poison: None, hold, pressure }
    }

    /// Works until it is told to stop or nobody can tell it anything any more.
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        let mut next = None;
        while let Some(command) = next.take().or_else(|| commands.recv().ok()) {
            match command {
                Command::Append(first) => {
                    let (submissions, other) = self.gather(first, commands);
                    next = other;
                    self.commit(submissions);
                }
                Command::Rotate(answer) => {
                    let _ = answer.send(self.journal.rotate());
                }
                Command::Forget(home, answer) => {
                    let below = self.journal.rotate();
                    let _ = answer.send(self.core.forget(home, below));
                }
                Command::Stop(answer) => {
                    let _ = answer.send(self.commit_declared());
                    return;
                }
            }
        }
    }

    /// Collects submissions until the hold is over or the group is large. Another command ends it
    /// as well and is handed back.
    fn gather(
        &mut self,
        first: Submission,
        commands: &Receiver<Command>,
    ) -> (Vec<Submission>, Option<Command>) {
        let mut bytes = first.size();
        let mut submissions = vec![first];
        // Waiting for each submission would wake this thread as often.
        if !self.hold.is_zero() {
            thread::sleep(self.hold);
        }
        let mut other = None;
        while bytes < GROUP_BYTES {
            match commands.try_recv() {
                Ok(Command::Append(submission)) => {
                    bytes += submission.size();
                    submissions.push(submission);
                }
                Ok(command) => {
                    other = Some(command);
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        self.hold = next_hold(&self.core.options, self.hold, submissions.len(), bytes);
        (submissions, other)
    }

    fn commit(&mut self, submissions: Vec<Submission>) {
        let mut waiting = submissions.into_iter();
        // What a segment must tell of series beside them may make several groups of them.
        while waiting.len() > 0 {
            let mut staged = Vec::new();
            match self.stage(&mut waiting, &mut staged) {
                Ok(staging) => {
                    let written = self.write(staging);
                    for (submission, own) in staged {
                        submission.tell(own.and(written.clone()));
                    }
                }
                Err(error) => waiting.by_ref().for_each(|one| one.tell(Err(error.clone()))),
            }
        }
        if self.core.journal.bytes() > self.core.options.journal_bytes {
            // A full channel means that it was woken already.
            let _ = self.pressure.try_send(seal::Wake::JournalIsLong);
        }
    }

    /// Writes what was declared since the last group.
    fn commit_declared(&mut self) -> Result<(), StoreError> {
        if self.core.intake().dirty.is_empty() {
            return Ok(());
        }
        let staging = self.stage(&mut Vec::new().into_iter(), &mut Vec::new())?;
        self.write(staging)
    }

    /// Checks what was submitted and encodes what is good, until the group is large. Each submission
    /// gets its own result; after an error none was taken.
    fn stage(
        &mut self,
        waiting: &mut std::vec::IntoIter<Submission>,
        staged: &mut Vec<(Submission, Result<(), StoreError>)>,
    ) -> Result<Staging, StoreError> {
        if let Some(reason) = &self.poison {
            return Err(StoreError::Poisoned { reason: reason.clone() });
        }
        let (bytes, limit) = (self.core.journal.bytes(), self.core.options.journal_bytes);
        if bytes > limit.saturating_mul(JOURNAL_OVERFULL) {
            return Err(StoreError::Overfull { bytes, limit });
        }
        let (segment, group) = self.journal.begin()?;
        if self.carried.segment != segment {
            let is_followed = self.core.followed.is_followed();
            self.carried = Carried::of_segment(segment, is_followed);
        }
        let core = Arc::clone(&self.core);
        let mut intake = core.intake();
        let mut staging = Staging {
            segment,
            group,
            rows: Vec::new(),
            points: Vec::new(),
            before: HashMap::new(),
            dirty: std::mem::take(&mut intake.dirty),
        };
        for stream in &staging.dirty {
            if let Some(state) = intake.streams.get(stream) {
                self.carried.declare(&mut staging.group, &core.index(), *stream, state);
            }
        }
        while staging.group.len() < GROUP_BYTES
            && let Some(mut submission) = waiting.next()
        {
            let mut result = Ok(());
            for append in std::mem::take(&mut submission.appends) {
                result = result.and(self.stage_one(&mut staging, &mut intake, append));
            }
            staged.push((submission, result));
        }
        Ok(staging)
    }

    fn stage_one(
        &mut self,
        staging: &mut Staging,
        intake: &mut Intake,
        append: Append,
    ) -> Result<(), StoreError> {
        match append {
            Append::Frame { stream, sequence, body } => {
                let state = intake.streams.entry(stream).or_default();
                self.stage_frame(staging, state, stream, sequence, body)
            }
            Append::Points { home, points } => {
                let points = self.core.number_points(home, points)?;
                self.stage_points(staging, home, points)
            }
            Append::Numbered { home, points } => {
                let points =
                    points.into_iter().map(|(number, at_ms, value)| (number.0, at_ms, value));
                self.stage_points(staging, home, points.collect())
            }
        }
    }

    fn stage_frame(
        &mut self,
        staging: &mut Staging,
        state: &mut Stream,
        stream: StreamKey,
        sequence: u64,
        body: Bytes,
    ) -> Result<(), StoreError> {
        if state.accepted.contains(sequence) {
            return Ok(());
        }
        if !state.follows(sequence) {
            let wanted = state.wanted_before(sequence);
            return Err(StoreError::Hole { stream, wanted, got: sequence });
        }
        let accepted = state.read(stream, sequence, &body)?;
        staging.before.entry(stream).or_insert_with(|| state.accepted.clone());
        state.accepted.insert(sequence..=sequence);
        state.trim_keys();
        state.last_ms = state.last_ms.max(Some(accepted.timestamp_ms));

        let group = &mut staging.group;
        self.carried.numbers(group, &self.core.index(), stream, state);
        match accepted.key {
            Some(key) => self.carried.key(group, stream, state, key),
            None => self.carried.own_key(stream, sequence),
        }
        let length = body.len();
        let generation = accepted.layout.generation;
        let end = group.push(&Entry::Frame { stream, generation, sequence, body });
        staging.rows.push(StagedRow { stream, sequence, accepted, body: end - length..end });
        Ok(())
    }

    fn stage_points(
        &mut self,
        staging: &mut Staging,
        home: HostId,
        points: Vec<NumberedPoint>,
    ) -> Result<(), StoreError> {
        if points.is_empty() {
            return Ok(());
        }
        let fresh = self.carried.series.see(&self.core, home, &points)?;
        for (number, labels) in fresh {
            staging.group.push(&Entry::Series { number, home, labels });
        }
        let entry = Entry::Points { points };
        staging.group.push(&entry);
        if let Entry::Points { points } = entry {
            staging.points.push((home, points));
        }
        Ok(())
    }

    /// Writes and syncs a group, then shows it to readers; or takes it back.
    fn write(&mut self, staging: Staging) -> Result<(), StoreError> {
        let Staging { segment, group, rows, points, before, dirty } = staging;
        if group.is_empty() {
            return Ok(());
        }
        let described = group.described();
        let bytes = group.finish();
        match self.journal.write(&bytes, described) {
            Ok(()) => {
                self.publish(segment, &bytes, rows, points);
                if let Some(end) = self.journal.end() {
                    self.core.followed.note_end(end);
                }
                Ok(())
            }
            Err(error) => {
                self.take_back(&before, dirty);
                let (WriteError::Refused(error) | WriteError::Uncertain(error)) = self.note(error);
                Err(error)
            }
        }
    }

    fn note(&mut self, error: WriteError) -> WriteError {
        match &error {
            WriteError::Refused(error) => {
                tracing::warn!(%error, "the journal took nothing of a group");
            }
            WriteError::Uncertain(error) => {
                tracing::error!(%error, "the journal cannot be trusted any more; no more appends");
                self.poison = Some(error.to_string());
            }
        }
        error
    }

    fn take_back(&mut self, before: &HashMap<StreamKey, Ranges>, dirty: BTreeSet<StreamKey>) {
        // What the segment carries is counted from what was staged, so the next group needs a new one.
        self.journal.rotate();
        let mut intake = self.core.intake();
        intake.dirty.extend(dirty);
        for (stream, accepted) in before {
            if let Some(state) = intake.streams.get_mut(stream) {
                state.roll_back(accepted);
            }
        }
    }

    fn publish(
        &self,
        segment: u64,
        bytes: &Bytes,
        rows: Vec<StagedRow>,
        points: Vec<(HostId, Vec<NumberedPoint>)>,
    ) {
        let mut head = self.core.head_mut();
        for StagedRow { stream, sequence, accepted, body } in rows {
            let Accepted { timestamp_ms, layout, key: _ } = accepted;
            let stream = head.streams.entry(stream).or_default();
            stream.committed.insert(sequence..=sequence);
            let (layout, body) = (&layout, bytes.get(body).unwrap_or_default());
            stream.rows.push(Row { sequence, timestamp_ms, segment, layout, body });
        }
        for (home, points) in points {
            let conflicts = head.points.add(home, segment, points);
            self.core.conflicts.fetch_add(conflicts, Ordering::Relaxed);
        }
    }
}

impl Submission {
    /// About how many bytes it adds to its group.
    fn size(&self) -> usize {
        let one = |append: &Append| match append {
            Append::Frame { body, .. } => body.len(),
            Append::Points { points, .. } => points.len() * size_of::<(Labels, i64, f64)>(),
            Append::Numbered { points, .. } => points.len() * size_of::<NumberedPoint>(),
        };
        self.appends.iter().map(one).sum()
    }
}
