//! What of a part of a lane was sent and acknowledged on one connection.

use std::collections::VecDeque;

use upkeep_model::Lane;

use crate::buffer::LaneState;

/// What is sent and acknowledged in an order of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Samples that are observed while the connection is there.
    Live,
    /// Events.
    Events,
    /// Samples that were observed before; all samples, with a collector that does not take live ones
    /// beside them.
    Backlog,
}

impl Part {
    /// All, the most urgent first: before each batch it is looked whether something more urgent waits.
    pub(super) const ALL: [Self; 3] = [Self::Live, Self::Events, Self::Backlog];

    pub(super) fn lane(self) -> Lane {
        match self {
            Self::Live | Self::Backlog => Lane::Samples,
            Self::Events => Lane::Events,
        }
    }
}

/// How much may be sent and not yet acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Credit {
    pub(super) records: u64,
    pub(super) bytes: usize,
}

impl Credit {
    /// As the collector grants it; no bytes mean that they are not bounded, and one record always is
    /// granted.
    pub(super) fn granted(records: u32, bytes: u32) -> Self {
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes > 0);
        Self { records: u64::from(records.max(1)), bytes: bytes.unwrap_or(usize::MAX) }
    }
}

/// The progress of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// The last record that was sent; the next to send is behind it.
    sent: u64,
    /// All records of the part up to here are committed at the collector.
    acknowledged: u64,
    credit: Credit,
    /// The batches that are sent and not acknowledged.
    in_flight: VecDeque<Sent>,
}

/// A batch that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) bytes: usize,
}

/// What to do about records that were read from the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// They follow on what was sent: send them.
    Send,
    /// Records before them were dropped; the collector does not know it yet, so they would be a
    /// hole.
    AwaitDeclaration,
}

/// What to do about a record that the collector asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It is there, or its loss is declared: the part goes back.
    Rewound,
    /// It was acknowledged and forgotten, and nothing declares it: the collector lost it.
    Forgotten,
}

impl Progress {
    /// A part of which the collector has everything up to `committed`.
    pub(super) fn new(committed: u64, credit: Credit) -> Self {
        Self { sent: committed, acknowledged: committed, credit, in_flight: VecDeque::new() }
    }

    /// The last record that was sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// How much more may be sent now, if anything. The next batch waits until it may have half of the
    /// bytes, so that it is no crumb; but one batch always may be under way.
    pub(super) fn room(&self) -> Option<Credit> {
        let taken = |sum: (u64, usize), sent: &Sent| {
            (sum.0 + (sent.last - sent.first + 1), sum.1.saturating_add(sent.bytes))
        };
        let (records, bytes) = self.in_flight.iter().fold((0, 0), taken);
        let left = Credit {
            records: self.credit.records.saturating_sub(records),
            bytes: self.credit.bytes.saturating_sub(bytes),
        };
        let is_enough = left.records > 0 && left.bytes >= self.credit.bytes / 2;
        (is_enough || self.in_flight.is_empty()).then_some(left)
    }

    /// Whether everything of the lane is committed at the collector.
    pub(super) fn is_done(&self, state: LaneState) -> bool {
        self.acknowledged.saturating_add(1) >= state.next_sequence
    }

    /// Judges records that begin with `first`, where `wanted` should come. `declared` says whether
    /// everything that could declare a loss is committed at the collector.
    pub(super) fn judge(first: u64, wanted: u64, declared: bool) -> Next {
        if first == wanted || declared { Next::Send } else { Next::AwaitDeclaration }
    }

    /// Passes over records that are not to be sent: the collector has them, or they are declared lost.
    pub(super) fn pass_over(&mut self, through: u64) {
        self.sent = self.sent.max(through);
    }

    /// Notes a batch that was sent.
    pub(super) fn note_sent(&mut self, sent: Sent) {
        self.sent = sent.last;
        self.in_flight.push_back(sent);
    }

    /// Notes an acknowledgement.
    pub(super) fn acknowledge(&mut self, through: u64) {
        self.acknowledged = self.acknowledged.max(through);
        self.sent = self.sent.max(self.acknowledged);
        while self.in_flight.front().is_some_and(|sent| sent.last <= through) {
            self.in_flight.pop_front();
        }
    }

    /// Goes back, so that `from` is sent next.
    pub(super) fn rewind(&mut self, from: u64, state: LaneState, declared: bool) -> Wanted {
        if from <= state.settled() && declared {
            return Wanted::Forgotten;
        }
        let before = from.saturating_sub(1);
        self.sent = before;
        self.acknowledged = self.acknowledged.min(before);
        self.in_flight.retain(|sent| sent.last <= before);
        Wanted::Rewound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDIT: Credit = Credit { records: 4, bytes: 1_000 };

    fn state(next_sequence: u64, acknowledged: u64, lost_through: u64) -> LaneState {
        LaneState { next_sequence, acknowledged, lost_through }
    }

    fn send(lane: &mut Progress, first: u64, last: u64, bytes: usize) {
        lane.note_sent(Sent { first, last, bytes });
    }

    #[test]
    fn no_more_than_the_credit_is_in_flight() {
        let mut lane = Progress::new(10, CREDIT);
        assert_eq!((lane.sent(), lane.room()), (10, Some(CREDIT)));
        send(&mut lane, 11, 13, 100);
        assert_eq!(lane.room(), Some(Credit { records: 1, bytes: 900 }));
        send(&mut lane, 14, 14, 100);
        assert_eq!(lane.room(), None);
        lane.acknowledge(12);
        assert_eq!(lane.room(), None);
        lane.acknowledge(13);
        assert_eq!(lane.room(), Some(Credit { records: 3, bytes: 900 }));
        lane.acknowledge(11);
        assert_eq!(lane.room(), Some(Credit { records: 3, bytes: 900 }));
        assert!(!lane.is_done(state(15, 0, 0)));
        lane.acknowledge(14);
        assert!(lane.is_done(state(15, 0, 0)));
        send(&mut lane, 15, 15, 501);
        assert_eq!(lane.room(), None);
        lane.acknowledge(15);
        send(&mut lane, 16, 16, 5_000);
        assert_eq!(lane.room(), None);
        assert_eq!(Credit::granted(0, 0), Credit { records: 1, bytes: usize::MAX });
    }

    #[test]
    fn records_behind_a_loss_wait_until_it_is_declared() {
        assert_eq!(Progress::judge(11, 11, false), Next::Send);
        assert_eq!(Progress::judge(501, 11, false), Next::AwaitDeclaration);
        assert_eq!(Progress::judge(501, 11, true), Next::Send);
        let mut lane = Progress::new(10, CREDIT);
        send(&mut lane, 501, 502, 10);
        assert_eq!((lane.sent(), lane.room().unwrap().records), (502, 2));
    }

    #[test]
    fn a_lane_goes_back_to_what_is_wanted() {
        let check = |from: u64, state: LaneState, declared: bool, expect: (Wanted, u64)| {
            let mut lane = Progress::new(10, Credit { records: 8, bytes: 1_000 });
            send(&mut lane, 11, 15, 10);
            let wanted = lane.rewind(from, state, declared);
            assert_eq!((wanted, lane.sent()), expect, "from {from}");
            let in_flight = lane.room().map_or(8, |room| 8 - room.records);
            assert_eq!(in_flight, if wanted == Wanted::Rewound { 0 } else { 5 }, "from {from}");
        };
        check(13, state(20, 10, 0), true, (Wanted::Rewound, 12));
        check(11, state(20, 10, 0), true, (Wanted::Rewound, 10));
        check(5, state(20, 10, 0), true, (Wanted::Forgotten, 15));
        check(11, state(20, 10, 18), false, (Wanted::Rewound, 10));
        check(11, state(20, 10, 18), true, (Wanted::Forgotten, 15));
    }
}
