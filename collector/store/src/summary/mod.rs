//! Summaries: what is kept of a series' samples in a window of time once they are old.
//!
//! Windows are as PromQL's are, `(k·r, (k+1)·r]` for a resolution `r`: they end at its multiples, and
//! the end belongs to them. A window that reaches over the end of a day has a summary in each of the
//! two days: of samples before midnight, and of one at midnight.
//!
//! Staleness markers are no samples: of them only the one is kept that comes after all samples of its
//! window. NaN is a sample, and counts as in Prometheus' functions: it is neither smallest nor largest
//! unless there is nothing else, and a sum with it is NaN.

mod shape;

use std::fmt;

use upkeep_model::{Sum, is_stale};

pub use shape::Shape;

/// How long the windows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resolution {
    /// Five minutes.
    FiveMinutes,
    /// An hour.
    OneHour,
}

impl Resolution {
    pub(crate) const ALL: [Self; 2] = [Self::FiveMinutes, Self::OneHour];

    /// A window in milliseconds.
    pub fn ms(self) -> i64 {
        match self {
            Self::FiveMinutes => 5 * 60 * 1000,
            Self::OneHour => 60 * 60 * 1000,
        }
    }

    /// The end of the window that an instant is in.
    pub(crate) fn end_of(self, at_ms: i64) -> i64 {
        let ended = at_ms.div_euclid(self.ms()).saturating_mul(self.ms());
        if ended == at_ms { ended } else { ended.saturating_add(self.ms()) }
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::FiveMinutes => "5m",
            Self::OneHour => "1h",
        })
    }
}

/// What samples of one series in one window come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) first: f64,
    pub(crate) first_at: i64,
    pub(crate) last: f64,
    pub(crate) last_at: i64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) sum: f64,
    pub(crate) count: u64,
    /// What resets of a counter took away: the sum of all values with a lower one behind them. With
    /// it, the increase is `last - first + lost`, as Prometheus reckons it.
    pub(crate) lost: f64,
}

/// What is known of one series in one window, or in the part of it that lies in a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    /// There is none where there is only a marker.
    pub(crate) summary: Option<Summary>,
    /// When the series ended, behind all samples.
    pub(crate) ended_at: Option<i64>,
}

impl Summary {
    fn of_one(at_ms: i64, value: f64) -> Self {
        Self {
            first: value,
            first_at: at_ms,
            last: value,
            last_at: at_ms,
            min: value,
            max: value,
            sum: value,
            count: 1,
            lost: 0.0,
        }
    }

    /// The summary of what two are of, whichever came first.
    ///
    /// All of it is exact where one ends before the other begins. Of two that overlap (samples that came
    /// late, between others that were summarised before) nobody knows any more how their samples follow
    /// on each other: then the resets are those of the one that is longer, and those that show at its
    /// ends. Samples that are in both count twice.
    pub(crate) fn merged(self, other: Self) -> Self {
        let (one, next) =
            if other.first_at < self.first_at { (other, self) } else { (self, other) };
        let lost = if one.last_at < next.first_at {
            one.lost + fallen(one.last, next.first) + next.lost
        } else {
            lost_of_overlapping(one, next)
        };
        let (last, last_at) = if next.last_at >= one.last_at {
            (next.last, next.last_at)
        } else {
            (one.last, one.last_at)
        };
        Self {
            first: one.first,
            first_at: one.first_at,
            last,
            last_at,
            // Of a number and NaN these give the number.
            min: one.min.min(next.min),
            max: one.max.max(next.max),
            sum: one.sum + next.sum,
            count: one.count.saturating_add(next.count),
            lost,
        }
    }

    /// The resets between the first and the last value if there are no others.
    pub(crate) fn lost_by_ends(first: f64, last: f64) -> f64 {
        fallen(first, last)
    }
}

/// What a counter lost that fell from one value to the next.
fn fallen(before: f64, after: f64) -> f64 {
    if after < before { before } else { 0.0 }
}

/// `one` begins first.
fn lost_of_overlapping(one: Summary, next: Summary) -> f64 {
    let is_next_longer = next.last_at - next.first_at > one.last_at - one.first_at;
    let (long, short) = if is_next_longer { (next, one) } else { (one, next) };
    let before = if short.first_at < long.first_at { fallen(short.first, long.first) } else { 0.0 };
    let after = if short.last_at > long.last_at { fallen(long.last, short.last) } else { 0.0 };
    before + long.lost + after
}

impl Window {
    /// Where it has something.
    pub(crate) fn at_ms(&self) -> i64 {
        let ended_at = self.ended_at.unwrap_or_default();
        self.summary.map_or(ended_at, |summary| summary.first_at)
    }

    /// Where it ends to have anything.
    pub(crate) fn through_ms(&self) -> i64 {
        let last_at = self.summary.map(|summary| summary.last_at);
        self.ended_at.or(last_at).unwrap_or_default()
    }

    /// What both have of one window.
    pub(crate) fn merged(self, other: Self) -> Self {
        let summary = match (self.summary, other.summary) {
            (Some(one), Some(other)) => Some(one.merged(other)),
            (one, other) => one.or(other),
        };
        let ended_at = self.ended_at.max(other.ended_at);
        let is_last = |at_ms: &i64| summary.is_none_or(|summary| summary.last_at < *at_ms);
        Self { summary, ended_at: ended_at.filter(is_last) }
    }
}

/// The windows of samples, timestamps strictly ascending, a value for each.
pub(crate) fn windows_of(resolution: Resolution, times: &[i64], values: &[f64]) -> Vec<Window> {
    let samples: Vec<(i64, f64)> = times.iter().copied().zip(values.iter().copied()).collect();
    let of_one_window =
        |one: &(i64, f64), next: &(i64, f64)| resolution.end_of(one.0) == resolution.end_of(next.0);
    samples.chunk_by(of_one_window).map(window_of).collect()
}

/// The window of its samples; there is one at least.
fn window_of(samples: &[(i64, f64)]) -> Window {
    let ended_at = samples.last().filter(|(_, value)| is_stale(*value)).map(|(at_ms, _)| *at_ms);
    let mut live = samples.iter().copied().filter(|(_, value)| !is_stale(*value));
    let Some((first_at, first)) = live.next() else { return Window { summary: None, ended_at } };
    let mut summary = Summary::of_one(first_at, first);
    let mut sum = Sum::default();
    sum.add(first);
    for (at_ms, value) in live {
        summary.lost += fallen(summary.last, value);
        (summary.last, summary.last_at) = (value, at_ms);
        summary.min = summary.min.min(value);
        summary.max = summary.max.max(value);
        summary.count += 1;
        sum.add(value);
    }
    summary.sum = sum.value();
    Window { summary: Some(summary), ended_at }
}

/// Brings windows, finer ones or several of the same time, to one for each of a resolution, ascending.
pub(crate) fn coarsened(resolution: Resolution, mut windows: Vec<Window>) -> Vec<Window> {
    windows.sort_by_key(Window::at_ms);
    let mut all: Vec<Window> = Vec::new();
    for window in windows {
        let end = resolution.end_of(window.at_ms());
        match all.last_mut().filter(|last| resolution.end_of(last.at_ms()) == end) {
            Some(last) => *last = last.merged(window),
            None => all.push(window),
        }
    }
    all
}

#[cfg(test)]
mod tests;
