//! How fast the buffer fills, and how long its room lasts. Pure: the clock is handed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Statistics;

/// The pace is that of so long, or of so many intervals where those are longer.
const WINDOW: Duration = Duration::from_mins(10);
const WINDOW_INTERVALS: u32 = 10;

/// It is not known before so long, or so many intervals where those are longer.
const YOUNG: Duration = Duration::from_secs(10);
const YOUNG_INTERVALS: u32 = 3;

/// So many moments are remembered at most.
const MOST_NOTES: u32 = 60;

/// What a byte of records takes on the disk, at most: the database's own overhead.
const DISK_BYTES_PER_BYTE: f64 = 4.0;

/// How much was appended at some moments.
#[derive(Clone, Debug)]
pub struct Pace {
    interval: Duration,
    /// Moments and what had been appended by then, the oldest first.
    notes: VecDeque<(Instant, u64)>,
}

/// How long the room lasts if nothing is delivered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RoomLasts {
    /// At the present pace.
    For {
        /// So long.
        seconds: f64,
        /// What ends it.
        bound: RoomBound,
    },
    /// It cannot be told, for the reason.
    Unknown(&'static str),
}

/// What ends the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomBound {
    /// What the records may take.
    Limit,
    /// What is to be left free of the disk.
    Disk,
}

impl RoomBound {
    /// In words for an operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "the buffer's limit",
            Self::Disk => "what is to be left free of the disk",
        }
    }
}

impl Pace {
    /// That of a host which is observed so often, and of which nothing is known yet.
    pub fn new(interval: Duration) -> Self {
        Self { interval, notes: VecDeque::new() }
    }

    /// Notes how much was appended by now, and gives how many bytes a second that is lately; `None`
    /// while it is too early to tell.
    pub fn note(&mut self, now: Instant, appended_bytes: u64) -> Option<f64> {
        let window = WINDOW.max(self.interval * WINDOW_INTERVALS);
        let age = |at: Instant| now.saturating_duration_since(at);
        // The buffer counts from its start, so less than before is another buffer's count.
        if self.notes.back().is_some_and(|(_, before)| *before > appended_bytes) {
            self.notes.clear();
        }
        while self.notes.get(1).is_some_and(|(at, _)| age(*at) >= window) {
            self.notes.pop_front();
        }
        if self.notes.back().is_none_or(|(at, _)| age(*at) >= window / MOST_NOTES) {
            self.notes.push_back((now, appended_bytes));
        }
        let (since, before) = self.notes.front()?;
        let length = age(*since);
        let is_young = length < YOUNG.max(self.interval * YOUNG_INTERVALS);
        (!is_young).then(|| (appended_bytes - before) as f64 / length.as_secs_f64())
    }
}

/// How long the room lasts at a pace in bytes a second.
pub fn room_lasts(statistics: &Statistics, pace: Option<f64>) -> RoomLasts {
    let Some(pace) = pace else {
        return RoomLasts::Unknown("the agent has not run for long enough to know its pace");
    };
    if pace <= 0.0 {
        return RoomLasts::Unknown("nothing was written lately");
    }
    let by_limit = statistics.limit_bytes.saturating_sub(statistics.bytes) as f64 / pace;
    let by_disk = statistics.disk_left_bytes.map(|left| left as f64 / DISK_BYTES_PER_BYTE / pace);
    match by_disk {
        // On a disk that is short already, the limit is what the records may still take.
        Some(seconds) if seconds > 0.0 && seconds < by_limit => {
            RoomLasts::For { seconds, bound: RoomBound::Disk }
        }
        _ => RoomLasts::For { seconds: by_limit, bound: RoomBound::Limit },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_minutes() {
        let begin = Instant::now();
        let mut pace = Pace::new(Duration::from_secs(2));
        let mut check = |seconds: u64, appended: u64, expect: Option<f64>| {
            let found = pace.note(begin + Duration::from_secs(seconds), appended);
            let rounded = found.map(|found| (found * 100.0).round() / 100.0);
            assert_eq!(rounded, expect, "after {seconds} s");
        };
        check(0, 1_000, None);
        check(9, 1_900, None);
        check(10, 2_000, Some(100.0));
        check(600, 61_000, Some(100.0));
        // Half as fast from here on; after the window the former pace is forgotten.
        check(900, 76_000, Some(83.15));
        check(1_210, 91_500, Some(50.0));
        check(1_300, 500, None);
        check(1_310, 1_500, Some(100.0));
    }

    #[test]
    fn a_seldom_observed_host_takes_longer_to_know() {
        let begin = Instant::now();
        let mut pace = Pace::new(Duration::from_secs(3_600));
        let hours = |hours: u64| begin + Duration::from_secs(hours * 3_600);
        assert_eq!(pace.note(hours(0), 0), None);
        assert_eq!(pace.note(hours(2), 7_200), None);
        assert_eq!(pace.note(hours(3), 10_800), Some(1.0));
        assert!(pace.notes.len() <= 4);
        assert_eq!(pace.note(hours(30), 10_800 * 10), Some(1.0));
    }

    #[test]
    fn the_notes_are_few() {
        let begin = Instant::now();
        let mut pace = Pace::new(Duration::from_secs(1));
        for second in 0..10_000 {
            pace.note(begin + Duration::from_secs(second), second);
            assert!(pace.notes.len() <= MOST_NOTES as usize + 2, "{}", pace.notes.len());
        }
    }

    #[test]
    fn the_room_ends_where_it_ends_first() {
        let check = |bytes, limit_bytes, disk_left_bytes, pace, expect| {
            let statistics =
                Statistics { bytes, limit_bytes, disk_left_bytes, ..Statistics::default() };
            assert_eq!(room_lasts(&statistics, pace), expect, "{statistics:?} {pace:?}");
        };
        let lasts = |seconds, bound| RoomLasts::For { seconds, bound };
        check(100, 1_100, None, Some(10.0), lasts(100.0, RoomBound::Limit));
        check(100, 1_100, Some(1_000_000), Some(10.0), lasts(100.0, RoomBound::Limit));
        check(100, 1_100, Some(400), Some(10.0), lasts(10.0, RoomBound::Disk));
        check(100, 1_100, Some(0), Some(10.0), lasts(100.0, RoomBound::Limit));
        check(1_200, 1_100, None, Some(10.0), lasts(0.0, RoomBound::Limit));
        let young = "the agent has not run for long enough to know its pace";
        check(0, 1_100, None, None, RoomLasts::Unknown(young));
        check(0, 1_100, None, Some(0.0), RoomLasts::Unknown("nothing was written lately"));
    }
}
