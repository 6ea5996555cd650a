//! Floats as text.

use std::fmt;

/// Whole numbers below this are the same as integers, which are written faster than floats.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// A float as Prometheus' JSON has it: the shortest digits that read back as the same float,
/// with an exponent below 1e-6 and from 1e21 on, and `NaN`, `+Inf`, `-Inf`.
#[derive(Clone, Copy, Debug)]
pub struct ValueText(pub f64);

impl fmt::Display for ValueText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        let magnitude = value.abs();
        let is_negative_zero = value == 0.0 && value.is_sign_negative();
        if magnitude < EXACT_INTEGERS && value.trunc() == value && !is_negative_zero {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
            return fmt::Display::fmt(&(value as i64), formatter);
        }
        if (1e-6..1e21).contains(&magnitude) {
            return fmt::Display::fmt(&value, formatter);
        }
        let is_plain = is_negative_zero || !value.is_finite();
        formatter.write_str(&if is_plain { format_plain(value) } else { with_exponent(value) })
    }
}

/// The same as a text of its own.
pub fn format_value(value: f64) -> String {
    ValueText(value).to_string()
}

/// A float without an exponent, as label values of `count_values` have it.
pub(crate) fn format_plain(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        format!("{value}")
    }
}

/// A float as messages have it: with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn format_in_message(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_finite() && magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        with_exponent(value)
    } else {
        format_plain(value)
    }
}

/// The exponent always carries a sign and at least two digits.
fn with_exponent(value: f64) -> String {
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{digits}e-{exponent:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_prometheus_writes_them() {
        let check = |value: f64, expect: &str| {
            assert_eq!(format_value(value), expect);
            assert_eq!(ValueText(value).to_string(), expect);
        };
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(-3.0, "-3");
        check(9_007_199_254_740_993.0, "9007199254740992");
        check(1e16, "10000000000000000");
        check(0.1 + 0.2, "0.30000000000000004");
        check(1234567890123.0, "1234567890123");
        check(0.000001, "0.000001");
        check(0.0000012, "0.0000012");
        check(0.00000099, "9.9e-07");
        check(-1e-10, "-1e-10");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(1.5e300, "1.5e+300");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
    }

    #[test]
    fn labels_have_no_exponent_and_messages_have_it_earlier() {
        assert_eq!(format_plain(1e22), "10000000000000000000000");
        assert_eq!(format_plain(1e-7), "0.0000001");
        assert_eq!(format_in_message(0.00005), "5e-05");
        assert_eq!(format_in_message(1.1), "1.1");
        assert_eq!(format_in_message(1234567.0), "1.234567e+06");
    }
}
