//! Folding: what a host has in a day becomes summaries.
//!
//! A day of a host is replaced in one transaction, so it is there as samples or as summaries. What comes
//! to it later is sealed as samples again, which are read beside the summaries, until they are folded in,
//! too. What was summarised before is never made finer again.
//!
//! The day stays as it is if a chunk of it is damaged, has samples of another day (as spans of another
//! length had), or if all of it is more than a step's memory is for.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use upkeep_model::HostId;

use crate::StoreError;
use crate::binary::{Malformed, checked};
use crate::chunk::{Chunk, Merged, SummaryChunk, SummaryPacker};
use crate::compact::{Packed, Stored};
use crate::core::Core;
use crate::coverage::DAY_MS;
use crate::damage::Affected;
use crate::database::ChunkKey;
use crate::index::SeriesRef;
use crate::summary::{Resolution, Window, coarsened, windows_of};

/// A day of a host that takes more bytes stays as it is: all of it is in memory while it is folded.
const DAY_BYTES: u64 = 256 << 20;

/// What came of a host's day.
#[derive(Debug)]
pub(crate) enum Folded {
    /// It stays as it is.
    Stays,
    /// It was told to stop.
    Stopped,
    /// This is to take its place; what it was had so many bytes.
    Done(Packed, u64),
}

/// Why a day stays as it is.
#[derive(Debug)]
enum Unfit<'a> {
    Damaged(&'a Stored, Malformed),
    /// A chunk has samples of another day.
    Overlong,
}

/// The chunks that have something of a series.
#[derive(Debug, Default)]
struct Holders<'c> {
    samples: Vec<&'c Chunk<'c>>,
    summaries: Vec<&'c SummaryChunk<'c>>,
}

impl Core {
    /// Folds what a host has in a day into summaries of a resolution, or of the coarser one that it has
    /// already. Whoever calls this holds `state`.
    pub(crate) fn fold(
        &self,
        host: HostId,
        day_ms: i64,
        resolution: Resolution,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Folded, StoreError> {
        let Some((stored, bytes)) = self.chunks_of_day(host, day_ms)? else {
            tracing::warn!(%host, day_ms, "a day is too large to be summarised, and stays as it is");
            return Ok(Folded::Stays);
        };
        let found = stored.iter().map(|(_, value)| SummaryChunk::resolution_of(value));
        let resolution = found.clone().flatten().max().unwrap_or(resolution).max(resolution);
        if found.into_iter().all(|found| found == Some(resolution)) {
            return Ok(Folded::Stays);
        }
        match summaries_of(&stored, day_ms, resolution, is_stopped) {
            Ok(Some(new)) => {
                let old = stored.iter().map(|(key, _)| *key).collect();
                Ok(Folded::Done(Packed { bucket: day_ms, host, old, new }, bytes))
            }
            Ok(None) => Ok(Folded::Stopped),
            Err(Unfit::Damaged((key, value), error)) => {
                self.report_chunk(&key.to_bytes(), value, error);
                Ok(Folded::Stays)
            }
            Err(Unfit::Overlong) => {
                tracing::info!(%host, day_ms, "a span is not of one day, which stays as it is");
                Ok(Folded::Stays)
            }
        }
    }

    /// All chunks of a host's day in the order of precedence, and what they take; `None` if it is too
    /// much.
    fn chunks_of_day(
        &self,
        host: HostId,
        day_ms: i64,
    ) -> Result<Option<(Vec<Stored>, u64)>, StoreError> {
        let snapshot = self.reported(Affected::default(), self.database.snapshot())?;
        let first = ChunkKey { host, span: day_ms, number: 0 };
        let last_span = day_ms.saturating_add(DAY_MS - 1);
        let last = ChunkKey { host, span: last_span, number: u64::MAX };
        let (mut stored, mut bytes) = (Vec::new(), 0);
        let read = snapshot.chunks_until(first, last, |key, value| {
            bytes += value.len() as u64;
            if let Ok(key) = ChunkKey::from_bytes(key) {
                stored.push((key, value.to_vec()));
            }
            if bytes > DAY_BYTES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.reported(Affected::host(host), read)?;
        stored.sort_by_key(|(key, _)| key.number);
        Ok((bytes <= DAY_BYTES).then_some((stored, bytes)))
    }
}

/// The chunks of summaries that are to take the place of others; `None` if it is told to stop.
fn summaries_of<'a>(
    stored: &'a [Stored],
    day_ms: i64,
    resolution: Resolution,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<Vec<Vec<u8>>>, Unfit<'a>> {
    let (mut chunks, mut summaries) = (Vec::new(), Vec::new());
    for one in stored {
        let damaged = |error| Unfit::Damaged(one, error);
        let bytes = checked(&one.0.to_bytes(), &one.1).map_err(damaged)?;
        if SummaryChunk::is_one(bytes) {
            summaries.push(SummaryChunk::open(bytes).map_err(damaged)?);
        } else {
            chunks.push(Chunk::open(bytes).map_err(damaged)?);
        }
    }
    let mut holders: BTreeMap<SeriesRef, Holders<'_>> = BTreeMap::new();
    for chunk in &chunks {
        chunk.series().for_each(|series| holders.entry(series).or_default().samples.push(chunk));
    }
    for chunk in &summaries {
        let all = chunk.series().into_iter();
        all.for_each(|series| holders.entry(series).or_default().summaries.push(chunk));
    }
    let Some(first) = stored.first() else { return Ok(Some(Vec::new())) };
    // Whose columns cannot be unpacked although the checksum is good is not known any more.
    let damaged = |error| Unfit::Damaged(first, error);
    let mut packer = SummaryPacker::new(resolution);
    for (series, holders) in holders {
        if is_stopped() {
            return Ok(None);
        }
        let windows = holders.windows(series, day_ms, resolution).map_err(damaged)?;
        packer.add(series, &windows.ok_or(Unfit::Overlong)?).map_err(damaged)?;
    }
    packer.finish().map(Some).map_err(damaged)
}

impl Holders<'_> {
    /// The windows of a series; `None` if there are samples of another day.
    fn windows(
        &self,
        series: SeriesRef,
        day_ms: i64,
        resolution: Resolution,
    ) -> Result<Option<Vec<Window>>, Malformed> {
        let samples = Merged::of(series, &self.samples)?;
        let is_within = |at_ms: &i64| *at_ms >= day_ms && *at_ms - day_ms < DAY_MS;
        if !samples.timestamps.iter().all(is_within) {
            return Ok(None);
        }
        let mut windows = windows_of(resolution, &samples.timestamps, &samples.values);
        if !self.summaries.is_empty() {
            for chunk in &self.summaries {
                windows.extend(chunk.windows(series)?);
            }
            windows = coarsened(resolution, windows);
        }
        Ok(Some(windows))
    }
}
