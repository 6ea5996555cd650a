//! How long to wait before the next connection: full jitter, so that a fleet that lost its
//! collector at one moment does not come back at one moment.

use std::time::Duration;

/// The bound of the first wait; it doubles with every attempt that fails.
const FIRST: Duration = Duration::from_secs(1);

/// The attempts that failed since the last connection that stood.
#[derive(Debug)]
pub struct Backoff {
    cap: Duration,
    failures: u32,
    /// Over how long the collector wants its hosts to spread.
    spread: Duration,
}

impl Backoff {
    /// Waits of at most `cap`, unless the collector asks for more.
    pub fn new(cap: Duration) -> Self {
        Self { cap, failures: 0, spread: Duration::ZERO }
    }

    /// The collector asks its hosts to spread over so long when they all come again: that is what
    /// the handshakes with all of them take.
    pub fn spread_over(&mut self, spread: Duration) {
        self.spread = spread;
    }

    /// A connection stood.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait now. `random` is uniform between 0 and 1.
    pub fn next(&mut self, random: f64) -> Duration {
        let wait = delay(self.failures, self.cap, self.spread, random);
        self.failures = self.failures.saturating_add(1);
        wait
    }
}

fn delay(failures: u32, cap: Duration, spread: Duration, random: f64) -> Duration {
    let bound = FIRST.saturating_mul(2_u32.saturating_pow(failures.min(31))).min(cap);
    bound.max(spread).mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_cap_and_is_never_less_than_the_collectors_wish() {
        let check = |failures: u32, spread_ms: u64, random: f64, expect_ms: u64| {
            let cap = Duration::from_secs(60);
            let wait = delay(failures, cap, Duration::from_millis(spread_ms), random);
            assert_eq!(wait, Duration::from_millis(expect_ms), "{failures} failures, {random}");
        };
        check(0, 0, 1.0, 1_000);
        check(0, 0, 0.0, 0);
        check(3, 0, 1.0, 8_000);
        check(3, 0, 0.25, 2_000);
        check(6, 0, 1.0, 60_000);
        check(u32::MAX, 0, 1.0, 60_000);
        check(0, 5_000, 0.5, 2_500);
        check(0, 5_000, 1.0, 5_000);
        check(3, 5_000, 1.0, 8_000);
        check(u32::MAX, 90_000, 1.0, 90_000);
        check(1, 0, 7.0, 2_000);
    }

    #[test]
    fn a_connection_that_stood_begins_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        let waits: Vec<u64> = (0..3).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4]);
        backoff.spread_over(Duration::from_secs(3));
        assert_eq!(backoff.next(1.0).as_secs(), 8);
        backoff.reset();
        assert_eq!(backoff.next(1.0).as_secs(), 3);
    }
}
