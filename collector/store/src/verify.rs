//! Verification: reads everything and reports what is damaged.
//!
//! A query sees damage only where it reads. A chunk whose key is damaged is not even found; that it
//! is missing is seen here, since the state says how many chunks there are. Nothing waits for it: it
//! reads the store as it is when it begins (module `moment`).

use std::collections::HashSet;

use redb::{ReadTransaction, ReadableTable};

use crate::StoreError;
use crate::binary::{Malformed, Reader, checked};
use crate::chunk::{Chunk, SummaryChunk};
use crate::core::Core;
use crate::damage::{Affected, Damage};
use crate::database::{
    BLOCKS, CHUNKS, DELETED, DICTIONARIES, DictionaryKey, Failure, MARKS, STATE, STATE_KEY,
    STREAMS, State, StreamRecord, block_from, dictionary_from, mark_from, numbers_of,
};
use crate::delete::deleted_below;
use crate::index::SeriesRef;
use crate::journal::{ClosedSegment, Entry};
use crate::moment::Moment;

const CHUNKS_PLACE: &str = "samples.redb, table chunks";

/// What a verification read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Sealed chunks.
    pub chunks: u64,
    /// Label sets.
    pub series: u64,
    /// Streams: how far each buffer of a host is committed.
    pub streams: u64,
    /// Parts of dictionaries: what the numbers of a stream mean.
    pub dictionaries: u64,
    /// Segments of the journal.
    pub segments: u64,
    /// Entries in them.
    pub entries: u64,
    /// Everything that was found damaged since the store was opened.
    pub damage: Vec<Damage>,
}

impl Core {
    pub(crate) fn verify(&self) -> Result<Verification, StoreError> {
        let mut read = self.at_one_moment("read", |transaction, moment| {
            let mut read = self
                .verify_database(transaction, moment)
                .map_err(|failure| self.database.told(failure, "read"))?;
            for segment in &moment.segments {
                read.segments += 1;
                read.entries += self.verify_segment(segment)?;
            }
            Ok(read)
        })?;
        read.damage = self.damage.findings();
        Ok(read)
    }

    fn verify_database(
        &self,
        transaction: &ReadTransaction,
        moment: &Moment,
    ) -> Result<Verification, Failure> {
        let (series, known) = self.verify_series(transaction)?;
        let streams = self.verify_streams(transaction)?;
        let dictionaries = self.verify_dictionaries(transaction)?;
        let chunks = self.verify_chunks(transaction, &known, moment.state.chunks)?;
        self.verify_notes(transaction)?;
        Ok(Verification { chunks, series, streams, dictionaries, ..Verification::default() })
    }

    fn verify_series(
        &self,
        transaction: &ReadTransaction,
    ) -> Result<(u64, HashSet<SeriesRef>), Failure> {
        let (mut count, mut known) = (0, HashSet::new());
        for row in transaction.open_table(BLOCKS)?.iter()? {
            let (block, record) = row?;
            let block = block.value();
            match block_from(block, record.value()) {
                Ok(series) => {
                    count += series.len() as u64;
                    known.extend(series.iter().map(|row| row.number));
                }
                Err(error) => {
                    let numbers = numbers_of(block);
                    let lost = format!("series {} to {}", numbers.start, numbers.end - 1);
                    self.report_row(Affected::default(), "series_blocks", error, &lost);
                }
            }
        }
        Ok((count, known))
    }

    fn verify_streams(&self, transaction: &ReadTransaction) -> Result<u64, Failure> {
        let mut count = 0;
        for row in transaction.open_table(STREAMS)?.iter()? {
            let (key, record) = row?;
            count += 1;
            let Err(error) = StreamRecord::from_bytes(key.value(), record.value()) else {
                continue;
            };
            let Ok(stream) = Reader(key.value()).stream() else { continue };
            let lost = format!("the mark of host {}, epoch {}", stream.host, stream.epoch);
            self.report_row(Affected::host(stream.host), "streams", error, &lost);
        }
        Ok(count)
    }

    fn verify_dictionaries(&self, transaction: &ReadTransaction) -> Result<u64, Failure> {
        let mut count = 0;
        for row in transaction.open_table(DICTIONARIES)?.iter()? {
            let (key, record) = row?;
            count += 1;
            let Err(error) = dictionary_from(key.value(), record.value()) else { continue };
            let Ok(part) = DictionaryKey::from_bytes(key.value()) else { continue };
            let lost = format!("descriptions of host {}", part.stream.host);
            self.report_row(Affected::host(part.stream.host), "dictionaries", error, &lost);
        }
        Ok(count)
    }

    fn verify_chunks(
        &self,
        transaction: &ReadTransaction,
        known: &HashSet<SeriesRef>,
        expected: u64,
    ) -> Result<u64, Failure> {
        let chunks = transaction.open_table(CHUNKS)?;
        let mut found = 0;
        let mut last = None;
        for row in chunks.iter()? {
            let (key, bytes) = row?;
            let key = key.value();
            if chunks.get(key)?.is_some() && last < Some(*key) {
                found += 1;
            }
            last = Some(*key);
            match verify_chunk(key, bytes.value()) {
                Ok(series) => self.report_unknown(&series, known),
                Err(error) => self.report_chunk(key, bytes.value(), error),
            }
        }
        if found != expected {
            let missing = expected - found.min(expected);
            self.damage.report(CHUNKS_PLACE, format!("{missing} of {expected} chunks"));
        }
        Ok(found)
    }

    fn report_unknown(&self, series: &[SeriesRef], known: &HashSet<SeriesRef>) {
        for number in series.iter().filter(|number| !known.contains(number)) {
            self.damage.report(CHUNKS_PLACE, format!("the labels of series {number}"));
        }
    }

    /// The rows of the tables that are small.
    fn verify_notes(&self, transaction: &ReadTransaction) -> Result<(), Failure> {
        let unknown = Affected::default();
        if let Some(record) = transaction.open_table(STATE)?.get(STATE_KEY)?
            && let Err(error) = State::from_bytes(STATE_KEY, record.value())
        {
            self.report_row(unknown, "state", error, "which numbers were given");
        }
        for row in transaction.open_table(MARKS)?.iter()? {
            let (key, record) = row?;
            if let Err(error) = mark_from(key.value(), record.value()) {
                self.report_row(
                    unknown,
                    "marks",
                    error,
                    "nothing: a span is packed again too early",
                );
            }
        }
        for row in transaction.open_table(DELETED)?.iter()? {
            let (key, record) = row?;
            if let Err(error) = deleted_below(key.value(), record.value()) {
                self.report_row(unknown, "deleted", error, "that a host was deleted");
            }
        }
        Ok(())
    }

    /// Reads a segment and gives the count of its entries.
    fn verify_segment(&self, segment: &ClosedSegment) -> Result<u64, StoreError> {
        let (bytes, scan) = segment.read()?;
        let place = segment.path.display().to_string();
        for stretch in &scan.damage {
            let lost = format!("what bytes {} to {} said", stretch.start, stretch.end);
            self.damage.report(place.as_str(), lost);
        }
        for body in &scan.bodies {
            if let Err(error) = Entry::parse(bytes.get(body.clone()).unwrap_or_default()) {
                let place = format!("{place}, byte {}", body.start);
                self.damage.report(place, format!("an entry: {error}"));
            }
        }
        Ok(scan.bodies.len() as u64)
    }

    fn report_row(&self, affected: Affected, table: &str, error: Malformed, lost: &str) {
        let place = format!("samples.redb, table {table}");
        self.damage.report_of(affected, place, format!("{lost}: {error}"));
    }
}

/// Reads all of a chunk and returns which series are in it.
fn verify_chunk(key: &[u8; 32], bytes: &[u8]) -> Result<Vec<SeriesRef>, Malformed> {
    let bytes = checked(key, bytes)?;
    if SummaryChunk::is_one(bytes) {
        let chunk = SummaryChunk::open(bytes)?;
        for number in chunk.series() {
            chunk.windows(number)?;
        }
        return Ok(chunk.series().into_iter().collect());
    }
    let chunk = Chunk::open(bytes)?;
    for number in chunk.series() {
        chunk.samples(number)?;
    }
    Ok(chunk.series().collect())
}
