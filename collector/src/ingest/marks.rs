//! How a stream stands as its host opens it: what is committed, what the host sends again, and what
//! nobody has any more.
//!
//! Of records that the host no longer has, each was acknowledged or is declared lost by an event that
//! the host made before it opened the stream. So once the events up to there are committed, those that
//! are still missing are what the collector itself lost: its disk was restored.

use std::ops::RangeInclusive;

use tonic::Status;
use upkeep_model::{Gap, Lane, Ranges, StreamKey};
use upkeep_store::Store;
use upkeep_wire::v1;

use super::Services;
use super::commit::{CommitError, MAX_SEQUENCE, skip};
use crate::state::{State, StateError};

/// How the lanes of a stream stand as it opens.
pub(super) struct Marks {
    pub(super) samples: Ranges,
    pub(super) events: u64,
    /// Where the live samples begin, if they may be sent beside the backlog.
    pub(super) live_from: Option<u64>,
    /// What is to be declared later.
    pub(super) unsettled: Option<Unsettled>,
}

/// Samples that the host no longer has, of which events on their way may tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsettled {
    /// All samples up to here.
    samples: u64,
    /// All events up to here.
    events: u64,
}

impl Marks {
    /// How far each lane is committed. What the host was told is durable and yet is not here (the
    /// collector's disk was restored or lost) it sends again as far as it kept it; the rest is
    /// declared lost.
    pub(super) async fn settle(
        services: &Services,
        stream: StreamKey,
        open: &v1::Open,
        now_ms: i64,
    ) -> Result<Self, Status> {
        let told = |lane: v1::Lane| {
            let state = open.lanes.iter().find(|state| state.lane() == lane);
            state.copied().unwrap_or_default()
        };
        let (samples, events) = (told(v1::Lane::Samples), told(v1::Lane::Events));
        let unsettled = Unsettled {
            samples: gone_through(samples),
            events: events.next_sequence.saturating_sub(1),
        };
        let events = gone_through(events);
        if unsettled.samples.max(events).max(open.live_from) > MAX_SEQUENCE {
            return Err(Status::invalid_argument("a sequence number is too large"));
        }
        let live_from = Some(open.live_from).filter(|first| *first > 0);
        let Services { state, store, .. } = services.clone();
        let settle = move || {
            for numbers in Ranges::through(state.event_mark(stream)?).missing(1..=events) {
                state.declare_gap(stream, &forgotten(Lane::Events, numbers), now_ms)?;
            }
            // A gap may have been declared just before the store's own mark was durable.
            for numbers in state.lost_samples(stream)? {
                skip(&store, stream, numbers);
            }
            let events = state.event_mark(stream)?;
            let is_due = unsettled.is_due(events);
            if is_due {
                unsettled.declare(&state, &store, stream, now_ms)?;
            }
            Ok(Self {
                events,
                live_from: live_from.filter(|first| store.begin_at(stream, *first)),
                samples: store.committed(stream),
                unsettled: (!is_due).then_some(unsettled),
            })
        };
        services.disk_work.ask(settle).await
    }
}

impl Unsettled {
    /// Whether everything that could tell of the samples is among the events up to here.
    pub(super) fn is_due(self, events: u64) -> bool {
        events >= self.events
    }

    /// Declares those that are missing, for blocking threads.
    fn declare(
        self,
        state: &State,
        store: &Store,
        stream: StreamKey,
        now_ms: i64,
    ) -> Result<(), StateError> {
        for numbers in store.committed(stream).missing(1..=self.samples) {
            state.declare_gap(stream, &forgotten(Lane::Samples, numbers.clone()), now_ms)?;
            skip(store, stream, numbers);
        }
        Ok(())
    }

    /// Declares those that are missing.
    pub(super) async fn settle(
        self,
        services: &Services,
        stream: StreamKey,
        now_ms: i64,
    ) -> Result<(), CommitError> {
        let Services { state, store, disk_work, .. } = services.clone();
        let declare = move || self.declare(&state, &store, stream, now_ms);
        disk_work.run(declare).await.map_err(|_| CommitError::Broken)??;
        Ok(())
    }
}

fn forgotten(lane: Lane, numbers: RangeInclusive<u64>) -> Gap {
    Gap {
        lane,
        first: *numbers.start(),
        last: *numbers.end(),
        from_ms: None,
        to_ms: None,
        reason: "the collector no longer has what it had acknowledged".to_owned(),
    }
}

/// The host can send none of the records of a lane up to here.
fn gone_through(lane: v1::LaneState) -> u64 {
    lane.kept_from.checked_sub(1).unwrap_or(lane.acknowledged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_gone() {
        let check = |acknowledged, kept_from, expect| {
            let lane = v1::LaneState { acknowledged, kept_from, ..v1::LaneState::default() };
            assert_eq!(gone_through(lane), expect, "{acknowledged} {kept_from}");
        };
        check(0, 0, 0);
        check(9, 0, 9);
        check(9, 1, 0);
        check(9, 5, 4);
        check(9, 10, 9);
        // The records between were dropped.
        check(9, 20, 19);
    }
}
