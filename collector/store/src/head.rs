//! What was committed and is not sealed yet, in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use upkeep_codec::{DecodeError, decode};
use upkeep_model::{Epoch, HostId, Ranges, StreamKey};

use crate::points::Points;
use crate::stream::Layout;

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
    pub(crate) rows: Vec<Row>,
}

/// A committed frame, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) sequence: u64,
    pub(crate) timestamp_ms: i64,
    /// The journal segment that it is in.
    pub(crate) segment: u64,
    /// What its values are of.
    pub(crate) layout: Arc<Layout>,
    /// The bytes of the frame, shared with those of its group.
    pub(crate) body: Bytes,
}

impl Row {
    /// The values in the order of the layout's series.
    pub(crate) fn values(&self) -> Result<Vec<f64>, DecodeError> {
        decode(&self.body, |_| Some(&self.layout.key)).map(|frame| frame.values)
    }
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

    /// Forgets what passes, given its segment and timestamp.
    pub(crate) fn forget(&mut self, mut is_sealed: impl FnMut(u64, i64) -> bool) {
        for stream in self.streams.values_mut() {
            stream.rows.retain(|row| !is_sealed(row.segment, row.timestamp_ms));
            stream.rows.shrink_to(2 * stream.rows.len());
        }
        self.points.forget(is_sealed);
    }

    /// Segment and timestamp of every row, and of points the first and last time of each home, both
    /// with the home's oldest segment: no point is in an older one, and none is due where neither of
    /// the two is.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u64, i64)> {
        let rows = self.streams.values().flat_map(|stream| &stream.rows);
        let of_points = self.points.bounds().flat_map(|bounds| {
            [(bounds.segment, bounds.first_ms), (bounds.segment, bounds.last_ms)]
        });
        rows.map(|row| (row.segment, row.timestamp_ms)).chain(of_points)
    }

    /// The hosts that have anything in the head.
    pub(crate) fn hosts(&self) -> BTreeSet<HostId> {
        let of_rows = self.streams.iter().filter(|(_, stream)| !stream.rows.is_empty());
        of_rows.map(|(key, _)| key.host).chain(self.points.homes()).collect()
    }
}
