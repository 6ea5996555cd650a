//! How a stream stands as its host opens it: what is committed, what the host sends again, and what
//! nobody has any more.
//!
//! Of records that the host no longer has, each was acknowledged or is declared lost by an event that
//! the host made before it opened the stream. So once the events up to there are committed, those that
//! are still missing are what the collector itself lost: its disk was restored.

use std::ops::RangeInclusive;

use tokio::sync::OwnedMutexGuard;
use tonic::Status;
use upkeep_model::{Gap, Lane, Life, Ranges, StreamKey};
use upkeep_store::Store;
use upkeep_wire::v1;

use super::Services;
use super::commit::{CommitError, MAX_SEQUENCE, skip};
use crate::fleet::Member;
use crate::state::{State, StateError};

/// How the lanes of a stream stand as it opens.
pub(super) struct Marks {
    pub(super) samples: Ranges,
    pub(super) events: u64,
    /// Where the live samples begin, if they may be sent beside the backlog.
    pub(super) live_from: Option<u64>,
    /// The life of the host's buffer, if it told one.
    pub(super) life: Option<Life>,
    /// What is to be declared later.
    pub(super) unsettled: Option<Unsettled>,
    /// Whether this buffer is another copy of the one that these marks are of; then nothing was changed.
    pub(super) is_older_copy: bool,
}

/// Samples that the host no longer has, of which events on their way may tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsettled {
    /// All samples up to here.
    samples: u64,
    /// All events up to here.
    events: u64,
}

/// What a host says of its buffer as it opens a stream.
#[derive(Clone, Copy)]
struct Told {
    life: Option<Life>,
    /// Where the life begins in samples and in events.
    begins: (u64, u64),
    /// None of the events up to here can be sent again.
    events_gone: u64,
    unsettled: Unsettled,
    live_from: Option<u64>,
}

impl Told {
    fn read(open: &v1::Open) -> Result<Self, Status> {
        let of = |lane: v1::Lane| {
            let state = open.lanes.iter().find(|state| state.lane() == lane);
            state.copied().unwrap_or_default()
        };
        let (samples, events) = (of(v1::Lane::Samples), of(v1::Lane::Events));
        let unsettled = Unsettled {
            samples: gone_through(samples),
            events: events.next_sequence.saturating_sub(1),
        };
        let events_gone = gone_through(events);
        if unsettled.samples.max(events_gone).max(open.live_from) > MAX_SEQUENCE {
            return Err(Status::invalid_argument("a sequence number is too large"));
        }
        Ok(Self {
            life: open.told_life().map_err(|error| Status::invalid_argument(error.to_string()))?,
            begins: (samples.life_from, events.life_from),
            events_gone,
            unsettled,
            live_from: Some(open.live_from).filter(|first| *first > 0),
        })
    }
}

impl Marks {
    /// How far each lane is committed. What the host was told is durable and yet is not here (the
    /// collector's disk was restored or lost) it sends again as far as it kept it; the rest is
    /// declared lost.
    pub(super) async fn settle(
        services: &Services,
        member: &Member,
        stream: StreamKey,
        open: &v1::Open,
        now_ms: i64,
    ) -> Result<Self, Status> {
        let told = Told::read(open)?;
        let Services { state, store, .. } = services.clone();
        let mut present = member.life().await;
        let settle = move || Self::settle_told(&state, &store, stream, told, now_ms);
        let marks = services.disk_work.ask(settle).await?;
        if told.life.is_some() && !marks.is_older_copy {
            *present = told.life;
        }
        Ok(marks)
    }

    /// The same, for blocking threads.
    fn settle_told(
        state: &State,
        store: &Store,
        stream: StreamKey,
        told: Told,
        now_ms: i64,
    ) -> Result<Self, StateError> {
        let before = Self { life: told.life, ..Self::at(state, store, stream)? };
        if let Some(life) = told.life {
            let known = state.life(stream)?;
            let ends = [(before.samples.last(), told.begins.0), (before.events, told.begins.1)];
            if is_older_copy(known, life, ends) {
                return Ok(Self { is_older_copy: true, ..before });
            }
            if known != Some(life) {
                if known.is_some() {
                    declare_left(state, stream, now_ms)?;
                }
                state.accept_life(stream, life)?;
            }
        }
        for numbers in Ranges::through(before.events).missing(1..=told.events_gone) {
            state.declare_gap(stream, &forgotten(Lane::Events, numbers), now_ms)?;
        }
        // A gap may have been declared just before the store's own mark was durable.
        for numbers in state.lost_samples(stream)? {
            skip(store, stream, numbers);
        }
        let is_due = told.unsettled.is_due(state.event_mark(stream)?);
        if is_due {
            told.unsettled.declare(state, store, stream, now_ms)?;
        }
        Ok(Self {
            live_from: told.live_from.filter(|first| store.begin_at(stream, *first)),
            life: told.life,
            unsettled: (!is_due).then_some(told.unsettled),
            ..Self::at(state, store, stream)?
        })
    }

    /// How far each lane is committed, and nothing else.
    fn at(state: &State, store: &Store, stream: StreamKey) -> Result<Self, StateError> {
        Ok(Self {
            samples: store.committed(stream),
            events: state.event_mark(stream)?,
            live_from: None,
            life: None,
            unsettled: None,
            is_older_copy: false,
        })
    }
}

/// Whether a buffer is another copy of the one that is known, since its disk was put back or cloned:
/// another life sent what stands where this one begins. `ends` has of each lane the last record that is
/// committed and the first of the life.
fn is_older_copy(known: Option<Life>, told: Life, ends: [(u64, u64); 2]) -> bool {
    let is_other = known.is_some_and(|known| known != told);
    is_other && ends.into_iter().any(|(committed, from)| from > 0 && committed >= from)
}

/// A buffer that goes on in an epoch which another has followed was put back from an older copy. What the
/// host observed in the other since it last delivered is not known, and is lost.
fn declare_left(state: &State, stream: StreamKey, now_ms: i64) -> Result<(), StateError> {
    let last = state.last_epoch(stream.host)?.filter(|last| *last != stream.epoch);
    let Some(epoch) = last else { return Ok(()) };
    for lane in Lane::ALL {
        let gap = Gap {
            lane,
            first: 0,
            last: 0,
            from_ms: None,
            to_ms: Some(now_ms),
            reason: "an older copy of the disk took the place of what was observed last".to_owned(),
        };
        state.declare_gap(StreamKey { epoch, ..stream }, &gap, now_ms)?;
    }
    Ok(())
}

/// Waits until no other stream of the host commits, and keeps others from it until the answer is dropped.
/// Refused to a stream whose buffer is not the copy that was accepted last.
pub(super) async fn turn(
    member: &Member,
    own: Option<Life>,
) -> Result<OwnedMutexGuard<Option<Life>>, Status> {
    let present = member.life().await;
    match (own, *present) {
        (Some(own), Some(other)) if own != other => {
            Err(Status::unavailable("another life of the buffer was accepted; connect again"))
        }
        _ => Ok(present),
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
    fn another_copy_of_a_buffer_is_one_whose_numbers_another_life_used() {
        let [life, other] = [Life([1; 16]), Life([2; 16])];
        let check = |known, ends, expect| {
            assert_eq!(is_older_copy(known, life, ends), expect, "{known:?} {ends:?}");
        };
        let (behind, at, beyond) = ((9, 10), (10, 10), (30, 10));
        check(Some(other), [behind, behind], false);
        check(Some(other), [at, behind], true);
        check(Some(other), [behind, at], true);
        check(Some(other), [beyond, beyond], true);
        // The life itself sent them.
        check(Some(life), [beyond, beyond], false);
        // Former agents told no lives, and former collectors noted none.
        check(None, [beyond, beyond], false);
        check(Some(other), [(30, 0), (30, 0)], false);
        // Nothing was ever sent.
        check(Some(other), [(0, 1), (0, 1)], false);
    }

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
