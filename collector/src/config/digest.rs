//! Who reads digests, and when.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::digest::Schedule;

/// Who reads digests, and when.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Digest {
    /// A receiver of the routing file; none is sent without.
    pub receiver: Option<String>,
    /// On which day the weekly one is sent.
    pub weekly: Day,
    /// Whether the daily one is sent, on days that have something to tell.
    pub daily: bool,
    /// At which hour of the day, 0 to 23.
    pub hour: i8,
    /// The time zone of that hour.
    pub zone: String,
}

/// A day of the week, or none.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "days have their names")]
pub enum Day {
    Never,
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Default for Digest {
    fn default() -> Self {
        Self { receiver: None, weekly: Day::Monday, daily: true, hour: 7, zone: "UTC".to_owned() }
    }
}

impl Digest {
    /// When they are sent; in a zone that is not known, by UTC.
    pub fn schedule(&self) -> Schedule {
        let weekly = match self.weekly {
            Day::Never => None,
            Day::Monday => Some(Weekday::Monday),
            Day::Tuesday => Some(Weekday::Tuesday),
            Day::Wednesday => Some(Weekday::Wednesday),
            Day::Thursday => Some(Weekday::Thursday),
            Day::Friday => Some(Weekday::Friday),
            Day::Saturday => Some(Weekday::Saturday),
            Day::Sunday => Some(Weekday::Sunday),
        };
        let zone = TimeZone::get(&self.zone).unwrap_or(TimeZone::UTC);
        Schedule { weekly, daily: self.daily, hour: self.hour, zone }
    }

    /// What is wrong with it, by key.
    pub(super) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if !(0..24).contains(&self.hour) {
            faults.push(("digest.hour", "it must be from 0 to 23".to_owned()));
        }
        if TimeZone::get(&self.zone).is_err() {
            let message = format!("the machine knows no time zone {:?}", self.zone);
            faults.push(("digest.zone", message));
        }
        faults
    }
}
