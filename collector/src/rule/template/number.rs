//! Numbers as Go prints them, and Prometheus' ways to make them readable.

/// Prefixes of thousands, and of thousandths.
const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// A number as Go's `%v` prints it: the shortest text that reads back as the same number, with an
/// exponent from a million on and below a ten-thousandth.
pub(super) fn shortest(value: f64) -> String {
    general(value, None)
}

/// `%.4g`.
fn rounded(value: f64) -> String {
    general(value, Some(4))
}

/// Go's `%g`, with a number of significant digits or as many as are needed.
fn general(value: f64, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = match precision {
        Some(digits) => format!("{:.*e}", digits.saturating_sub(1), value.abs()),
        None => format!("{:e}", value.abs()),
    };
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_end_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let threshold = precision.map_or(6, |digits| i32::try_from(digits).unwrap_or(i32::MAX));
    if exponent < -4 || exponent >= threshold {
        let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
        let point = if rest.is_empty() { "" } else { "." };
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{point}{rest}e{direction}{:02}", exponent.abs());
    }
    format!("{sign}{}", positional(digits, exponent))
}

/// Digits with the decimal point after the place that the exponent says.
fn positional(digits: &str, exponent: i32) -> String {
    let Ok(whole) = usize::try_from(exponent + 1) else {
        let zeros = usize::try_from(-exponent - 1).unwrap_or(0);
        return format!("0.{}{digits}", "0".repeat(zeros));
    };
    match digits.split_at_checked(whole) {
        Some(("", fraction)) => {
            let zeros = usize::try_from(-exponent - 1).unwrap_or(0);
            format!("0.{}{fraction}", "0".repeat(zeros))
        }
        Some((integer, "")) => integer.to_owned(),
        Some((integer, fraction)) => format!("{integer}.{fraction}"),
        None => format!("{digits}{}", "0".repeat(whole - digits.len())),
    }
}

/// `1234567` as `1.235M`.
pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return rounded(value);
    }
    if value.abs() >= 1.0 { scaled_down(value, 1000.0, &LARGE) } else { scaled_up(value) }
}

/// `1048576` as `1Mi`.
pub(super) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return rounded(value);
    }
    scaled_down(value, 1024.0, &BINARY)
}

/// `0.1234` as `12.34%`.
pub(super) fn humanize_percentage(ratio: f64) -> String {
    rounded(ratio * 100.0) + "%"
}

/// Seconds as `1d 2h 3m 4s`.
pub(super) fn humanize_duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return rounded(seconds);
    }
    if seconds == 0.0 {
        return "0s".to_owned();
    }
    if seconds.abs() < 1.0 {
        return scaled_up(seconds) + "s";
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds are wanted, saturated")]
    let whole = seconds.abs() as i64;
    let (days, hours) = (whole / 86_400, whole / 3_600 % 24);
    let (minutes, rest) = (whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", rounded(seconds.abs())),
        (0, 0, _) => format!("{sign}{minutes}m {rest}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {rest}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {rest}s"),
    }
}

/// Seconds as Go prints a duration: `1h2m3.5s`, `20ms`.
pub(super) fn go_duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "Go's nanoseconds saturate as well")]
    let nanoseconds = (seconds * 1e9) as i64;
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let all = nanoseconds.unsigned_abs();
    let (unit, name) = match all {
        0 => return "0s".to_owned(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let (whole, rest) = (all / unit, all % unit);
    let digits = usize::try_from(unit.ilog10()).unwrap_or(0);
    let fraction = match rest {
        0 => String::new(),
        rest => format!(".{rest:0digits$}").trim_end_matches('0').to_owned(),
    };
    let (hours, minutes) = (whole / 3_600, whole / 60 % 60);
    match (name, hours, minutes) {
        ("s", 0, 0) => format!("{sign}{whole}{fraction}s"),
        ("s", 0, _) => format!("{sign}{minutes}m{}{fraction}s", whole % 60),
        ("s", ..) => format!("{sign}{hours}h{minutes}m{}{fraction}s", whole % 60),
        _ => format!("{sign}{whole}{fraction}{name}"),
    }
}

fn scaled_down(mut value: f64, step: f64, prefixes: &[&str]) -> String {
    let mut used = "";
    for prefix in prefixes {
        if value.abs() < step {
            break;
        }
        used = prefix;
        value /= step;
    }
    rounded(value) + used
}

fn scaled_up(mut value: f64) -> String {
    let mut used = "";
    for prefix in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        used = prefix;
        value *= 1000.0;
    }
    rounded(value) + used
}
