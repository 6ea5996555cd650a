//! When the next tick is due.

use std::time::{Duration, SystemTime};

/// The wall clock in milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}

/// The first whole multiple of the interval after a time.
pub(super) fn next_tick_ms(now_ms: i64, interval: Duration) -> i64 {
    let interval = interval_ms(interval);
    (now_ms.div_euclid(interval) + 1) * interval
}

/// How many ticks were passed over between two that took place one after the other.
pub(super) fn skipped(before_ms: i64, tick_ms: i64, interval: Duration) -> u64 {
    let passed = tick_ms.saturating_sub(before_ms) / interval_ms(interval);
    u64::try_from(passed - 1).unwrap_or_default()
}

/// What to do at a moment while a tick is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is time.
    Tick,
    /// It is too early by so much.
    Wait(Duration),
    /// The clock was set, or the machine slept: the tick that was waited for is not near.
    Reschedule,
}

/// Decides about a tick that was planned when the clock said something else.
pub(super) fn decide(now_ms: i64, tick_ms: i64, interval: Duration) -> Decision {
    let left = tick_ms.saturating_sub(now_ms);
    if left.abs() > interval_ms(interval) {
        Decision::Reschedule
    } else if left <= 0 {
        Decision::Tick
    } else {
        Decision::Wait(Duration::from_millis(left.unsigned_abs()))
    }
}

fn interval_ms(interval: Duration) -> i64 {
    i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn ticks_are_whole_multiples_of_the_interval() {
        let check = |now: i64, expect: i64| assert_eq!(next_tick_ms(now, TEN), expect, "{now}");
        check(0, 10_000);
        check(9_999, 10_000);
        check(10_000, 20_000);
        check(10_001, 20_000);
        check(-1, 0);
    }

    #[test]
    fn a_clock_that_was_set_is_noticed() {
        let check = |now: i64, expect: Decision| {
            assert_eq!(decide(now, 10_000, TEN), expect, "at {now}");
        };
        check(10_000, Decision::Tick);
        check(15_000, Decision::Tick);
        check(9_900, Decision::Wait(Duration::from_millis(100)));
        check(500_000, Decision::Reschedule);
        check(-90_000, Decision::Reschedule);
    }

    #[test]
    fn ticks_that_were_passed_over_are_counted() {
        let check = |before: i64, tick: i64, expect: u64| {
            assert_eq!(skipped(before, tick, TEN), expect, "{before} to {tick}");
        };
        check(10_000, 20_000, 0);
        check(10_000, 40_000, 2);
        check(40_000, 10_000, 0);
    }
}
