//! Sealing: moves what is complete from journal and head into the database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use redb::WriteTransaction;
use upkeep_model::{HostId, Ranges, StreamKey};

use crate::StoreError;
use crate::binary::stream_bytes;
use crate::chunk::{Effort, Table, Transposed, encode, tables_of_points, tables_of_rows};
use crate::compact::mark;
use crate::core::{Core, milliseconds};
use crate::coverage::{Coverage, DAY_MS, Extent, is_due, span_of};
use crate::damage::Affected;
use crate::database::{
    ChunkTable, DICTIONARIES, DictionaryKey, Failure, MARKS, MarkKey, STATE, STATE_KEY, STREAMS,
    SeriesRow, State, StreamRecord, block_of, dictionary_record, numbers_of, write_blocks,
};
use crate::head::Head;
use crate::index::{Index, SealedDays, Series, SeriesRef};
use crate::points::Point;
use crate::rows::{Block, Row, Rows};
use crate::stream::{Saved, Stream};

/// The points of so many series are transposed at a time: a home may have hundred thousands.
const SERIES_AT_ONCE: usize = 512;

/// Why the sealing thread is woken before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The journal has grown past its limit.
    JournalIsLong,
    /// The store closes.
    Stop,
}

/// Days of the first and last sample, by series.
type Days = HashMap<SeriesRef, (i32, i32)>;

/// What a sealing does to chunks.
#[derive(Debug)]
struct Draft {
    state: State,
    days: Days,
    /// How many values were left out since their instant has another one.
    conflicts: u64,
}

/// Tables of one host by their spans.
type Spans = BTreeMap<i64, Vec<Table>>;

impl Draft {
    fn add(&mut self, spans: &mut Spans, span: i64, transposed: Transposed<'_>) {
        self.conflicts += transposed.conflicts;
        spans.entry(span).or_default().extend(transposed.tables);
    }
}

/// What a sealing did, to be noted in memory once it is committed.
#[derive(Debug)]
struct Sealed {
    state: State,
    days: Days,
    conflicts: u64,
    /// The series written, with the days as they were written.
    series: Vec<(SeriesRef, SealedDays)>,
    streams: Vec<(StreamKey, Saved)>,
}

/// Seals on time until it is stopped. An error is logged, and tried again at the next time.
pub(crate) fn run(core: &Arc<Core>, wakes: &Receiver<Wake>) {
    let every = core.options.seal_every;
    let mut next = Instant::now() + every;
    loop {
        let extent = match wakes.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Wake::JournalIsLong) => Extent::All,
            Err(RecvTimeoutError::Timeout) => Extent::Due,
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Err(error) = core.seal(extent, now_ms()) {
            tracing::error!(%error, "sealing failed; the journal keeps everything");
            // The committer wakes this thread with every group while the journal is too long.
            if wait(wakes, every) == Some(Wake::Stop) {
                return;
            }
        }
        next = Instant::now() + every;
    }
}

/// Waits without heeding the journal's length.
fn wait(wakes: &Receiver<Wake>, time: Duration) -> Option<Wake> {
    let until = Instant::now() + time;
    loop {
        match wakes.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Wake::JournalIsLong) => {}
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return Some(Wake::Stop),
            Err(RecvTimeoutError::Timeout) => return None,
        }
    }
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The day since 1970 of a timestamp.
pub(crate) fn day_of(at_ms: i64) -> i32 {
    let day = at_ms.div_euclid(DAY_MS);
    i32::try_from(day).unwrap_or(if day < 0 { i32::MIN } else { i32::MAX })
}

impl Core {
    /// Seals what is due, or everything, and removes the journal segments that this frees.
    pub(crate) fn seal(&self, extent: Extent, now_ms: i64) -> Result<(), StoreError> {
        let mut state = self.state();
        self.apply_deletions(&mut state)?;
        let span_ms = milliseconds(self.options.span);
        let extent = match extent {
            Extent::Due => self.due_extent(now_ms, span_ms),
            Extent::All => (self.journal.bytes() > 0).then_some(Extent::All),
        };
        let Some(extent) = extent else { return Ok(()) };
        let segment = self.rotate()?;
        let coverage = state.coverage.after(segment, extent, now_ms, span_ms);
        let sealed = self
            .database
            .write("seal into", |transaction| self.write_sealed(transaction, *state, coverage));
        let sealed = self.reported(Affected::default(), sealed)?;
        *state = sealed.state;
        self.note_sealed(&sealed);
        self.remove_segments(segment)
    }

    /// How much of the head is sealed because its time has come.
    fn due_extent(&self, now_ms: i64, span_ms: i64) -> Option<Extent> {
        let head = self.head();
        let is_due = |at_ms| is_due(at_ms, now_ms, span_ms);
        // Most often nothing is, which is seen without a look at every point.
        let is_any_due = head.places().any(|(_, at_ms)| is_due(at_ms));
        let (due, waiting) = if is_any_due { head.weigh(is_due) } else { (0, 0) };
        Extent::of(due, waiting)
    }

    fn write_sealed(
        &self,
        transaction: &WriteTransaction,
        mut state: State,
        coverage: Coverage,
    ) -> Result<Sealed, Failure> {
        state.coverage = coverage;
        state.longest_span_ms = self.longest_span_ms;
        let hosts = self.head().hosts();
        let mut draft = Draft { state, days: Days::new(), conflicts: 0 };
        let mut chunks = ChunkTable::open(transaction)?;
        for host in hosts {
            self.write_host(transaction, &mut chunks, host, &mut draft)?;
        }
        chunks.finish(transaction)?;
        let Draft { mut state, days, conflicts } = draft;
        let streams = self.write_streams(transaction, coverage)?;
        let series = self.write_series(transaction, &days)?;
        state.next_series = self.index().next();
        let record = state.to_bytes(STATE_KEY);
        transaction.open_table(STATE)?.insert(STATE_KEY, record.as_slice())?;
        Ok(Sealed { state, days, conflicts, series, streams })
    }

    fn write_host(
        &self,
        transaction: &WriteTransaction,
        chunks: &mut ChunkTable<'_>,
        host: HostId,
        draft: &mut Draft,
    ) -> Result<(), Failure> {
        let coverage = draft.state.coverage;
        let mut spans = Spans::new();
        for (stream, rows) in &rows_of(&self.head(), host) {
            for (span, rows) in rows_by_span(rows, coverage) {
                let transposed = tables_of_rows(&rows);
                self.report_unread(*stream, &transposed.unread);
                draft.add(&mut spans, span, transposed);
            }
        }
        let series: Vec<SeriesRef> = self.head().points.series_of(host).collect();
        for part in series.chunks(SERIES_AT_ONCE) {
            let points = covered_points(&self.head(), host, part, coverage);
            for (span, points) in points {
                draft.add(&mut spans, span, tables_of_points(points));
            }
            write_tables(transaction, chunks, host, std::mem::take(&mut spans), draft)?;
        }
        write_tables(transaction, chunks, host, spans, draft)
    }

    fn report_unread(&self, stream: StreamKey, rows: &[&Row<'_>]) {
        for row in rows {
            let place = format!("host {}, epoch {}", stream.host, stream.epoch);
            let affected = Affected::host(stream.host).within(row.timestamp_ms, row.timestamp_ms);
            self.damage.report_of(affected, place, format!("record {}", row.sequence));
        }
    }

    fn write_streams(
        &self,
        transaction: &WriteTransaction,
        coverage: Coverage,
    ) -> Result<Vec<(StreamKey, Saved)>, Failure> {
        let (marks, oldest) = {
            let head = self.head();
            let streams = head.streams.iter();
            let marks: HashMap<_, _> =
                streams.map(|(key, stream)| (*key, stream.committed.clone())).collect();
            (marks, oldest_generations(&head, coverage))
        };
        let changes: Vec<StreamChange> = {
            let intake = self.intake();
            let change = |(key, stream): (&StreamKey, &Stream)| {
                let committed = marks.get(key).cloned().unwrap_or_default();
                let oldest = oldest.get(key).copied().unwrap_or(stream.generation);
                StreamChange::of(*key, stream, saved_after(stream, committed, oldest))
            };
            intake.streams.iter().filter_map(change).collect()
        };
        for change in &changes {
            change.write(transaction)?;
        }
        Ok(changes.into_iter().map(|change| (change.stream, change.saved)).collect())
    }

    fn write_series(
        &self,
        transaction: &WriteTransaction,
        days: &Days,
    ) -> Result<Vec<(SeriesRef, SealedDays)>, Failure> {
        let (blocks, written) = {
            let index = self.index();
            let days_of = |number, series: &Series| merged(series.days, days.get(&number).copied());
            let changed = index
                .iter()
                .filter(|&(number, series)| series.saved != Some(days_of(number, series)));
            let changed: BTreeSet<u32> = changed.map(|(number, _)| block_of(number)).collect();
            let blocks = blocks_of(&index, changed, days_of);
            let rows = blocks.iter().flat_map(|(_, series)| series);
            let written = rows.map(|row| (row.number, row.days)).collect();
            (blocks, written)
        };
        write_blocks(transaction, blocks)?;
        Ok(written)
    }

    /// Notes in memory what the database has now.
    fn note_sealed(&self, sealed: &Sealed) {
        let mut intake = self.intake();
        for (key, saved) in &sealed.streams {
            if let Some(stream) = intake.streams.get_mut(key) {
                stream.note_saved(saved.clone());
            }
        }
        let mut index = self.index_mut();
        for &(number, days) in &sealed.series {
            index.mark_saved(number, days);
        }
        for (&number, &days) in &sealed.days {
            index.extend_days(number, days);
        }
        self.conflicts.fetch_add(sealed.conflicts, Ordering::Relaxed);
        let coverage = sealed.state.coverage;
        self.head_mut().forget(|segment, at_ms| coverage.covers(segment, at_ms));
    }

    /// Removes the segments below one that nothing in the head needs any more.
    fn remove_segments(&self, below: u64) -> Result<(), StoreError> {
        let needed = self.head().places().map(|(segment, _)| segment).min().unwrap_or(below);
        for number in
            self.journal.numbers()?.into_iter().filter(|number| *number < needed.min(below))
        {
            if self.followed.needs(number) && !self.damaged_segments.contains(&number) {
                self.journal.keep(number, &self.folder.followed())?;
            } else if self.damaged_segments.contains(&number) {
                self.journal.set_aside(number, &self.folder.quarantine())?;
            } else {
                self.journal.remove(number)?;
            }
        }
        Ok(())
    }
}

/// Blocks as they are to be written.
pub(crate) fn blocks_of(
    index: &Index,
    blocks: BTreeSet<u32>,
    days_of: impl Fn(SeriesRef, &Series) -> SealedDays,
) -> Vec<(u32, Vec<SeriesRow>)> {
    let block = |block: u32| {
        let series = index.among(numbers_of(block)).map(|(number, series)| SeriesRow {
            number,
            home: series.home,
            days: days_of(number, series),
            labels: index.labels(series),
        });
        (block, series.collect())
    };
    blocks.into_iter().map(block).collect()
}

fn write_tables(
    transaction: &WriteTransaction,
    chunks: &mut ChunkTable<'_>,
    host: HostId,
    spans: Spans,
    draft: &mut Draft,
) -> Result<(), Failure> {
    let mut marks = transaction.open_table(MARKS)?;
    let Draft { state, days, .. } = draft;
    for (span, tables) in spans {
        tables.iter().for_each(|table| note_days(table, days));
        let packed = encode(&tables, Effort::Quick);
        for chunk in packed.map_err(|error| Failure::Damaged(error.to_string()))? {
            chunks.add(state, host, span, chunk)?;
        }
        mark(&mut marks, MarkKey { span, host }, state.coverage.at_ms)?;
    }
    Ok(())
}

fn merged(one: SealedDays, other: SealedDays) -> SealedDays {
    match (one, other) {
        (Some((first, last)), Some((from, to))) => Some((first.min(from), last.max(to))),
        (one, other) => one.or(other),
    }
}

fn note_days(table: &Table, days: &mut Days) {
    let (Some(&first), Some(&last)) = (table.timestamps.first(), table.timestamps.last()) else {
        return;
    };
    for column in &table.columns {
        let of_table = Some((day_of(first), day_of(last)));
        if let Some(both) = merged(days.get(&column.series).copied(), of_table) {
            days.insert(column.series, both);
        }
    }
}

type CoveredPoints = BTreeMap<i64, BTreeMap<SeriesRef, Vec<Point>>>;

/// The rows of a host's streams; the head keeps them until those that a sealing covers are committed.
fn rows_of(head: &Head, host: HostId) -> Vec<(StreamKey, Vec<Arc<Block>>)> {
    let streams = head.streams_of(host);
    streams.map(|(key, stream)| (*key, stream.rows.blocks().to_vec())).collect()
}

/// The points of some series that a sealing covers, by span.
fn covered_points(
    head: &Head,
    host: HostId,
    series: &[SeriesRef],
    coverage: Coverage,
) -> CoveredPoints {
    let mut spans = CoveredPoints::new();
    for &number in series {
        let points = head.points.of(host, number);
        for point in points.filter(|point| coverage.covers(point.segment, point.at_ms)) {
            let span = spans.entry(span_of(point.at_ms, coverage.span_ms)).or_default();
            span.entry(number).or_default().push(point);
        }
    }
    spans
}

/// The rows that a sealing covers.
fn rows_by_span(blocks: &[Arc<Block>], coverage: Coverage) -> BTreeMap<i64, Vec<Row<'_>>> {
    let mut spans: BTreeMap<i64, Vec<Row<'_>>> = BTreeMap::new();
    for row in blocks.iter().flat_map(|block| block.rows()) {
        if coverage.covers(row.segment, row.timestamp_ms) {
            spans.entry(span_of(row.timestamp_ms, coverage.span_ms)).or_default().push(row);
        }
    }
    spans
}

/// The oldest generation that a row which stays in the journal needs, by stream.
fn oldest_generations(head: &Head, coverage: Coverage) -> BTreeMap<StreamKey, u32> {
    let oldest = |rows: &Rows| {
        let staying = rows.iter().filter(|row| !coverage.covers(row.segment, row.timestamp_ms));
        staying.map(|row| row.layout.generation).min()
    };
    let streams = head.streams.iter();
    streams.filter_map(|(key, stream)| Some((*key, oldest(&stream.rows)?))).collect()
}

fn saved_after(stream: &Stream, committed: Ranges, oldest: u32) -> Saved {
    let mut numbers = stream.saved.numbers.clone();
    numbers.retain(|generation, _| *generation >= oldest);
    let described = u32::try_from(stream.dictionary().len()).unwrap_or(u32::MAX);
    if described > 0 {
        numbers.insert(stream.generation, described);
    }
    let keys = stream.key_to_save(&committed).into_iter().collect();
    Saved { committed, generation: stream.generation, last_ms: stream.last_ms, keys, numbers }
}

/// What the database is to learn of a stream.
#[derive(Debug)]
struct StreamChange {
    stream: StreamKey,
    saved: Saved,
    record: Vec<u8>,
    /// Generations that nothing needs any more.
    gone: Vec<u32>,
    /// The part of the dictionary that the database does not have.
    fresh: (DictionaryKey, Vec<SeriesRef>),
}

impl StreamChange {
    fn of(key: StreamKey, stream: &Stream, saved: Saved) -> Option<Self> {
        if saved == stream.saved {
            return None;
        }
        let keys = saved.keys.iter().filter_map(|sequence| {
            let key = stream.keys.get(sequence)?;
            Some((*sequence, key.body.clone()))
        });
        let record = stream_record(key, &saved, keys.collect());
        let before = &stream.saved.numbers;
        let is_gone = |generation: &&u32| !saved.numbers.contains_key(generation);
        let gone = before.keys().filter(is_gone).copied().collect();
        let generation = stream.generation;
        let first_number = before.get(&generation).copied().unwrap_or_default();
        let fresh = stream.dictionary().get(first_number as usize..).unwrap_or_default();
        let part = DictionaryKey { stream: key, generation, first_number };
        Some(Self { stream: key, saved, record, gone, fresh: (part, fresh.to_vec()) })
    }

    fn write(&self, transaction: &WriteTransaction) -> Result<(), Failure> {
        let key = stream_bytes(self.stream);
        transaction.open_table(STREAMS)?.insert(&key, self.record.as_slice())?;
        let mut table = transaction.open_table(DICTIONARIES)?;
        for &generation in &self.gone {
            remove_generation(&mut table, self.stream, generation)?;
        }
        let (part, fresh) = &self.fresh;
        if !fresh.is_empty() {
            let key = part.to_bytes();
            table.insert(&key, dictionary_record(&key, fresh).as_slice())?;
        }
        Ok(())
    }
}

/// A stream's row with these key frames.
pub(crate) fn stream_record(key: StreamKey, saved: &Saved, keys: Vec<(u64, Bytes)>) -> Vec<u8> {
    let (committed, generation, last_ms) =
        (saved.committed.clone(), saved.generation, saved.last_ms);
    StreamRecord { committed, generation, last_ms, keys }.to_bytes(&stream_bytes(key))
}

/// Removes all parts of a dictionary.
pub(crate) fn remove_generation(
    table: &mut redb::Table<'_, &'static [u8; 40], &'static [u8]>,
    stream: StreamKey,
    generation: u32,
) -> Result<(), Failure> {
    let bound = |first_number| DictionaryKey { stream, generation, first_number }.to_bytes();
    table.retain_in::<&[u8; 40], _>(&bound(0)..=&bound(u32::MAX), |_, _| false)?;
    Ok(())
}
