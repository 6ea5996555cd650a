//! Opening: loads what the database has and reads the journal again.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadTransaction, ReadableTable};
use upkeep_model::{HostId, StreamKey};
use uuid::Uuid;

use crate::binary::{Malformed, Reader};
use crate::chunk::SummaryChunk;
use crate::core::Intake;
use crate::coverage::{Coverage, DAY_MS};
use crate::damage::{Affected, DamageLog};
use crate::database::{
    BLOCKS, CHUNKS, ChunkKey, DELETED, DICTIONARIES, Database, DictionaryKey, Failure, Progress,
    STATE, STATE_KEY, STREAMS, State, StreamRecord, Summarised, VERSION, block_from,
    dictionary_from, numbers_of, stored_bytes,
};
use crate::delete::deleted_below;
use crate::folder::Folder;
use crate::head::Head;
use crate::index::{Index, SeriesRef, UNKNOWN};
use crate::journal::JournalFolder;
use crate::replay::replay;
use crate::{Options, StoreError};

/// Numbers passed over when the row that says which were given is damaged: more series than a
/// journal can have named since the last good row.
const NUMBERS_PASSED_OVER: SeriesRef = 1 << 20;

/// The longest span assumed when the row that says it is damaged: more than anybody sets.
const SPAN_ASSUMED_MS: i64 = 32 * 24 * 60 * 60 * 1000;

/// A store's contents as they were found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) database: Database,
    pub(crate) journal: JournalFolder,
    pub(crate) contents: Contents,
    pub(crate) damaged_segments: BTreeSet<u64>,
    pub(crate) next_segment: u64,
}

/// What is kept in memory.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) state: State,
    pub(crate) index: Index,
    pub(crate) intake: Intake,
    pub(crate) head: Head,
    /// What segments below this one have of a host that was deleted counts no more.
    pub(crate) deleted: BTreeMap<HostId, u64>,
}

pub(crate) fn recover(
    folder: &Folder,
    options: &Options,
    damage: &DamageLog,
) -> Result<Recovered, StoreError> {
    let journal = JournalFolder::open(folder.journal())?;
    let (database, mut contents) = open_database(folder, options, damage)?;
    folder.sync()?;
    let numbers = journal.numbers()?;
    report_missing(&numbers, contents.state.coverage, damage);
    let damaged_segments = replay(&journal, &numbers, &mut contents, damage)?;
    let Coverage { all_before, due_before, .. } = contents.state.coverage;
    let after_last = numbers.last().map_or(1, |last| last + 1);
    let next_segment = after_last.max(all_before).max(due_before);
    Ok(Recovered { database, journal, contents, damaged_segments, next_segment })
}

/// Reports segments that should be there: their numbers have no gaps, and none from the last sealing
/// on is removed before the next one. So this also tells of a database that fell back to an older
/// state of itself.
fn report_missing(numbers: &[u64], coverage: Coverage, damage: &DamageLog) {
    let mut expected = coverage.due_before.max(1);
    for &number in numbers {
        if number > expected {
            let lost = format!("segments {expected} to {}", number - 1);
            damage.report("the journal", lost);
        }
        expected = expected.max(number + 1);
    }
}

/// Opens and loads the database; one that is damaged is set aside and begun anew.
fn open_database(
    folder: &Folder,
    options: &Options,
    damage: &DamageLog,
) -> Result<(Database, Contents), StoreError> {
    let mut tries_left = 1;
    loop {
        let opened = Database::open(folder, options);
        let loaded = opened.and_then(|database| {
            database.migrate(damage)?;
            let contents = database.read(|transaction| load(transaction, damage))?;
            Ok((database, contents))
        });
        match loaded {
            Ok(loaded) => return Ok(loaded),
            Err(Failure::Damaged(reason)) if tries_left > 0 => {
                tries_left -= 1;
                let place = folder.set_database_aside()?;
                let lost = format!("everything sealed so far, set aside: {reason}");
                damage.report(place.display().to_string(), lost);
            }
            Err(failure) => return Err(failure.told("open", folder)),
        }
    }
}

fn load(transaction: &ReadTransaction, damage: &DamageLog) -> Result<Contents, Failure> {
    let mut contents = Contents::default();
    let report = |affected: Affected, table: &str, error: Malformed, lost: String| {
        let place = format!("samples.redb, table {table}");
        damage.report_of(affected, place, format!("{lost}: {error}"));
    };
    let unknown = Affected::default();
    for row in transaction.open_table(BLOCKS)?.iter()? {
        let (block, record) = row?;
        let block = block.value();
        match block_from(block, record.value()) {
            Ok(series) => {
                for row in series {
                    contents.index.restore(row.number, row.home, &row.labels, row.days);
                }
            }
            Err(error) => {
                let numbers = numbers_of(block);
                let lost = format!("series {} to {}", numbers.start, numbers.end - 1);
                report(unknown, "series_blocks", error, lost);
            }
        }
    }
    for row in transaction.open_table(DICTIONARIES)?.iter()? {
        let (key, record) = row?;
        let Ok(part) = DictionaryKey::from_bytes(key.value()) else { continue };
        match dictionary_from(key.value(), record.value()) {
            Ok(series) => restore_dictionary(&mut contents, part, series),
            Err(error) => {
                let lost = format!("descriptions of host {}", part.stream.host);
                report(Affected::host(part.stream.host), "dictionaries", error, lost);
            }
        }
    }
    for row in transaction.open_table(STREAMS)?.iter()? {
        let (key, record) = row?;
        let Ok(stream) = Reader(key.value()).stream() else { continue };
        match StreamRecord::from_bytes(key.value(), record.value()) {
            Ok(record) => restore_stream(&mut contents, stream, record),
            Err(error) => {
                let lost = format!("the mark of host {}, epoch {}", stream.host, stream.epoch);
                report(Affected::host(stream.host), "streams", error, lost);
            }
        }
    }
    for row in transaction.open_table(DELETED)?.iter()? {
        let (key, record) = row?;
        let host = HostId(Uuid::from_bytes(*key.value()));
        match deleted_below(key.value(), record.value()) {
            Ok(below) => drop(contents.deleted.insert(host, below)),
            Err(error) => {
                let what =
                    "that a host was deleted, so the journal's last of it is back".to_owned();
                report(Affected::host(host), "deleted", error, what);
            }
        }
    }
    let report = |error: Malformed| {
        report(unknown, "state", error, "which numbers were given".to_owned());
    };
    contents.state = load_state(transaction, &contents.index, &report)?;
    contents.index.reserve(contents.state.next_series);
    Ok(contents)
}

fn restore_dictionary(contents: &mut Contents, part: DictionaryKey, mut series: Vec<SeriesRef>) {
    for number in &mut series {
        // A series whose row is damaged has no labels, so its number means nothing.
        if contents.index.get(*number).is_none() {
            *number = UNKNOWN;
        }
    }
    let stream = contents.intake.streams.entry(part.stream).or_default();
    stream.put_numbers(part.generation, part.first_number, &series);
    let described = stream.dictionaries.get(&part.generation).map_or(0, Vec::len);
    let described = u32::try_from(described).unwrap_or(u32::MAX);
    stream.saved.numbers.insert(part.generation, described);
}

fn restore_stream(contents: &mut Contents, key: StreamKey, record: StreamRecord) {
    let stream = contents.intake.streams.entry(key).or_default();
    stream.accepted = record.committed.clone();
    stream.generation = record.generation;
    stream.last_ms = record.last_ms;
    stream.saved.committed = record.committed.clone();
    stream.saved.generation = record.generation;
    stream.saved.last_ms = record.last_ms;
    stream.saved.keys = record.keys.iter().map(|(sequence, _)| *sequence).collect();
    for (sequence, body) in &record.keys {
        // A key frame whose numbers lost their series serves nobody; its agent gives it again.
        let _ = stream.put_key(key, *sequence, body);
    }
    contents.head.streams.entry(key).or_default().committed = record.committed;
}

/// The state, or a guess that gives no number twice where it is damaged.
fn load_state(
    transaction: &ReadTransaction,
    index: &Index,
    report: &dyn Fn(Malformed),
) -> Result<State, Failure> {
    let table = transaction.open_table(STATE)?;
    let Some(record) = table.get(STATE_KEY)? else {
        let is_new = index.next() == 0 && transaction.open_table(CHUNKS)?.first()?.is_none();
        if is_new {
            return Ok(State::default());
        }
        report(Malformed::Truncated);
        return guess_state(transaction, index);
    };
    match State::from_bytes(STATE_KEY, record.value()) {
        Ok(state) => Ok(state),
        Err(Malformed::Unknown(what)) => {
            let reason = format!("{what} is above {VERSION}; a newer version has written it");
            Err(Failure::Io(std::io::Error::other(reason)))
        }
        Err(error) => {
            report(error);
            guess_state(transaction, index)
        }
    }
}

fn guess_state(transaction: &ReadTransaction, index: &Index) -> Result<State, Failure> {
    let (mut next_chunk, mut chunks, mut chunk_bytes) = (0, 0, 0);
    let mut summarised = Summarised::default();
    for row in transaction.open_table(CHUNKS)?.iter()? {
        let (key, value) = row?;
        chunks += 1;
        chunk_bytes += stored_bytes(value.value());
        if let Ok(key) = ChunkKey::from_bytes(key.value()) {
            next_chunk = key.number.saturating_add(1).max(next_chunk);
            if let Some(resolution) = SummaryChunk::resolution_of(value.value()) {
                // Which days were done is looked at again.
                let begun_ms = key.span.saturating_add(DAY_MS);
                summarised.note(resolution, Progress { begun_ms, ..Progress::default() });
            }
        }
    }
    Ok(State {
        next_series: index.next().saturating_add(NUMBERS_PASSED_OVER),
        next_chunk,
        chunks,
        longest_span_ms: SPAN_ASSUMED_MS,
        coverage: Coverage::default(),
        chunk_bytes,
        summarised,
    })
}
