//! What the agent says of its buffer: what waits, how long there is room for more, what was lost.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{span, time};
use crate::buffer::{Loss, RoomLasts, Statistics, room_lasts};

/// What waits to be delivered, how long there is room for more, and what was lost since the start.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Buffered {
    samples: u64,
    events: u64,
    bytes: u64,
    sample_bytes: u64,
    event_bytes: u64,
    limit_bytes: u64,
    oldest_ms: Option<i64>,
    bytes_per_second: Option<f64>,
    room_seconds: Option<f64>,
    /// What ends the room.
    room_bound: Option<String>,
    room_unknown_because: Option<String>,
    dropped_samples: u64,
    dropped_events: u64,
    refused_observations: u64,
    /// Those of the refused ones that no gap declares yet.
    undeclared_observations: u64,
    losses: Vec<LossReport>,
}

/// Records that were lost for one reason, and declared as gaps.
#[derive(Debug, Serialize, Deserialize)]
struct LossReport {
    lane: String,
    reason: String,
    /// Not known of a database that was lost.
    records: Option<u64>,
    gaps: u64,
    last_ms: i64,
}

impl Buffered {
    /// The report of what a buffer tells, at a pace in bytes a second.
    pub(super) fn of(statistics: &Statistics, pace: Option<f64>, losses: &[Loss]) -> Self {
        let (room_seconds, room_bound, room_unknown_because) = match room_lasts(statistics, pace) {
            RoomLasts::For { seconds, bound } => (Some(seconds), Some(bound.as_str()), None),
            RoomLasts::Unknown(reason) => (None, None, Some(reason)),
        };
        let loss = |loss: &Loss| LossReport {
            lane: loss.lane.to_string(),
            reason: loss.cause.as_str().to_owned(),
            records: loss.records,
            gaps: loss.gaps,
            last_ms: loss.last_ms,
        };
        Self {
            samples: statistics.samples,
            events: statistics.events,
            bytes: statistics.bytes,
            sample_bytes: statistics.bytes.saturating_sub(statistics.event_bytes),
            event_bytes: statistics.event_bytes,
            limit_bytes: statistics.limit_bytes,
            oldest_ms: statistics.oldest_ms,
            bytes_per_second: pace,
            room_seconds,
            room_bound: room_bound.map(str::to_owned),
            room_unknown_because: room_unknown_because.map(str::to_owned),
            dropped_samples: statistics.dropped_samples,
            dropped_events: statistics.dropped_events,
            refused_observations: statistics.refused,
            undeclared_observations: statistics.undeclared,
            losses: losses.iter().map(loss).collect(),
        }
    }

    /// Lines for an operator.
    pub(super) fn lines(&self, now_ms: i64) -> String {
        let oldest = self.oldest_ms.map_or_else(String::new, |oldest| {
            format!("; the oldest is of {} ({} old)", time(oldest), span(now_ms - oldest))
        });
        let room = match (self.room_seconds, &self.room_bound) {
            (Some(seconds), Some(bound)) => {
                let lasts = span((seconds * 1000.0) as i64);
                format!("lasts {lasts} if nothing is delivered, up to {bound}")
            }
            _ => format!(
                "for how long it lasts is unknown: {}",
                self.room_unknown_because.as_deref().unwrap_or("this agent does not tell")
            ),
        };
        format!(
            "buffer       {} samples ({} bytes) and {} events ({} bytes) wait{oldest}\n\
             room         {} of {} bytes are taken; {room}\n\
             lost         {}",
            self.samples,
            self.sample_bytes,
            self.events,
            self.event_bytes,
            self.bytes,
            self.limit_bytes,
            self.losses(),
        )
    }

    /// What was lost, with a line for each reason.
    fn losses(&self) -> String {
        let gaps: u64 = self.losses.iter().map(|loss| loss.gaps).sum();
        let mut text = match (gaps, self.undeclared_observations) {
            (0, 0) => return "nothing since the start\n".to_owned(),
            (gaps, 0) => format!("{gaps} gaps were declared since the start\n"),
            (gaps, undeclared) => format!(
                "{gaps} gaps were declared since the start; {undeclared} observations could not be \
                 written and will be declared\n"
            ),
        };
        for loss in &self.losses {
            let count =
                loss.records.map_or_else(|| "an unknown number of".to_owned(), |n| n.to_string());
            let (lane, reason, last) = (&loss.lane, &loss.reason, time(loss.last_ms));
            // Writing to a string does not fail.
            let _written = writeln!(
                text,
                "  {count} records of {lane}: {reason} ({} gaps, last {last})",
                loss.gaps
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use upkeep_model::Lane;

    use super::*;
    use crate::buffer::LossCause;

    fn statistics() -> Statistics {
        Statistics {
            samples: 7,
            events: 2,
            bytes: 400,
            event_bytes: 100,
            limit_bytes: 8_000,
            oldest_ms: Some(1_000),
            ..Statistics::default()
        }
    }

    #[test]
    fn what_waits_how_long_there_is_room_and_what_was_lost_is_shown() {
        let check = |statistics: Statistics, pace, losses: &[Loss], expect: &str| {
            let report = Buffered::of(&statistics, pace, losses);
            assert_eq!(report.lines(61_000), expect);
        };
        check(
            statistics(),
            Some(2.0),
            &[],
            "buffer       7 samples (300 bytes) and 2 events (100 bytes) wait; the oldest is of \
             1970-01-01 00:00:01 UTC (1m old)\n\
             room         400 of 8000 bytes are taken; lasts 1h 3m 20s if nothing is delivered, up \
             to the buffer's limit\n\
             lost         nothing since the start\n",
        );
        let loss = |lane, cause, records| Loss { lane, cause, records, gaps: 2, last_ms: 5_000 };
        let losses = [
            loss(Lane::Samples, LossCause::Full, Some(9)),
            loss(Lane::Samples, LossCause::DatabaseLost, None),
        ];
        check(
            Statistics { undeclared: 3, ..Statistics::default() },
            None,
            &losses,
            "buffer       0 samples (0 bytes) and 0 events (0 bytes) wait\n\
             room         0 of 0 bytes are taken; for how long it lasts is unknown: the agent has \
             not run for long enough to know its pace\n\
             lost         4 gaps were declared since the start; 3 observations could not be written \
             and will be declared\n  \
             9 records of samples: the buffer was full (2 gaps, last 1970-01-01 00:00:05 UTC)\n  \
             an unknown number of records of samples: the buffer's database was lost (2 gaps, last \
             1970-01-01 00:00:05 UTC)\n",
        );
    }
}
