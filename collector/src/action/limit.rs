//! How often an action may be run.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// The bounds of a limit: who wants more wants none.
const MOST_RUNS: u32 = 1_000;
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(31 * 24);

/// So many runs at most within any stretch of so long: `3 in 10m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub runs: u32,
    /// Within how long.
    pub within: Duration,
}

/// What is wrong with a limit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LimitError {
    /// It cannot be read.
    #[error("{0:?} is no limit; one is written as \"3 in 10m\"")]
    Syntax(String),
    /// It is none.
    #[error("a limit is of 1 to {MOST_RUNS} runs in 1s to 31days")]
    Bounds,
}

/// The runs of one action, as far as its limit looks back. Moments are of a clock that nobody sets, so
/// that one that is set neither lets more through nor holds anything back for long.
#[derive(Clone, Debug)]
pub(super) struct Window {
    limit: Limit,
    begun_ms: VecDeque<i64>,
}

impl Window {
    /// A window with the runs of before, by their ages, the oldest first.
    pub(super) fn new(limit: Limit, ages_ms: impl IntoIterator<Item = i64>, now_ms: i64) -> Self {
        // One from the future, since the clock was set, has just begun.
        let begun_ms = ages_ms.into_iter().map(|age_ms| now_ms.saturating_sub(age_ms.max(0)));
        Self { limit, begun_ms: begun_ms.collect() }
    }

    /// Takes up a run, or says after how many milliseconds there is room for one.
    ///
    /// # Errors
    /// When the limit is reached.
    pub(super) fn admit(&mut self, now_ms: i64) -> Result<(), i64> {
        let within_ms = i64::try_from(self.limit.within.as_millis()).unwrap_or(i64::MAX);
        while self.begun_ms.front().is_some_and(|begun| now_ms.saturating_sub(*begun) >= within_ms)
        {
            self.begun_ms.pop_front();
        }
        match self.begun_ms.front() {
            Some(oldest) if self.begun_ms.len() >= self.limit.runs as usize => {
                Err(within_ms.saturating_sub(now_ms.saturating_sub(*oldest)))
            }
            _ => {
                self.begun_ms.push_back(now_ms);
                Ok(())
            }
        }
    }
}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let syntax = || LimitError::Syntax(text.to_owned());
        let (runs, within) = text.split_once(" in ").ok_or_else(syntax)?;
        let runs: u32 = runs.trim().parse().map_err(|_| syntax())?;
        let within = humantime::parse_duration(within).map_err(|_| syntax())?;
        if (1..=MOST_RUNS).contains(&runs) && (SHORTEST..=LONGEST).contains(&within) {
            Ok(Self { runs, within })
        } else {
            Err(LimitError::Bounds)
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} in {}", self.runs, humantime::format_duration(self.within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let check = |text: &str, expect: Result<(u32, u64), LimitError>| {
            let read = text.parse::<Limit>().map(|limit| (limit.runs, limit.within.as_secs()));
            assert_eq!(read, expect, "{text}");
        };
        let syntax = |text: &str| Err(LimitError::Syntax(text.to_owned()));
        check("3 in 10m", Ok((3, 600)));
        check("1000 in 1h 30m", Ok((1000, 5400)));
        check("1 in 31days", Ok((1, 31 * 86_400)));
        check("3", syntax("3"));
        check("3/10m", syntax("3/10m"));
        check("-3 in 10m", syntax("-3 in 10m"));
        check("3 in 10", syntax("3 in 10"));
        check("0 in 10m", Err(LimitError::Bounds));
        check("1001 in 10m", Err(LimitError::Bounds));
        check("3 in 0s", Err(LimitError::Bounds));
        check("3 in 32days", Err(LimitError::Bounds));
    }

    #[test]
    fn no_stretch_of_time_has_more_runs_than_the_limit() {
        let limit: Limit = "2 in 10s".parse().unwrap();
        let check = |ages_ms: &[i64], asked: &[(i64, Result<(), i64>)]| {
            let mut window = Window::new(limit, ages_ms.iter().copied(), 100_000);
            for (after_ms, expect) in asked {
                assert_eq!(window.admit(100_000 + after_ms), *expect, "{ages_ms:?} {after_ms}");
            }
        };
        check(&[], &[(0, Ok(())), (1_000, Ok(())), (2_000, Err(8_000)), (9_999, Err(1))]);
        // What was refused does not count.
        check(
            &[],
            &[
                (0, Ok(())),
                (9_000, Ok(())),
                (9_500, Err(500)),
                (10_000, Ok(())),
                (10_001, Err(8_999)),
            ],
        );
        check(&[9_000, 5_000], &[(0, Err(1_000)), (1_000, Ok(())), (1_001, Err(3_999))]);
        check(&[60_000, 20_000], &[(0, Ok(())), (0, Ok(())), (0, Err(10_000))]);
        // Of the future, since the clock was set back meanwhile.
        check(&[-3_600_000, -1], &[(0, Err(10_000)), (10_000, Ok(()))]);
    }
}
