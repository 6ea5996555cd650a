//! How many things may begin within a second, and how long a fleet takes at that. Pure: the clock is handed in.

use std::time::Duration;

use tokio::time::Instant;

/// What was not begun in this time before may be begun at once beside it.
const SLACK: Duration = Duration::from_millis(100);

/// The bounds of the time over which the hosts of the fleet are to spread when they all come again.
const RETRY_MS: (u32, u32) = (250, 120_000);

/// A pace that is kept.
#[derive(Debug)]
pub(super) struct Pace {
    /// The time between two beginnings.
    every: Duration,
    /// When the next one would come if all came evenly.
    due: Option<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Self {
        Self { every: Duration::from_secs(1) / per_second.max(1), due: None }
    }

    /// When the next may begin.
    pub(super) fn earliest(&self) -> Instant {
        let earliest = self.due.map(|due| due.checked_sub(SLACK).unwrap_or(due));
        earliest.unwrap_or_else(Instant::now)
    }

    /// One begins.
    pub(super) fn note(&mut self, now: Instant) {
        self.due = Some(self.due.map_or(now, |due| due.max(now)) + self.every);
    }
}

/// How long the handshakes of the whole fleet take at their rate.
pub(super) fn retry_after_ms(hosts: usize, handshakes_per_second: u32) -> u32 {
    let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
    let time_ms = u64::from(hosts) * 1000 / u64::from(handshakes_per_second.max(1));
    u32::try_from(time_ms).unwrap_or(u32::MAX).clamp(RETRY_MS.0, RETRY_MS.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of those that wait begin within a time, when nothing else holds them up.
    fn begun(pace: &mut Pace, from: Instant, within: Duration) -> usize {
        let mut now = from;
        let mut count = 0;
        loop {
            now = now.max(pace.earliest());
            if now > from + within {
                return count;
            }
            pace.note(now);
            count += 1;
        }
    }

    #[test]
    fn in_each_second_there_are_as_many_as_may_be_and_a_tenth_more_at_first() {
        let check = |per_second: u32, expect: usize| {
            let mut pace = Pace::new(per_second);
            let (start, second) = (Instant::now(), Duration::from_secs(1));
            let first = begun(&mut pace, start, second);
            assert!(first.abs_diff(expect + expect / 10) <= 1, "{per_second}: {first}");
            let next = begun(&mut pace, start + second, second);
            assert!(next.abs_diff(expect) <= 1, "{per_second}: {next}");
            // What was not used is not saved up.
            let later = begun(&mut pace, start + 100 * second, second);
            assert!(later.abs_diff(expect + expect / 10) <= 1, "{per_second}: {later}");
        };
        check(1, 1);
        check(10, 10);
        check(200, 200);
        check(1000, 1000);
    }
}
