//! Chunks: samples of one host over one span, by columns.
//!
//! # Format, version 2
//! 1. The byte 2, the version.
//! 2. The glance, which says what a reader would find, so that it can pass over a chunk before it
//!    unpacks anything: the first series number and how far the last is from it, the first
//!    timestamp (milliseconds) and how far the last is from it; then the CRC-32 (little endian) of
//!    all bytes so far. It is looked at before the checksum of the whole.
//! 3. Pco's header: its length and bytes.
//! 4. The count of sections, and for each: the count of rows; the length of the packed timestamps,
//!    and these (ascending); the count of columns, and for each: the difference of its series number
//!    to the one before (numbers ascend within a section), its rows, the length of its packed values.
//!    The rows are a byte: 0, all of them; 1, those from a first one on, a count (two numbers);
//!    2, those whose bit is set in the bitmap that follows (least significant bit first).
//! 5. The packed values of each column (module `column`), in the same order.
//!
//! A series is in one section of a chunk at most. A section is what shares its timestamps: a host's
//! frames are one, and what has times of its own does not cost a chunk of its own for that.
//!
//! The database rounds what it keeps up to a power of two of its pages, and a chunk is closed before
//! it grows past that (module `pack`); so a span of many series becomes several chunks, each of which
//! can be read alone. The database adds the checksum.
//!
//! # Version 3: summaries
//! A day of a host may be kept as summaries (module `summary`): for each series its windows of five
//! minutes or an hour. The byte 3; a byte for the resolution: 1, five minutes; 2, an hour; the glance
//! and pco's header as above. Then, for each of these in turn, sections as above, with their count
//! before them; and behind all of them the packed values, in the same order:
//!
//! | | timestamps | value |
//! |---|---|---|
//! | first | its own | the first sample of a window |
//! | last | its own | the last one, where it is not the first |
//! | smallest, largest, sum, count, lost | the end of the window | what samples came to; *lost* is the sum of all values with a lower one behind them |
//! | end | its own | 0: when the series ended, behind all samples of the window |
//!
//! Of the third line, a series whose windows all follow from first and last has no column: smallest and
//! largest of the two; twice the half of both times the count; a count of 2, or 1 without a last; what
//! is lost where the last is lower. A chunk has all of each of its series, so that one that is damaged
//! costs these series and leaves no other with half of what it needs.
//!
//! # Version 1
//! The byte 1 and no glance; one section, without a count of sections. It is read, and no longer
//! written.

mod column;
mod merge;
mod pack;
mod summaries;
mod table;

use std::cell::OnceCell;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use pco::wrapped::FileDecompressor;

use crate::binary::{Malformed, Reader, put_signed, put_unsigned};
use crate::index::SeriesRef;

pub(crate) use merge::{Merged, merge};
pub(crate) use pack::{Effort, encode};
pub(crate) use summaries::{SummaryChunk, SummaryPacker};
pub(crate) use table::{Table, Transposed, tables_of_points, tables_of_rows};

/// No section has more rows; it bounds what a reader allocates.
pub(crate) const MAX_ROWS: usize = 8192;

const VERSION: u8 = 2;
const SUMMARIES_VERSION: u8 = 3;
const OLDEST_VERSION: u8 = 1;

const ALL: u8 = 0;
const STRETCH: u8 = 1;
const BITMAP: u8 = 2;

/// Timestamps and values, one for each. Series that share their rows share the timestamps.
pub(crate) type Samples = (Arc<[i64]>, Vec<f64>);

/// What a chunk is about, known from its first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    /// No series outside of this is in the chunk.
    pub(crate) series: RangeInclusive<SeriesRef>,
    /// No sample outside of this is in the chunk, in milliseconds.
    pub(crate) times: RangeInclusive<i64>,
}

impl Glance {
    fn put(&self, out: &mut Vec<u8>) {
        let (series, times) = (&self.series, &self.times);
        put_unsigned(out, u64::from(*series.start()));
        put_unsigned(out, u64::from(series.end() - series.start()));
        put_signed(out, *times.start());
        put_unsigned(out, times.end().wrapping_sub(*times.start()) as u64);
        out.extend_from_slice(&crc32fast::hash(out).to_le_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let all = reader.0;
        match reader.byte()? {
            OLDEST_VERSION => Ok(Self { series: 0..=SeriesRef::MAX, times: i64::MIN..=i64::MAX }),
            version @ (VERSION | SUMMARIES_VERSION) => {
                if version == SUMMARIES_VERSION {
                    reader.byte()?;
                }
                let first = reader.unsigned32()?;
                let last = first.checked_add(reader.unsigned32()?).ok_or(Malformed::Overlong)?;
                let from_ms = reader.signed()?;
                let through_ms = from_ms.wrapping_add(reader.unsigned()? as i64);
                let length = all.len() - reader.0.len();
                let seen = all.get(..length).ok_or(Malformed::Truncated)?;
                if u32::from_le_bytes(reader.array()?) != crc32fast::hash(seen) {
                    return Err(Malformed::Checksum);
                }
                Ok(Self { series: first..=last, times: from_ms..=through_ms })
            }
            _ => Err(Malformed::Unknown("the version of the chunk")),
        }
    }
}

/// A chunk that is being read.
#[derive(Debug)]
pub(crate) struct Chunk<'a> {
    pco: FileDecompressor,
    sections: Vec<Section<'a>>,
    bodies: &'a [u8],
}

/// Columns that share their timestamps.
#[derive(Debug)]
struct Section<'a> {
    rows: usize,
    packed_timestamps: &'a [u8],
    /// Unpacked when they are first asked for.
    timestamps: OnceCell<Arc<[i64]>>,
    columns: Vec<Head>,
}

#[derive(Debug)]
struct Head {
    series: SeriesRef,
    rows: Rows,
    body: Range<usize>,
}

#[derive(Debug)]
enum Rows {
    All,
    Stretch(Range<usize>),
    Bitmap(Vec<usize>),
}

impl<'a> Chunk<'a> {
    /// What a chunk is about, from its first bytes. Of the rest not even the checksum is looked at.
    pub(crate) fn glance(bytes: &[u8]) -> Result<Glance, Malformed> {
        Glance::read(&mut Reader(bytes))
    }

    /// Reads everything but timestamps and values from bytes whose checksum was good.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        Glance::read(&mut reader)?;
        if SummaryChunk::is_one(bytes) {
            return Err(Malformed::Unknown("a summary among samples"));
        }
        let is_oldest = bytes.first() == Some(&OLDEST_VERSION);
        let (pco, _) = FileDecompressor::new(reader.bytes()?).map_err(|_| Malformed::Column)?;
        let count = if is_oldest { 1 } else { reader.count()? };
        let mut end = 0;
        let sections: Result<Vec<_>, _> =
            (0..count).map(|_| Section::open(&mut reader, &mut end)).collect();
        Ok(Self { pco, sections: sections?, bodies: reader.0 })
    }

    /// The series in the chunk, ascending within what shares its timestamps.
    pub(crate) fn series(&self) -> impl Iterator<Item = SeriesRef> {
        self.sections.iter().flat_map(|section| &section.columns).map(|head| head.series)
    }

    /// The samples of a series, if it is in the chunk.
    pub(crate) fn samples(&self, series: SeriesRef) -> Result<Option<Samples>, Malformed> {
        samples_in(&self.sections, self.bodies, series, &self.pco)
    }
}

/// The samples of a series, if it is in one of the sections.
fn samples_in(
    sections: &[Section<'_>],
    bodies: &[u8],
    series: SeriesRef,
    pco: &FileDecompressor,
) -> Result<Option<Samples>, Malformed> {
    for section in sections {
        let found = section.columns.binary_search_by_key(&series, |head| head.series);
        if let Some(head) = found.ok().and_then(|at| section.columns.get(at)) {
            let body = bodies.get(head.body.clone()).ok_or(Malformed::Truncated)?;
            let timestamps = section.timestamps_of(&head.rows, pco)?;
            let values = column::decode_values(body, timestamps.len(), pco)?;
            return Ok(Some((timestamps, values)));
        }
    }
    Ok(None)
}

impl<'a> Section<'a> {
    fn open(reader: &mut Reader<'a>, end: &mut usize) -> Result<Self, Malformed> {
        let rows = usize::try_from(reader.unsigned()?).map_err(|_| Malformed::Overlong)?;
        if rows == 0 || rows > MAX_ROWS {
            return Err(Malformed::Unknown("the count of rows"));
        }
        let packed_timestamps = reader.bytes()?;
        let count = reader.count()?;
        let mut columns = Vec::with_capacity(count);
        let mut series = 0_u32;
        for _ in 0..count {
            let step = reader.unsigned32()?;
            series = series.checked_add(step).ok_or(Malformed::Overlong)?;
            let rows = read_rows(reader, rows)?;
            let length = usize::try_from(reader.unsigned()?).map_err(|_| Malformed::Overlong)?;
            let begin = *end;
            *end = begin.checked_add(length).ok_or(Malformed::Overlong)?;
            columns.push(Head { series, rows, body: begin..*end });
        }
        Ok(Self { rows, packed_timestamps, timestamps: OnceCell::new(), columns })
    }

    fn timestamps_of(&self, rows: &Rows, pco: &FileDecompressor) -> Result<Arc<[i64]>, Malformed> {
        let all = match self.timestamps.get() {
            Some(all) => all,
            None => {
                let all = column::decode_timestamps(self.packed_timestamps, self.rows, pco)?;
                self.timestamps.get_or_init(|| all.into())
            }
        };
        match rows {
            Rows::All => Ok(Arc::clone(all)),
            Rows::Stretch(rows) => Ok(all.get(rows.clone()).ok_or(Malformed::Truncated)?.into()),
            Rows::Bitmap(rows) => {
                Ok(rows.iter().filter_map(|row| all.get(*row).copied()).collect())
            }
        }
    }
}

fn read_rows(reader: &mut Reader<'_>, count: usize) -> Result<Rows, Malformed> {
    match reader.byte()? {
        ALL => Ok(Rows::All),
        STRETCH => {
            let first = usize::try_from(reader.unsigned()?).map_err(|_| Malformed::Overlong)?;
            let length = usize::try_from(reader.unsigned()?).map_err(|_| Malformed::Overlong)?;
            let end = first.checked_add(length).filter(|end| *end <= count && length > 0);
            Ok(Rows::Stretch(first..end.ok_or(Malformed::Truncated)?))
        }
        BITMAP => {
            let bitmap = reader.take(count.div_ceil(8))?;
            let is_set =
                |row: &usize| bitmap.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1);
            let rows: Vec<usize> = (0..count).filter(is_set).collect();
            if rows.is_empty() { Err(Malformed::Truncated) } else { Ok(Rows::Bitmap(rows)) }
        }
        _ => Err(Malformed::Unknown("the rows of the column")),
    }
}

#[cfg(test)]
mod tests;
