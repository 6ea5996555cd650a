//! Numbers and durations as texts have them.

use std::fmt::Write;

use super::lexer::is_word;

/// How much of a text is read as a number, and whether it is one. Underscores may stand between
/// digits; hexadecimal numbers have neither fraction nor exponent.
pub(super) fn scan_number(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    let is = |at: usize, set: &[u8]| bytes.get(at).is_some_and(|byte| set.contains(byte));
    let mut at = 0;
    let is_hexadecimal = is(0, b"0") && is(1, b"xX");
    if is_hexadecimal {
        at = if is(2, b"_") { 3 } else { 2 };
    }
    let digits: &[u8] = if is_hexadecimal { b"0123456789abcdefABCDEF" } else { b"0123456789" };
    if is(at, b".") {
        at += 1;
    }
    if is(at, digits) {
        at += 1;
    }
    let (mut had_dot, mut had_exponent) = (false, false);
    loop {
        if is(at, b".") {
            at += 1;
            if had_dot || is_hexadecimal || is(at, b"_.") {
                return (at, false);
            }
            had_dot = true;
        } else if is(at, b"eE") {
            at += 1;
            if had_exponent {
                return (at, false);
            }
            had_exponent = true;
            if is(at, b"+-") {
                at += 1;
            }
            if is(at, b"._eE") || at == bytes.len() {
                return (at, false);
            }
        } else if is(at, b"_") {
            at += 1;
            if is(at, b"._eE") || at == bytes.len() {
                return (at, false);
            }
        } else if is(at, digits) {
            while is(at, digits) {
                at += 1;
            }
        } else {
            break;
        }
    }
    let next = text.get(at..).and_then(|rest| rest.chars().next());
    (at, at > 0 && !next.is_some_and(is_word))
}

/// The value of a number that was scanned. A leading zero makes a whole number an octal one, if
/// its digits are.
pub(super) fn value(text: &str) -> Result<f64, String> {
    let plain = text.replace('_', "");
    let lower = plain.to_ascii_lowercase();
    let whole = match lower.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None if lower.len() > 1 && lower.starts_with('0') => i64::from_str_radix(&lower, 8),
        None => lower.parse(),
    };
    if let Ok(whole) = whole {
        return Ok(whole as f64);
    }
    let failure = |why: &str| {
        let text = crate::quote::quoted(text);
        format!("error parsing number: strconv.ParseFloat: parsing {text}: {why}")
    };
    let is_named = matches!(lower.as_str(), "inf" | "nan");
    match lower.parse::<f64>() {
        Ok(value) if value.is_infinite() && !is_named => Err(failure("value out of range")),
        Ok(value) => Ok(value),
        Err(_) => Err(failure("invalid syntax")),
    }
}

/// Units in the order in which a duration may name them, and their milliseconds.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The longest duration in milliseconds: what fits into 64 bits as nanoseconds.
pub(super) const MAX_MS: i64 = i64::MAX / 1_000_000;

/// The milliseconds of a duration such as `1h30m`.
pub(super) fn duration_ms(text: &str) -> Result<i64, String> {
    let invalid = || format!("not a valid duration string: {}", crate::quote::quoted(text));
    let out_of_range = || "duration out of range".to_owned();
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let (number, after) = rest.split_at_checked(digits).ok_or_else(invalid)?;
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters).ok_or_else(invalid)?;
        let (_, factor) = units.find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        if number.is_empty() {
            return Err(invalid());
        }
        let number: i64 = number.parse().map_err(|_| out_of_range())?;
        let part = number.checked_mul(*factor).ok_or_else(out_of_range)?;
        total = total.checked_add(part).ok_or_else(out_of_range)?;
        rest = after;
    }
    if total > MAX_MS { Err(out_of_range()) } else { Ok(total) }
}

/// A duration in its shortest form; years and weeks only where nothing is left.
pub(super) fn format_duration(milliseconds: i64) -> String {
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    let mut left = milliseconds;
    for (unit, factor) in UNITS {
        let is_whole_only = matches!(unit, "y" | "w");
        if left / factor == 0 || (is_whole_only && left % factor != 0) {
            continue;
        }
        let written = write!(text, "{}{unit}", left / factor);
        debug_assert!(written.is_ok(), "a string takes any text");
        left %= factor;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_scanned_and_valued_as_prometheus_does() {
        let check = |text: &str, expect: Option<f64>| {
            let (length, is_number) = scan_number(text);
            let got = (is_number && length == text.len()).then(|| value(text).ok()).flatten();
            let same = got == expect || (got.is_some_and(f64::is_nan) && expect.is_some());
            assert!(same, "{text}: {got:?}");
        };
        check("1", Some(1.0));
        check("1_000", Some(1000.0));
        check("0x_1F", Some(31.0));
        check("0X1f", Some(31.0));
        check(".123_4", Some(0.1234));
        check("1_000.5e1_0", Some(1000.5e10));
        check("0755", Some(493.0));
        check("08", Some(8.0));
        check("5.", Some(5.0));
        check("1e-3", Some(0.001));
        check("99999999999999999999", Some(1e20));
        for bad in ["1__0", "1_", "1e", "1e+", "1e5e5", "1..2", "1._2", "0x1.8", "1e_5", "0x1e"] {
            check(bad, None);
        }
        assert!(value("1e400").unwrap_err().ends_with("value out of range"));
    }

    #[test]
    fn durations_are_read_and_written() {
        let check = |text: &str, milliseconds: i64, written: &str| {
            assert_eq!(duration_ms(text), Ok(milliseconds), "{text}");
            assert_eq!(format_duration(milliseconds), written);
        };
        check("5m", 300_000, "5m");
        check("1h30m", 5_400_000, "1h30m");
        check("90m", 5_400_000, "1h30m");
        check("1w", 604_800_000, "1w");
        check("8d", 691_200_000, "8d");
        check("365d", 31_536_000_000, "1y");
        check("1y1s", 31_536_001_000, "365d1s");
        check("10s53ms", 10_053, "10s53ms");
        check("0s", 0, "0s");
        for bad in ["5", "5x", "1s1m", "1m1m", "m"] {
            assert!(duration_ms(bad).unwrap_err().starts_with("not a valid duration"), "{bad}");
        }
        assert_eq!(duration_ms("1000y"), Err("duration out of range".to_owned()));
    }
}
