//! Times as the API reads and writes them: milliseconds inside, RFC 3339 in answers.

use std::time::Duration;

use jiff::Timestamp;

/// Prometheus' text for a time that has not come yet.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// A time in RFC 3339, UTC. A time beyond the calendar is the zero time.
pub(super) fn text(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(|_| ZERO_TIME.to_owned(), |at| at.to_string())
}

/// The same for a time that may not have come; then it is Prometheus' zero time.
pub(super) fn text_or_zero(at_ms: Option<i64>) -> String {
    at_ms.map_or_else(|| ZERO_TIME.to_owned(), text)
}

/// A length of time of at most some hours, as Prometheus writes it: `1m30s`.
pub(super) fn duration(length_ms: u32) -> String {
    let length = Duration::from_millis(u64::from(length_ms));
    humantime::format_duration(length).to_string().replace(' ', "")
}
