//! Which samples of a stream are taken, and what is asked for again. Pure.
//!
//! A host that was away sends its samples in two parts side by side: what it observes from now on,
//! and the backlog before that. Each part has no holes of its own beyond what is committed already,
//! is acknowledged by itself, and is asked for again by itself.

use upkeep_model::Ranges;

/// A part of the samples lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What was observed before the host opened this stream.
    Backlog,
    /// What it observes since.
    Live,
}

impl Part {
    pub(super) const ALL: [Self; 2] = [Self::Backlog, Self::Live];
}

/// How the samples lane of one stream stands.
#[derive(Debug)]
pub(super) struct Track {
    taken: Ranges,
    live_from: Option<u64>,
    backlog: Seen,
    live: Seen,
}

/// What came of a part since it was last answered.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// The last record that came, taken or not; 0 for none.
    last: u64,
    /// Whether any was taken.
    advanced: bool,
    /// Whether the host was asked to send from the next record again.
    wanted: bool,
}

/// What the host is to hear of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// All records of the part through this one are committed.
    Acknowledge(u64),
    /// The part is wanted from this record on.
    Want(u64),
}

impl Track {
    /// A stream of which some records are committed. Without `live_from` all of it is one part.
    pub(super) fn new(committed: Ranges, live_from: Option<u64>) -> Self {
        let (backlog, live) = (Seen::default(), Seen::default());
        Self { taken: committed, live_from, backlog, live }
    }

    /// Notes a record that came, and says whether it is taken. What was taken before is skipped; what
    /// is behind a hole comes again after it.
    pub(super) fn take(&mut self, sequence: u64) -> bool {
        let follows = sequence == 1
            || self.live_from == Some(sequence)
            || sequence.checked_sub(1).is_some_and(|before| self.taken.contains(before));
        let taken = follows && !self.taken.contains(sequence);
        if taken {
            self.taken.insert(sequence..=sequence);
        }
        let seen = self.seen_mut(self.part_of(sequence));
        seen.last = seen.last.max(sequence);
        seen.advanced |= taken;
        taken
    }

    /// Notes what is committed now, beside what other lanes say that will never come.
    pub(super) fn note_committed(&mut self, committed: Ranges) {
        self.taken = committed;
    }

    /// What the host is to hear about what came since the last replies. A hole is asked for once,
    /// until what is missing has come.
    pub(super) fn replies(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        for part in Part::ALL {
            let through = self.through(part);
            let seen = self.seen_mut(part);
            if seen.last == 0 {
                continue;
            }
            let hole = seen.last > through;
            if seen.advanced || !hole {
                seen.wanted = false;
                replies.push(Reply::Acknowledge(through));
            }
            if hole && !std::mem::replace(&mut seen.wanted, true) {
                replies.push(Reply::Want(through.saturating_add(1)));
            }
            (seen.last, seen.advanced) = (0, false);
        }
        replies
    }

    /// The record through which a part is committed.
    fn through(&self, part: Part) -> u64 {
        match (part, self.live_from) {
            (Part::Backlog, None) => self.taken.prefix(),
            (Part::Backlog, Some(first)) => self.taken.prefix().min(first.saturating_sub(1)),
            (Part::Live, first) => {
                let first = first.unwrap_or(u64::MAX);
                self.taken.end_of(first).unwrap_or_else(|| first.saturating_sub(1))
            }
        }
    }

    fn part_of(&self, sequence: u64) -> Part {
        let is_live = self.live_from.is_some_and(|first| sequence >= first);
        if is_live { Part::Live } else { Part::Backlog }
    }

    fn seen_mut(&mut self, part: Part) -> &mut Seen {
        match part {
            Part::Backlog => &mut self.backlog,
            Part::Live => &mut self.live,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::Reply::{Acknowledge, Want};
    use super::*;

    /// Tells a track what comes, gives what of it is taken and what the host hears.
    fn hear(track: &mut Track, sequences: impl IntoIterator<Item = u64>) -> (Vec<u64>, Vec<Reply>) {
        let taken = sequences.into_iter().filter(|one| track.take(*one)).collect();
        (taken, track.replies())
    }

    fn track(committed: &[RangeInclusive<u64>], live_from: Option<u64>) -> Track {
        Track::new(committed.iter().cloned().collect(), live_from)
    }

    #[test]
    fn one_part_is_taken_in_its_order() {
        let mut one = track(&[1..=3], None);
        assert_eq!(hear(&mut one, [2, 3]), (vec![], vec![Acknowledge(3)]));
        assert_eq!(hear(&mut one, [4, 5, 7]), (vec![4, 5], vec![Acknowledge(5), Want(6)]));
        assert_eq!(hear(&mut one, [8]), (vec![], vec![]));
        assert_eq!(hear(&mut one, 6..=8), (vec![6, 7, 8], vec![Acknowledge(8)]));
        assert_eq!(hear(&mut track(&[], None), [1]), (vec![1], vec![Acknowledge(1)]));
        assert_eq!(hear(&mut track(&[], None), [2]), (vec![], vec![Want(1)]));
    }

    #[test]
    fn live_records_and_the_backlog_do_not_wait_for_each_other() {
        let mut two = track(&[1..=9], Some(30));
        assert_eq!(hear(&mut two, [30, 31]), (vec![30, 31], vec![Acknowledge(31)]));
        let both = hear(&mut two, [10, 32, 11]);
        assert_eq!(both, (vec![10, 32, 11], vec![Acknowledge(11), Acknowledge(32)]));
        assert_eq!(hear(&mut two, [13, 33]), (vec![33], vec![Want(12), Acknowledge(33)]));
        assert_eq!(hear(&mut two, [35]), (vec![], vec![Want(34)]));
        let rest = hear(&mut two, 12..=29);
        assert_eq!(rest, ((12..=29).collect(), vec![Acknowledge(29)]));
        assert_eq!(hear(&mut two, [34]), (vec![34], vec![Acknowledge(34)]));
        assert_eq!(two.taken, Ranges::through(34));
    }

    #[test]
    fn a_backlog_goes_around_what_is_there() {
        let mut two = track(&[1..=9, 20..=25], Some(30));
        assert_eq!(hear(&mut two, [26]), (vec![26], vec![Acknowledge(9), Want(10)]));
        assert_eq!(hear(&mut two, 10..=19), ((10..=19).collect(), vec![Acknowledge(26)]));
        assert_eq!(hear(&mut two, [30]), (vec![30], vec![Acknowledge(30)]));
        assert_eq!(hear(&mut two, 27..=29), ((27..=29).collect(), vec![Acknowledge(29)]));
    }

    #[test]
    fn what_is_declared_lost_is_not_waited_for() {
        let mut two = track(&[1..=9], Some(30));
        assert_eq!(hear(&mut two, [15]), (vec![], vec![Want(10)]));
        two.note_committed([1..=14].into_iter().collect());
        assert_eq!(
            hear(&mut two, [15, 30]),
            (vec![15, 30], vec![Acknowledge(15), Acknowledge(30)])
        );
    }
}
