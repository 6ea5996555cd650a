//! The clocks, as something that can be handed over.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A wall clock that went ahead or back by more than this, beside the time that passed, was set.
const TOLERANCE_MS: i64 = 60_000;

/// Tells the time. Loops and request handlers hold one and pass the time down as a value.
#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn Fn() -> i64 + Send + Sync>,
    steady: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Clock {
    /// The system's clocks.
    pub fn system() -> Self {
        let began = Instant::now();
        let wall = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        };
        let steady = move || i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        Self { wall: Arc::new(wall), steady: Arc::new(steady) }
    }

    /// A clock that shows what a function says, in milliseconds since 1970, and is never set.
    pub fn new(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        let now_ms = Arc::new(now_ms);
        Self { wall: now_ms.clone(), steady: now_ms }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        (self.wall)()
    }

    /// Milliseconds since some moment, by a clock that nobody sets.
    pub fn steady_ms(&self) -> i64 {
        (self.steady)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Clock({})", self.now_ms())
    }
}

/// Notices that the wall clock was set.
#[derive(Clone, Copy, Debug)]
pub struct ClockWatch {
    shown_ms: i64,
    steady_ms: i64,
}

impl ClockWatch {
    /// Begins to watch.
    pub fn begin(clock: &Clock) -> Self {
        Self { shown_ms: clock.now_ms(), steady_ms: clock.steady_ms() }
    }

    /// By how many milliseconds the clock was set since the last look, if it was.
    pub fn look(&mut self, clock: &Clock) -> Option<i64> {
        let before = std::mem::replace(self, Self::begin(clock));
        let shown_ms = self.shown_ms.saturating_sub(before.shown_ms);
        let set_ms = shown_ms.saturating_sub(self.steady_ms.saturating_sub(before.steady_ms));
        (set_ms.saturating_abs() > TOLERANCE_MS).then_some(set_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_noticed_once_and_one_that_drifts_is_not() {
        let check = |passed_ms: i64, shown_ms: i64, expect: Option<i64>| {
            let of = |wall: i64, steady: i64| Clock {
                wall: Arc::new(move || wall),
                steady: Arc::new(move || steady),
            };
            let mut watch = ClockWatch::begin(&of(1_000_000, 5_000));
            let later = of(1_000_000 + shown_ms, 5_000 + passed_ms);
            assert_eq!(watch.look(&later), expect, "{passed_ms} {shown_ms}");
            assert_eq!(watch.look(&later), None, "{passed_ms} {shown_ms}");
        };
        check(0, 0, None);
        check(3_600_000, 3_600_000, None);
        check(3_600_000, 3_660_000, None);
        check(3_600_000, 3_660_001, Some(60_001));
        check(1_000, -999_000, Some(-1_000_000));
    }
}
