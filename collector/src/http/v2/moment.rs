//! Times as Alertmanager's clients write and read them.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// The zero time of Alertmanager's language, which means that a time is not given, in milliseconds
/// since 1970.
const ZERO_MS: i64 = -62_135_596_800_000;

/// A time that may not be given, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment(pub(super) Option<i64>);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(Self(None));
        };
        if text.is_empty() {
            return Ok(Self(None));
        }
        let at: Timestamp = text.parse().map_err(|_| {
            serde::de::Error::custom(format!("{text:?} is not a time such as 2027-01-31T12:00:00Z"))
        })?;
        Ok(Self(Some(at.as_millisecond()).filter(|at_ms| *at_ms > ZERO_MS)))
    }
}

/// A time with its milliseconds, UTC. A time beyond the calendar is the zero time.
pub(super) fn text(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| "0001-01-01T00:00:00.000Z".to_owned(), |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        let check = |json: &str, expect: Option<i64>| {
            assert_eq!(serde_json::from_str::<Moment>(json).unwrap(), Moment(expect), "{json}");
        };
        check("\"1970-01-01T00:00:01.5Z\"", Some(1_500));
        check("\"1970-01-01T02:00:01+02:00\"", Some(1_000));
        check("\"0001-01-01T00:00:00Z\"", None);
        check("\"0001-01-01T00:00:00.000Z\"", None);
        check("\"\"", None);
        check("null", None);
        assert!(serde_json::from_str::<Moment>("\"soon\"").is_err());
        assert_eq!(text(1_500), "1970-01-01T00:00:01.500Z");
        assert_eq!(text(i64::MAX), "0001-01-01T00:00:00.000Z");
    }
}
