//! From several chunks of a host to fewer and smaller ones with the same samples.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::binary::Malformed;
use crate::index::SeriesRef;

use super::table::Column;
use super::{Chunk, Effort, MAX_ROWS, Table, encode};

/// About so many samples are unpacked at once: it bounds the memory that a merge takes.
const BATCH_SAMPLES: usize = 1 << 20;

/// A section gets about so many rows at most, so that a reader of a short stretch need not unpack a
/// long one.
const ROWS_AIMED_AT: usize = 2048;

/// So many tables with other timestamps are looked at for one that has all those of a series.
const TABLES_TRIED: usize = 8;

/// A series with its timestamps, strictly ascending, and values.
#[derive(Clone, Debug)]
pub(crate) struct Merged<V = Vec<f64>> {
    pub(crate) series: SeriesRef,
    pub(crate) timestamps: Arc<[i64]>,
    pub(crate) values: V,
}

/// Merges chunks, given in the order of precedence and with good checksums. `None` if it is told to
/// stop. In what comes back no two chunks have the same series at the same instant.
pub(crate) fn merge(
    sources: &[&[u8]],
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<Vec<Vec<u8>>>, Malformed> {
    let chunks: Vec<Chunk<'_>> =
        sources.iter().map(|bytes| Chunk::open(bytes)).collect::<Result<_, _>>()?;
    let mut holders: BTreeMap<SeriesRef, Vec<&Chunk<'_>>> = BTreeMap::new();
    for chunk in &chunks {
        for series in chunk.series() {
            holders.entry(series).or_default().push(chunk);
        }
    }
    let mut packed = Vec::new();
    let (mut batch, mut samples) = (Vec::new(), 0);
    for (series, chunks) in holders {
        if is_stopped() {
            return Ok(None);
        }
        let merged = Merged::of(series, &chunks)?;
        samples += merged.values.len();
        batch.push(merged);
        if samples >= BATCH_SAMPLES {
            packed.extend(encode(&tables_of(std::mem::take(&mut batch)), Effort::Thorough)?);
            samples = 0;
        }
    }
    packed.extend(encode(&tables_of(batch), Effort::Thorough)?);
    Ok(Some(packed))
}

impl Merged {
    /// The samples of a series in several chunks; of two for the same instant the first stays.
    pub(crate) fn of(series: SeriesRef, chunks: &[&Chunk<'_>]) -> Result<Self, Malformed> {
        let mut parts = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            parts.extend(chunk.samples(series)?);
        }
        if parts.len() == 1
            && let Some((timestamps, values)) = parts.pop()
        {
            return Ok(Self { series, timestamps, values });
        }
        let parts = parts.iter().flat_map(|(timestamps, values)| timestamps.iter().zip(values));
        let mut samples: Vec<(i64, f64)> = parts.map(|(at_ms, value)| (*at_ms, *value)).collect();
        samples.sort_by_key(|(at_ms, _)| *at_ms);
        samples.dedup_by_key(|(at_ms, _)| *at_ms);
        let (timestamps, values): (Vec<i64>, _) = samples.into_iter().unzip();
        Ok(Self { series, timestamps: timestamps.into(), values })
    }

    /// What it has from one instant on to before another one.
    fn within(&self, from_ms: i64, before_ms: Option<i64>) -> Self {
        let begin = self.timestamps.partition_point(|at| *at < from_ms);
        let end = before_ms.map_or(self.timestamps.len(), |before_ms| {
            self.timestamps.partition_point(|at| *at < before_ms)
        });
        self.rows(begin, end)
    }

    fn rows(&self, begin: usize, end: usize) -> Self {
        Self {
            series: self.series,
            timestamps: self.timestamps.get(begin..end).unwrap_or_default().into(),
            values: self.values.get(begin..end).unwrap_or_default().to_vec(),
        }
    }
}

/// Cuts series into stretches that are not too long, and makes tables of each.
fn tables_of(series: Vec<Merged>) -> Vec<Table> {
    let longest = series.iter().max_by_key(|one| one.timestamps.len());
    let cuts: Vec<i64> = longest.map_or_else(Vec::new, |longest| {
        let parts = longest.timestamps.len().div_ceil(ROWS_AIMED_AT).max(1);
        let rows = longest.timestamps.len().div_ceil(parts).max(1);
        longest.timestamps.iter().step_by(rows).skip(1).copied().collect()
    });
    if cuts.is_empty() {
        return grouped(series);
    }
    let mut tables = Vec::new();
    let begins = std::iter::once(i64::MIN).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().map(Some).chain(std::iter::once(None));
    for (from_ms, before_ms) in begins.zip(ends) {
        let stretch: Vec<Merged> =
            series.iter().map(|one| one.within(from_ms, before_ms)).collect();
        // Only the longest series was cut to measure; another may have more rows in a stretch.
        let rows = stretch.iter().map(|one| one.values.len()).max().unwrap_or_default();
        for begin in (0..rows).step_by(MAX_ROWS) {
            let pieces = stretch.iter().map(|one| {
                one.rows(begin.min(one.values.len()), (begin + MAX_ROWS).min(one.values.len()))
            });
            tables.extend(grouped(pieces.filter(|piece| !piece.values.is_empty()).collect()));
        }
    }
    tables
}

/// Timestamps, in an order in which the longest come first.
type Longest = (Reverse<usize>, Arc<[i64]>);

/// Makes tables of series. A series joins a table that has all of its timestamps.
pub(super) fn grouped<V>(series: Vec<Merged<V>>) -> Vec<Table<V>> {
    // Those with the most timestamps come first, since the others may be among these.
    let mut by_timestamps: BTreeMap<Longest, Vec<Merged<V>>> = BTreeMap::new();
    for one in series {
        let key = (Reverse(one.timestamps.len()), Arc::clone(&one.timestamps));
        by_timestamps.entry(key).or_default().push(one);
    }
    let mut tables: Vec<Table<V>> = Vec::new();
    for ((_, timestamps), series) in by_timestamps {
        let mut tried = tables.iter_mut().take(TABLES_TRIED);
        let found = tried.find_map(|table| {
            let present = presence(&timestamps, &table.timestamps)?;
            Some((table, present))
        });
        let (table, present) = match found {
            Some(found) => found,
            None => {
                let present = vec![true; timestamps.len()];
                tables.push(Table { timestamps: timestamps.to_vec(), columns: Vec::new() });
                let Some(table) = tables.last_mut() else { continue };
                (table, present)
            }
        };
        let columns = series.into_iter().map(|Merged { series, values, .. }| Column {
            series,
            present: present.clone(),
            values,
        });
        table.columns.extend(columns);
    }
    for table in &mut tables {
        table.columns.sort_by_key(|column| column.series);
    }
    tables
}

/// For each timestamp of a table whether it is among others; `None` if the table lacks one of these.
fn presence(timestamps: &[i64], of_table: &[i64]) -> Option<Vec<bool>> {
    let mut left = timestamps.iter().peekable();
    let present = of_table.iter().map(|at| left.next_if_eq(&at).is_some()).collect();
    left.next().is_none().then_some(present)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(timestamps: &[i64], columns: &[(SeriesRef, &[f64])]) -> Vec<u8> {
        let column = |(series, values): &(SeriesRef, &[f64])| Column {
            series: *series,
            present: (0..timestamps.len()).map(|row| row < values.len()).collect(),
            values: values.to_vec(),
        };
        let columns = columns.iter().map(column).collect();
        let table = Table { timestamps: timestamps.to_vec(), columns };
        encode(&[table], Effort::Quick).unwrap().remove(0)
    }

    type Read = BTreeMap<SeriesRef, Vec<(i64, f64)>>;

    /// Merges and reads what came of it; each instant of a series must be there once.
    fn merged(sources: &[Vec<u8>]) -> (usize, Read) {
        let sources: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
        let packed = merge(&sources, &|| false).unwrap().unwrap();
        let mut read = Read::new();
        for bytes in &packed {
            let chunk = Chunk::open(bytes).unwrap();
            for series in chunk.series() {
                let (timestamps, values) = chunk.samples(series).unwrap().unwrap();
                let samples = timestamps.iter().copied().zip(values);
                read.entry(series).or_default().extend(samples);
            }
        }
        for samples in read.values_mut() {
            samples.sort_by_key(|(at_ms, _)| *at_ms);
            assert!(samples.is_sorted_by(|one, next| one.0 < next.0));
        }
        (packed.len(), read)
    }

    #[test]
    fn of_two_values_of_an_instant_that_of_the_first_chunk_stays() {
        let first = chunk(&[10, 30], &[(1, &[1.0, 3.0]), (2, &[5.0])]);
        let second = chunk(&[10, 20, 30], &[(1, &[9.0, 2.0, 9.0]), (3, &[7.0, 7.0, 7.0])]);
        let (count, read) = merged(&[first, second]);
        let expect = Read::from([
            (1, vec![(10, 1.0), (20, 2.0), (30, 3.0)]),
            (2, vec![(10, 5.0)]),
            (3, vec![(10, 7.0), (20, 7.0), (30, 7.0)]),
        ]);
        assert_eq!((count, read), (1, expect));
    }

    #[test]
    fn more_rows_than_a_section_has_are_cut_by_time() {
        let rows = ROWS_AIMED_AT as i64 * 2 + 5;
        let times = |from: i64| (from..from + rows).map(|row| row * 1_000).collect::<Vec<_>>();
        let values: Vec<f64> = (0..rows).map(|row| (row % 3) as f64).collect();
        let sources = [
            chunk(&times(0), &[(1, &values), (2, &values[..9])]),
            chunk(&times(rows), &[(1, &values)]),
        ];
        let (_, read) = merged(&sources);
        assert_eq!((read[&1].len(), read[&2].len()), (2 * rows as usize, 9));
        let sources: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
        for bytes in merge(&sources, &|| false).unwrap().unwrap() {
            let chunk = Chunk::open(&bytes).unwrap();
            for series in chunk.series() {
                assert!(chunk.samples(series).unwrap().unwrap().1.len() <= ROWS_AIMED_AT);
            }
        }
    }

    #[test]
    fn a_burst_in_a_stretch_is_cut_as_well() {
        let even: Vec<i64> = (0..3 * MAX_ROWS as i64).map(|row| row * 1_000).collect();
        let burst: Vec<i64> = (0..2 * MAX_ROWS as i64 + 7).collect();
        let values = vec![1.0; even.len()];
        let tables = [(1, &even), (2, &burst)].map(|(series, timestamps)| Merged {
            series,
            timestamps: timestamps.as_slice().into(),
            values: values[..timestamps.len()].to_vec(),
        });
        let tables = tables_of(tables.to_vec());
        assert!(tables.iter().all(|table| table.timestamps.len() <= MAX_ROWS));
        let samples: usize =
            tables.iter().flat_map(|table| &table.columns).map(|column| column.values.len()).sum();
        assert_eq!(samples, even.len() + burst.len());
    }

    #[test]
    fn a_merge_stops_when_it_is_told_to() {
        assert_eq!(merge(&[&chunk(&[1], &[(1, &[1.0])])], &|| true), Ok(None));
    }
}
