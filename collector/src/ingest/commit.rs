//! Making records durable.

use std::ops::RangeInclusive;

use bytes::Bytes;
use thiserror::Error;
use upkeep_model::{Event, EventKind, Gap, HostId, Labels, Lane, StreamKey};
use upkeep_store::{Append, SeriesNumber, Store, StoreError};
use upkeep_wire::{decode_event, v1};

use super::Services;
use super::admit::{HostClock, believable_ms};
use crate::state::{CommittedEvents, EventRecord, Quarantined, StateError};

/// No sequence number is beyond this: a record a millisecond for 285,000 years.
pub(super) const MAX_SEQUENCE: u64 = 1 << 53;

/// A record of the samples lane that was admitted.
#[derive(Clone, Debug)]
pub(super) struct SampleRecord {
    /// Its place in the lane.
    pub(super) sequence: u64,
    /// The frame.
    pub(super) body: Bytes,
    /// The frame's time; `None` where the bytes do not tell one.
    pub(super) timestamp_ms: Option<i64>,
    /// Whether it was observed since the stream was opened. What was observed before does not say
    /// that the host was heard of at that time.
    pub(super) is_live: bool,
}

/// The series `up` of a host, found once for all of its frames.
#[derive(Debug)]
pub(super) struct Up {
    labels: Labels,
    number: SeriesNumber,
}

impl Up {
    pub(super) fn new(store: &Store, home: HostId, labels: Labels) -> Self {
        let number = store.number(home, &labels);
        Self { labels, number }
    }
}

/// Why records were not committed.
#[derive(Debug, Error)]
pub(super) enum CommitError {
    /// The store refuses.
    #[error("samples cannot be stored: {0}")]
    Store(#[from] StoreError),
    /// The state refuses.
    #[error("events cannot be stored: {0}")]
    State(#[from] StateError),
    /// A task that may block ended early.
    #[error("storing ended early")]
    Broken,
}

/// Commits records that follow on what is committed. A record that is no frame is set aside with the
/// reason and passed over. `up` is written with each live frame.
pub(super) async fn commit_samples(
    services: &Services,
    stream: StreamKey,
    mut records: Vec<SampleRecord>,
    up: &mut Up,
    now_ms: i64,
) -> Result<(), CommitError> {
    loop {
        let appends = appends_of(stream, &records, up.number);
        let refused = match services.disk_work.append(&services.store, appends).await? {
            Ok(()) => return Ok(()),
            Err(StoreError::Frame { sequence, source, .. }) => (sequence, source.to_string()),
            Err(error @ StoreError::NotDescribed { sequence, .. }) => (sequence, error.to_string()),
            Err(StoreError::SeriesGone { .. }) => {
                up.number = services.store.number(stream.host, &up.labels);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        records = set_aside(services, stream, records, refused, now_ms).await?;
    }
}

fn appends_of(stream: StreamKey, records: &[SampleRecord], up: SeriesNumber) -> Vec<Append> {
    let mut appends: Vec<Append> = records
        .iter()
        .map(|record| Append::Frame {
            stream,
            sequence: record.sequence,
            body: record.body.clone(),
        })
        .collect();
    let live = records.iter().filter(|record| record.is_live);
    let points: Vec<_> = live.filter_map(|record| Some((up, record.timestamp_ms?, 1.0))).collect();
    if !points.is_empty() {
        appends.push(Append::Numbered { home: stream.host, points });
    }
    appends
}

/// Sets the refused record aside; returns those that came after it, of which the store took some for
/// a hole.
async fn set_aside(
    services: &Services,
    stream: StreamKey,
    records: Vec<SampleRecord>,
    (sequence, reason): (u64, String),
    now_ms: i64,
) -> Result<Vec<SampleRecord>, CommitError> {
    tracing::warn!(host = %stream.host, epoch = %stream.epoch, sequence, reason, "set aside");
    let mut rest = records.into_iter().skip_while(|record| record.sequence != sequence);
    let body = rest.next().map(|record| record.body.to_vec()).unwrap_or_default();
    let state = services.state.clone();
    let record = Quarantined { reason, body };
    let set_aside = move || state.set_aside(stream, Lane::Samples, sequence, &record, now_ms);
    services.disk_work.run(set_aside).await.map_err(|_| CommitError::Broken)??;
    services.store.skip(stream, sequence..=sequence);
    Ok(rest.collect())
}

/// Commits records of the events lane; one that is no event is set aside within the same
/// transaction. Samples that a gap declares lost are passed over in the store.
pub(super) async fn commit_events(
    services: &Services,
    stream: StreamKey,
    records: Vec<v1::Record>,
    clock: HostClock,
    now_ms: i64,
) -> Result<CommittedEvents, CommitError> {
    let decode = |record| decode(record, clock, now_ms);
    let decoded: Vec<EventRecord> = records.into_iter().map(decode).collect();
    let state = services.state.clone();
    let commit = move || state.commit_events(stream, &decoded, now_ms);
    let committed = services.disk_work.run(commit).await.map_err(|_| CommitError::Broken)??;
    for numbers in &committed.lost_samples {
        skip(&services.store, stream, numbers.clone());
    }
    Ok(committed)
}

/// Passes over samples that were declared lost.
pub(super) fn skip(store: &Store, stream: StreamKey, numbers: RangeInclusive<u64>) {
    if !store.skip(stream, numbers.clone()) {
        // Only a host that declares gaps all over its lane comes here; it may declare them again.
        tracing::warn!(host = %stream.host, epoch = %stream.epoch, ?numbers, "too many gaps at once");
    }
}

fn decode(record: v1::Record, clock: HostClock, now_ms: i64) -> EventRecord {
    let event = match decode_event(&record.body) {
        Ok(Event { kind: EventKind::Gap(gap), .. }) if !is_plausible(&gap) => {
            Err(format!("a gap from record {} to {} cannot be", gap.first, gap.last))
        }
        Ok(Event { at_ms, kind }) => {
            Ok(Event { at_ms: believable_ms(at_ms, clock, now_ms).unwrap_or(at_ms), kind })
        }
        Err(error) => Err(error.to_string()),
    };
    let event = event.map_err(|reason| Quarantined { reason, body: record.body.to_vec() });
    EventRecord { sequence: record.sequence, event }
}

/// A gap names records of the lane, or none where they never had numbers in this epoch.
fn is_plausible(gap: &Gap) -> bool {
    let has_numbers = gap.first > 0 && gap.first <= gap.last && gap.last <= MAX_SEQUENCE;
    has_numbers || (gap.first, gap.last) == (0, 0)
}
