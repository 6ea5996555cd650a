//! Numbers in Prometheus text.

use std::fmt;

/// The exponents of numbers that are written without one.
const PLAIN: std::ops::Range<i32> = -4..6;

/// A number as Go prints it: the shortest digits that read back the same, of two that are as near
/// the one that ends even, with an exponent of at least two digits below 1e-4 and from 1e6 on. As
/// Prometheus' library does, it takes zero for zero, whatever its sign.
pub(super) struct Number(pub(super) f64);

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.is_nan() {
            return formatter.write_str("NaN");
        }
        if value.is_infinite() {
            return formatter.write_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        }
        if value == 0.0 {
            return formatter.write_str("0");
        }
        let scientific = shortest(value);
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let exponent: i32 = exponent.parse().map_err(|_| fmt::Error)?;
        if PLAIN.contains(&exponent) {
            return write_plain(digits, exponent, formatter);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(formatter, "{digits}e{sign}{:02}", exponent.unsigned_abs())
    }
}

/// The shortest digits that read back the same. The standard library writes as few, but takes the
/// greater of two that are as near; it rounds to even where it is told how many.
fn shortest(value: f64) -> String {
    let greater = format!("{value:e}");
    let digits = greater.split('e').next().unwrap_or_default();
    let after_first = digits.bytes().filter(u8::is_ascii_digit).count().saturating_sub(1);
    let even = format!("{value:.after_first$e}");
    if even.parse() == Ok(value) { even } else { greater }
}

/// Puts the point of `-1.25` where an exponent says.
fn write_plain(digits: &str, exponent: i32, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let sign = if digits.starts_with('-') { "-" } else { "" };
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    let Ok(whole) = usize::try_from(exponent + 1) else {
        let zeros = usize::try_from(-exponent - 1).unwrap_or_default();
        return write!(formatter, "{sign}0.{:0<zeros$}{digits}", "");
    };
    match digits.split_at_checked(whole) {
        Some((whole, "")) => write!(formatter, "{sign}{whole}"),
        Some(("", fraction)) => write!(formatter, "{sign}0.{fraction}"),
        Some((whole, fraction)) => write!(formatter, "{sign}{whole}.{fraction}"),
        None => write!(formatter, "{sign}{digits:0<whole$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let check = |value: f64, expect: &str| assert_eq!(Number(value).to_string(), expect);
        check(0.0, "0");
        check(-0.0, "0");
        check(1.0, "1");
        check(-1.0, "-1");
        check(10.0, "10");
        check(0.21, "0.21");
        check(-0.05, "-0.05");
        check(507_162.0, "507162");
        check(-120_000.0, "-120000");
        check(999_999.5, "999999.5");
        check(1e6, "1e+06");
        check(1.5e6, "1.5e+06");
        check(2_320_168_809.0, "2.320168809e+09");
        check(-1e100, "-1e+100");
        check(0.0001, "0.0001");
        check(0.000_12, "0.00012");
        check(0.000_012_5, "1.25e-05");
        check(14.036_781_000_000_001, "14.036781000000001");
        check(f64::NEG_INFINITY, "-Inf");
        check(f64::MAX, "1.7976931348623157e+308");
        check(5e-324, "5e-324");
    }

    #[test]
    fn of_two_that_are_as_near_the_even_one_is_written() {
        let check = |value: f64, expect: &str| {
            assert_eq!(expect.parse(), Ok(value));
            assert_eq!(Number(value).to_string(), expect);
        };
        check(2_f64.powi(50) + 0.25, "1.1258999068426242e+15");
        check(2_f64.powi(50) + 0.75, "1.1258999068426248e+15");
        check(-131_072.0 - 2_f64.powi(-12), "-131072.00024414062");
        // The nearer of its neighbours reads back as another number.
        check(2_f64.powi(-44), "5.684341886080802e-14");
    }
}
