//! How far days are summarised, as it is told in the state.

use crate::binary::{Malformed, Reader, put_signed};
use crate::summary::Resolution;

/// How far days are summarised, by resolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summarised([Progress; 2]);

/// How far one resolution came: days that end by these instants, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// No day that ends later has any summary.
    pub(crate) begun_ms: i64,
    /// These need not be looked at again.
    pub(crate) done_ms: i64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { begun_ms: i64::MIN, done_ms: i64::MIN }
    }
}

impl Summarised {
    pub(crate) fn of(&self, resolution: Resolution) -> Progress {
        let [five_minutes, one_hour] = self.0;
        match resolution {
            Resolution::FiveMinutes => five_minutes,
            Resolution::OneHour => one_hour,
        }
    }

    /// Notes that a resolution came to days that end by these instants; it never goes back.
    pub(crate) fn note(&mut self, resolution: Resolution, progress: Progress) {
        let [five_minutes, one_hour] = &mut self.0;
        let noted = match resolution {
            Resolution::FiveMinutes => five_minutes,
            Resolution::OneHour => one_hour,
        };
        noted.begun_ms = noted.begun_ms.max(progress.begun_ms);
        noted.done_ms = noted.done_ms.max(progress.done_ms);
    }

    /// No day that ends later has any summary.
    pub(crate) fn begun_ms(&self) -> i64 {
        Resolution::ALL.map(|one| self.of(one).begun_ms).into_iter().max().unwrap_or(i64::MIN)
    }

    /// What a day that begins then is, or is about to be, summarised by.
    pub(crate) fn of_day(&self, day_ms: i64) -> Option<Resolution> {
        Resolution::ALL.into_iter().rev().find(|one| day_ms < self.of(*one).begun_ms)
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        for progress in self.0 {
            put_signed(out, progress.begun_ms);
            put_signed(out, progress.done_ms);
        }
    }

    /// Reads what stands at the end of a state; before there were summaries nothing did.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut all = [Progress::default(); 2];
        if !reader.0.is_empty() {
            for progress in &mut all {
                *progress = Progress { begun_ms: reader.signed()?, done_ms: reader.signed()? };
            }
        }
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_comes_back_and_never_goes_back() {
        let mut summarised = Summarised::default();
        assert_eq!((summarised.begun_ms(), summarised.of_day(-1)), (i64::MIN, None));
        let progress = |begun_ms, done_ms| Progress { begun_ms, done_ms };
        summarised.note(Resolution::FiveMinutes, progress(20, 10));
        summarised.note(Resolution::OneHour, progress(10, i64::MIN));
        summarised.note(Resolution::FiveMinutes, progress(15, i64::MIN));
        assert_eq!(summarised.of(Resolution::FiveMinutes), progress(20, 10));
        assert_eq!(summarised.begun_ms(), 20);
        let of_days = [0, 9, 10, 19, 20].map(|day_ms| summarised.of_day(day_ms));
        let (five, hour) = (Some(Resolution::FiveMinutes), Some(Resolution::OneHour));
        assert_eq!(of_days, [hour, hour, five, five, None]);
        let mut bytes = Vec::new();
        summarised.put(&mut bytes);
        assert_eq!(Summarised::read(&mut Reader(&bytes)), Ok(summarised));
        assert_eq!(Summarised::read(&mut Reader(&[])), Ok(Summarised::default()));
        assert_eq!(Summarised::read(&mut Reader(&bytes[..9])), Err(Malformed::Truncated));
    }
}
