//! What a host may send. Pure: limits, clock and what is known are handed in, and a refusal names
//! its reason. Nothing here is lost by a refusal, since the agent keeps what was not acknowledged.

use thiserror::Error;
use upkeep_codec::{FrameHead, decode};
use upkeep_model::{METRIC_NAME, Series, SeriesFault, check_series, is_stale};

/// Over the life of its buffer a host may describe so many times the series that it may have at
/// once, since devices and containers come and go.
const CHURN: u32 = 10;

/// A timestamp further ahead than this is of a wrong clock.
pub(super) const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

/// The bounds that are for choosing.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many series a host may have at once.
    pub series_per_host: u32,
}

/// Why something is not taken. What each says goes back to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Too many series are described.
    #[error(
        "the host described {count} series since its buffer was made, the limit is {limit} \
         (limits.series_per_host × {CHURN})"
    )]
    TooManyDescribed {
        /// How many there would be.
        count: u64,
        /// How many there may be.
        limit: u64,
    },
    /// Too many series are in one frame.
    #[error("the host has {count} series at once, the limit is {limit} (limits.series_per_host)")]
    TooManySeries {
        /// How many there are.
        count: u64,
        /// How many there may be.
        limit: u32,
    },
    /// Numbers are left out.
    #[error("series are described from number {first} on, but only {known} are known")]
    NumbersLeftOut {
        /// The first number of the description.
        first: u32,
        /// How many are known.
        known: u32,
    },
    /// A series is none that could be stored.
    #[error("series {0}: {1}")]
    Series(u64, SeriesFault),
}

/// Whether series may be described. `known` numbers are described already.
///
/// # Errors
/// The first reason why not.
pub fn admit_series(
    limits: Limits,
    known: u32,
    first: u32,
    series: &[Series],
) -> Result<(), Refusal> {
    if first > known {
        return Err(Refusal::NumbersLeftOut { first, known });
    }
    let count = u64::from(first) + u64::try_from(series.len()).unwrap_or(u64::MAX);
    let limit = u64::from(limits.series_per_host) * u64::from(CHURN);
    if count > limit {
        return Err(Refusal::TooManyDescribed { count, limit });
    }
    for (one, number) in series.iter().zip(u64::from(first)..) {
        admit_labels(number, one)?;
    }
    Ok(())
}

fn admit_labels(number: u64, series: &Series) -> Result<(), Refusal> {
    let name = series.labels.metric_name().unwrap_or_default();
    let labels = series.labels.iter();
    check_series(name, labels.filter(|(name, _)| *name != METRIC_NAME))
        .map_err(|fault| Refusal::Series(number, fault))
}

/// What is to be done about a frame's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// It is plausible.
    AsItIs,
    /// It is too far ahead; this is put in its place.
    Corrected {
        /// Milliseconds since 1970.
        timestamp_ms: i64,
    },
}

/// The clock of a host, as it opened its stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostClock {
    /// What it showed, in milliseconds since 1970.
    pub wall_ms: i64,
    /// How far it was ahead of the collector's.
    pub offset_ms: i64,
    /// How long the host had been running, as far as it says.
    pub uptime_ms: i64,
}

impl HostClock {
    /// Whether it is so far from the collector's that times are corrected by the difference.
    pub(super) fn is_wrong(self) -> bool {
        self.offset_ms.saturating_abs() > MAX_AHEAD_MS
    }
}

/// Whether a frame may be taken, and under which time. `head` is that of `body`. A host whose clock is
/// wrong keeps the distances between its frames.
///
/// # Errors
/// The reason why not.
pub fn admit_frame(
    limits: Limits,
    head: FrameHead,
    body: &[u8],
    clock: HostClock,
    now_ms: i64,
) -> Result<Timing, Refusal> {
    let limit = limits.series_per_host;
    if head.series.is_some_and(|count| count > u64::from(limit)) {
        let count = alive(body);
        if count > u64::from(limit) {
            return Err(Refusal::TooManySeries { count, limit });
        }
    }
    Ok(believable_ms(head.timestamp_ms, clock, now_ms)
        .map_or(Timing::AsItIs, |timestamp_ms| Timing::Corrected { timestamp_ms }))
}

/// How many series of a key frame go on: it also names those that it ends. What cannot be decoded has
/// none; the store sets it aside.
fn alive(body: &[u8]) -> u64 {
    decode(body, |_| None)
        .map_or(0, |frame| frame.values.iter().map(|value| u64::from(!is_stale(*value))).sum())
}

/// The time to believe in place of one that a wrong clock gave; `None` if it is plausible.
///
/// What lies too far ahead is always wrong. What lies in the past may just be late: it is wrong if the
/// host's clock was far behind as it connected, and this clock can have shown it since the host
/// started.
pub(super) fn believable_ms(at_ms: i64, clock: HostClock, now_ms: i64) -> Option<i64> {
    let latest_ms = now_ms.saturating_add(MAX_AHEAD_MS);
    if at_ms > latest_ms {
        let shifted_ms = at_ms.saturating_sub(clock.offset_ms.max(0));
        return Some(if shifted_ms <= latest_ms { shifted_ms } else { now_ms });
    }
    let is_behind = clock.offset_ms < -MAX_AHEAD_MS
        && at_ms < now_ms.saturating_sub(MAX_AHEAD_MS)
        && at_ms >= clock.wall_ms.saturating_sub(clock.uptime_ms.max(0));
    let shifted_ms = at_ms.saturating_sub(clock.offset_ms);
    (is_behind && shifted_ms <= latest_ms).then_some(shifted_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use upkeep_codec::{Encoder, peek};
    use upkeep_model::{Labels, MetricKind, stale_marker};

    const LIMITS: Limits = Limits { series_per_host: 3 };

    fn series(name: &str, labels: &[(&str, &str)]) -> Series {
        Series::new(MetricKind::Gauge, name, "", labels)
    }

    #[test]
    fn series_are_admitted_or_refused_for_a_reason() {
        let check = |known, first, series: &[Series], expect: Result<(), Refusal>| {
            assert_eq!(admit_series(LIMITS, known, first, series), expect);
        };
        let good = series("node_load1", &[("cpu", "0")]);
        check(0, 0, &[], Ok(()));
        check(0, 0, std::slice::from_ref(&good), Ok(()));
        check(5, 2, std::slice::from_ref(&good), Ok(()));
        check(1, 2, &[], Err(Refusal::NumbersLeftOut { first: 2, known: 1 }));
        let many = vec![good.clone(); 31];
        check(0, 0, &many, Err(Refusal::TooManyDescribed { count: 31, limit: 30 }));
        check(30, 30, &[good], Err(Refusal::TooManyDescribed { count: 31, limit: 30 }));
        check(
            u32::MAX,
            u32::MAX,
            &many[..1],
            Err(Refusal::TooManyDescribed { count: u64::from(u32::MAX) + 1, limit: 30 }),
        );

        let one = |series: Series| admit_series(LIMITS, 9, 9, &[series]).unwrap_err();
        let nameless =
            Series { labels: Labels::default(), kind: MetricKind::Gauge, help: "".into() };
        let refused = |fault| Refusal::Series(9, fault);
        assert_eq!(one(nameless), refused(SeriesFault::MetricName("".into())));
        let reserved = one(series("x", &[("instance", "1")]));
        assert_eq!(reserved, refused(SeriesFault::ReservedLabel("instance".into())));
        let text = "series 9: label \"instance\" is set by the collector, not by a host";
        assert_eq!(reserved.to_string(), text);
    }

    #[test]
    fn frames_are_admitted_corrected_or_refused() {
        const NOW: i64 = 1_800_000_000_000;
        const HOUR: i64 = 3_600_000;
        // Its clock was started anew half an hour before it connected.
        let clock =
            |offset_ms| HostClock { wall_ms: NOW + offset_ms, offset_ms, uptime_ms: HOUR / 2 };
        let check = |timestamp_ms, offset_ms, expect| {
            let head = FrameHead { timestamp_ms, key: None, series: Some(3) };
            let admitted = admit_frame(LIMITS, head, &[], clock(offset_ms), NOW);
            assert_eq!(admitted, Ok(expect), "{timestamp_ms} {offset_ms}");
        };
        let corrected = |timestamp_ms| Timing::Corrected { timestamp_ms };
        check(NOW, 0, Timing::AsItIs);
        check(0, 0, Timing::AsItIs);
        check(NOW + MAX_AHEAD_MS, 0, Timing::AsItIs);
        check(NOW + MAX_AHEAD_MS, MAX_AHEAD_MS, Timing::AsItIs);
        check(NOW + MAX_AHEAD_MS + 1, 0, corrected(NOW));
        check(NOW + 3_600_000, 3_599_000, corrected(NOW + 1_000));
        check(NOW + 3_600_000, -5_000, corrected(NOW));
        check(i64::MAX, 1, corrected(NOW));
        // A clock that is far behind, and was since the host started.
        check(NOW - 30 * HOUR, -30 * HOUR, corrected(NOW));
        check(NOW - 30 * HOUR + 5_000, -30 * HOUR, corrected(NOW + 5_000));
        check(NOW - 30 * HOUR - HOUR / 2, -30 * HOUR, corrected(NOW - HOUR / 2));
        check(NOW - 30 * HOUR - HOUR / 2 - 1, -30 * HOUR, Timing::AsItIs);
        // It was set right meanwhile, or was right before the host started.
        check(NOW - 1_000, -30 * HOUR, Timing::AsItIs);
        check(NOW - MAX_AHEAD_MS, -30 * HOUR, Timing::AsItIs);
        check(NOW - 2 * HOUR, -HOUR, Timing::AsItIs);
        check(NOW - HOUR, -30 * HOUR, Timing::AsItIs);
        // A clock that is a little behind is not touched, nor is late data of a good one.
        check(NOW - HOUR / 4, -MAX_AHEAD_MS, Timing::AsItIs);
        check(NOW - 9 * HOUR, 0, Timing::AsItIs);
    }

    #[test]
    fn series_that_a_frame_ends_do_not_count() {
        let check = |alive: u32, ended: u32, expect| {
            let live = (0..alive).map(|number| (number, 1.0));
            let ended = (alive..alive + ended).map(|number| (number, stale_marker()));
            let frame = Encoder::default().encode(1, 0, live.chain(ended).collect());
            let head = peek(&frame.bytes).unwrap();
            assert_eq!(admit_frame(LIMITS, head, &frame.bytes, HostClock::default(), 0), expect);
        };
        let refused = |count| Err(Refusal::TooManySeries { count, limit: 3 });
        check(3, 0, Ok(Timing::AsItIs));
        check(3, 3, Ok(Timing::AsItIs));
        check(4, 0, refused(4));
        check(4, 2, refused(4));
        // What is no frame is not for this to tell.
        let head = FrameHead { timestamp_ms: 0, key: None, series: Some(9) };
        assert_eq!(admit_frame(LIMITS, head, &[1], HostClock::default(), 0), Ok(Timing::AsItIs));
    }
}
