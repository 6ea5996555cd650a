//! What the threads of the store share.
//!
//! Locks are taken in this order: `reading`, `state`, `deletions`, `intake`, `index`, `head`; none is held while a file is
//! written, except `state`, which keeps sealing and retention apart.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use upkeep_model::{HostId, Labels, StreamKey};

use crate::committer::Command;
use crate::coverage::{DAY_MS, span_of};
use crate::damage::DamageLog;
use crate::database::{Database, State};
use crate::delete::Deletion;
use crate::folder::Folder;
use crate::follow::Followed;
use crate::head::Head;
use crate::index::{Index, SeriesRef, UNKNOWN};
use crate::journal::JournalFolder;
use crate::points::NumberedPoint;
use crate::stream::Stream;
use crate::{Options, StoreError};

/// The parts of an open store.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) folder: Folder,
    pub(crate) options: Options,
    pub(crate) database: Database,
    pub(crate) journal: JournalFolder,
    pub(crate) damage: DamageLog,
    /// Segments with damage in them, which are set aside instead of removed.
    pub(crate) damaged_segments: BTreeSet<u64>,
    /// The longest span of any chunk that is or will be in the database, in milliseconds.
    pub(crate) longest_span_ms: i64,
    pub(crate) followed: Followed,
    /// So many samples were left out since their instant had another value.
    pub(crate) conflicts: AtomicU64,
    pub(crate) state: Mutex<State>,
    /// Hosts that are to be removed from the database before anything else is written there.
    pub(crate) deletions: Mutex<Vec<Deletion>>,
    pub(crate) intake: Mutex<Intake>,
    pub(crate) index: RwLock<Index>,
    pub(crate) head: RwLock<Head>,
    pub(crate) commands: SyncSender<Command>,
    /// Held by whoever reads everything; the database is not written anew meanwhile, since its file
    /// could not be exchanged, and queries would wait for that.
    pub(crate) reading: RwLock<()>,
    /// Bytes of sealed samples that were dropped since there was too much.
    pub(crate) dropped_bytes: AtomicU64,
    /// No day that ends later has any summary, in milliseconds since 1970. It is raised before the
    /// database has the first one.
    pub(crate) summarised_ms: AtomicI64,
    /// The latest time that retention was told, by a clock that is believed.
    pub(crate) believed_ms: AtomicI64,
}

/// A duration in milliseconds, at least one.
pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).max(1)
}

/// What is known of streams when their frames come in.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    pub(crate) streams: HashMap<StreamKey, Stream>,
    /// Streams with something declared that the journal does not have yet.
    pub(crate) dirty: BTreeSet<StreamKey>,
}

impl Core {
    /// Where the first span begins that may have samples later than an instant.
    pub(crate) fn first_span(&self, after_ms: i64) -> i64 {
        let first = after_ms.saturating_sub(self.longest_span_ms);
        if after_ms < self.summarised_ms.load(Ordering::Acquire) {
            first.min(span_of(after_ms, DAY_MS))
        } else {
            first
        }
    }

    /// When the last sample may be of a span that begins then.
    pub(crate) fn end_of_span(&self, span: i64) -> i64 {
        let is_summarised = span < self.summarised_ms.load(Ordering::Acquire);
        let longest = if is_summarised { DAY_MS } else { 0 };
        span.saturating_add(self.longest_span_ms.max(longest))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn deletions(&self) -> MutexGuard<'_, Vec<Deletion>> {
        self.deletions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn head(&self) -> RwLockReadGuard<'_, Head> {
        self.head.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn head_mut(&self) -> RwLockWriteGuard<'_, Head> {
        self.head.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn describe(
        &self,
        stream: StreamKey,
        first_number: u32,
        series: &[Labels],
    ) -> Result<(), StoreError> {
        let mut intake = self.intake();
        let Intake { streams, dirty } = &mut *intake;
        let state = streams.entry(stream).or_default();
        let wanted = u32::try_from(state.dictionary().len()).unwrap_or(u32::MAX);
        if first_number > wanted {
            return Err(StoreError::Numbers { stream, wanted, got: first_number });
        }
        let series = self.intern(stream.host, series)?;
        state.describe(first_number, &series);
        dirty.insert(stream);
        Ok(())
    }

    /// The series of label sets; an empty set is no series. Takes all of them or none.
    pub(crate) fn intern(
        &self,
        home: HostId,
        series: &[Labels],
    ) -> Result<Vec<SeriesRef>, StoreError> {
        let mut index = self.index_mut();
        let known = |labels: &Labels| labels.is_empty() || index.find(home, labels).is_some();
        let new = series.iter().filter(|labels| !known(labels)).count();
        let (count, limit) = (index.len().saturating_add(new), self.options.max_series);
        if new > 0 && count > limit {
            return Err(StoreError::TooManySeries { home, new, count, limit });
        }
        let of = |labels: &Labels| {
            if labels.is_empty() { UNKNOWN } else { index.intern(home, labels) }
        };
        Ok(series.iter().map(of).collect())
    }

    /// The same of points; those of an empty set are left out.
    pub(crate) fn number_points(
        &self,
        home: HostId,
        points: Vec<(Labels, i64, f64)>,
    ) -> Result<Vec<NumberedPoint>, StoreError> {
        let labels: Vec<Labels> = points.iter().map(|(labels, ..)| labels.clone()).collect();
        let numbers = self.intern(home, &labels)?.into_iter();
        let points = numbers.zip(points).filter(|(number, _)| *number != UNKNOWN);
        Ok(points.map(|(number, (_, at_ms, value))| (number, at_ms, value)).collect())
    }

    pub(crate) fn skip(&self, stream: StreamKey, numbers: RangeInclusive<u64>) -> bool {
        let mut intake = self.intake();
        if !intake.streams.entry(stream).or_default().skip(numbers.clone()) {
            return false;
        }
        intake.dirty.insert(stream);
        self.head_mut().streams.entry(stream).or_default().committed.insert(numbers);
        true
    }

    pub(crate) fn begin_at(&self, stream: StreamKey, first: u64) -> bool {
        self.intake().streams.entry(stream).or_default().begin_at(first)
    }

    pub(crate) fn reference(
        &self,
        stream: StreamKey,
        sequence: u64,
        frame: &[u8],
    ) -> Result<(), StoreError> {
        let mut intake = self.intake();
        let state = intake.streams.entry(stream).or_default();
        state.put_key(stream, sequence, &bytes::Bytes::copy_from_slice(frame))?;
        state.trim_keys();
        intake.dirty.insert(stream);
        Ok(())
    }

    /// Ends the current journal segment once everything before is committed; returns the number
    /// that the next one will have.
    pub(crate) fn rotate(&self) -> Result<u64, StoreError> {
        let (answer, next) = mpsc::sync_channel(1);
        self.commands.send(Command::Rotate(answer)).map_err(|_| StoreError::Closed)?;
        next.recv().map_err(|_| StoreError::Closed)
    }

    /// Has the committer take a host out of memory.
    pub(crate) fn forget_by_committer(&self, home: HostId) -> Result<Deletion, StoreError> {
        let (answer, forgotten) = mpsc::sync_channel(1);
        self.commands.send(Command::Forget(home, answer)).map_err(|_| StoreError::Closed)?;
        forgotten.recv().map_err(|_| StoreError::Closed)
    }
}
