//! Prometheus text, version 0.0.4: one observation as text, and what other programs wrote as such.

mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use upkeep_model::{METRIC_NAME, MetricKind, Observation, Series};

pub use self::parse::{Family, FamilyKind, ParseError, ParsedSample, parse};

/// Writes an observation: families sorted by name, each with its help and type once, its series in
/// the order in which the probes gave them. Timestamps are left out, as is usual for a page that is
/// read at once.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(observation: &Observation, out: &mut impl Write) -> io::Result<()> {
    let samples: Vec<(Arc<Series>, f64)> = observation.iter().collect();
    let mut families: BTreeMap<&str, Vec<(&Series, f64)>> = BTreeMap::new();
    for (series, value) in &samples {
        let name = series.labels.metric_name().unwrap_or_default();
        families.entry(name).or_default().push((series, *value));
    }
    for (name, samples) in families {
        write_family(name, &samples, out)?;
    }
    Ok(())
}

fn write_family(name: &str, samples: &[(&Series, f64)], out: &mut impl Write) -> io::Result<()> {
    if let Some((first, _)) = samples.first() {
        let kind = match first.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Untyped => "untyped",
        };
        if !first.help.is_empty() {
            write!(out, "# HELP {name} ")?;
            write_escaped(&first.help, false, out)?;
            out.write_all(b"\n")?;
        }
        writeln!(out, "# TYPE {name} {kind}")?;
    }
    for (series, value) in samples {
        write_sample(name, series, *value, out)?;
    }
    Ok(())
}

fn write_sample(name: &str, series: &Series, value: f64, out: &mut impl Write) -> io::Result<()> {
    out.write_all(name.as_bytes())?;
    let mut separator = '{';
    for (label, value) in series.labels.iter().filter(|(label, _)| *label != METRIC_NAME) {
        write!(out, "{separator}{label}=\"")?;
        write_escaped(value, true, out)?;
        out.write_all(b"\"")?;
        separator = ',';
    }
    if separator == ',' {
        out.write_all(b"}")?;
    }
    writeln!(out, " {}", Number(value))
}

fn write_escaped(text: &str, quoted: bool, out: &mut impl Write) -> io::Result<()> {
    for part in text.split_inclusive(['\\', '\n', '"']) {
        let (plain, escape) = match part.as_bytes().last() {
            Some(b'\\') => (part.len() - 1, "\\\\"),
            Some(b'\n') => (part.len() - 1, "\\n"),
            Some(b'"') if quoted => (part.len() - 1, "\\\""),
            _ => (part.len(), ""),
        };
        out.write_all(part.as_bytes().get(..plain).unwrap_or_default())?;
        out.write_all(escape.as_bytes())?;
    }
    Ok(())
}

/// A number as Go prints it: the shortest digits that read back the same, with an exponent of at
/// least two digits below 1e-4 and from 1e6 on.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.is_nan() {
            return formatter.write_str("NaN");
        }
        if value.is_infinite() {
            return formatter.write_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        }
        let magnitude = value.abs();
        if value == 0.0 || (1e-4..1e6).contains(&magnitude) {
            return write!(formatter, "{value}");
        }
        let scientific = format!("{value:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        write!(formatter, "{digits}e{sign}{exponent:0>2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_once_and_values_escaped() {
        let mut observation = Observation::at(0);
        observation.gauge("b", "two\nlines \"and\" \\", &[], 1.5);
        observation.counter("a_total", "", &[("x", "q\"\\\n"), ("le", "é")], 2e6);
        observation.gauge("b", "two", &[("x", "1")], f64::NAN);
        observation.untyped("c", "u", &[], f64::INFINITY);
        let mut page = Vec::new();
        write(&observation, &mut page).unwrap();
        let expect = "# TYPE a_total counter\n\
            a_total{le=\"é\",x=\"q\\\"\\\\\\n\"} 2e+06\n\
            # HELP b two\\nlines \"and\" \\\\\n\
            # TYPE b gauge\n\
            b 1.5\n\
            b{x=\"1\"} NaN\n\
            # HELP c u\n\
            # TYPE c untyped\n\
            c +Inf\n";
        assert_eq!(String::from_utf8(page).unwrap(), expect);
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let check = |value: f64, expect: &str| assert_eq!(Number(value).to_string(), expect);
        check(0.0, "0");
        check(-0.0, "-0");
        check(0.21, "0.21");
        check(507_162.0, "507162");
        check(999_999.5, "999999.5");
        check(1e6, "1e+06");
        check(2_320_168_809.0, "2.320168809e+09");
        check(-1e100, "-1e+100");
        check(0.0001, "0.0001");
        check(0.000_012_5, "1.25e-05");
        check(14.036_781_000_000_001, "14.036781000000001");
        check(f64::NEG_INFINITY, "-Inf");
    }
}
