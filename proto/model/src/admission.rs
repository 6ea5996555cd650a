//! What every series must keep to. The agent leaves out what does not, since the collector would
//! refuse it together with everything beside it.

use thiserror::Error;

/// The label that names a host, which the collector sets.
pub const INSTANCE: &str = "instance";

/// The label that names what a host's series come from, which the collector sets.
pub const JOB: &str = "job";

/// The most labels that a series may have, its name included.
pub const MAX_LABELS: usize = 32;

/// The longest name of a metric or label, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// The longest value of a label, in bytes: a path of Linux fits.
pub const MAX_LABEL_VALUE_BYTES: usize = 4096;

/// So much of a foreign name is shown in a message.
const SHOWN_CHARS: usize = 64;

/// Why a series cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SeriesFault {
    /// A name is no metric name.
    #[error("{0:?} is no metric name")]
    MetricName(String),
    /// A name is no label name.
    #[error("{0:?} is no label name")]
    LabelName(String),
    /// A label is one that only the collector sets.
    #[error("label {0:?} is set by the collector, not by a host")]
    ReservedLabel(String),
    /// A value is too long.
    #[error("the value of label {0:?} is longer than {MAX_LABEL_VALUE_BYTES} bytes")]
    LabelValue(String),
    /// There are too many labels.
    #[error("it has {0} labels, the limit is {MAX_LABELS}")]
    TooManyLabels(usize),
}

/// Checks a series by its metric name and its other labels.
///
/// # Errors
/// The first reason why it cannot be taken.
pub fn check_series<'label>(
    name: &str,
    labels: impl Iterator<Item = (&'label str, &'label str)> + Clone,
) -> Result<(), SeriesFault> {
    if !is_metric_name(name) || name.len() > MAX_NAME_BYTES {
        return Err(SeriesFault::MetricName(shown(name)));
    }
    let count = labels.clone().count() + 1;
    if count > MAX_LABELS {
        return Err(SeriesFault::TooManyLabels(count));
    }
    for (label, value) in labels {
        if !is_label_name(label) || label.len() > MAX_NAME_BYTES {
            return Err(SeriesFault::LabelName(shown(label)));
        }
        if is_reserved(label) {
            return Err(SeriesFault::ReservedLabel(shown(label)));
        }
        if value.len() > MAX_LABEL_VALUE_BYTES {
            return Err(SeriesFault::LabelValue(shown(label)));
        }
    }
    Ok(())
}

/// Whether a text is a metric name in Prometheus' classic sense, however long.
pub fn is_metric_name(name: &str) -> bool {
    is_name(name, |byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':'))
}

/// Whether a text is a label name in Prometheus' classic sense, however long.
pub fn is_label_name(name: &str) -> bool {
    is_name(name, |byte| byte.is_ascii_alphabetic() || byte == b'_')
}

/// Whether a label is one that only the collector sets.
pub fn is_reserved(name: &str) -> bool {
    name == INSTANCE || name == JOB || name.starts_with("__")
}

fn is_name(name: &str, is_letter: impl Fn(u8) -> bool) -> bool {
    name.bytes().next().is_some_and(&is_letter)
        && name.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

/// As much of a foreign text as belongs into a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::METRIC_NAME;

    #[test]
    fn names_are_those_of_the_classic_format() {
        let check = |name: &str, of_metric: bool, of_label: bool| {
            assert_eq!(
                (is_metric_name(name), is_label_name(name)),
                (of_metric, of_label),
                "{name}"
            );
        };
        check("node_load1", true, true);
        check("_", true, true);
        check("a:b", true, false);
        check(METRIC_NAME, true, true);
        for name in ["", "1x", "a-b", "a b", "a\u{fffd}", "é"] {
            check(name, false, false);
        }
    }

    #[test]
    fn a_series_is_taken_or_refused_for_a_reason() {
        let check = |name: &str, labels: &[(&str, &str)], expect: Result<(), SeriesFault>| {
            assert_eq!(check_series(name, labels.iter().copied()), expect);
        };
        let (long, longest) = ("x".repeat(MAX_NAME_BYTES + 1), "x".repeat(MAX_NAME_BYTES));
        let value = "v".repeat(MAX_LABEL_VALUE_BYTES);
        let names: Vec<String> = (0..MAX_LABELS).map(|index| format!("l{index}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        check("node_load1", &[("cpu", "0"), ("path", &value)], Ok(()));
        check(&longest, &many[1..], Ok(()));
        check("", &[], Err(SeriesFault::MetricName(String::new())));
        check("a b", &[], Err(SeriesFault::MetricName("a b".into())));
        check(&long, &[], Err(SeriesFault::MetricName("x".repeat(SHOWN_CHARS))));
        check("x", &[("a-b", "1")], Err(SeriesFault::LabelName("a-b".into())));
        check("x", &[(&long, "1")], Err(SeriesFault::LabelName("x".repeat(SHOWN_CHARS))));
        for reserved in ["instance", "job", "__address__", METRIC_NAME] {
            check("x", &[(reserved, "1")], Err(SeriesFault::ReservedLabel(reserved.into())));
        }
        let value = format!("{value}v");
        check("x", &[("a", &value)], Err(SeriesFault::LabelValue("a".into())));
        check("x", &many, Err(SeriesFault::TooManyLabels(MAX_LABELS + 1)));
    }
}
