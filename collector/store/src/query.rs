//! Reading: finds series by their labels and merges what head and database have of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use upkeep_model::{HostId, Labels, Matcher, SeriesSamples};

use crate::StoreError;
use crate::binary::{Malformed, checked};
use crate::chunk::Chunk;
use crate::core::Core;
use crate::damage::Affected;
use crate::database::{ChunkKey, Snapshot};
use crate::head::{Head, Row};
use crate::index::{SeriesRef, SymbolLabels};
use crate::points::Point;
use crate::seal::day_of;
use crate::stream::Layout;

/// A stretch of time: milliseconds, the first excluded, the second included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) after_ms: i64,
    pub(crate) through_ms: i64,
}

impl Stretch {
    fn has(self, at_ms: i64) -> bool {
        at_ms > self.after_ms && at_ms <= self.through_ms
    }

    fn is_empty(self) -> bool {
        self.after_ms >= self.through_ms
    }
}

/// The series to be read: by home, and for each its place among the results.
#[derive(Debug, Default)]
struct Wanted {
    homes: BTreeMap<HostId, BTreeMap<SeriesRef, usize>>,
    labels: Vec<Labels>,
}

/// What the head has of one home.
#[derive(Debug, Default)]
struct HeadPart {
    rows: Vec<Row>,
    points: Vec<(usize, Vec<Point>)>,
}

/// The samples of one label set, in the order of precedence.
#[derive(Clone, Debug, Default)]
struct Run {
    timestamps: Vec<i64>,
    values: Vec<f64>,
}

impl Core {
    pub(crate) fn select(
        &self,
        home: Option<HostId>,
        matchers: &[Matcher],
        stretch: Stretch,
    ) -> Result<Vec<SeriesSamples>, StoreError> {
        if stretch.is_empty() {
            return Ok(Vec::new());
        }
        let mut wanted = self.wanted(matchers);
        if let Some(home) = home {
            wanted.homes.retain(|one, _| *one == home);
        }
        // Sealing commits before it empties the head; so what is taken from the head first and
        // then from the database, under the head's lock, misses nothing.
        let (parts, snapshot) = {
            let head = self.head();
            let parts: BTreeMap<HostId, HeadPart> = wanted
                .homes
                .iter()
                .map(|(home, series)| (*home, head_part(&head, *home, series, stretch)))
                .collect();
            (parts, self.reported(Affected::default(), self.database.snapshot())?)
        };
        let mut runs = vec![Run::default(); wanted.labels.len()];
        for (home, series) in &wanted.homes {
            let range = chunk_range(*home, stretch, self.longest_span_ms);
            self.read_chunks(&snapshot, range, series, stretch, &mut runs)?;
            if let Some(part) = parts.get(home) {
                self.read_head(part, series, &mut runs);
            }
        }
        let samples = wanted.labels.into_iter().zip(runs).map(|(labels, run)| {
            let Run { timestamps, values } = run.merged();
            SeriesSamples { labels, timestamps: timestamps.into(), values }
        });
        Ok(samples.filter(|series| !series.timestamps.is_empty()).collect())
    }

    pub(crate) fn label_sets(&self, matchers: &[Matcher], stretch: Stretch) -> Vec<Labels> {
        if stretch.is_empty() {
            return Vec::new();
        }
        let index = self.index();
        let found = index.select(matchers);
        let alive = self.alive_in_head(stretch);
        let days = (day_of(stretch.after_ms.saturating_add(1)), day_of(stretch.through_ms));
        let mut sets: BTreeMap<SymbolLabels, Labels> = BTreeMap::new();
        for (number, series) in found.into_iter().filter_map(|one| Some((one, index.get(one)?))) {
            let is_sealed =
                series.days.is_some_and(|(first, last)| first <= days.1 && last >= days.0);
            if is_sealed || alive.contains(&number) {
                sets.entry(Arc::clone(&series.labels)).or_insert_with(|| index.labels(series));
            }
        }
        sets.into_values().collect()
    }

    /// The series that have something in the head in a stretch of time.
    fn alive_in_head(&self, stretch: Stretch) -> HashSet<SeriesRef> {
        let head = self.head();
        let mut layouts: HashMap<*const Layout, &Layout> = HashMap::new();
        let rows = head.streams.values().flat_map(|stream| &stream.rows);
        for row in rows.filter(|row| stretch.has(row.timestamp_ms)) {
            layouts.entry(Arc::as_ptr(&row.layout)).or_insert(&row.layout);
        }
        let of_rows = layouts.values().flat_map(|layout| layout.series.iter().copied());
        let of_points = head.points.series().filter_map(|(home, number)| {
            let is_alive = head.points.of(home, number).any(|point| stretch.has(point.at_ms));
            is_alive.then_some(number)
        });
        of_rows.chain(of_points).collect()
    }

    fn wanted(&self, matchers: &[Matcher]) -> Wanted {
        let index = self.index();
        let mut wanted = Wanted::default();
        let mut places: HashMap<SymbolLabels, usize> = HashMap::new();
        for number in index.select(matchers) {
            let Some(series) = index.get(number) else { continue };
            let place = *places.entry(Arc::clone(&series.labels)).or_insert_with(|| {
                wanted.labels.push(index.labels(series));
                wanted.labels.len() - 1
            });
            wanted.homes.entry(series.home).or_default().insert(number, place);
        }
        wanted
    }

    fn read_chunks(
        &self,
        snapshot: &Snapshot<'_>,
        (first, last): (ChunkKey, ChunkKey),
        series: &BTreeMap<SeriesRef, usize>,
        stretch: Stretch,
        runs: &mut [Run],
    ) -> Result<(), StoreError> {
        let read = snapshot.each_chunk(first, last, |key, bytes| {
            if let Err(error) = read_chunk(key, bytes, series, stretch, runs) {
                self.report_chunk(key, bytes, error);
            }
        });
        self.reported(Affected::host(first.host), read)
    }

    /// Reports pages of the database that turned out damaged, and hands the error on.
    pub(crate) fn reported<T>(
        &self,
        affected: Affected,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Err(StoreError::Damaged { path, reason, .. }) = &result {
            let lost = format!("pages that cannot be read: {reason}");
            self.damage.report_of(affected, path.display().to_string(), lost);
        }
        result
    }

    /// Tells that a chunk is damaged.
    pub(crate) fn report_chunk(&self, key: &[u8; 32], bytes: &[u8], error: Malformed) {
        let (affected, lost) = match ChunkKey::from_bytes(key) {
            Ok(ChunkKey { host, span, number }) => {
                let lost = format!("chunk {number} of host {host} from {span} ms on");
                // Only what was damaged behind its first bytes still tells which times it had.
                let (from_ms, through_ms) = match Chunk::glance(bytes) {
                    Ok(glance) if *glance.times.start() > i64::MIN => glance.times.into_inner(),
                    _ => (span, span.saturating_add(self.longest_span_ms)),
                };
                (Affected::host(host).within(from_ms, through_ms), lost)
            }
            Err(error) => (Affected::default(), error.to_string()),
        };
        let place = "samples.redb, table chunks";
        self.damage.report_of(affected, place, format!("{lost}: {error}"));
    }

    fn read_head(&self, part: &HeadPart, series: &BTreeMap<SeriesRef, usize>, runs: &mut [Run]) {
        let mut picks: HashMap<*const Layout, Vec<(usize, usize)>> = HashMap::new();
        for row in &part.rows {
            let picks = picks
                .entry(Arc::as_ptr(&row.layout))
                .or_insert_with(|| picks_of(&row.layout, series));
            if picks.is_empty() {
                continue;
            }
            // Rows were decoded once before they were taken, so this cannot fail.
            let Ok(values) = row.values() else { continue };
            for &(column, place) in picks.iter() {
                if let (Some(run), Some(value)) = (runs.get_mut(place), values.get(column)) {
                    run.push(row.timestamp_ms, *value);
                }
            }
        }
        for (place, points) in &part.points {
            let Some(run) = runs.get_mut(*place) else { continue };
            for point in points {
                run.push(point.at_ms, point.value);
            }
        }
    }
}

/// Columns of a layout that are wanted, and their places among the results.
fn picks_of(layout: &Layout, series: &BTreeMap<SeriesRef, usize>) -> Vec<(usize, usize)> {
    let columns = layout.series.iter().enumerate();
    columns.filter_map(|(column, number)| Some((column, *series.get(number)?))).collect()
}

fn head_part(
    head: &Head,
    home: HostId,
    series: &BTreeMap<SeriesRef, usize>,
    stretch: Stretch,
) -> HeadPart {
    let rows = head.streams_of(home).flat_map(|(_, stream)| &stream.rows);
    let rows = rows.filter(|row| stretch.has(row.timestamp_ms)).cloned().collect();
    let points = series.iter().map(|(&number, &place)| {
        let points = head.points.of(home, number).filter(|point| stretch.has(point.at_ms));
        (place, points.collect())
    });
    HeadPart { rows, points: points.collect() }
}

/// The keys between which all chunks lie that may have samples of a stretch.
fn chunk_range(host: HostId, stretch: Stretch, longest_span_ms: i64) -> (ChunkKey, ChunkKey) {
    let from = stretch.after_ms.saturating_sub(longest_span_ms);
    let first = ChunkKey { host, span: from, number: 0 };
    (first, ChunkKey { host, span: stretch.through_ms, number: u64::MAX })
}

fn read_chunk(
    key: &[u8; 32],
    bytes: &[u8],
    series: &BTreeMap<SeriesRef, usize>,
    stretch: Stretch,
    runs: &mut [Run],
) -> Result<(), Malformed> {
    let glance = Chunk::glance(bytes)?;
    let is_outside =
        *glance.times.start() > stretch.through_ms || *glance.times.end() <= stretch.after_ms;
    if is_outside || series.range(glance.series).next().is_none() {
        return Ok(());
    }
    let chunk = Chunk::open(checked(key, bytes)?)?;
    for number in chunk.series() {
        let Some(run) = series.get(&number).and_then(|place| runs.get_mut(*place)) else {
            continue;
        };
        let Some((timestamps, values)) = chunk.samples(number)? else { continue };
        let begin = timestamps.partition_point(|at| *at <= stretch.after_ms);
        let end = timestamps.partition_point(|at| *at <= stretch.through_ms);
        run.timestamps.extend_from_slice(timestamps.get(begin..end).unwrap_or_default());
        run.values.extend_from_slice(values.get(begin..end).unwrap_or_default());
    }
    Ok(())
}

impl Run {
    fn push(&mut self, at_ms: i64, value: f64) {
        self.timestamps.push(at_ms);
        self.values.push(value);
    }

    /// The samples in the order of time; of several for one instant the first stays.
    fn merged(self) -> Self {
        if self.timestamps.is_sorted_by(|one, next| one < next) {
            return self;
        }
        let mut samples: Vec<(i64, f64)> = self.timestamps.into_iter().zip(self.values).collect();
        samples.sort_by_key(|(at_ms, _)| *at_ms);
        samples.dedup_by_key(|(at_ms, _)| *at_ms);
        let (timestamps, values) = samples.into_iter().unzip();
        Self { timestamps, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_an_instant_stays() {
        let check = |samples: &[(i64, f64)], expect: &[(i64, f64)]| {
            let (timestamps, values) = samples.iter().copied().unzip();
            let Run { timestamps, values } = Run { timestamps, values }.merged();
            let merged: Vec<_> = timestamps.into_iter().zip(values).collect();
            assert_eq!(merged, expect);
        };
        check(&[], &[]);
        check(&[(1, 1.0), (2, 2.0)], &[(1, 1.0), (2, 2.0)]);
        check(&[(2, 2.0), (1, 1.0), (2, 3.0)], &[(1, 1.0), (2, 2.0)]);
        check(&[(1, 1.0), (1, 2.0), (1, 3.0)], &[(1, 1.0)]);
    }
}
