//! The store as its users see it.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use upkeep_model::{HostId, Labels, Matcher, Ranges, SeriesSamples, StreamKey};

use crate::committer::{Command, Committer, Submission};
use crate::core::{Core, milliseconds};
use crate::coverage::Extent;
use crate::damage::{Damage, DamageLog};
use crate::folder::Folder;
use crate::follow::{Followed, Follower, Place};
use crate::index::SeriesNumber;
use crate::journal::Journal;
use crate::pace::Pace;
use crate::reading::{Found, Stretch};
use crate::recover::{Contents, Recovered, recover};
use crate::usage::{Size, Usage};
use crate::verify::Verification;
use crate::{Options, Reading, StoreError, compact, seal};

/// So many submissions wait for the committer before submitting blocks: more than a group ever
/// takes at the rates one committer can sync.
const COMMANDS_WAITING: usize = 4096;

/// Is told once what came of an append.
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// One thing to be made durable.
#[derive(Clone, Debug)]
pub enum Append {
    /// A record of a host's samples lane.
    Frame {
        /// Whose it is.
        stream: StreamKey,
        /// Its place in the stream, counted from 1.
        sequence: u64,
        /// The frame as `upkeep-codec` encodes it.
        body: Bytes,
    },
    /// Samples the collector itself makes: `up`, results of recording rules.
    Points {
        /// The host they are about, or the collector's own identity.
        home: HostId,
        /// Full label sets, milliseconds since 1970, values.
        points: Vec<(Labels, i64, f64)>,
    },
    /// Samples of series whose numbers [`Store::number`] gave. All of them are taken or none.
    Numbered {
        /// Whose series they are.
        home: HostId,
        /// Numbers, milliseconds since 1970, values.
        points: Vec<(SeriesNumber, i64, f64)>,
    },
}

/// Samples of all hosts. Share it behind an `Arc`; all methods block.
#[derive(Debug)]
pub struct Store {
    core: Arc<Core>,
    wakes: SyncSender<seal::Wake>,
    /// Dropped to end compaction.
    halt: Mutex<Option<SyncSender<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Opens the store in a folder, which is made if it is not there.
    ///
    /// Damage is not an error: it is logged, told by [`Store::damage`], and set aside.
    ///
    /// # Errors
    /// When the folder or a file in it cannot be read or written, or was made by a newer version; or when
    /// the options contradict each other.
    pub fn open(folder: &Path, options: Options) -> Result<Self, StoreError> {
        options.check()?;
        let folder = Folder::open(folder)?;
        let damage = DamageLog::default();
        let recovered = recover(&folder, &options, &damage)?;
        let journal = recovered.journal.clone();
        let writer = Journal::new(journal, options.segment_bytes, recovered.next_segment);
        Self::start(folder, options, damage, recovered, writer)
    }

    fn start(
        folder: Folder,
        options: Options,
        damage: DamageLog,
        recovered: Recovered,
        writer: Journal,
    ) -> Result<Self, StoreError> {
        let Recovered { database, journal, contents, damaged_segments, next_segment } = recovered;
        let followed_from = options.followed_from;
        let Contents { state, index, intake, head, deleted: _ } = contents;
        let (commands, inbox) = mpsc::sync_channel(COMMANDS_WAITING);
        let (wakes, alarm) = mpsc::sync_channel(1);
        let (halt, halted) = mpsc::sync_channel(0);
        let longest_span_ms = state.longest_span_ms.max(milliseconds(options.span));
        let longest_span_ms = longest_span_ms.max(milliseconds(options.cold_span));
        let summarised_ms = AtomicI64::new(state.summarised.begun_ms());
        let core = Arc::new(Core {
            folder,
            options,
            database,
            journal,
            damage,
            damaged_segments,
            longest_span_ms,
            followed: Followed::new(next_segment, followed_from),
            conflicts: AtomicU64::new(0),
            state: Mutex::new(state),
            deletions: Mutex::default(),
            intake: Mutex::new(intake),
            index: RwLock::new(index),
            head: RwLock::new(head),
            commands,
            dropped_bytes: AtomicU64::default(),
            reading: RwLock::default(),
            summarised_ms,
            believed_ms: AtomicI64::new(i64::MIN),
        });
        let committer = Committer::new(Arc::clone(&core), writer, wakes.clone());
        let (compacting, sealing) = (Arc::clone(&core), Arc::clone(&core));
        let threads = vec![
            spawn("store-commit", move || committer.run(&inbox))?,
            spawn("store-compact", move || compact::run(&compacting, &halted))?,
            spawn("store-seal", move || seal::run(&sealing, &alarm))?,
        ];
        Ok(Self { core, wakes, halt: Mutex::new(Some(halt)), threads: Mutex::new(threads) })
    }

    /// Gives numbers of a stream their series, complete label sets in the order of their numbers
    /// from `first_number` on. Repeating a description changes nothing; a number may get another
    /// label set (when its host was renamed), which then holds for the frames that follow. It is
    /// durable with the next commit.
    ///
    /// # Errors
    /// When numbers before `first_number` were not described.
    pub fn describe(
        &self,
        stream: StreamKey,
        first_number: u32,
        series: &[Labels],
    ) -> Result<(), StoreError> {
        self.core.describe(stream, first_number, series)
    }

    /// The number of a series at a home, for [`Append::Numbered`]; one that is new is made, and counts
    /// among [`Options::max_series`] without being refused: who calls this has bounds of his own.
    pub fn number(&self, home: HostId, labels: &Labels) -> SeriesNumber {
        SeriesNumber(self.core.index_mut().intern(home, labels))
    }

    /// How many samples were left out since the store was opened because their instant had another
    /// value already. What is seen: values within one span of one stream, and of the points of one
    /// home. What is not: a stream against another or against points, and what was sealed before;
    /// there the first sealed value is read, and nothing counted.
    pub fn conflicts(&self) -> u64 {
        self.core.conflicts.load(Ordering::Relaxed)
    }

    /// Gives a key frame of an already committed record, which records to come lean on.
    ///
    /// # Errors
    /// When the bytes are not a key frame, or one of numbers that were not described.
    pub fn reference(
        &self,
        stream: StreamKey,
        sequence: u64,
        frame: &[u8],
    ) -> Result<(), StoreError> {
        self.core.reference(stream, sequence, frame)
    }

    /// Appends, and calls `done` once all of it is durable, or with the first error. `done` runs on
    /// the committer's thread and must be quick. This blocks while the committer's queue is full.
    ///
    /// Of several values of one series for one instant the first stays; between two streams, or a
    /// stream and the collector's own points, it is the one that was sealed first.
    ///
    /// A frame that is committed already is skipped silently; one that neither follows on another nor
    /// begins where [`Store::begin_at`] allowed it is refused as a hole. A frame that is refused
    /// leaves the rest of the group unharmed, except that the frames after it in its own range are a
    /// hole until [`Store::skip`] passes over it or it comes again in good order.
    pub fn submit(&self, appends: Vec<Append>, done: Done) {
        let submission = Submission::new(appends, done);
        // A submission that is not sent is dropped, which tells that the store is closed.
        let _ = self.core.commands.send(Command::Append(submission));
    }

    /// The same, but where the committer's queue is full everything is handed back instead of waiting.
    ///
    /// # Errors
    /// When the queue is full.
    pub fn try_submit(&self, appends: Vec<Append>, done: Done) -> Result<(), (Vec<Append>, Done)> {
        match self.core.commands.try_send(Command::Append(Submission::new(appends, done))) {
            Err(TrySendError::Full(Command::Append(submission))) => match submission.into_parts() {
                Some(parts) => Err(parts),
                None => Ok(()),
            },
            // What is not sent is dropped, which tells that the store is closed.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Appends and waits until all of it is durable.
    ///
    /// # Errors
    /// The first of those that [`Store::submit`] would tell.
    pub fn commit(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        let (answer, result) = mpsc::sync_channel(1);
        let done = Box::new(move |result| {
            let _ = answer.send(result);
        });
        self.submit(appends, done);
        result.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Declares that records will never come. It is durable with the next commit. Says whether it was
    /// noted: it is not where a stream has too many ranges already, and these would be one more.
    pub fn skip(&self, stream: StreamKey, numbers: RangeInclusive<u64>) -> bool {
        self.core.skip(stream, numbers)
    }

    /// Lets a range of its own begin with a record, although records before it are missing; it takes
    /// the place of the one that was allowed before. Says whether it may: the ranges of a stream are
    /// bounded.
    pub fn begin_at(&self, stream: StreamKey, first: u64) -> bool {
        self.core.begin_at(stream, first)
    }

    /// The records of a stream that are durable or were skipped; none of a stream that is not known.
    pub fn committed(&self, stream: StreamKey) -> Ranges {
        let head = self.core.head();
        head.streams.get(&stream).map(|stream| stream.committed.clone()).unwrap_or_default()
    }

    /// The latest time of any record of a stream that was ever taken.
    pub fn latest_ms(&self, stream: StreamKey) -> Option<i64> {
        self.core.intake().streams.get(&stream).and_then(|stream| stream.last_ms)
    }

    /// The samples of all series that match, one entry a label set, timestamps strictly ascending,
    /// `after_ms` excluded and `through_ms` included. Series without a sample there are left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn select(
        &self,
        matchers: &[Matcher],
        after_ms: i64,
        through_ms: i64,
    ) -> Result<Vec<SeriesSamples>, StoreError> {
        self.read(&Reading::of(matchers, after_ms, through_ms))
    }

    /// The same within bounds, which are kept before there is memory for what is read.
    ///
    /// # Errors
    /// When there are more samples than allowed, the time is over, or the database cannot be read.
    pub fn read(&self, reading: &Reading<'_>) -> Result<Vec<SeriesSamples>, StoreError> {
        self.core.read(reading).map(|found| found.series)
    }

    /// The same, and whether summaries were met: these hold in what [`Reading::shape`] asks for.
    ///
    /// # Errors
    /// As for [`Store::read`].
    pub fn read_noting(&self, reading: &Reading<'_>) -> Result<Found, StoreError> {
        self.core.read(reading)
    }

    /// Does several readings. Those that differ in their matchers only are done in one pass, which decodes
    /// once what several of them need; their bounds hold for all of them together.
    ///
    /// # Errors
    /// As for [`Store::read`]; none has a result then.
    pub fn read_all(
        &self,
        readings: &[Reading<'_>],
    ) -> Result<Vec<Vec<SeriesSamples>>, StoreError> {
        self.core.read_all(readings)
    }

    /// The same, of one host's series only: those that it had under other names, too.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn select_of(
        &self,
        home: HostId,
        matchers: &[Matcher],
        after_ms: i64,
        through_ms: i64,
    ) -> Result<Vec<SeriesSamples>, StoreError> {
        self.read(&Reading { home: Some(home), ..Reading::of(matchers, after_ms, through_ms) })
    }

    /// The label sets of the series that match and may have samples in a stretch of time.
    ///
    /// # Errors
    /// None yet: the index is in memory. One that is read from disk may fail.
    pub fn label_sets(
        &self,
        matchers: &[Matcher],
        after_ms: i64,
        through_ms: i64,
    ) -> Result<Vec<Labels>, StoreError> {
        Ok(self.core.label_sets(matchers, Stretch { after_ms, through_ms }))
    }

    /// The values of a label among those series, sorted.
    ///
    /// # Errors
    /// None yet: the index is in memory. One that is read from disk may fail.
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        after_ms: i64,
        through_ms: i64,
    ) -> Result<Vec<String>, StoreError> {
        Ok(self.core.label_values(name, matchers, Stretch { after_ms, through_ms }))
    }

    /// The names of labels among those series, sorted.
    ///
    /// # Errors
    /// None yet: the index is in memory. One that is read from disk may fail.
    pub fn label_names(
        &self,
        matchers: &[Matcher],
        after_ms: i64,
        through_ms: i64,
    ) -> Result<Vec<String>, StoreError> {
        Ok(self.core.label_names(matchers, Stretch { after_ms, through_ms }))
    }

    /// Reads what is committed in the order in which it was, from a place on; from now on without one.
    /// The store must have been opened as one that is followed, or descriptions are missing.
    pub fn follow(&self, from: Option<Place>) -> Follower {
        Follower::new(Arc::clone(&self.core), from)
    }

    /// Keeps the journal's segments from this one on for whoever follows; without one, none.
    ///
    /// # Errors
    /// When those that nobody needs any more cannot be removed.
    pub fn keep_from(&self, segment: Option<u64>) -> Result<(), StoreError> {
        self.core.keep_from(segment)
    }

    /// How much of its bounds the store uses.
    pub fn usage(&self) -> Usage {
        let Options { max_series, journal_bytes: max_journal_bytes, .. } = self.core.options;
        Usage { series: self.core.index().len(), max_series, max_journal_bytes }
    }

    /// What samples take on disk.
    pub fn size(&self) -> Size {
        self.core.size()
    }

    /// Drops what is older than the retention, and the oldest of what is more than it may be.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn retain(&self, now_ms: i64) -> Result<(), StoreError> {
        self.core.retain(now_ms)
    }

    /// Seals the spans that are over, as the store does by itself every
    /// [`Options::seal_every`].
    ///
    /// # Errors
    /// When the database cannot be written, or a journal segment not removed; nothing is lost.
    pub fn seal(&self, now_ms: i64) -> Result<(), StoreError> {
        self.core.seal(Extent::Due, now_ms)
    }

    /// Seals everything, running spans included.
    ///
    /// # Errors
    /// As for [`Store::seal`].
    pub fn seal_all(&self, now_ms: i64) -> Result<(), StoreError> {
        self.core.seal(Extent::All, now_ms)
    }

    /// Packs what was sealed a while ago again, smaller, as the store does by itself and with
    /// rests.
    ///
    /// # Errors
    /// When the database cannot be read or written; nothing is lost.
    pub fn compact(&self, now_ms: i64) -> Result<(), StoreError> {
        self.core.compact(now_ms, &Pace::FULL)
    }

    /// Makes summaries of days that are old enough by [`Options::downsampling`], as the store does by
    /// itself, with rests, by the latest time that [`Store::retain`] was told: a clock that retention
    /// does not believe must not cost samples here either.
    ///
    /// # Errors
    /// When the database cannot be read or written; nothing is lost.
    pub fn downsample(&self, now_ms: i64) -> Result<(), StoreError> {
        self.core.downsample(now_ms, &Pace::FULL)
    }

    /// Reads everything, the journal too, and checks it; what is damaged is told by [`Store::damage`] as
    /// well. Nothing waits meanwhile.
    ///
    /// # Errors
    /// When the database or a segment of the journal cannot be read to its end.
    pub fn verify(&self) -> Result<Verification, StoreError> {
        self.core.verify()
    }

    /// Copies the store as it is now into a folder that is not there yet, while it goes on: everything
    /// that was confirmed before is in it, and of what comes later nothing. Gives what is damaged: it is
    /// copied as it lies there and fails its checksum in the copy, too. On an error no folder of that
    /// name is left, after a cut perhaps one whose name ends with `.unfinished`.
    ///
    /// # Errors
    /// When the folder is there already or cannot be written, or the store cannot be read to its end.
    pub fn snapshot(&self, to: &Path) -> Result<Vec<Damage>, StoreError> {
        self.core.snapshot(to)
    }

    /// Deletes a host: its samples, series and how far its streams are committed. Should it come again,
    /// it begins anew. What of the host is being submitted meanwhile may be there afterwards.
    ///
    /// # Errors
    /// When the database cannot be written. The host is then not served any more, and deleted with the
    /// next sealing, unless the store is opened anew before.
    pub fn delete_home(&self, home: HostId) -> Result<(), StoreError> {
        self.core.delete_home(home)
    }

    /// What was found damaged since the store was opened.
    pub fn damage(&self) -> Vec<Damage> {
        self.core.damage.findings()
    }

    /// Makes durable what was declared since the last commit and ends the store's threads; later
    /// appends are refused. Dropping the store does the same without telling errors.
    ///
    /// # Errors
    /// When the last commit fails.
    pub fn close(&self) -> Result<(), StoreError> {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.is_empty() {
            return Ok(());
        }
        drop(self.halt.lock().unwrap_or_else(PoisonError::into_inner).take());
        // The sealing thread needs the committer, so it ends first.
        let _ = self.wakes.send(seal::Wake::Stop);
        let (answer, result) = mpsc::sync_channel(1);
        let mut result = Some(result);
        let mut outcome = Ok(());
        for thread in threads.into_iter().rev() {
            let _ = thread.join();
            if let Some(result) = result.take() {
                let _ = self.core.commands.send(Command::Stop(answer.clone()));
                outcome = result.recv().unwrap_or(Err(StoreError::Closed));
            }
        }
        outcome
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the store could not write its last group");
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|source| StoreError::io("start a thread for", Path::new(name), source))
}

#[cfg(test)]
mod tests;
