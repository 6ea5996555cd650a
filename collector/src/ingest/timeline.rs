//! The times of records between which a host's clock was set. Pure.
//!
//! The records of a part come in the order in which they were observed, so their times go forward. One
//! that goes back, or lies ahead, was written under a clock that was wrong: from there on times are
//! moved so that they follow on the record before, with the distances that they have, until they are
//! plausible as they are.

use super::admit::MAX_AHEAD_MS;

/// Where a part of a host's samples has got to.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// The time that is believed of the last record.
    last_ms: Option<i64>,
    /// How far the host's clock was ahead while the record was written.
    ahead_ms: i64,
}

/// A time that is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Believed {
    pub(super) at_ms: i64,
    /// How far the host's clock is taken to have been ahead, where this is the first record of which
    /// that is known.
    pub(super) set_by_ms: Option<i64>,
}

impl Timeline {
    /// A part that follows on a record of a known time.
    pub(super) fn after(last_ms: Option<i64>, now_ms: i64) -> Self {
        let latest_ms = now_ms.saturating_add(MAX_AHEAD_MS);
        Self { last_ms: last_ms.filter(|last_ms| *last_ms <= latest_ms), ahead_ms: 0 }
    }

    /// Takes the next record's time: as the host gives it, and corrected by what is known of the host's
    /// clock as it connected. `interval_ms` is the usual distance of two records.
    pub(super) fn believe(
        &mut self,
        at_ms: i64,
        told_ms: i64,
        interval_ms: i64,
        now_ms: i64,
    ) -> Believed {
        let moved_ms = at_ms.saturating_sub(self.ahead_ms);
        let mut set_by_ms = None;
        let believed_ms = if self.is_plausible(told_ms, now_ms) {
            self.ahead_ms = 0;
            told_ms
        } else if self.ahead_ms != 0 && self.is_plausible(moved_ms, now_ms) {
            moved_ms
        } else {
            let next_ms =
                self.last_ms.map_or(now_ms, |last_ms| last_ms.saturating_add(interval_ms));
            let next_ms = next_ms.min(now_ms);
            self.ahead_ms = at_ms.saturating_sub(next_ms);
            set_by_ms = Some(self.ahead_ms);
            next_ms
        };
        self.last_ms = Some(believed_ms);
        Believed { at_ms: believed_ms, set_by_ms }
    }

    fn is_plausible(&self, at_ms: i64, now_ms: i64) -> bool {
        let goes_on = |last_ms: i64| at_ms >= last_ms.saturating_sub(MAX_AHEAD_MS);
        at_ms <= now_ms.saturating_add(MAX_AHEAD_MS) && self.last_ms.is_none_or(goes_on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::admit::{HostClock, believable_ms};

    const NOW: i64 = 1_800_000_000_000;
    const HOUR: i64 = 3_600_000;
    const YEAR: i64 = 365 * 24 * HOUR;
    const STEP: i64 = 10_000;

    /// What is believed of times, both relative to an hour ago.
    fn check(last_ms: Option<i64>, clock: HostClock, times_ms: &[i64], expect: &[i64]) {
        let base_ms = NOW - HOUR;
        let mut timeline = Timeline::after(last_ms.map(|at_ms| base_ms + at_ms), NOW);
        let believed = times_ms.iter().map(|at_ms| {
            let at_ms = base_ms + at_ms;
            let told_ms = believable_ms(at_ms, clock, NOW).filter(|_| clock.is_wrong());
            timeline.believe(at_ms, told_ms.unwrap_or(at_ms), STEP, NOW).at_ms - base_ms
        });
        assert_eq!(believed.collect::<Vec<_>>(), expect, "{last_ms:?} {times_ms:?}");
    }

    #[test]
    fn times_under_a_clock_that_was_set_and_set_back_keep_their_order_and_distances() {
        let right = HostClock { wall_ms: NOW, offset_ms: 0, uptime_ms: 9 * HOUR };
        let go_on = [0, STEP, 2 * STEP, 3 * STEP, 4 * STEP];
        check(None, right, &go_on, &go_on);
        for set in [YEAR, -YEAR] {
            let times = [0, STEP, set + 2 * STEP, set + 3 * STEP, 4 * STEP];
            check(None, right, &times, &go_on);
            // The first record of a connection, after one that is committed.
            check(Some(-STEP), right, &[set, set + STEP, 2 * STEP], &go_on[..3]);
        }
        // A host that slept, and one whose clock is a little off.
        check(None, right, &[0, HOUR / 2], &[0, HOUR / 2]);
        check(None, right, &[0, STEP, -MAX_AHEAD_MS], &[0, STEP, STEP + STEP]);
        check(None, right, &[0, STEP, STEP - MAX_AHEAD_MS], &[0, STEP, STEP - MAX_AHEAD_MS]);
        // Of what came before nothing is known: it is now, and goes on from there.
        check(None, right, &[YEAR, YEAR + STEP], &[HOUR, HOUR + STEP]);
        check(None, right, &[-YEAR, -YEAR + STEP], &[-YEAR, -YEAR + STEP]);
        // A time that the collector should not have believed is none to follow.
        check(Some(YEAR), right, &[0, STEP], &[0, STEP]);
    }

    #[test]
    fn a_clock_that_is_wrong_as_the_host_connects_is_corrected_by_its_difference() {
        let day = 24 * HOUR;
        for offset_ms in [day, -day] {
            let clock = HostClock { wall_ms: NOW + offset_ms, offset_ms, uptime_ms: 9 * HOUR };
            let times = [offset_ms, offset_ms + STEP];
            check(Some(-STEP), clock, &times, &[0, STEP]);
        }
    }

    #[test]
    fn that_a_clock_was_set_is_told_once() {
        let mut timeline = Timeline::after(Some(NOW - HOUR), NOW);
        let told = [STEP, YEAR, YEAR + STEP, 4 * STEP, 5 * STEP].map(|at_ms| {
            let at_ms = NOW - HOUR + at_ms;
            timeline.believe(at_ms, at_ms, STEP, NOW).set_by_ms
        });
        assert_eq!(told, [None, Some(YEAR - 2 * STEP), None, None, None]);
    }
}
