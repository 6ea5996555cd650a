//! From tables to chunks.

use std::collections::BTreeSet;

use pco::wrapped::FileCompressor;

use crate::binary::{Malformed, put_bytes, put_unsigned};
use crate::index::SeriesRef;

use super::table::Column;
use super::{ALL, BITMAP, Glance, STRETCH, Table, VERSION, column};

/// How hard it is tried to pack small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Settings that are good enough and cost little, for what was just sealed.
    Quick,
    /// The best of several settings, for what stays.
    Thorough,
}

/// The database's pages, and what it keeps beside a value.
const PAGE_BYTES: usize = 4096;
const BESIDE_BYTES: usize = 128;

/// A chunk takes so many pages at most: it is read whole for one of its series.
const QUICK_PAGES: usize = 4;
const THOROUGH_PAGES: usize = 8;

/// The most that lies before the first section: version, glance, pco's header, count of sections.
pub(super) const START_BYTES: usize = 64;

/// The most that the counts and lengths before a section's columns take.
pub(super) const SECTION_BYTES: usize = 16;

/// Packs the tables of a span, in the order of precedence, into chunks in the same order. Their
/// columns are in the order of their series and not empty.
pub(crate) fn encode(tables: &[Table], effort: Effort) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut sections = Vec::with_capacity(tables.len());
    let mut left = 0;
    for table in tables {
        let mut timestamps = Vec::new();
        column::encode_timestamps(&mut timestamps, &table.timestamps, effort)?;
        let columns = table.columns.iter().map(|column| Packed::of(column, effort));
        let columns: Vec<Packed> = columns.collect::<Result<_, _>>()?;
        left += columns.iter().map(Packed::len).sum::<usize>();
        left += timestamps.len() + SECTION_BYTES;
        sections.push((table, timestamps, columns));
    }
    let mut chunks = Vec::new();
    let mut draft = Draft::of(left, effort);
    for (table, timestamps, columns) in sections {
        let mut is_begun = false;
        for packed in columns {
            let beginning = if is_begun { 0 } else { timestamps.len() + SECTION_BYTES };
            // Of two chunks the one that comes first has precedence; within one nothing has.
            let is_there_already = draft.series.contains(&packed.series);
            if is_there_already || !draft.has_room(beginning + packed.len()) {
                // What is left begins with a section, be it one that was begun before.
                let again = if is_begun { timestamps.len() + SECTION_BYTES } else { 0 };
                chunks.extend(
                    std::mem::replace(&mut draft, Draft::of(left + again, effort)).finish()?,
                );
                is_begun = false;
            }
            if !is_begun {
                draft.begin(table, timestamps.clone());
                is_begun = true;
            }
            left = left.saturating_sub(packed.len());
            draft.push(packed);
        }
        left = left.saturating_sub(timestamps.len() + SECTION_BYTES);
    }
    chunks.extend(draft.finish()?);
    Ok(chunks)
}

/// How large a chunk may become when so many bytes are left. The database gives a value a power of
/// two of pages, so what is left becomes a chunk if it fills most of those, and several otherwise.
pub(super) fn limit(left: usize, effort: Effort) -> usize {
    let most = match effort {
        Effort::Quick => QUICK_PAGES,
        Effort::Thorough => THOROUGH_PAGES,
    };
    let pages = (left + START_BYTES + BESIDE_BYTES).div_ceil(PAGE_BYTES).min(most);
    let pages = if pages.is_power_of_two() { pages } else { pages.next_power_of_two() / 2 };
    pages * PAGE_BYTES - BESIDE_BYTES
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
    fn of(column: &Column, effort: Effort) -> Result<Self, Malformed> {
        let (mut head, mut body) = (Vec::new(), Vec::new());
        put_rows(&mut head, &column.present);
        column::encode_values(&mut body, &column.values, effort)?;
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
    /// The most that it shall become.
    limit: usize,
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
    /// One for when so many bytes are left.
    fn of(left: usize, effort: Effort) -> Self {
        Self { limit: limit(left, effort), ..Self::default() }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.sections.is_empty() || START_BYTES + self.bytes + bytes <= self.limit
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

pub(super) fn put_rows(out: &mut Vec<u8>, present: &[bool]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_fills_powers_of_two_of_pages() {
        let check = |left: usize, effort, expect: usize| {
            assert_eq!(limit(left, effort), expect * PAGE_BYTES - BESIDE_BYTES, "{left}");
        };
        check(1, Effort::Quick, 1);
        check(5_000, Effort::Quick, 2);
        check(9_000, Effort::Quick, 2);
        check(13_000, Effort::Quick, 4);
        check(1 << 20, Effort::Quick, 4);
        check(17_000, Effort::Thorough, 4);
        check(30_000, Effort::Thorough, 8);
        check(1 << 20, Effort::Thorough, 8);
    }
}
