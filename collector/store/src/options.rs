//! What an operator may choose, and the bounds that are not for choosing.

use std::time::Duration;

use crate::StoreError;
use crate::core::milliseconds;
use crate::coverage::DAY_MS;
use crate::summary::Resolution;

/// How often its bound a journal may be long while it is being sealed.
pub const JOURNAL_OVERFULL: u64 = 4;

/// How a store behaves; the default suits a collector of some thousand hosts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Samples older than this may be dropped by [`Store::retain`](crate::Store::retain).
    pub retention: Duration,
    /// Once samples take more bytes than this, the oldest sealed spans may be dropped, of all hosts at
    /// once, until they do not.
    pub retention_bytes: Option<u64>,
    /// The stretch of time that a sealed chunk covers at most.
    pub span: Duration,
    /// How long the committer waits for more appends after the first of a group, so that one sync
    /// serves them all.
    pub hold: Duration,
    /// How long it waits at most where many append little, so that fewer syncs and answers serve them.
    pub longest_hold: Duration,
    /// How often complete spans are looked for and sealed.
    pub seal_every: Duration,
    /// How often it is looked for what is to be packed again.
    pub compact_every: Duration,
    /// What was sealed is left alone for so long before it is packed again, smaller.
    pub compact_after: Duration,
    /// The stretch of time that a chunk covers at most once it was packed again.
    pub cold_span: Duration,
    /// When days become summaries.
    pub downsampling: Downsampling,
    /// When so many bytes of the database's file are free after packing, and a tenth of it at least,
    /// it is written anew without them.
    pub free_bytes: u64,
    /// Memory for pages of the database, in bytes.
    pub cache_bytes: usize,
    /// A journal segment that has grown past this, in bytes, is followed by a new one; what it tells of
    /// series hardly counts.
    pub segment_bytes: u64,
    /// A journal that has grown past this, in bytes, is sealed at once, whatever its spans' age; the
    /// head in memory is about as large as the journal. One that has grown to
    /// [`JOURNAL_OVERFULL`] times as much takes nothing until it was sealed.
    pub journal_bytes: u64,
    /// How many series there may be.
    pub max_series: usize,
    /// Whether the journal is followed: its segments from this one on are kept, even if sealed, until
    /// [`Store::keep_from`](crate::Store::keep_from) says otherwise.
    pub followed_from: Option<u64>,
}

/// When days (whole ones, by UTC) become summaries: so long after they ended; never by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Downsampling {
    /// Of five minutes.
    pub five_minutes_after: Option<Duration>,
    /// Of an hour.
    pub one_hour_after: Option<Duration>,
}

impl Downsampling {
    pub(crate) fn after(&self, resolution: Resolution) -> Option<Duration> {
        match resolution {
            Resolution::FiveMinutes => self.five_minutes_after,
            Resolution::OneHour => self.one_hour_after,
        }
    }
}

impl Options {
    /// How long what is packed together covers, in milliseconds: whole spans, at least one.
    pub(crate) fn bucket_ms(&self) -> i64 {
        let span_ms = milliseconds(self.span);
        let spans = milliseconds(self.cold_span) / span_ms;
        spans.max(1).saturating_mul(span_ms)
    }

    /// Whether they fit together.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let is_downsampling = self.downsampling != Downsampling::default();
        if is_downsampling && DAY_MS % self.bucket_ms() != 0 {
            let reason = format!(
                "days can become summaries only if they are whole spans, and {:?} packed together \
                 are no part of a day",
                Duration::from_millis(self.bucket_ms().unsigned_abs())
            );
            return Err(StoreError::Options { reason });
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: Duration::from_hours(15 * 24),
            retention_bytes: None,
            span: Duration::from_hours(1),
            hold: Duration::from_millis(20),
            longest_hold: Duration::from_millis(100),
            seal_every: Duration::from_mins(5),
            compact_every: Duration::from_secs(30),
            compact_after: Duration::from_mins(2),
            cold_span: Duration::from_hours(4),
            downsampling: Downsampling::default(),
            free_bytes: 512 * 1024,
            cache_bytes: 64 * 1024 * 1024,
            segment_bytes: 64 * 1024 * 1024,
            journal_bytes: 512 * 1024 * 1024,
            max_series: 5_000_000,
            followed_from: None,
        }
    }
}
