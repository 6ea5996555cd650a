//! What a reading takes of the head, and how it is decoded without the head's lock.

use std::sync::Arc;

use upkeep_codec::Columns;
use upkeep_model::HostId;

use crate::StoreError;
use crate::gathering::{Gathering, SampleSource};
use crate::head::Head;
use crate::index::SeriesRef;
use crate::query::Wanted;
use crate::reading::{Bounds, Stretch};
use crate::rows::{Block, Passage, Row};

/// The rows and points of one home.
#[derive(Debug, Default)]
pub(crate) struct HeadPart {
    /// In the order in which they came, stream by stream.
    blocks: Vec<Arc<Block>>,
    points: Vec<Points>,
}

/// Points of a wanted series, in the order in which they came.
#[derive(Debug)]
struct Points {
    run: usize,
    timestamps: Arc<[i64]>,
    values: Vec<f64>,
}

/// Which columns of a layout are wanted, and what for.
#[derive(Debug)]
struct Picked<'a> {
    series: &'a [SeriesRef],
    /// Columns, ascending.
    columns: Vec<usize>,
    /// For each of them the run that its values belong to.
    runs: Vec<usize>,
}

impl HeadPart {
    pub(crate) fn take(head: &Head, home: HostId, wanted: &Wanted, stretch: Stretch) -> Self {
        let streams = head.streams_of(home);
        let blocks = streams.flat_map(|(_, stream)| stream.rows.blocks_within(stretch));
        let points = wanted.iter().enumerate().filter_map(|(run, (number, _))| {
            let points = head.points.of(home, *number);
            let points = points.filter(|point| stretch.has(point.at_ms));
            let (timestamps, values): (Vec<i64>, Vec<f64>) =
                points.map(|point| (point.at_ms, point.value)).unzip();
            (!values.is_empty()).then(|| Points { run, timestamps: timestamps.into(), values })
        });
        Self { blocks: blocks.cloned().collect(), points: points.collect() }
    }

    pub(crate) fn read(
        &self,
        wanted: &Wanted,
        mut reader: Reader<'_>,
        gathering: &mut Gathering,
    ) -> Result<(), StoreError> {
        let rows: usize = self.blocks.iter().map(|block| reader.most_rows(block)).sum();
        let mut picked: Option<Picked<'_>> = None;
        for block in &self.blocks {
            for passage in block.passages() {
                let series = &*passage.layout.series;
                let picked = match picked.as_ref().filter(|picked| picked.series == series) {
                    Some(picked) => picked,
                    None => {
                        let fresh = Picked::of(series, wanted);
                        fresh.runs.iter().for_each(|run| gathering.reserve(*run, rows));
                        picked.insert(fresh)
                    }
                };
                if !picked.runs.is_empty() {
                    reader.read(&passage, picked, gathering)?;
                }
            }
        }
        for points in &self.points {
            reader.bounds.charge(points.values.len())?;
            gathering.extend(points.run, SampleSource::Samples, &points.timestamps, &points.values);
        }
        Ok(())
    }
}

impl<'a> Picked<'a> {
    fn of(series: &'a [SeriesRef], wanted: &Wanted) -> Self {
        let (columns, runs) =
            if wanted.len() < series.len() && series.is_sorted_by(|one, next| one < next) {
                // Both ascend, as they do where series were described in the order of their numbers.
                let mut from = 0;
                let wanted = wanted.iter().enumerate();
                let places = wanted.filter_map(|(run, (number, _))| {
                    let rest = series.get(from..).unwrap_or_default();
                    from += rest.partition_point(|one| one < number);
                    (series.get(from) == Some(number)).then_some((from, run))
                });
                places.unzip()
            } else {
                let columns = series.iter().enumerate();
                let places = columns.filter_map(|(column, number)| {
                    let run = wanted.binary_search_by_key(number, |(wanted, _)| *wanted).ok()?;
                    Some((column, run))
                });
                places.unzip()
            };
        Self { series, columns, runs }
    }
}

/// Decodes rows.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    stretch: Stretch,
    only_last: bool,
    bounds: &'a Bounds,
    /// The values of a passage, column by column.
    cells: Vec<f64>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(stretch: Stretch, only_last: bool, bounds: &'a Bounds) -> Self {
        Self { stretch, only_last, bounds, cells: Vec::new() }
    }

    /// How many rows of a block are read at most.
    fn most_rows(&self, block: &Block) -> usize {
        if self.only_last { block.passages().count() } else { block.len() }
    }

    /// The rows of a passage that count. All of them have values of the same series, so of these the last
    /// row has the last; of several rows for one instant the first holds.
    fn rows<'b>(&self, passage: &Passage<'b>) -> Vec<Row<'b>> {
        let mut rows = passage.rows().filter(|row| self.stretch.has(row.timestamp_ms));
        if !self.only_last {
            return rows.collect();
        }
        let first = rows.next();
        let later = |last: Row<'b>, row: Row<'b>| {
            if row.timestamp_ms > last.timestamp_ms { row } else { last }
        };
        first.map(|first| rows.fold(first, later)).into_iter().collect()
    }

    fn read(
        &mut self,
        passage: &Passage<'_>,
        picked: &Picked<'_>,
        gathering: &mut Gathering,
    ) -> Result<(), StoreError> {
        let rows = self.rows(passage);
        self.bounds.charge(rows.len() * picked.columns.len())?;
        let columns = Columns::new(&passage.layout.key, picked.columns.iter().copied());
        self.cells.clear();
        self.cells.resize(rows.len() * picked.columns.len(), 0.0);
        let mut timestamps = Vec::with_capacity(rows.len());
        for row in &rows {
            let mut slots = self.cells.iter_mut().skip(timestamps.len()).step_by(rows.len());
            let decoded = columns.decode(row.body, |value| {
                if let Some(slot) = slots.next() {
                    *slot = value;
                }
            });
            // Rows were decoded whole before they were taken, so this one is good.
            if decoded.is_ok() {
                timestamps.push(row.timestamp_ms);
            }
        }
        let timestamps: Arc<[i64]> = timestamps.into();
        for (&run, cells) in picked.runs.iter().zip(self.cells.chunks(rows.len().max(1))) {
            let values = cells.get(..timestamps.len()).unwrap_or_default();
            gathering.extend(run, SampleSource::Samples, &timestamps, values);
        }
        Ok(())
    }
}
