//! What was committed and is not sealed yet, in memory.

use std::collections::{BTreeMap, BTreeSet};

use upkeep_model::{Epoch, HostId, Ranges, StreamKey};

use crate::index::SeriesRef;
use crate::points::Points;
use crate::reading::Stretch;
use crate::rows::Rows;

/// About what a point takes in the journal.
const POINT_BYTES: u64 = 4;

/// Rows of streams and points of series, and how far each stream is committed.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) streams: BTreeMap<StreamKey, StreamRows>,
    pub(crate) points: Points,
}

/// One stream's part of the head.
#[derive(Debug, Default)]
pub(crate) struct StreamRows {
    /// The records that are durable or were skipped.
    pub(crate) committed: Ranges,
    /// In the order in which they came.
    pub(crate) rows: Rows,
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
        series.extend(self.points.series_within(stretch));
        series.sort_unstable();
        series.dedup();
        series
    }

    /// Forgets what passes, given its segment and timestamp.
    pub(crate) fn forget(&mut self, mut is_sealed: impl FnMut(u64, i64) -> bool) {
        for stream in self.streams.values_mut() {
            stream.rows.retain(|row| !is_sealed(row.segment, row.timestamp_ms));
        }
        self.points.forget(is_sealed);
    }

    /// Segment and timestamp of every row, and of points the first and last time of each home, both
    /// with the home's oldest segment: no point is in an older one, and none is due where neither of
    /// the two is.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u64, i64)> {
        let rows = self.streams.values().flat_map(|stream| stream.rows.iter());
        let of_points = self.points.bounds().flat_map(|bounds| {
            [(bounds.segment, bounds.first_ms), (bounds.segment, bounds.last_ms)]
        });
        rows.map(|row| (row.segment, row.timestamp_ms)).chain(of_points)
    }

    /// About how many bytes of the journal have samples whose time passes, and how many have others.
    pub(crate) fn weigh(&self, passes: impl Fn(i64) -> bool) -> (u64, u64) {
        let rows = self.streams.values().flat_map(|stream| stream.rows.iter());
        let of_rows = rows.map(|row| (row.timestamp_ms, row.body.len() as u64));
        let of_points = self.points.times().map(|at_ms| (at_ms, POINT_BYTES));
        of_rows.chain(of_points).fold((0, 0), |(passing, other), (at_ms, bytes)| {
            if passes(at_ms) { (passing + bytes, other) } else { (passing, other + bytes) }
        })
    }

    /// The hosts that have anything in the head.
    pub(crate) fn hosts(&self) -> BTreeSet<HostId> {
        let of_rows = self.streams.iter().filter(|(_, stream)| !stream.rows.is_empty());
        of_rows.map(|(key, _)| key.host).chain(self.points.homes()).collect()
    }
}
