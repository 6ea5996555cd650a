//! Chunks of summaries: written and read. The format is told above, with that of samples.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use pco::wrapped::{FileCompressor, FileDecompressor};

use crate::binary::{Malformed, Reader, put_bytes, put_unsigned};
use crate::index::SeriesRef;
use crate::summary::{Resolution, Summary, Window};

use super::merge::{Merged, grouped};
use super::pack::{SECTION_BYTES, START_BYTES, limit, put_rows};
use super::{Effort, Glance, SUMMARIES_VERSION, Samples, Section, column, samples_in};

/// The values of so many series are packed before chunks are made of them: it bounds the memory, and
/// costs a chunk that is not full.
const SERIES_AT_ONCE: usize = 2048;

/// What a section's head takes of a column at most, beside a bit a row.
const HEAD_BYTES: usize = 16;

/// What there is of each series, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    First,
    Last,
    Min,
    Max,
    Sum,
    Count,
    Lost,
    End,
}

use Aggregate::{Count, End, First, Last, Lost, Max, Min, Sum};

impl Aggregate {
    const ALL: [Self; 8] = [First, Last, Min, Max, Sum, Count, Lost, End];

    /// What it is where nothing says otherwise. What it follows from stands before it.
    fn usual(self, summary: &Summary) -> f64 {
        let Summary { first, last, count, .. } = *summary;
        match self {
            First | Last | End => 0.0,
            Min => first.min(last),
            Max => first.max(last),
            Sum => (first / 2.0 + last / 2.0) * count as f64,
            Count => usual_count(summary) as f64,
            Lost => Summary::lost_by_ends(first, last),
        }
    }

    fn of(self, summary: &Summary) -> f64 {
        match self {
            First => summary.first,
            Last => summary.last,
            Min => summary.min,
            Max => summary.max,
            Sum => summary.sum,
            Count => summary.count as f64,
            Lost => summary.lost,
            End => 0.0,
        }
    }

    fn put(self, summary: &mut Summary, value: f64) {
        match self {
            First => summary.first = value,
            Last => summary.last = value,
            Min => summary.min = value,
            Max => summary.max = value,
            Sum => summary.sum = value,
            Count => summary.count = value as u64,
            Lost => summary.lost = value,
            End => {}
        }
    }
}

/// What follows from first and last, in an order in which each may need those before it.
const FOLLOWING: [Aggregate; 5] = [Min, Max, Count, Sum, Lost];

fn usual_count(summary: &Summary) -> u64 {
    if summary.last_at > summary.first_at { 2 } else { 1 }
}

/// A chunk of summaries that is being read.
#[derive(Debug)]
pub(crate) struct SummaryChunk<'a> {
    pub(crate) resolution: Resolution,
    pco: FileDecompressor,
    /// By aggregate.
    sections: Vec<Vec<Section<'a>>>,
    bodies: &'a [u8],
}

impl<'a> SummaryChunk<'a> {
    /// Whether a chunk has summaries instead of samples.
    pub(crate) fn is_one(bytes: &[u8]) -> bool {
        bytes.first() == Some(&SUMMARIES_VERSION)
    }

    /// The resolution of a chunk's summaries, if it has such; nothing else of it is looked at.
    pub(crate) fn resolution_of(bytes: &[u8]) -> Option<Resolution> {
        match bytes {
            [SUMMARIES_VERSION, 1, ..] => Some(Resolution::FiveMinutes),
            [SUMMARIES_VERSION, 2, ..] => Some(Resolution::OneHour),
            _ => None,
        }
    }

    /// Reads everything but timestamps and values from bytes whose checksum was good.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        Glance::read(&mut reader)?;
        let resolution = Self::resolution_of(bytes);
        let resolution = resolution.ok_or(Malformed::Unknown("the resolution of the summaries"))?;
        let (pco, _) = FileDecompressor::new(reader.bytes()?).map_err(|_| Malformed::Column)?;
        let mut end = 0;
        let mut sections = Vec::with_capacity(Aggregate::ALL.len());
        for _ in Aggregate::ALL {
            let count = reader.count()?;
            let of_one: Result<Vec<_>, _> =
                (0..count).map(|_| Section::open(&mut reader, &mut end)).collect();
            sections.push(of_one?);
        }
        Ok(Self { resolution, pco, sections, bodies: reader.0 })
    }

    /// The series in the chunk.
    pub(crate) fn series(&self) -> BTreeSet<SeriesRef> {
        let of = |aggregate| self.sections_of(aggregate).iter().flat_map(|one| &one.columns);
        of(First).chain(of(End)).map(|head| head.series).collect()
    }

    fn sections_of(&self, aggregate: Aggregate) -> &[Section<'a>] {
        self.sections.get(aggregate as usize).map(Vec::as_slice).unwrap_or_default()
    }

    fn column(
        &self,
        aggregate: Aggregate,
        series: SeriesRef,
    ) -> Result<Option<Samples>, Malformed> {
        samples_in(self.sections_of(aggregate), self.bodies, series, &self.pco)
    }

    /// The windows of a series, ascending; none if it is not in the chunk.
    pub(crate) fn windows(&self, series: SeriesRef) -> Result<Vec<Window>, Malformed> {
        let mut summaries = self.ends_of(series)?;
        for aggregate in FOLLOWING {
            match self.column(aggregate, series)? {
                Some((_, values)) if values.len() == summaries.len() => {
                    let each = summaries.iter_mut().zip(values);
                    each.for_each(|(summary, value)| aggregate.put(summary, value));
                }
                Some(_) => return Err(Malformed::Unknown("the count of windows")),
                None => {
                    for summary in &mut summaries {
                        aggregate.put(summary, aggregate.usual(summary));
                    }
                }
            }
        }
        let ends = self.column(End, series)?.map(|(times, _)| times).unwrap_or_default();
        Ok(with_ends(self.resolution, summaries, &ends))
    }

    /// Summaries with nothing but first and last.
    fn ends_of(&self, series: SeriesRef) -> Result<Vec<Summary>, Malformed> {
        let Some((times, values)) = self.column(First, series)? else { return Ok(Vec::new()) };
        let (last_times, last_values) = self.column(Last, series)?.unwrap_or_default();
        let mut lasts = last_times.iter().copied().zip(last_values).peekable();
        let summary = |(&first_at, first): (&i64, f64)| {
            let end = self.resolution.end_of(first_at);
            let of_window = lasts.next_if(|(at_ms, _)| self.resolution.end_of(*at_ms) == end);
            let (last_at, last) = of_window.unwrap_or((first_at, first));
            Summary {
                first,
                first_at,
                last,
                last_at,
                min: first,
                max: first,
                sum: first,
                count: 1,
                lost: 0.0,
            }
        };
        let summaries = times.iter().zip(values).map(summary).collect();
        if lasts.next().is_some() {
            return Err(Malformed::Unknown("the last of a window that has no first"));
        }
        Ok(summaries)
    }
}

fn with_ends(resolution: Resolution, summaries: Vec<Summary>, ends: &[i64]) -> Vec<Window> {
    let mut windows = Vec::with_capacity(summaries.len());
    let mut ends = ends.iter().copied().peekable();
    for summary in summaries {
        while let Some(ended_at) = ends.next_if(|at_ms| *at_ms < summary.first_at) {
            windows.push(Window { summary: None, ended_at: Some(ended_at) });
        }
        let end = resolution.end_of(summary.first_at);
        let ended_at = ends.next_if(|at_ms| resolution.end_of(*at_ms) == end);
        windows.push(Window { summary: Some(summary), ended_at });
    }
    windows.extend(ends.map(|ended_at| Window { summary: None, ended_at: Some(ended_at) }));
    windows
}

/// Packs series one after the other into chunks.
#[derive(Debug)]
pub(crate) struct SummaryPacker {
    resolution: Resolution,
    waiting: Vec<Packed>,
    /// The lists of timestamps of what waits, and how many bytes each takes packed.
    lists: HashMap<Arc<[i64]>, usize>,
    chunks: Vec<Vec<u8>>,
}

/// A packed series: what of it is not usual, with its timestamps.
#[derive(Debug)]
struct Packed {
    series: SeriesRef,
    columns: Vec<(Aggregate, Arc<[i64]>, Vec<u8>)>,
}

/// A list of timestamps of an aggregate, by where it lies.
type ListOf = (usize, *const i64);

impl Packed {
    fn len(&self) -> usize {
        let len = |(_, times, body): &(Aggregate, Arc<[i64]>, Vec<u8>)| {
            body.len() + HEAD_BYTES + times.len() / 8
        };
        self.columns.iter().map(len).sum()
    }

    fn lists(&self) -> impl Iterator<Item = (ListOf, &Arc<[i64]>)> {
        let list = |(aggregate, times, _): &'_ (Aggregate, Arc<[i64]>, Vec<u8>)| {
            (*aggregate as usize, times.as_ptr())
        };
        self.columns.iter().map(move |column| (list(column), &column.1))
    }
}

impl SummaryPacker {
    pub(crate) fn new(resolution: Resolution) -> Self {
        Self { resolution, waiting: Vec::new(), lists: HashMap::new(), chunks: Vec::new() }
    }

    /// Adds the windows of a series, ascending; series come in the order of their numbers.
    pub(crate) fn add(&mut self, series: SeriesRef, windows: &[Window]) -> Result<(), Malformed> {
        let mut columns = Vec::new();
        for aggregate in Aggregate::ALL {
            let (times, values) = column_of(self.resolution, aggregate, windows);
            if values.is_empty() {
                continue;
            }
            let mut body = Vec::new();
            column::encode_values(&mut body, &values, Effort::Thorough)?;
            columns.push((aggregate, self.list(times)?, body));
        }
        self.waiting.push(Packed { series, columns });
        if self.waiting.len() >= SERIES_AT_ONCE { self.pack_waiting() } else { Ok(()) }
    }

    pub(crate) fn finish(mut self) -> Result<Vec<Vec<u8>>, Malformed> {
        self.pack_waiting()?;
        Ok(self.chunks)
    }

    /// The same list for all that have these timestamps.
    fn list(&mut self, times: Vec<i64>) -> Result<Arc<[i64]>, Malformed> {
        if let Some((list, _)) = self.lists.get_key_value(times.as_slice()) {
            return Ok(Arc::clone(list));
        }
        let mut packed = Vec::new();
        column::encode_timestamps(&mut packed, &times, Effort::Thorough)?;
        let list: Arc<[i64]> = times.into();
        self.lists.insert(Arc::clone(&list), packed.len());
        Ok(list)
    }

    fn pack_waiting(&mut self) -> Result<(), Malformed> {
        let lists: usize = self.lists.values().map(|bytes| bytes + SECTION_BYTES).sum();
        let mut left = lists + self.waiting.iter().map(Packed::len).sum::<usize>();
        let (mut group, mut bytes) = (Vec::new(), 0);
        let mut most = limit(left, Effort::Thorough);
        let mut begun: HashSet<ListOf> = HashSet::new();
        for packed in std::mem::take(&mut self.waiting) {
            let of_lists = |begun: &HashSet<ListOf>| -> usize {
                let new = packed.lists().filter(|(list, _)| !begun.contains(list));
                new.map(|(_, list)| {
                    self.lists.get(list).copied().unwrap_or_default() + SECTION_BYTES
                })
                .sum()
            };
            let more = packed.len() + of_lists(&begun);
            if !group.is_empty() && START_BYTES + bytes + more > most {
                self.chunks.extend(chunk_of(self.resolution, std::mem::take(&mut group))?);
                // What comes needs its timestamps again.
                begun.clear();
                most = limit(left + lists, Effort::Thorough);
                bytes = 0;
            }
            bytes += packed.len() + of_lists(&begun);
            left = left.saturating_sub(packed.len());
            begun.extend(packed.lists().map(|(list, _)| list));
            group.push(packed);
        }
        self.chunks.extend(chunk_of(self.resolution, group)?);
        self.lists.clear();
        Ok(())
    }
}

/// Timestamps and values of what is kept of an aggregate.
fn column_of(
    resolution: Resolution,
    aggregate: Aggregate,
    windows: &[Window],
) -> (Vec<i64>, Vec<f64>) {
    let summaries = || windows.iter().filter_map(|window| window.summary.as_ref());
    match aggregate {
        First => summaries().map(|summary| (summary.first_at, summary.first)).unzip(),
        Last => {
            let several = summaries().filter(|summary| summary.last_at > summary.first_at);
            several.map(|summary| (summary.last_at, summary.last)).unzip()
        }
        End => windows.iter().filter_map(|window| Some((window.ended_at?, 0.0))).unzip(),
        Min | Max | Sum | Count | Lost => {
            let is_usual = |summary: &Summary| {
                aggregate.of(summary).to_bits() == aggregate.usual(summary).to_bits()
            };
            if summaries().all(is_usual) {
                return (Vec::new(), Vec::new());
            }
            let end = |summary: &Summary| resolution.end_of(summary.first_at);
            summaries().map(|summary| (end(summary), aggregate.of(summary))).unzip()
        }
    }
}

/// A chunk of some series; `None` if there are none.
fn chunk_of(resolution: Resolution, group: Vec<Packed>) -> Result<Option<Vec<u8>>, Malformed> {
    let numbers = group.iter().map(|packed| packed.series);
    let (Some(first), Some(last)) = (numbers.clone().min(), numbers.max()) else {
        return Ok(None);
    };
    let at = |aggregate: Aggregate| matches!(aggregate, First | Last | End);
    let of_samples = group.iter().flat_map(|packed| &packed.columns).filter(|one| at(one.0));
    let (mut from_ms, mut through_ms) = (i64::MAX, i64::MIN);
    for (_, times, _) in of_samples {
        from_ms = times.first().map_or(from_ms, |at_ms| from_ms.min(*at_ms));
        through_ms = times.last().map_or(through_ms, |at_ms| through_ms.max(*at_ms));
    }
    let number = match resolution {
        Resolution::FiveMinutes => 1,
        Resolution::OneHour => 2,
    };
    let mut bytes = vec![SUMMARIES_VERSION, number];
    Glance { series: first..=last, times: from_ms..=through_ms.max(from_ms) }.put(&mut bytes);
    let mut header = Vec::new();
    FileCompressor::default().write_header(&mut header).map_err(|_| Malformed::Column)?;
    put_bytes(&mut bytes, &header);
    let mut by_aggregate: [Vec<Merged<Vec<u8>>>; Aggregate::ALL.len()] = Default::default();
    for Packed { series, columns } in group {
        for (aggregate, timestamps, values) in columns {
            if let Some(of_one) = by_aggregate.get_mut(aggregate as usize) {
                of_one.push(Merged { series, timestamps, values });
            }
        }
    }
    let mut bodies = Vec::new();
    for columns in by_aggregate {
        put_sections(&mut bytes, &mut bodies, columns)?;
    }
    bytes.append(&mut bodies);
    Ok(Some(bytes))
}

fn put_sections(
    bytes: &mut Vec<u8>,
    bodies: &mut Vec<u8>,
    columns: Vec<Merged<Vec<u8>>>,
) -> Result<(), Malformed> {
    let tables = grouped(columns);
    put_unsigned(bytes, tables.len() as u64);
    for table in tables {
        let mut timestamps = Vec::new();
        column::encode_timestamps(&mut timestamps, &table.timestamps, Effort::Thorough)?;
        put_unsigned(bytes, table.timestamps.len() as u64);
        put_bytes(bytes, &timestamps);
        put_unsigned(bytes, table.columns.len() as u64);
        let mut last = 0;
        for column in table.columns {
            put_unsigned(bytes, u64::from(column.series - last));
            put_rows(bytes, &column.present);
            put_unsigned(bytes, column.values.len() as u64);
            bodies.extend_from_slice(&column.values);
            last = column.series;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
