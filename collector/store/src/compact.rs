//! Compaction: what was sealed a while ago is packed again, smaller.
//!
//! A sealing packs quickly and leaves a chunk for whatever came late; both cost bytes for as long as
//! the samples are kept. So a sealing marks what it adds to, and once that was left alone for a
//! while, all chunks that a host has in a *bucket*, several spans long, become one run of chunks
//! packed with more care. The old chunks go in the transaction in which the new ones come.
//!
//! New chunks get new numbers. They are above those of all chunks they replace, and below those of
//! all that are sealed later, since `state` is held meanwhile; so of two chunks of a bucket the one
//! with the lower number still came first. Chunks that are damaged are left as they are, with all
//! others of their bucket.

use std::collections::{BTreeMap, HashSet};
use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use redb::ReadableTable;
use upkeep_model::HostId;

use crate::StoreError;
use crate::binary::{Malformed, checked};
use crate::chunk::merge;
use crate::core::{Core, milliseconds};
use crate::coverage::{DAY_MS, span_of};
use crate::damage::Affected;
use crate::database::{
    ChunkKey, ChunkTable, Failure, MARKS, MarkKey, STATE, STATE_KEY, State, mark_from, mark_record,
};
use crate::fold::Folded;
use crate::pace::{Pace, STEP_BYTES, Step};
use crate::seal::now_ms;

/// After each step it rests so many times as long as that took.
const REST: u32 = 3;

/// What a host has in a bucket is not packed together if it is more than this, which bounds the
/// memory of a step: then each span is packed by itself, and a span that is more stays as it is.
const BUCKET_BYTES: u64 = 64 << 20;

/// What one host has in one bucket, and the marks that say so.
#[derive(Debug)]
struct Task {
    host: HostId,
    bucket: i64,
    marks: Vec<MarkKey>,
}

/// The chunks of a task and what takes their place.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Where the new chunks lie.
    pub(crate) bucket: i64,
    pub(crate) host: HostId,
    pub(crate) old: Vec<ChunkKey>,
    pub(crate) new: Vec<Vec<u8>>,
}

impl Packed {
    pub(crate) fn write(
        self,
        chunks: &mut ChunkTable<'_>,
        state: &mut State,
    ) -> Result<(), Failure> {
        let Self { bucket, host, old, new } = self;
        for key in old {
            chunks.remove(state, key)?;
        }
        for chunk in new {
            chunks.add(state, host, bucket, chunk)?;
        }
        Ok(())
    }
}

/// A chunk as it lies in the database, its checksum included.
pub(crate) type Stored = (ChunkKey, Vec<u8>);

/// Compacts on time until it is stopped. An error is logged, and tried again at the next time.
pub(crate) fn run(core: &Arc<Core>, halted: &Receiver<()>) {
    let every = core.options.compact_every;
    let is_stopped = || halted.try_recv() != Err(TryRecvError::Empty);
    while halted.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        let rest =
            |took: Duration| halted.recv_timeout(took * REST) == Err(RecvTimeoutError::Timeout);
        let pace = Pace { is_stopped: &is_stopped, rest: &rest };
        if let Err(error) = core.compact(now_ms(), &pace) {
            tracing::error!(%error, "compaction failed; everything stays as it was");
        }
        let believed_ms = core.believed_ms.load(Ordering::Relaxed);
        if let Err(error) = core.downsample(believed_ms, &pace) {
            tracing::error!(%error, "downsampling failed; everything stays as it was");
        }
    }
}

impl Core {
    /// Packs what is cold.
    pub(crate) fn compact(&self, now_ms: i64, pace: &Pace<'_>) -> Result<(), StoreError> {
        let mut tasks = self.tasks(now_ms)?.into_iter().peekable();
        let is_any = tasks.peek().is_some();
        if is_any && pace.keep(|| self.compact_some(&mut tasks, pace))? {
            self.shrink()?;
        }
        Ok(())
    }

    /// What is marked and cold, the oldest first.
    fn tasks(&self, now_ms: i64) -> Result<Vec<Task>, StoreError> {
        let span_ms = milliseconds(self.options.span);
        let after_ms = milliseconds(self.options.compact_after);
        let is_cold = |key: &MarkKey, marked_ms: i64| {
            let ended_ms = key.span.saturating_add(span_ms).max(marked_ms);
            ended_ms.saturating_add(after_ms) <= now_ms
        };
        let marks = self.database.read(|transaction| {
            let mut marks = Vec::new();
            for row in transaction.open_table(MARKS)?.iter()? {
                let (key, value) = row?;
                let Ok(mark) = MarkKey::from_bytes(key.value()) else { continue };
                // A damaged mark costs nothing but the moment that it is looked at.
                let marked_ms = mark_from(key.value(), value.value()).unwrap_or(i64::MIN);
                if is_cold(&mark, marked_ms) {
                    marks.push(mark);
                }
            }
            Ok(marks)
        });
        let marks = marks.map_err(|failure| failure.told("read", &self.folder));
        let marks = self.reported(Affected::default(), marks)?;
        let mut tasks: BTreeMap<(i64, HostId), Vec<MarkKey>> = BTreeMap::new();
        for mark in marks {
            let bucket = span_of(mark.span, self.options.bucket_ms());
            tasks.entry((bucket, mark.host)).or_default().push(mark);
        }
        let task = |((bucket, host), marks)| Task { host, bucket, marks };
        Ok(tasks.into_iter().map(task).collect())
    }

    /// Packs as many tasks as one transaction takes.
    fn compact_some(
        &self,
        tasks: &mut Peekable<impl Iterator<Item = Task>>,
        pace: &Pace<'_>,
    ) -> Result<Step, StoreError> {
        // Keeps sealing from adding to what is being packed.
        let mut state = self.state();
        let (mut packed, mut marks, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut folded = HashSet::new();
        while bytes < STEP_BYTES
            && let Some(task) = tasks.next()
        {
            let day_ms = span_of(task.bucket, DAY_MS);
            if let Some(resolution) = state.summarised.of_day(day_ms) {
                // What came late to a day of summaries. A day is folded once, whatever is marked of it.
                marks.extend(task.marks);
                if !folded.insert((task.host, day_ms)) {
                    continue;
                }
                match self.fold(task.host, day_ms, resolution, pace.is_stopped)? {
                    Folded::Stays => {}
                    Folded::Stopped => return Ok(Step::Stopped),
                    Folded::Done(one, of_day) => {
                        bytes += of_day;
                        packed.push(one);
                    }
                }
                continue;
            }
            for (begin, chunks) in self.chunks_of(&task)? {
                bytes += chunks.iter().map(|(_, value)| value.len() as u64).sum::<u64>();
                match self.pack(task.host, begin, &chunks, pace.is_stopped) {
                    Ok(Some(one)) => packed.push(one),
                    Ok(None) => return Ok(Step::Stopped),
                    Err(((key, value), error)) => self.report_chunk(&key.to_bytes(), value, error),
                }
            }
            marks.extend(task.marks);
        }
        let mut next = *state;
        let written = self.database.write("compact", |transaction| {
            let mut chunks = ChunkTable::open(transaction)?;
            for one in packed {
                one.write(&mut chunks, &mut next)?;
            }
            chunks.finish(transaction)?;
            let mut table = transaction.open_table(MARKS)?;
            for mark in marks {
                table.remove(&mark.to_bytes())?;
            }
            next.longest_span_ms = self.longest_span_ms;
            let record = next.to_bytes(STATE_KEY);
            transaction.open_table(STATE)?.insert(STATE_KEY, record.as_slice())?;
            Ok(())
        });
        self.reported(Affected::default(), written)?;
        *state = next;
        Ok(if tasks.peek().is_some() { Step::More } else { Step::Last })
    }

    /// The chunks of a task by where those that replace them lie.
    fn chunks_of(&self, task: &Task) -> Result<BTreeMap<i64, Vec<Stored>>, StoreError> {
        let snapshot = self.reported(Affected::default(), self.database.snapshot())?;
        let end = task.bucket.saturating_add(self.options.bucket_ms() - 1);
        let first = ChunkKey { host: task.host, span: task.bucket, number: 0 };
        let last = ChunkKey { host: task.host, span: end, number: u64::MAX };
        let mut bytes: BTreeMap<i64, u64> = BTreeMap::new();
        let read = snapshot.each_chunk(first, last, |key, value| {
            if let Ok(key) = ChunkKey::from_bytes(key) {
                *bytes.entry(key.span).or_default() += value.len() as u64;
            }
        });
        self.reported(Affected::host(task.host), read)?;
        let is_small = bytes.values().sum::<u64>() <= BUCKET_BYTES;
        let mut chunks: BTreeMap<i64, Vec<Stored>> = BTreeMap::new();
        let read = snapshot.each_chunk(first, last, |key, value| {
            let Ok(key) = ChunkKey::from_bytes(key) else { return };
            let is_span_small = bytes.get(&key.span).is_some_and(|bytes| *bytes <= BUCKET_BYTES);
            let is_marked = task.marks.iter().any(|mark| mark.span == key.span);
            if is_small || is_span_small && is_marked {
                let begin = if is_small { task.bucket } else { key.span };
                chunks.entry(begin).or_default().push((key, value.to_vec()));
            }
        });
        self.reported(Affected::host(task.host), read)?;
        for chunks in chunks.values_mut() {
            chunks.sort_by_key(|(key, _)| key.number);
        }
        Ok(chunks)
    }

    /// Packs chunks together; `None` if it was stopped. An error comes with a damaged chunk.
    fn pack<'a>(
        &self,
        host: HostId,
        bucket: i64,
        chunks: &'a [Stored],
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<Packed>, (&'a Stored, Malformed)> {
        let good = chunks.iter().map(|stored| {
            checked(&stored.0.to_bytes(), &stored.1).map_err(|error| (stored, error))
        });
        let good: Vec<&[u8]> = good.collect::<Result<_, _>>()?;
        let Some(first) = chunks.first() else { return Ok(None) };
        let merged = merge(&good, is_stopped).map_err(|error| (first, error))?;
        let old = chunks.iter().map(|(key, _)| *key).collect();
        Ok(merged.map(|new| Packed { bucket, host, old, new }))
    }

    /// Writes the database anew if much of its file is free.
    pub(crate) fn shrink(&self) -> Result<(), StoreError> {
        // While somebody reads all of it, it stays: the next compaction is another chance.
        let Ok(_alone) = self.reading.try_write() else { return Ok(()) };
        // Nothing may be written to the old file once it is being copied.
        let state = self.state();
        let shrunk = self.database.shrink(state.chunk_bytes);
        drop(state);
        if let Some((before, after)) = self.reported(Affected::default(), shrunk)? {
            tracing::info!(before, after, "the database was written anew, in bytes");
        }
        Ok(())
    }
}

/// Notes that a span has chunks to be packed again.
pub(crate) fn mark(
    table: &mut redb::Table<'_, &'static [u8; 24], &'static [u8]>,
    key: MarkKey,
    now_ms: i64,
) -> Result<(), Failure> {
    let key = key.to_bytes();
    // What comes again and again must not put off for ever what was there first.
    if table.get(&key)?.is_none() {
        table.insert(&key, mark_record(&key, now_ms).as_slice())?;
    }
    Ok(())
}
