//! Which entries of the journal are already in the database. Pure.
//!
//! A sealing takes, of all segments that were closed for it, either everything or what is *due*: a
//! sample whose span has ended, or one so far ahead that its sender's clock must be wrong and
//! waiting for it would keep the journal forever. Samples of the running span stay, so that a span
//! becomes few chunks; but where they are few beside what is due, they are taken along, for they would
//! keep the files of the journal that they are in. What was taken follows from segment and timestamp alone, and is stored with
//! the chunks; so whoever reads the journal again knows what to pass over.

/// What the database holds of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// Everything in segments below this one.
    pub(crate) all_before: u64,
    /// What was due at `at_ms`, in segments below this one.
    pub(crate) due_before: u64,
    /// When the last sealing was, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// The span at that time, in milliseconds.
    pub(crate) span_ms: i64,
}

/// How much a sealing takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What is due.
    Due,
    /// Everything.
    All,
}

/// What is not due is taken along where so many times as much is due.
const FEW: u64 = 8;

impl Extent {
    /// How much to take where so many bytes of the journal are due and so many are not; nothing if none
    /// are due.
    pub(crate) fn of(due: u64, waiting: u64) -> Option<Self> {
        match due {
            0 => None,
            _ if waiting.saturating_mul(FEW) <= due => Some(Self::All),
            _ => Some(Self::Due),
        }
    }
}

impl Coverage {
    /// Whether an entry is in the database.
    pub(crate) fn covers(&self, segment: u64, timestamp_ms: i64) -> bool {
        segment < self.all_before
            || segment < self.due_before && is_due(timestamp_ms, self.at_ms, self.span_ms)
    }

    /// What the database will hold after sealing the segments below one.
    pub(crate) fn after(self, segment: u64, extent: Extent, at_ms: i64, span_ms: i64) -> Self {
        let all_before = match extent {
            Extent::All => segment,
            Extent::Due => self.all_before,
        };
        Self { all_before, due_before: segment, at_ms, span_ms }
    }
}

/// A day, from midnight to midnight by UTC.
pub(crate) const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Where the span of a timestamp begins.
pub(crate) fn span_of(timestamp_ms: i64, span_ms: i64) -> i64 {
    timestamp_ms.div_euclid(span_ms).saturating_mul(span_ms)
}

/// Whether a sample's span has ended, or lies beyond the one that comes next.
pub(crate) fn is_due(timestamp_ms: i64, now_ms: i64, span_ms: i64) -> bool {
    let start = span_of(timestamp_ms, span_ms);
    start.saturating_add(span_ms) <= now_ms || start > now_ms.saturating_add(span_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_end_and_the_far_future_does_not_wait() {
        let check = |timestamp_ms, now_ms, expect| {
            assert_eq!(is_due(timestamp_ms, now_ms, 100), expect, "{timestamp_ms} at {now_ms}");
        };
        check(0, 99, false);
        check(0, 100, true);
        check(-1, 0, true);
        check(-1, -1, false);
        check(150, 120, false);
        check(250, 120, false);
        check(301, 120, true);
        check(i64::MAX, 120, true);
        check(i64::MIN, 120, true);
    }

    #[test]
    fn what_is_little_beside_what_is_due_goes_along() {
        let check = |due, waiting, expect| {
            assert_eq!(Extent::of(due, waiting), expect, "{due} due, {waiting} waiting");
        };
        check(0, 0, None);
        check(0, 100, None);
        check(80, 0, Some(Extent::All));
        check(80, 10, Some(Extent::All));
        check(80, 11, Some(Extent::Due));
    }

    #[test]
    fn what_is_covered_follows_from_segment_and_time() {
        let due = Coverage::default().after(5, Extent::Due, 200, 100);
        let check = |coverage: Coverage, segment, timestamp_ms, expect| {
            assert_eq!(coverage.covers(segment, timestamp_ms), expect, "{segment}, {timestamp_ms}");
        };
        check(due, 4, 150, true);
        check(due, 4, 250, false);
        check(due, 5, 150, false);
        let all = due.after(7, Extent::All, 300, 100);
        check(all, 6, 350, true);
        check(all, 7, 150, false);
        check(all.after(9, Extent::Due, 400, 100), 6, 450, true);
    }
}
