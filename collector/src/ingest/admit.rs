//! What a host may send. Pure: limits, clock and what is known are handed in, and a refusal names
//! its reason. Nothing here is lost by a refusal, since the agent keeps what was not acknowledged.

use thiserror::Error;
use upkeep_codec::FrameHead;
use upkeep_model::{METRIC_NAME, Series};

use crate::fleet::{is_label_name, is_reserved};

/// The most labels that a series may have, its name included.
const MAX_LABELS: usize = 32;

/// The longest name of a metric or label, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// The longest value of a label, in bytes: a path of Linux fits.
const MAX_VALUE_BYTES: usize = 4096;

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
    /// A name is no metric name.
    #[error("series {0}: {1:?} is no metric name")]
    MetricName(u64, String),
    /// A name is no label name.
    #[error("series {0}: {1:?} is no label name")]
    LabelName(u64, String),
    /// A label is one that only the collector sets.
    #[error("series {0}: label {1:?} is set by the collector, not by a host")]
    ReservedLabel(u64, String),
    /// A value is too long.
    #[error("series {0}: the value of label {1:?} is longer than {MAX_VALUE_BYTES} bytes")]
    LabelValue(u64, String),
    /// There are too many labels.
    #[error("series {0} has {1} labels, the limit is {MAX_LABELS}")]
    TooManyLabels(u64, usize),
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
    if !is_metric_name(name) {
        return Err(Refusal::MetricName(number, short(name)));
    }
    if series.labels.len() > MAX_LABELS {
        return Err(Refusal::TooManyLabels(number, series.labels.len()));
    }
    for (name, value) in series.labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        if !is_label_name(name) || name.len() > MAX_NAME_BYTES {
            return Err(Refusal::LabelName(number, short(name)));
        }
        if is_reserved(name) {
            return Err(Refusal::ReservedLabel(number, short(name)));
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(Refusal::LabelValue(number, short(name)));
        }
    }
    Ok(())
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

/// Whether a frame may be taken, and under which time. `offset_ms` is the host's clock less the
/// collector's as it connected: a host whose clock is ahead keeps the distances between its frames.
///
/// # Errors
/// The reason why not.
pub fn admit_frame(
    limits: Limits,
    head: FrameHead,
    offset_ms: i64,
    now_ms: i64,
) -> Result<Timing, Refusal> {
    if let Some(count) = head.series
        && count > u64::from(limits.series_per_host)
    {
        return Err(Refusal::TooManySeries { count, limit: limits.series_per_host });
    }
    Ok(believable_ms(head.timestamp_ms, offset_ms, now_ms)
        .map_or(Timing::AsItIs, |timestamp_ms| Timing::Corrected { timestamp_ms }))
}

/// The time to believe in place of one that is too far ahead; `None` if it is plausible.
pub(super) fn believable_ms(at_ms: i64, offset_ms: i64, now_ms: i64) -> Option<i64> {
    let latest_ms = now_ms.saturating_add(MAX_AHEAD_MS);
    if at_ms <= latest_ms {
        return None;
    }
    let shifted_ms = at_ms.saturating_sub(offset_ms.max(0));
    Some(if shifted_ms <= latest_ms { shifted_ms } else { now_ms })
}

fn is_metric_name(name: &str) -> bool {
    let mut chars = name.chars();
    name.len() <= MAX_NAME_BYTES
        && chars.next().is_some_and(|first| first.is_ascii_alphabetic() || "_:".contains(first))
        && chars.all(|char| char.is_ascii_alphanumeric() || "_:".contains(char))
}

/// As much of a foreign text as belongs into a message.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use upkeep_model::{Labels, MetricKind};

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
        assert_eq!(one(nameless), Refusal::MetricName(9, "".into()));
        assert_eq!(one(series("1x", &[])), Refusal::MetricName(9, "1x".into()));
        assert_eq!(one(series("a b", &[])), Refusal::MetricName(9, "a b".into()));
        let long = "x".repeat(129);
        assert_eq!(one(series(&long, &[])), Refusal::MetricName(9, "x".repeat(64)));
        assert_eq!(one(series("x", &[("a-b", "1")])), Refusal::LabelName(9, "a-b".into()));
        let reserved = |name: &str| Refusal::ReservedLabel(9, name.into());
        assert_eq!(one(series("x", &[("instance", "1")])), reserved("instance"));
        assert_eq!(one(series("x", &[("job", "1")])), reserved("job"));
        assert_eq!(one(series("x", &[("__address__", "1")])), reserved("__address__"));
        let value = "v".repeat(MAX_VALUE_BYTES + 1);
        assert_eq!(one(series("x", &[("a", &value)])), Refusal::LabelValue(9, "a".into()));
        let names: Vec<String> = (0..32).map(|index| format!("l{index}")).collect();
        let labels: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        assert_eq!(one(series("x", &labels)), Refusal::TooManyLabels(9, 33));
    }

    #[test]
    fn frames_are_admitted_corrected_or_refused() {
        const NOW: i64 = 1_800_000_000_000;
        let check = |timestamp_ms, offset_ms, expect| {
            let head = FrameHead { timestamp_ms, key: None, series: Some(3) };
            assert_eq!(admit_frame(LIMITS, head, offset_ms, NOW), Ok(expect), "{timestamp_ms}");
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
        let big = FrameHead { timestamp_ms: NOW, key: None, series: Some(4) };
        let refused = Refusal::TooManySeries { count: 4, limit: 3 };
        assert_eq!(admit_frame(LIMITS, big, 0, NOW), Err(refused));
    }
}
