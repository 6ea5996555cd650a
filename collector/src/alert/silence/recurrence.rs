//! When a silence recurs: time intervals as the routing file writes them, in JSON.

use thiserror::Error;

use crate::alert::interval::TimeInterval;
use crate::alert::routing;

/// The times at which a silence holds, such as every Sunday from two to four.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrence {
    intervals: Vec<TimeInterval>,
}

/// A text names no times.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecurrenceError {
    /// It cannot be understood.
    #[error("{0}")]
    Unreadable(String),
    /// There is nothing in it.
    #[error("a list of at least one time interval is needed")]
    Empty,
}

impl Recurrence {
    /// Reads a list of time intervals, each an object with the keys of the routing file's.
    ///
    /// # Errors
    /// When it is anything else; every fault is named.
    pub fn parse(json: &str) -> Result<Self, RecurrenceError> {
        let intervals = routing::time_intervals(json).map_err(|faults| {
            let told = faults.0.into_iter().map(|fault| fault.message);
            RecurrenceError::Unreadable(told.collect::<Vec<_>>().join("; "))
        })?;
        if intervals.is_empty() {
            return Err(RecurrenceError::Empty);
        }
        Ok(Self { intervals })
    }

    /// Whether a moment is among the times, in milliseconds since 1970.
    pub(super) fn contain(&self, at_ms: i64) -> bool {
        // A moment beyond the calendar is in no interval.
        jiff::Timestamp::from_millisecond(at_ms)
            .is_ok_and(|at| self.intervals.iter().any(|interval| interval.contains(at)))
    }
}
