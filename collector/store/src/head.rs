//! What was committed and is not sealed yet, in memory.

use std::collections::{BTreeMap, BTreeSet};

use upkeep_model::{Epoch, HostId, Ranges, StreamKey};

use crate::index::SeriesRef;
use crate::reading::Stretch;
use crate::rows::Rows;

/// Rows of streams and points of series, and how far each stream is committed.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) streams: BTreeMap<StreamKey, StreamRows>,
    pub(crate) points: BTreeMap<HostId, BTreeMap<SeriesRef, Vec<Point>>>,
}

/// One stream's part of the head.
#[derive(Debug, Default)]
pub(crate) struct StreamRows {
    /// The records that are durable or were skipped.
    pub(crate) committed: Ranges,
    /// In the order in which they came.
    pub(crate) rows: Rows,
}

/// A sample by the number of its series: milliseconds, value.
pub(crate) type NumberedPoint = (SeriesRef, i64, f64);

/// A committed sample of a series that no stream brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) at_ms: i64,
    pub(crate) value: f64,
    /// The journal segment that it is in.
    pub(crate) segment: u64,
}

impl Head {
    /// The streams of a host.
    pub(crate) fn streams_of(
        &self,
        host: HostId,
    ) -> impl Iterator<Item = (&StreamKey, &StreamRows)> {
        let first = StreamKey { host, epoch: Epoch([0; 16]) };
        let last = StreamKey { host, epoch: Epoch([0xff; 16]) };
        self.streams.range(first..=last)
    }

    /// The series that have something in a stretch of time, ascending.
    pub(crate) fn series_within(&self, stretch: Stretch) -> Vec<SeriesRef> {
        let mut series = Vec::new();
        for stream in self.streams.values() {
            let mut last: &[SeriesRef] = &[];
            for layout in stream.rows.layouts_within(stretch) {
                if *layout.series != *last {
                    last = &layout.series;
                    series.extend_from_slice(last);
                }
            }
        }
        let points = self.points.values().flatten();
        let living = points.filter(|(_, points)| points.iter().any(|point| stretch.has(point.at_ms)));
        series.extend(living.map(|(number, _)| *number));
        series.sort_unstable();
        series.dedup();
        series
    }

    /// Adds points of a home.
    pub(crate) fn add_points(
        &mut self,
        home: HostId,
        segment: u64,
        points: impl IntoIterator<Item = NumberedPoint>,
    ) {
        let series = self.points.entry(home).or_default();
        for (number, at_ms, value) in points {
            series.entry(number).or_default().push(Point { at_ms, value, segment });
        }
    }

    /// Forgets what passes, given its segment and timestamp.
    pub(crate) fn forget(&mut self, mut is_sealed: impl FnMut(u64, i64) -> bool) {
        for stream in self.streams.values_mut() {
            stream.rows.retain(|row| !is_sealed(row.segment, row.timestamp_ms));
        }
        for series in self.points.values_mut() {
            series.retain(|_, points| {
                points.retain(|point| !is_sealed(point.segment, point.at_ms));
                !points.is_empty()
            });
        }
        self.points.retain(|_, series| !series.is_empty());
    }

    /// Segment and timestamp of everything in the head.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u64, i64)> {
        let rows = self.streams.values().flat_map(|stream| stream.rows.iter());
        let points = self.points.values().flat_map(|series| series.values().flatten());
        rows.map(|row| (row.segment, row.timestamp_ms))
            .chain(points.map(|point| (point.segment, point.at_ms)))
    }

    /// The hosts that have anything in the head.
    pub(crate) fn hosts(&self) -> BTreeSet<HostId> {
        let of_rows = self.streams.iter().filter(|(_, stream)| !stream.rows.is_empty());
        of_rows.map(|(key, _)| key.host).chain(self.points.keys().copied()).collect()
    }
}
