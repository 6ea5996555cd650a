//! What somebody wants to read, and how much of it may be read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use upkeep_model::{HostId, Matcher, SeriesSamples};

use crate::StoreError;
use crate::summary::{Resolution, Shape};

/// What to read of the store, and the bounds of it.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Whose series; `None`: everybody's.
    pub home: Option<HostId>,
    /// All of them must accept a series.
    pub matchers: &'a [Matcher],
    /// Milliseconds since 1970; samples later than this count.
    pub after_ms: i64,
    /// Milliseconds since 1970; samples up to and including this count.
    pub through_ms: i64,
    /// So many samples may be read at most.
    pub max_samples: usize,
    /// When it is no use any more.
    pub deadline: Option<Instant>,
    /// What samples that are made of summaries must agree with these in.
    pub shape: Shape,
    /// Whether no more than the last sample of each series counts; others may be left out.
    pub only_last: bool,
}

/// What a reading found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// One entry a label set, timestamps strictly ascending.
    pub series: Vec<SeriesSamples>,
    /// The summaries that samples were made of, if there are such.
    pub summaries: Option<Summaries>,
}

/// Summaries that stand for samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summaries {
    /// The coarsest one.
    pub resolution: Resolution,
    /// The latest sample that was made of one, in milliseconds since 1970.
    pub through_ms: i64,
}

impl Summaries {
    /// What holds of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            resolution: self.resolution.max(other.resolution),
            through_ms: self.through_ms.max(other.through_ms),
        }
    }
}

impl<'a> Reading<'a> {
    /// A reading without bounds.
    pub fn of(matchers: &'a [Matcher], after_ms: i64, through_ms: i64) -> Self {
        let max_samples = usize::MAX;
        Self {
            home: None,
            matchers,
            after_ms,
            through_ms,
            max_samples,
            deadline: None,
            shape: Shape::Level,
            only_last: false,
        }
    }

    /// Whether both can be done in one pass: they differ in their matchers at most.
    pub(crate) fn goes_along_with(&self, other: &Self) -> bool {
        let time = |one: &Self| (one.after_ms, one.through_ms, one.deadline);
        let use_of = |one: &Self| (one.home, one.shape, one.only_last, one.max_samples);
        time(self) == time(other) && use_of(self) == use_of(other)
    }
}

/// A stretch of time: milliseconds, the first excluded, the second included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) after_ms: i64,
    pub(crate) through_ms: i64,
}

impl Stretch {
    pub(crate) fn has(self, at_ms: i64) -> bool {
        at_ms > self.after_ms && at_ms <= self.through_ms
    }

    pub(crate) fn is_empty(self) -> bool {
        self.after_ms >= self.through_ms
    }

    /// Whether it may have anything of what begins and ends at these times.
    pub(crate) fn overlaps(self, first_ms: i64, last_ms: i64) -> bool {
        last_ms > self.after_ms && first_ms <= self.through_ms
    }

    /// Where the timestamps in it begin and end, of ascending ones.
    pub(crate) fn range_of(self, timestamps: &[i64]) -> std::ops::Range<usize> {
        let begin = timestamps.partition_point(|at_ms| *at_ms <= self.after_ms);
        begin..timestamps.partition_point(|at_ms| *at_ms <= self.through_ms).max(begin)
    }
}

/// What is left of a reading's bounds; those who read share it.
#[derive(Debug)]
pub(crate) struct Bounds {
    max_samples: usize,
    left: AtomicUsize,
    deadline: Option<Instant>,
}

impl Bounds {
    pub(crate) fn of(reading: &Reading<'_>) -> Self {
        let Reading { max_samples, deadline, .. } = *reading;
        Self { max_samples, left: AtomicUsize::new(max_samples), deadline }
    }

    /// Takes samples off what is left, before there is memory for them.
    pub(crate) fn charge(&self, samples: usize) -> Result<(), StoreError> {
        self.look()?;
        let take = |left: usize| left.checked_sub(samples);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::TooManySamples { limit: self.max_samples }),
        }
    }

    /// Looks at the clock.
    pub(crate) fn look(&self) -> Result<(), StoreError> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(StoreError::Timeout),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_charged_is_bounded() {
        let bounds = Bounds::of(&Reading { max_samples: 10, ..Reading::of(&[], 0, 1) });
        bounds.charge(6).unwrap();
        bounds.charge(4).unwrap();
        let error = bounds.charge(1).unwrap_err();
        assert!(matches!(error, StoreError::TooManySamples { limit: 10 }), "{error}");
        bounds.charge(0).unwrap();
    }

    #[test]
    fn a_stretch_finds_its_part_of_timestamps() {
        let check = |after_ms, through_ms, expect| {
            let stretch = Stretch { after_ms, through_ms };
            assert_eq!(stretch.range_of(&[10, 20, 30]), expect, "{after_ms} to {through_ms}");
        };
        check(0, 40, 0..3);
        check(10, 30, 1..3);
        check(9, 29, 0..2);
        check(30, 99, 3..3);
        check(0, 9, 0..0);
        check(25, 15, 2..2);
    }
}
