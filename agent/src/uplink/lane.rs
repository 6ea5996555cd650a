//! What of a lane was sent and acknowledged on one connection.

use crate::buffer::LaneState;

/// The progress of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneProgress {
    /// The last record that was sent; the next to send is behind it.
    sent: u64,
    /// All records up to here are committed at the collector.
    acknowledged: u64,
    /// So many records may be sent and not yet acknowledged.
    window: u64,
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
    /// It is there, or its loss is declared: the lane goes back.
    Rewound,
    /// It was acknowledged and forgotten, and nothing declares it: the collector lost it.
    Forgotten,
}

impl LaneProgress {
    /// A lane of which the collector has everything up to `committed`.
    pub(super) fn new(committed: u64, window: u32) -> Self {
        Self { sent: committed, acknowledged: committed, window: u64::from(window.max(1)) }
    }

    /// The last record that was sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// How many more records may be sent now.
    pub(super) fn room(&self) -> u64 {
        self.window.saturating_sub(self.sent.saturating_sub(self.acknowledged))
    }

    /// Whether everything of the lane is committed at the collector.
    pub(super) fn is_done(&self, state: LaneState) -> bool {
        self.acknowledged.saturating_add(1) >= state.next_sequence
    }

    /// Judges records that begin with `first`. `declared` says whether everything that could
    /// declare a loss is committed at the collector.
    pub(super) fn judge(&self, first: u64, declared: bool) -> Next {
        if first == self.sent.saturating_add(1) || declared {
            Next::Send
        } else {
            Next::AwaitDeclaration
        }
    }

    /// Notes that the records from `first` through `last` were sent. What was dropped before them is
    /// declared and counts as settled.
    pub(super) fn note_sent(&mut self, first: u64, last: u64) {
        if first > self.sent.saturating_add(1) {
            self.acknowledged = first - 1;
        }
        self.sent = last;
    }

    /// Notes an acknowledgement.
    pub(super) fn acknowledge(&mut self, through: u64) {
        self.acknowledged = self.acknowledged.max(through);
        self.sent = self.sent.max(self.acknowledged);
    }

    /// Goes back, so that `from` is sent next.
    pub(super) fn rewind(&mut self, from: u64, state: LaneState, declared: bool) -> Wanted {
        let before = from.saturating_sub(1);
        if from <= state.settled() && declared {
            return Wanted::Forgotten;
        }
        self.sent = before;
        self.acknowledged = self.acknowledged.min(before);
        Wanted::Rewound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(next_sequence: u64, acknowledged: u64, lost_through: u64) -> LaneState {
        LaneState { next_sequence, acknowledged, lost_through }
    }

    #[test]
    fn no_more_than_the_window_is_in_flight() {
        let mut lane = LaneProgress::new(10, 4);
        assert_eq!((lane.sent(), lane.room()), (10, 4));
        lane.note_sent(11, 13);
        assert_eq!(lane.room(), 1);
        lane.note_sent(14, 14);
        assert_eq!(lane.room(), 0);
        lane.acknowledge(12);
        assert_eq!(lane.room(), 2);
        lane.acknowledge(11);
        assert_eq!(lane.room(), 2);
        assert!(!lane.is_done(state(15, 0, 0)));
        lane.acknowledge(14);
        assert!(lane.is_done(state(15, 0, 0)));
        assert_eq!(LaneProgress::new(0, 0).room(), 1);
    }

    #[test]
    fn records_behind_a_loss_wait_until_it_is_declared() {
        let mut lane = LaneProgress::new(10, 4);
        assert_eq!(lane.judge(11, false), Next::Send);
        assert_eq!(lane.judge(501, false), Next::AwaitDeclaration);
        assert_eq!(lane.judge(501, true), Next::Send);
        lane.note_sent(501, 502);
        assert_eq!((lane.sent(), lane.room()), (502, 2));
    }

    #[test]
    fn a_lane_goes_back_to_what_is_wanted() {
        let check = |from: u64, state: LaneState, declared: bool, expect: (Wanted, u64)| {
            let mut lane = LaneProgress::new(10, 8);
            lane.note_sent(11, 15);
            let wanted = lane.rewind(from, state, declared);
            assert_eq!((wanted, lane.sent()), expect, "from {from}");
        };
        check(13, state(20, 10, 0), true, (Wanted::Rewound, 12));
        check(11, state(20, 10, 0), true, (Wanted::Rewound, 10));
        check(5, state(20, 10, 0), true, (Wanted::Forgotten, 15));
        check(11, state(20, 10, 18), false, (Wanted::Rewound, 10));
        check(11, state(20, 10, 18), true, (Wanted::Forgotten, 15));
    }
}
