//! Functions of times: year, month, day, hour and minute in UTC.

use super::{Column, EvalError, Evaluator, Grid, vector_argument};
use crate::eval::selector::seconds;
use crate::expression::Call;

const DAY_SECONDS: i64 = 24 * 60 * 60;
/// Days of the 400 years after which the Gregorian calendar repeats.
const CYCLE_DAYS: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;
/// Times beyond this are cut off, so that nothing overflows; it is some 30 million years.
const MAX_SECONDS: i64 = 1_000_000_000_000_000;

/// A moment in UTC.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CivilTime {
    year: i64,
    month: i64,
    day: i64,
    days_since_1970: i64,
    second_of_day: i64,
}

pub(super) fn evaluate(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
    apply: fn(&CivilTime) -> f64,
) -> Result<Vec<Column>, EvalError> {
    let mut columns = if call.arguments.is_empty() {
        evaluator.budget.charge(grid.steps())?;
        let times = grid.moments().map(seconds).collect();
        vec![Column::new(Default::default(), times)]
    } else {
        vector_argument(evaluator, call, grid)?
    };
    for column in &mut columns {
        column.drops_name = true;
        column.map(|value| apply(&CivilTime::new(value as i64)));
    }
    Ok(columns)
}

impl CivilTime {
    /// Counts years from March on, so that the leap day is the last of its year.
    fn new(unix_seconds: i64) -> Self {
        let unix_seconds = unix_seconds.clamp(-MAX_SECONDS, MAX_SECONDS);
        let days_since_1970 = unix_seconds.div_euclid(DAY_SECONDS);
        let days = days_since_1970 + EPOCH_DAYS;
        let day_of_cycle = days.rem_euclid(CYCLE_DAYS);
        let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
            - day_of_cycle / (CYCLE_DAYS - 1))
            / 365;
        let day_of_year =
            day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        let year = days.div_euclid(CYCLE_DAYS) * 400 + year_of_cycle + i64::from(month <= 2);
        Self {
            year,
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            days_since_1970,
            second_of_day: unix_seconds.rem_euclid(DAY_SECONDS),
        }
    }

    pub(super) fn year(&self) -> f64 {
        self.year as f64
    }

    pub(super) fn month(&self) -> f64 {
        self.month as f64
    }

    pub(super) fn day_of_month(&self) -> f64 {
        self.day as f64
    }

    /// Sunday is 0; the epoch was a Thursday.
    pub(super) fn day_of_week(&self) -> f64 {
        (self.days_since_1970 + 4).rem_euclid(7) as f64
    }

    pub(super) fn day_of_year(&self) -> f64 {
        let before: i64 = (1..self.month).map(|month| length(self.year, month)).sum();
        (before + self.day) as f64
    }

    pub(super) fn days_in_month(&self) -> f64 {
        length(self.year, self.month) as f64
    }

    pub(super) fn hour(&self) -> f64 {
        (self.second_of_day / 3_600) as f64
    }

    pub(super) fn minute(&self) -> f64 {
        (self.second_of_day / 60 % 60) as f64
    }
}

fn length(year: i64, month: i64) -> i64 {
    let leaps = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leaps),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_their_dates() {
        let check = |at: i64, (year, month, day): (i64, i64, i64), expect: [f64; 4]| {
            let time = CivilTime::new(at);
            assert_eq!((time.year, time.month, time.day), (year, month, day), "{at}");
            let got = [time.day_of_week(), time.day_of_year(), time.hour(), time.minute()];
            assert_eq!(got, expect, "{at}");
        };
        check(0, (1970, 1, 1), [4.0, 1.0, 0.0, 0.0]);
        check(-1, (1969, 12, 31), [3.0, 365.0, 23.0, 59.0]);
        check(1_456_790_399, (2016, 2, 29), [1.0, 60.0, 23.0, 59.0]);
        check(1_456_790_400, (2016, 3, 1), [2.0, 61.0, 0.0, 0.0]);
        check(951_782_400, (2000, 2, 29), [2.0, 60.0, 0.0, 0.0]);
        check(4_107_542_400, (2100, 3, 1), [1.0, 60.0, 0.0, 0.0]);
        check(1_483_191_420, (2016, 12, 31), [6.0, 366.0, 13.0, 37.0]);
    }

    #[test]
    fn absurd_times_do_not_overflow() {
        assert!(CivilTime::new(i64::MAX).year() > 30_000_000.0);
        assert!(CivilTime::new(i64::MIN).year() < -30_000_000.0);
    }
}
