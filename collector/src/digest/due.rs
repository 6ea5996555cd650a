//! When digests are due: pure, with the clock passed in.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::report::Kind;

/// When digests are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// On which day the weekly one is; `None`: never.
    pub weekly: Option<Weekday>,
    /// Whether there is a daily one.
    pub daily: bool,
    /// At which hour of the day.
    pub hour: i8,
    /// Where that hour is told.
    pub zone: TimeZone,
}

impl Schedule {
    /// When a digest was last due, in milliseconds since 1970; `None` if it never is.
    pub fn last_due(&self, kind: Kind, now_ms: i64) -> Option<i64> {
        let now = Timestamp::from_millisecond(now_ms).ok()?;
        let today = now.to_zoned(self.zone.clone()).date();
        (0..=7).find_map(|days| {
            let date = today.checked_sub(Span::new().days(days)).ok()?;
            let due = self.due_on(kind, date)?;
            (due <= now).then(|| due.as_millisecond())
        })
    }

    /// When a digest is due on a day, if it is. An hour that a day does not have is the one after it.
    fn due_on(&self, kind: Kind, date: Date) -> Option<Timestamp> {
        let is_day = match kind {
            Kind::Daily => self.daily,
            Kind::Weekly => self.weekly == Some(date.weekday()),
        };
        if !is_day {
            return None;
        }
        let at = date.at(self.hour, 0, 0, 0).to_zoned(self.zone.clone()).ok()?;
        Some(at.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(zone: &str) -> Schedule {
        let zone = TimeZone::get(zone).unwrap();
        Schedule { weekly: Some(Weekday::Monday), daily: true, hour: 7, zone }
    }

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_digest_is_due_at_its_hour_of_its_day() {
        let check = |zone: &str, kind, now: &str, expect: &str| {
            assert_eq!(schedule(zone).last_due(kind, ms(now)), Some(ms(expect)), "{kind:?} {now}");
        };
        // 2026-11-23 is a Monday.
        check("UTC", Kind::Daily, "2026-11-25T06:59:59Z", "2026-11-24T07:00:00Z");
        check("UTC", Kind::Daily, "2026-11-25T07:00:00Z", "2026-11-25T07:00:00Z");
        check("UTC", Kind::Weekly, "2026-11-25T07:00:00Z", "2026-11-23T07:00:00Z");
        check("UTC", Kind::Weekly, "2026-11-23T06:59:59Z", "2026-11-16T07:00:00Z");
        check("UTC", Kind::Weekly, "2026-11-23T07:00:00Z", "2026-11-23T07:00:00Z");
        check("Europe/Berlin", Kind::Daily, "2026-11-25T06:00:00Z", "2026-11-25T06:00:00Z");
        check("Europe/Berlin", Kind::Daily, "2026-07-25T05:30:00Z", "2026-07-25T05:00:00Z");
        // In the east it is Monday already.
        check("Pacific/Auckland", Kind::Weekly, "2026-11-22T18:00:00Z", "2026-11-22T18:00:00Z");
    }

    #[test]
    fn an_hour_that_a_day_does_not_have_comes_later() {
        let schedule = Schedule { hour: 2, ..schedule("Europe/Berlin") };
        let due = schedule.last_due(Kind::Daily, ms("2026-03-29T12:00:00Z"));
        assert_eq!(due, Some(ms("2026-03-29T01:00:00Z")), "at three");
    }

    #[test]
    fn what_nobody_wants_is_never_due() {
        let never = Schedule { weekly: None, daily: false, ..schedule("UTC") };
        for kind in Kind::ALL {
            assert_eq!(never.last_due(kind, ms("2026-11-25T07:00:00Z")), None);
        }
    }
}
