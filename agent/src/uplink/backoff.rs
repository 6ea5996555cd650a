//! How long to wait before the next connection: full jitter, so that a fleet that lost its
//! collector at one moment does not come back at one moment.

use std::time::Duration;

/// The bound of the first wait; it doubles with every attempt that fails.
const FIRST: Duration = Duration::from_secs(1);

/// The attempts that failed since the last connection that stood.
#[derive(Debug)]
pub(super) struct Backoff {
    cap: Duration,
    failures: u32,
    /// What the collector asked for at last.
    at_least: Duration,
}

impl Backoff {
    pub(super) fn new(cap: Duration) -> Self {
        Self { cap, failures: 0, at_least: Duration::ZERO }
    }

    /// The collector asks to be left alone so long once the connection ends.
    pub(super) fn wait_at_least(&mut self, at_least: Duration) {
        self.at_least = at_least;
    }

    /// A connection stood.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait now. `random` is uniform between 0 and 1.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let wait = delay(self.failures, self.cap, self.at_least, random);
        self.failures = self.failures.saturating_add(1);
        wait
    }
}

fn delay(failures: u32, cap: Duration, at_least: Duration, random: f64) -> Duration {
    let bound = FIRST.saturating_mul(2_u32.saturating_pow(failures.min(31))).min(cap);
    at_least + bound.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_cap_and_the_collectors_wish_is_added() {
        let check = |failures: u32, at_least: u64, random: f64, expect_ms: u64| {
            let cap = Duration::from_secs(60);
            let wait = delay(failures, cap, Duration::from_millis(at_least), random);
            assert_eq!(wait, Duration::from_millis(expect_ms), "{failures} failures, {random}");
        };
        check(0, 0, 1.0, 1_000);
        check(0, 0, 0.0, 0);
        check(3, 0, 1.0, 8_000);
        check(3, 0, 0.25, 2_000);
        check(6, 0, 1.0, 60_000);
        check(u32::MAX, 0, 1.0, 60_000);
        check(0, 5_000, 0.5, 5_500);
        check(1, 0, 7.0, 2_000);
    }

    #[test]
    fn a_connection_that_stood_begins_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        let waits: Vec<u64> = (0..3).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4]);
        backoff.wait_at_least(Duration::from_secs(3));
        assert_eq!(backoff.next(1.0).as_secs(), 11);
        backoff.reset();
        assert_eq!(backoff.next(1.0).as_secs(), 4);
    }
}
