//! Records that were acknowledged and are kept for a while, for a collector that is restored from a
//! backup. Pure: the clock is handed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use upkeep_model::Lane;

/// So long a record is kept after its acknowledgement. It is counted up to the latest one, so that
/// nothing goes while there is no collector.
const KEPT_FOR: Duration = Duration::from_mins(15);

/// So often it is noted how far a lane was acknowledged, which bounds the notes to some fifteen.
const NOTED_EVERY: Duration = Duration::from_mins(1);

/// What of a lane is there although it was acknowledged.
#[derive(Debug)]
pub(super) struct Kept {
    /// All records from this one on are there, acknowledged or not.
    pub(super) from: u64,
    /// What all take that are there and not pending: those, and a key frame that stayed behind.
    pub(super) bytes: u64,
    /// How far the lane was acknowledged at some moments, the oldest first.
    notes: VecDeque<(Instant, u64)>,
}

impl Kept {
    pub(super) fn new(from: u64, bytes: u64) -> Self {
        Self { from, bytes, notes: VecDeque::new() }
    }

    /// Notes how far the lane is acknowledged, and gives through which record it has been for long
    /// enough.
    pub(super) fn note(&mut self, now: Instant, acknowledged: u64) -> u64 {
        let is_fresh = |(at, _): &(Instant, u64)| now.saturating_duration_since(*at) < NOTED_EVERY;
        if !self.notes.back().is_some_and(is_fresh) {
            self.notes.push_back((now, acknowledged));
        }
        let mut due = 0;
        while let Some(&(at, through)) = self.notes.front()
            && now.saturating_duration_since(at) >= KEPT_FOR
        {
            due = through;
            self.notes.pop_front();
        }
        due
    }

    /// Forgets what was noted, since records that were acknowledged are to be sent again.
    pub(super) fn begin_again(&mut self) {
        self.notes.clear();
    }
}

/// Both lanes.
#[derive(Debug)]
pub(super) struct KeptLanes {
    pub(super) samples: Kept,
    pub(super) events: Kept,
}

impl KeptLanes {
    /// Of a buffer that never had a record.
    pub(super) fn none() -> Self {
        Self { samples: Kept::new(1, 0), events: Kept::new(1, 0) }
    }

    pub(super) fn of(&self, lane: Lane) -> &Kept {
        match lane {
            Lane::Samples => &self.samples,
            Lane::Events => &self.events,
        }
    }

    pub(super) fn of_mut(&mut self, lane: Lane) -> &mut Kept {
        match lane {
            Lane::Samples => &mut self.samples,
            Lane::Events => &mut self.events,
        }
    }

    /// What the kept records of both take.
    pub(super) fn bytes(&self) -> u64 {
        self.samples.bytes + self.events.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_go_a_quarter_of_an_hour_after_their_acknowledgement() {
        let begin = Instant::now();
        let mut kept = Kept::new(1, 0);
        let mut check = |seconds: u64, acknowledged: u64, expect: u64| {
            let now = begin + Duration::from_secs(seconds);
            assert_eq!(kept.note(now, acknowledged), expect, "after {seconds} s");
        };
        check(0, 10, 0);
        check(30, 20, 0);
        check(60, 30, 0);
        check(899, 40, 0);
        check(900, 50, 10);
        check(901, 60, 0);
        check(960, 70, 30);
        // A long time without an acknowledgement: what was noted before it goes with the next.
        check(90_000, 80, 70);
        check(90_899, 90, 0);
        check(90_900, 95, 80);
    }

    #[test]
    fn what_is_sent_again_is_kept_as_long_again() {
        let begin = Instant::now();
        let mut kept = Kept::new(1, 0);
        assert_eq!(kept.note(begin, 10), 0);
        kept.begin_again();
        let later = begin + KEPT_FOR;
        assert_eq!(kept.note(later, 10), 0);
        assert_eq!(kept.note(later + KEPT_FOR, 20), 10);
    }

    #[test]
    fn the_notes_are_few() {
        let begin = Instant::now();
        let mut kept = Kept::new(1, 0);
        for second in 0..100_000 {
            kept.note(begin + Duration::from_secs(second), second);
            assert!(kept.notes.len() <= 16);
        }
    }
}
