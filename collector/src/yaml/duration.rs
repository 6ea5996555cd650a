//! Durations as Prometheus and Alertmanager write them.

use std::time::Duration;

use thiserror::Error;

/// Units in the order in which they may follow each other, with their milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a duration such as 30s, 5m or 1h30m")]
pub struct DurationError(String);

/// Reads `1h30m`: numbers with units, greater units first, each once; `0` needs no unit.
///
/// # Errors
/// When the text is anything else, or too long to count in milliseconds.
pub fn duration(text: &str) -> Result<Duration, DurationError> {
    let fault = || DurationError(text.to_owned());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(fault());
    }
    let (mut rest, mut units, mut total) = (text, UNITS.as_slice(), 0_u64);
    while !rest.is_empty() {
        let (number, after) = split(rest, |byte| byte.is_ascii_digit());
        let (unit, after) = split(after, |byte| !byte.is_ascii_digit());
        let at = units.iter().position(|(name, _)| *name == unit).ok_or_else(fault)?;
        let scale = units.get(at).map_or(0, |(_, scale)| *scale);
        let number: u64 = number.parse().map_err(|_| fault())?;
        total =
            number.checked_mul(scale).and_then(|part| total.checked_add(part)).ok_or_else(fault)?;
        units = units.get(at + 1..).unwrap_or_default();
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// The leading bytes that pass, and what follows.
fn split(text: &str, pass: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !pass(byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_prometheus() {
        let check = |text: &str, expect: Option<u64>| {
            let milliseconds = duration(text).ok().map(|duration| duration.as_millis());
            assert_eq!(milliseconds, expect.map(u128::from), "{text:?}");
        };
        check("0", Some(0));
        check("0m", Some(0));
        check("5m", Some(300_000));
        check("1h30m", Some(5_400_000));
        check("1s250ms", Some(1_250));
        check("2w1d", Some(15 * 86_400_000));
        for refused in ["", "5", "m", "1m1h", "1m1m", "-1s", "1.5h", "1 s", "5é", "99999999999999y"]
        {
            check(refused, None);
        }
    }
}
