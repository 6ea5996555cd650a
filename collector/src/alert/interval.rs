//! Times of day, week and year as Alertmanager's configuration writes them, and whether a moment
//! lies within.

use std::ops::RangeInclusive;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use thiserror::Error;

/// The minutes of a day.
const DAY_MINUTES: i32 = 24 * 60;

/// The length of the shortest month, by which days are compared that count from its end.
const SHORTEST_MONTH: i32 = 28;

const WEEKDAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// When a route's groups may be told of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hours {
    /// Nothing is told within these.
    pub mute: Vec<NamedInterval>,
    /// If there are any, nothing is told outside of these.
    pub active: Vec<NamedInterval>,
}

/// What routes refer to by its name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedInterval {
    /// The name.
    pub name: String,
    /// A moment is within if it is within any of these.
    pub intervals: Arc<[TimeInterval]>,
}

/// Moments of which everything that is said here is true; of what is not said anything is.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeInterval {
    /// Minutes of the day.
    pub times: Option<Vec<RangeInclusive<i32>>>,
    /// Days of the week, Sunday being 0.
    pub weekdays: Option<Vec<RangeInclusive<i32>>>,
    /// Days of the month from 1; from its end, the last being -1.
    pub days_of_month: Option<Vec<RangeInclusive<i32>>>,
    /// Months from 1.
    pub months: Option<Vec<RangeInclusive<i32>>>,
    /// Years.
    pub years: Option<Vec<RangeInclusive<i32>>>,
    /// Where these times are told.
    pub zone: TimeZone,
}

/// A text names no times.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum IntervalError {
    #[error("`{0}` is not a time of day such as 09:30, or 24:00")]
    Time(String),
    #[error("the end must come after the start, {start} is not before {end}")]
    EmptyTime { start: String, end: String },
    #[error("`{0}` has more than one colon, a range has a first and a last")]
    Range(String),
    #[error("in `{0}` the last comes before the first")]
    Backwards(String),
    #[error("`{0}` is not a day of the week such as monday")]
    Weekday(String),
    #[error("`{0}` is not a day of a month: 1 to 31, or -1 to -31 from its end")]
    Day(String),
    #[error("in `{0}` the last day must count from the month's end as the first one does")]
    MixedDays(String),
    #[error("`{0}` is not a month such as may or 5")]
    Month(String),
    #[error("`{0}` is not a year")]
    Year(String),
    #[error("`{name}` is not a time zone such as Europe/Berlin that this machine knows: {reason}")]
    Zone { name: String, reason: String },
}

impl Hours {
    /// Whether people may be told at a moment, in milliseconds since 1970.
    pub fn allow(&self, at_ms: i64) -> bool {
        self.muted_by(at_ms).is_empty()
    }

    /// The intervals for which people are not told at a moment, in milliseconds since 1970: those to
    /// mute that it is in, or all to be active in if it is in none of them.
    pub fn muted_by(&self, at_ms: i64) -> Vec<&NamedInterval> {
        if self.mute.is_empty() && self.active.is_empty() {
            return Vec::new();
        }
        let Ok(at) = Timestamp::from_millisecond(at_ms) else { return Vec::new() };
        let within = |named: &&NamedInterval| named.intervals.iter().any(|one| one.contains(at));
        let muting: Vec<_> = self.mute.iter().filter(within).collect();
        if muting.is_empty() && !self.active.iter().any(|named| within(&named)) {
            return self.active.iter().collect();
        }
        muting
    }
}

impl TimeInterval {
    /// Whether a moment is within.
    pub(super) fn contains(&self, at: Timestamp) -> bool {
        let at = at.to_zoned(self.zone.clone());
        let within = |ranges: &Option<Vec<RangeInclusive<i32>>>, value: i32| {
            ranges.as_ref().is_none_or(|ranges| ranges.iter().any(|range| range.contains(&value)))
        };
        let (day, days) = (i32::from(at.day()), i32::from(at.days_in_month()));
        let from_start = |day: i32| if day < 0 { days + day + 1 } else { day };
        let is_day = self.days_of_month.as_ref().is_none_or(|ranges| {
            ranges
                .iter()
                .any(|range| (from_start(*range.start())..=from_start(*range.end())).contains(&day))
        });
        is_day
            && within(&self.times, i32::from(at.hour()) * 60 + i32::from(at.minute()))
            && within(&self.weekdays, i32::from(at.weekday().to_sunday_zero_offset()))
            && within(&self.months, i32::from(at.month()))
            && within(&self.years, i32::from(at.year()))
    }
}

/// The minutes from a start up to an end, which does not belong to them.
pub(super) fn times(start: &str, end: &str) -> Result<RangeInclusive<i32>, IntervalError> {
    let (from, to) = (minute(start)?, minute(end)?);
    if from >= to {
        return Err(IntervalError::EmptyTime { start: start.to_owned(), end: end.to_owned() });
    }
    Ok(from..=to - 1)
}

/// `monday` or `monday:friday`.
pub(super) fn weekdays(text: &str) -> Result<RangeInclusive<i32>, IntervalError> {
    ordered(text, |word| {
        position(&WEEKDAYS, word).ok_or_else(|| IntervalError::Weekday(word.to_owned()))
    })
}

/// `1`, `1:5` or `-3:-1`.
pub(super) fn days_of_month(text: &str) -> Result<RangeInclusive<i32>, IntervalError> {
    let (first, last) = range(text, |word| {
        let day = word.parse().ok().filter(|day: &i32| *day != 0 && (-31..=31).contains(day));
        day.ok_or_else(|| IntervalError::Day(word.to_owned()))
    })?;
    if first < 0 && last > 0 {
        return Err(IntervalError::MixedDays(text.to_owned()));
    }
    // How days from both ends lie differs by month; what is backwards in every one is refused.
    let earliest = |day: i32| if day < 0 { SHORTEST_MONTH + day } else { day };
    if earliest(first) > earliest(last) {
        return Err(IntervalError::Backwards(text.to_owned()));
    }
    // Not the range's own order: `20:-1` is one.
    Ok(RangeInclusive::new(first, last))
}

/// `may`, `5`, `may:august` or `1:3`.
pub(super) fn months(text: &str) -> Result<RangeInclusive<i32>, IntervalError> {
    ordered(text, |word| {
        let numbered = || word.parse().ok().filter(|month| (1..=12).contains(month));
        let named = position(&MONTHS, word).map(|at| at + 1);
        named.or_else(numbered).ok_or_else(|| IntervalError::Month(word.to_owned()))
    })
}

/// `2027` or `2027:2029`.
pub(super) fn years(text: &str) -> Result<RangeInclusive<i32>, IntervalError> {
    ordered(text, |word| word.parse().map_err(|_| IntervalError::Year(word.to_owned())))
}

/// A zone by its IANA name, `UTC`, or `Local` for the machine's own.
pub(super) fn location(name: &str) -> Result<TimeZone, IntervalError> {
    match name {
        "" | "UTC" => Ok(TimeZone::UTC),
        "Local" => Ok(TimeZone::system()),
        name => TimeZone::get(name).map_err(|error| IntervalError::Zone {
            name: name.to_owned(),
            reason: error.to_string(),
        }),
    }
}

fn minute(text: &str) -> Result<i32, IntervalError> {
    let number = |digits: &str| {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<i32>().ok().filter(|_| is_number)
    };
    let parsed = text.split_once(':').and_then(|(hour, minute)| {
        let (hour, minute) = (number(hour)?, number(minute)?);
        let at = hour * 60 + minute;
        (minute < 60 && at <= DAY_MINUTES).then_some(at)
    });
    parsed.ok_or_else(|| IntervalError::Time(text.to_owned()))
}

fn ordered(
    text: &str,
    read: impl Fn(&str) -> Result<i32, IntervalError>,
) -> Result<RangeInclusive<i32>, IntervalError> {
    let (first, last) = range(text, read)?;
    if first > last {
        return Err(IntervalError::Backwards(text.to_owned()));
    }
    Ok(first..=last)
}

/// The first and the last of a range; a single one is both.
fn range(
    text: &str,
    read: impl Fn(&str) -> Result<i32, IntervalError>,
) -> Result<(i32, i32), IntervalError> {
    let text = text.to_lowercase();
    match text.split_once(':') {
        None => read(&text).map(|only| (only, only)),
        Some((_, last)) if last.contains(':') => Err(IntervalError::Range(text)),
        Some((first, last)) => Ok((read(first)?, read(last)?)),
    }
}

fn position(names: &[&str], word: &str) -> Option<i32> {
    names.iter().position(|name| *name == word).and_then(|at| i32::try_from(at).ok())
}

#[cfg(test)]
mod tests;
