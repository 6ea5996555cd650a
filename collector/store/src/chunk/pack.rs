//! From tables to chunks.

use std::collections::BTreeSet;

use pco::wrapped::FileCompressor;

use crate::binary::{Malformed, put_bytes, put_unsigned};
use crate::index::SeriesRef;

use super::table::Column;
use super::{ALL, BITMAP, CHUNK_BYTES, Glance, STRETCH, Table, VERSION, column};

/// The most that lies before the first section: version, glance, pco's header, count of sections.
const START_BYTES: usize = 64;

/// The most that the counts and lengths before a section's columns take.
const SECTION_BYTES: usize = 16;

/// Packs the tables of a span, in the order of precedence, into chunks in the same order. Their
/// columns are in the order of their series and not empty.
pub(crate) fn encode(tables: &[Table]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut chunks = Vec::new();
    let mut draft = Draft::default();
    for table in tables {
        let mut timestamps = Vec::new();
        column::encode_timestamps(&mut timestamps, &table.timestamps)?;
        let mut is_begun = false;
        for column in &table.columns {
            let packed = Packed::of(column)?;
            let beginning = if is_begun { 0 } else { timestamps.len() + SECTION_BYTES };
            // Of two chunks the one that comes first has precedence; within one nothing has.
            let is_there_already = draft.series.contains(&column.series);
            if is_there_already || !draft.has_room(beginning + packed.len()) {
                chunks.extend(std::mem::take(&mut draft).finish()?);
                is_begun = false;
            }
            if !is_begun {
                draft.begin(table, timestamps.clone());
                is_begun = true;
            }
            draft.push(packed);
        }
    }
    chunks.extend(draft.finish()?);
    Ok(chunks)
}

/// A packed column.
#[derive(Debug)]
struct Packed {
    series: SeriesRef,
    /// Its rows and the length of its values.
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Packed {
    fn of(column: &Column) -> Result<Self, Malformed> {
        let (mut head, mut body) = (Vec::new(), Vec::new());
        put_rows(&mut head, &column.present);
        column::encode_values(&mut body, &column.values)?;
        put_unsigned(&mut head, body.len() as u64);
        Ok(Self { series: column.series, head, body })
    }

    /// The most that it adds to a chunk.
    fn len(&self) -> usize {
        size_of::<SeriesRef>() + 1 + self.head.len() + self.body.len()
    }
}

/// A chunk that is being put together.
#[derive(Debug, Default)]
struct Draft {
    sections: Vec<DraftSection>,
    bodies: Vec<u8>,
    series: BTreeSet<SeriesRef>,
    /// The most that it may become so far.
    bytes: usize,
}

#[derive(Debug)]
struct DraftSection {
    rows: usize,
    times: (i64, i64),
    timestamps: Vec<u8>,
    count: u64,
    last: SeriesRef,
    heads: Vec<u8>,
}

impl Draft {
    fn has_room(&self, bytes: usize) -> bool {
        self.sections.is_empty() || START_BYTES + self.bytes + bytes <= CHUNK_BYTES
    }

    fn begin(&mut self, table: &Table, timestamps: Vec<u8>) {
        let first = table.timestamps.first().copied().unwrap_or_default();
        let times = (first, table.timestamps.last().copied().unwrap_or(first));
        self.bytes += timestamps.len() + SECTION_BYTES;
        let rows = table.timestamps.len();
        let section =
            DraftSection { rows, times, timestamps, count: 0, last: 0, heads: Vec::new() };
        self.sections.push(section);
    }

    fn push(&mut self, column: Packed) {
        let Some(section) = self.sections.last_mut() else { return };
        self.bytes += column.len();
        put_unsigned(&mut section.heads, u64::from(column.series - section.last));
        section.heads.extend_from_slice(&column.head);
        section.last = column.series;
        section.count += 1;
        self.bodies.extend_from_slice(&column.body);
        self.series.insert(column.series);
    }

    fn finish(self) -> Result<Option<Vec<u8>>, Malformed> {
        let (Some(first), Some(last)) = (self.series.first(), self.series.last()) else {
            return Ok(None);
        };
        let from_ms = self.sections.iter().map(|section| section.times.0).min();
        let through_ms = self.sections.iter().map(|section| section.times.1).max();
        let times = from_ms.unwrap_or_default()..=through_ms.unwrap_or_default();
        let mut bytes = vec![VERSION];
        Glance { series: *first..=*last, times }.put(&mut bytes);
        let mut header = Vec::new();
        FileCompressor::default().write_header(&mut header).map_err(|_| Malformed::Column)?;
        put_bytes(&mut bytes, &header);
        put_unsigned(&mut bytes, self.sections.len() as u64);
        for section in self.sections {
            put_unsigned(&mut bytes, section.rows as u64);
            put_bytes(&mut bytes, &section.timestamps);
            put_unsigned(&mut bytes, section.count);
            bytes.extend_from_slice(&section.heads);
        }
        bytes.extend_from_slice(&self.bodies);
        Ok(Some(bytes))
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
