//! Chunks: samples of one host over one span, by columns.
//!
//! # Format, version 1
//! 1. The byte 1, the version.
//! 2. Pco's header: its length and bytes.
//! 3. The count of rows; the length of the packed timestamps, and these (milliseconds, ascending).
//! 4. The count of columns, and for each: the difference of its series number to the one before
//!    (numbers ascend), its rows, the length of its packed values.
//!    The rows are a byte: 0, all of them; 1, those from a first one on, a count (two numbers);
//!    2, those whose bit is set in the bitmap that follows (least significant bit first).
//! 5. The packed values of each column (module `column`), in the same order.
//!
//! A chunk is closed before it grows past [`CHUNK_BYTES`], since the database rounds what it keeps
//! up to a power of two of its pages; so a table of many series becomes several chunks, each of
//! which can be read alone. The database adds the checksum.

mod column;
mod table;

use std::ops::Range;

use pco::wrapped::{FileCompressor, FileDecompressor};

use crate::binary::{Malformed, Reader, put_bytes, put_unsigned};
use crate::index::SeriesRef;

pub(crate) use table::{Table, Transposed, tables_of_points, tables_of_rows};

/// Four of the database's pages less what it keeps beside a value.
const CHUNK_BYTES: usize = 4 * 4096 - 128;

/// No chunk has more rows; it bounds what a reader allocates.
pub(crate) const MAX_ROWS: usize = 8192;

const VERSION: u8 = 1;

const ALL: u8 = 0;
const STRETCH: u8 = 1;
const BITMAP: u8 = 2;

/// Timestamps and values, one for each.
pub(crate) type Samples = (Vec<i64>, Vec<f64>);

/// Packs a table whose columns are in the order of their series and not empty into chunks.
pub(crate) fn encode(table: &Table) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut start = vec![VERSION];
    let mut header = Vec::new();
    FileCompressor::default().write_header(&mut header).map_err(|_| Malformed::Column)?;
    put_bytes(&mut start, &header);
    put_unsigned(&mut start, table.timestamps.len() as u64);
    let mut timestamps = Vec::new();
    column::encode_timestamps(&mut timestamps, &table.timestamps)?;
    put_bytes(&mut start, &timestamps);

    let mut chunks = Vec::new();
    let mut draft = Draft::default();
    for column in &table.columns {
        let (mut rows, mut body) = (Vec::new(), Vec::new());
        put_rows(&mut rows, &column.present);
        column::encode_values(&mut body, &column.values)?;
        put_unsigned(&mut rows, body.len() as u64);
        let grown = start.len() + draft.len() + rows.len() + body.len() + 2 * size_of::<u32>();
        if grown > CHUNK_BYTES && !draft.series.is_empty() {
            chunks.push(std::mem::take(&mut draft).finish(&start));
        }
        draft.push(column.series, &rows, &body);
    }
    if !draft.series.is_empty() {
        chunks.push(draft.finish(&start));
    }
    Ok(chunks)
}

#[derive(Debug, Default)]
struct Draft {
    series: Vec<SeriesRef>,
    heads: Vec<u8>,
    bodies: Vec<u8>,
}

impl Draft {
    fn len(&self) -> usize {
        self.heads.len() + self.bodies.len()
    }

    fn push(&mut self, series: SeriesRef, rows: &[u8], body: &[u8]) {
        let last = self.series.last().copied().unwrap_or_default();
        put_unsigned(&mut self.heads, u64::from(series - last));
        self.heads.extend_from_slice(rows);
        self.bodies.extend_from_slice(body);
        self.series.push(series);
    }

    fn finish(self, start: &[u8]) -> Vec<u8> {
        let mut bytes = start.to_vec();
        put_unsigned(&mut bytes, self.series.len() as u64);
        bytes.extend_from_slice(&self.heads);
        bytes.extend_from_slice(&self.bodies);
        bytes
    }
}

fn put_rows(out: &mut Vec<u8>, present: &[bool]) {
    let count = present.iter().filter(|is_present| **is_present).count();
    let first = present.iter().position(|is_present| *is_present).unwrap_or_default();
    if count == present.len() {
        out.push(ALL);
    } else if present.iter().skip(first).take(count).all(|is_present| *is_present) {
        out.push(STRETCH);
        put_unsigned(out, first as u64);
        put_unsigned(out, count as u64);
    } else {
        out.push(BITMAP);
        out.extend(present.chunks(8).map(|bits| {
            bits.iter().rev().fold(0_u8, |byte, is_present| byte << 1 | u8::from(*is_present))
        }));
    }
}

/// A chunk that is being read.
#[derive(Debug)]
pub(crate) struct Chunk<'a> {
    pco: FileDecompressor,
    /// Milliseconds, ascending.
    pub(crate) timestamps: Vec<i64>,
    columns: Vec<Head>,
    bodies: &'a [u8],
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
    /// Reads everything but the columns themselves from bytes whose checksum was good.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        if reader.byte()? != VERSION {
            return Err(Malformed::Unknown("the version of the chunk"));
        }
        let (pco, _) = FileDecompressor::new(reader.bytes()?).map_err(|_| Malformed::Column)?;
        let rows = usize::try_from(reader.unsigned()?).map_err(|_| Malformed::Overlong)?;
        if rows == 0 || rows > MAX_ROWS {
            return Err(Malformed::Unknown("the count of rows"));
        }
        let timestamps = column::decode_timestamps(reader.bytes()?, rows, &pco)?;
        let count = reader.count()?;
        let mut columns = Vec::with_capacity(count);
        let (mut series, mut at) = (0_u32, 0_usize);
        for _ in 0..count {
            let step = reader.unsigned32()?;
            series = series.checked_add(step).ok_or(Malformed::Overlong)?;
            let rows = read_rows(&mut reader, rows)?;
            let length = usize::try_from(reader.unsigned()?).map_err(|_| Malformed::Overlong)?;
            let end = at.checked_add(length).ok_or(Malformed::Overlong)?;
            columns.push(Head { series, rows, body: at..end });
            at = end;
        }
        Ok(Self { pco, timestamps, columns, bodies: reader.0 })
    }

    /// The series in the chunk, ascending.
    pub(crate) fn series(&self) -> impl Iterator<Item = SeriesRef> {
        self.columns.iter().map(|head| head.series)
    }

    /// The samples of a series, if it is in the chunk.
    pub(crate) fn samples(&self, series: SeriesRef) -> Result<Option<Samples>, Malformed> {
        let Ok(at) = self.columns.binary_search_by_key(&series, |head| head.series) else {
            return Ok(None);
        };
        let Some(head) = self.columns.get(at) else { return Ok(None) };
        let body = self.bodies.get(head.body.clone()).ok_or(Malformed::Truncated)?;
        let timestamps = match &head.rows {
            Rows::All => self.timestamps.clone(),
            Rows::Stretch(rows) => {
                self.timestamps.get(rows.clone()).ok_or(Malformed::Truncated)?.to_vec()
            }
            Rows::Bitmap(rows) => {
                rows.iter().filter_map(|row| self.timestamps.get(*row).copied()).collect()
            }
        };
        let values = column::decode_values(body, timestamps.len(), &self.pco)?;
        Ok(Some((timestamps, values)))
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
mod tests {
    use super::table::Column;
    use super::*;

    fn table(rows: usize, columns: u32) -> Table {
        let timestamps = (0..rows as i64).map(|row| 1_000 + row * 10_000 + row % 3).collect();
        let column = |series: u32| {
            let present: Vec<bool> = (0..rows)
                .map(|row| match series % 3 {
                    0 => true,
                    1 => row >= rows / 2,
                    _ => row % 2 == 0,
                })
                .collect();
            let of_row = |row: usize| {
                f64::from(series) + ((row * row) as f64 * 0.37 * f64::from(series)).sin()
            };
            let values = (0..rows).filter(|row| present[*row]).map(of_row).collect();
            Column { series: series * 7 + 1, present, values }
        };
        Table { timestamps, columns: (0..columns).map(column).collect() }
    }

    #[test]
    fn a_table_comes_back_from_as_many_chunks_as_it_needs() {
        let table = table(200, 60);
        let chunks = encode(&table).unwrap();
        assert!(chunks.len() > 1, "{} chunks", chunks.len());
        assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES));
        let mut columns = table.columns.iter();
        for encoded in &chunks {
            let chunk = Chunk::open(encoded).unwrap();
            for series in chunk.series() {
                let column = columns.next().unwrap();
                assert_eq!(series, column.series);
                let (timestamps, values) = chunk.samples(series).unwrap().unwrap();
                let expect = table.timestamps.iter().zip(&column.present);
                let expect: Vec<i64> = expect.filter(|(_, is)| **is).map(|(at, _)| *at).collect();
                assert_eq!((timestamps, values), (expect, column.values.clone()));
            }
            assert_eq!(chunk.samples(3).unwrap(), None);
        }
        assert!(columns.next().is_none());
    }

    #[test]
    fn damaged_chunks_are_refused_without_panic() {
        let encoded = encode(&table(40, 6)).unwrap().remove(0);
        for at in 0..encoded.len() {
            for flip in [1, 0x10, 0x80, 0xff] {
                let mut bytes = encoded.clone();
                bytes[at] ^= flip;
                if let Ok(chunk) = Chunk::open(&bytes) {
                    for series in chunk.series() {
                        let _ = chunk.samples(series);
                    }
                }
            }
            let _ = Chunk::open(&encoded[..at]);
        }
    }
}
