//! How a stream stands as its host opens it: what is committed, what the host sends again, and what
//! nobody has any more.

use std::ops::RangeInclusive;

use tonic::Status;
use upkeep_model::{Gap, Lane, Ranges, StreamKey};
use upkeep_wire::v1;

use super::Services;
use super::commit::{MAX_SEQUENCE, skip};

/// How the lanes of a stream stand as it opens.
pub(super) struct Marks {
    pub(super) samples: Ranges,
    pub(super) events: u64,
    /// Where the live samples begin, if they may be sent beside the backlog.
    pub(super) live_from: Option<u64>,
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
        let gone = |lane: v1::Lane| {
            let state = open.lanes.iter().find(|state| state.lane() == lane);
            state.map_or(0, gone_through)
        };
        let (samples, events) = (gone(v1::Lane::Samples), gone(v1::Lane::Events));
        if samples.max(events).max(open.live_from) > MAX_SEQUENCE {
            return Err(Status::invalid_argument("a sequence number is too large"));
        }
        let live_from = Some(open.live_from).filter(|first| *first > 0);
        let Services { state, store, .. } = services.clone();
        let settle = move || {
            let forgotten = |lane, numbers: RangeInclusive<u64>| Gap {
                lane,
                first: *numbers.start(),
                last: *numbers.end(),
                from_ms: None,
                to_ms: None,
                reason: "the collector no longer has what it had acknowledged".to_owned(),
            };
            for numbers in Ranges::through(state.event_mark(stream)?).missing(1..=events) {
                state.declare_gap(stream, &forgotten(Lane::Events, numbers), now_ms)?;
            }
            // A gap may have been declared just before the store's own mark was durable.
            for numbers in state.lost_samples(stream)? {
                skip(&store, stream, numbers);
            }
            for numbers in store.committed(stream).missing(1..=samples) {
                let gap = forgotten(Lane::Samples, numbers.clone());
                state.declare_gap(stream, &gap, now_ms)?;
                skip(&store, stream, numbers);
            }
            Ok(Self {
                events: state.event_mark(stream)?,
                live_from: live_from.filter(|first| store.begin_at(stream, *first)),
                samples: store.committed(stream),
            })
        };
        services.disk_work.ask(settle).await
    }
}

/// All records of a lane up to here were acknowledged, and the host can send none of them again.
fn gone_through(lane: &v1::LaneState) -> u64 {
    match lane.kept_from.checked_sub(1) {
        None => lane.acknowledged,
        Some(removed) => lane.acknowledged.min(removed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_no_longer_has_was_acknowledged_and_is_not_kept() {
        let check = |acknowledged, kept_from, expect| {
            let lane = v1::LaneState { acknowledged, kept_from, ..v1::LaneState::default() };
            assert_eq!(gone_through(&lane), expect, "{acknowledged} {kept_from}");
        };
        check(0, 0, 0);
        check(9, 0, 9);
        check(9, 1, 0);
        check(9, 5, 4);
        check(9, 10, 9);
        // The records between were dropped, and an event on its way says so.
        check(9, 20, 9);
    }
}
