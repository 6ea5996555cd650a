//! What of others may be stored. Pure: what is known is handed in, and a refusal names its reason.

use std::collections::HashSet;

use thiserror::Error;
use upkeep_model::{INSTANCE, Labels, METRIC_NAME};

use super::message::{self, Sample};

/// A timestamp further ahead than this is refused, as by Prometheus.
const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

/// The bytes that the labels of a series may have together.
const MAX_LABEL_BYTES: usize = 16 * 1024;

/// So much of a text is shown at most.
const SHOWN_CHARS: usize = 80;

/// Why a series cannot be stored under its labels.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LabelFault {
    /// They cannot be read.
    #[error("invalid labels: {0}")]
    Malformed(String),
    /// A text is not UTF-8.
    #[error("invalid labels: {0:?} is not valid UTF-8")]
    Utf8(String),
    /// A label has no name.
    #[error("invalid labels: a label of the series {0} has an empty name")]
    EmptyName(String),
    /// A name is given twice.
    #[error("invalid labels for series {series}: duplicate label {name:?}")]
    Duplicate {
        /// The labels up to there.
        series: String,
        /// The name.
        name: String,
    },
    /// The metric has no name.
    #[error("invalid labels: the series {0} has no metric name")]
    NoMetricName(String),
    /// They are too long.
    #[error("invalid labels: {0} bytes, the limit is {MAX_LABEL_BYTES}")]
    TooLong(usize),
    /// They claim to be of a host that is enrolled here, which reports by itself.
    #[error("the instance {0:?} is an enrolled host, which alone may report under this name")]
    Enrolled(String),
}

/// Why a sample cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SampleFault {
    /// It is of a time that is not kept any more.
    #[error("too old sample: older than the retention")]
    TooOld,
    /// It is of a time that has not come.
    #[error("out of bounds: timestamp is too far in the future")]
    TooFarAhead,
}

/// The label set in the fields of labels: sorted, without empty values, which mean no label.
pub(super) fn labels(raw: &[u8], enrolled: &HashSet<String>) -> Result<Labels, LabelFault> {
    if raw.len() > MAX_LABEL_BYTES {
        return Err(LabelFault::TooLong(raw.len()));
    }
    let pairs =
        message::parse_labels(raw).map_err(|fault| LabelFault::Malformed(fault.to_string()))?;
    let mut texts = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        texts.push((text(name)?, text(value)?));
    }
    texts.sort_unstable();
    let shown = || shown(&Labels::new(texts.iter().copied()).to_string());
    if texts.first().is_some_and(|(name, _)| name.is_empty()) {
        return Err(LabelFault::EmptyName(shown()));
    }
    let twice = texts.windows(2).find_map(|pair| match pair {
        [(name, _), (next, _)] if name == next => Some((*name).to_owned()),
        _ => None,
    });
    if let Some(name) = twice {
        return Err(LabelFault::Duplicate { series: shown(), name });
    }
    let labels = Labels::new(texts.iter().copied());
    if labels.get(METRIC_NAME).is_none() {
        return Err(LabelFault::NoMetricName(shown()));
    }
    match labels.get(INSTANCE) {
        Some(instance) if enrolled.contains(instance) => {
            Err(LabelFault::Enrolled(instance.to_owned()))
        }
        _ => Ok(labels),
    }
}

fn text(bytes: &[u8]) -> Result<&str, LabelFault> {
    str::from_utf8(bytes).map_err(|_| LabelFault::Utf8(shown(&String::from_utf8_lossy(bytes))))
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

/// The times between which samples are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    first_ms: i64,
    last_ms: i64,
}

impl Bounds {
    pub(super) fn at(now_ms: i64, retention_ms: i64) -> Self {
        Self {
            first_ms: now_ms.saturating_sub(retention_ms),
            last_ms: now_ms.saturating_add(MAX_AHEAD_MS),
        }
    }

    /// Whether a sample may be stored; its value may be anything.
    pub(super) fn check(self, (at_ms, _): Sample) -> Result<(), SampleFault> {
        if at_ms < self.first_ms {
            Err(SampleFault::TooOld)
        } else if at_ms > self.last_ms {
            Err(SampleFault::TooFarAhead)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
        use prost::encoding::{WireType, encode_key, encode_varint};
        let field = |tag, bytes: &[u8]| {
            let mut out = Vec::new();
            encode_key(tag, WireType::LengthDelimited, &mut out);
            encode_varint(bytes.len() as u64, &mut out);
            [out, bytes.to_vec()].concat()
        };
        let label =
            |(name, value): &(&[u8], &[u8])| field(1, &[field(1, name), field(2, value)].concat());
        pairs.iter().flat_map(label).collect()
    }

    #[test]
    fn labels_are_judged() {
        let enrolled = HashSet::from(["web1".to_owned()]);
        let check = |pairs: &[(&[u8], &[u8])], expect: &str| {
            let said = match labels(&raw(pairs), &enrolled) {
                Ok(labels) => labels.to_string(),
                Err(fault) => fault.to_string(),
            };
            assert!(
                said == expect || expect.starts_with('…') && said.contains(&expect[3..]),
                "{said}"
            );
        };
        let name: (&[u8], &[u8]) = (b"__name__", b"x");
        check(&[name], "x");
        check(&[(b"b", b"1"), name, (b"a", b"2")], "x{a=\"2\", b=\"1\"}");
        check(&[name, (b"a", b"")], "x");
        check(&["größe.x".as_bytes()].map(|odd| (odd, &b"1"[..])), "…has no metric name");
        check(&[name, ("größe.x".as_bytes(), b"1")], "x{größe.x=\"1\"}");
        check(&[], "…has no metric name");
        check(&[(b"__name__", b""), (b"a", b"1")], "…{a=\"1\"} has no metric name");
        check(&[name, (b"", b"1")], "…has an empty name");
        check(&[name, (b"", b"")], "…has an empty name");
        check(&[name, (b"a", b"1"), (b"a", b"1")], "…duplicate label \"a\"");
        check(&[name, (b"a", b"1"), (b"b", b"1"), (b"a", b"2")], "…duplicate label \"a\"");
        check(&[name, (b"__name__", b"y")], "…duplicate label \"__name__\"");
        check(&[name, (b"a", b"\xff")], "…is not valid UTF-8");
        check(&[name, (b"\xc3", b"1")], "…is not valid UTF-8");
        check(&[name, (b"a", &[b'a'; MAX_LABEL_BYTES])], "…the limit is 16384");
        check(&[name, (b"instance", b"web1")], "…\"web1\" is an enrolled host");
        check(&[name, (b"instance", b"web1:9100")], "x{instance=\"web1:9100\"}");
        check(&[name, (b"host", b"web1")], "x{host=\"web1\"}");
    }

    #[test]
    fn samples_are_held_within_retention_and_the_near_future() {
        let bounds = Bounds::at(1_000_000_000, 500_000_000);
        let check = |at_ms, expect: Result<(), SampleFault>| {
            assert_eq!(bounds.check((at_ms, f64::NAN)), expect, "{at_ms}");
        };
        check(1_000_000_000, Ok(()));
        check(500_000_000, Ok(()));
        check(499_999_999, Err(SampleFault::TooOld));
        check(i64::MIN, Err(SampleFault::TooOld));
        check(1_000_600_000, Ok(()));
        check(1_000_600_001, Err(SampleFault::TooFarAhead));
        check(i64::MAX, Err(SampleFault::TooFarAhead));
    }
}
