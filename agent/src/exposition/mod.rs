//! Prometheus text, version 0.0.4: one observation as text, and what other programs wrote as such.

mod number;
mod parse;

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::sync::Arc;

use upkeep_model::{Compound, METRIC_NAME, MetricKind, Observation, Series};

use self::number::Number;
pub use self::parse::{Family, FamilyKind, ParseError, ParsedSample, parse};

/// Writes an observation as node_exporter's library does: families sorted by name, each with its
/// help and type once, its series sorted by their labels' values. Labels without a value are shown.
/// Timestamps are left out, as is usual for a page that is read at once.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write(observation: &Observation, out: &mut impl Write) -> io::Result<()> {
    let table = observation.table();
    let empty = table.empty_labels();
    let compounds: HashMap<&str, Compound> =
        observation.compounds().iter().map(|(name, compound)| (name.as_str(), *compound)).collect();
    let samples = observation.samples().iter();
    let samples: Vec<(Arc<Series>, u32, f64)> = samples
        .filter_map(|sample| Some((table.get(sample.series)?, sample.series, sample.value)))
        .collect();
    let mut families: BTreeMap<&str, Vec<Line<'_>>> = BTreeMap::new();
    for (series, number, value) in &samples {
        let empty = empty.get(number).map_or(&[][..], Vec::as_slice);
        let (family, line) = Line::new(series, empty, *value, &compounds);
        families.entry(family).or_default().push(line);
    }
    for (name, mut lines) in families {
        lines.sort_by(Line::order);
        write_family(name, compounds.get(name).copied(), &lines, out)?;
    }
    Ok(())
}

/// A line of the page.
struct Line<'page> {
    series: &'page Series,
    part: Part,
    /// Sorted by name, without that of a bucket or quantile.
    labels: Vec<(&'page str, &'page str)>,
    /// The label of a bucket or quantile, which stands behind the others.
    bound: Option<(&'page str, &'page str)>,
    value: f64,
}

/// What a metric is in its family, in the order of the page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The metric itself, a bucket or a quantile.
    Value,
    Sum,
    Count,
}

impl<'page> Line<'page> {
    /// A line with the name of the family that it belongs to.
    fn new(
        series: &'page Series,
        empty: &'page [String],
        value: f64,
        compounds: &HashMap<&str, Compound>,
    ) -> (&'page str, Self) {
        let name = series.labels.metric_name().unwrap_or_default();
        let (family, part, bound) = place(name, compounds);
        let labels = series.labels.iter().filter(|(label, _)| *label != METRIC_NAME);
        let mut labels: Vec<_> =
            labels.chain(empty.iter().map(|label| (label.as_str(), ""))).collect();
        labels.sort_unstable();
        let at = labels.iter().position(|(label, _)| Some(*label) == bound);
        let bound = at.map(|at| labels.remove(at));
        (family, Self { series, part, labels, bound, value })
    }

    /// As the library sorts: by the number of labels, then by their values, whatever their names.
    fn order(&self, other: &Self) -> Ordering {
        let bound = |line: &Self| line.bound.and_then(|(_, value)| value.parse().ok());
        let bounds = (bound(self).unwrap_or(f64::NAN), bound(other).unwrap_or(f64::NAN));
        (self.labels.len().cmp(&other.labels.len()))
            .then_with(|| self.values().cmp(other.values()))
            .then(self.part.cmp(&other.part))
            .then(bounds.0.total_cmp(&bounds.1))
    }

    fn values(&self) -> impl Iterator<Item = &'page str> {
        self.labels.iter().map(|(_, value)| *value)
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let name = self.series.labels.metric_name().unwrap_or_default();
        out.write_all(name.as_bytes())?;
        let mut separator = '{';
        for (label, value) in self.labels.iter().chain(&self.bound) {
            write!(out, "{separator}{label}=\"")?;
            write_escaped(value, true, out)?;
            out.write_all(b"\"")?;
            separator = ',';
        }
        if separator == ',' {
            out.write_all(b"}")?;
        }
        writeln!(out, " {}", Number(self.value))
    }
}

/// The family of a metric, what the metric is in it, and which label is that of a bucket or quantile.
fn place<'name>(
    name: &'name str,
    compounds: &HashMap<&str, Compound>,
) -> (&'name str, Part, Option<&'static str>) {
    if compounds.get(name) == Some(&Compound::Summary) {
        return (name, Part::Value, Some("quantile"));
    }
    let part_of = |suffix| {
        let whole = name.strip_suffix(suffix)?;
        Some((whole, *compounds.get(whole)?))
    };
    if let Some((whole, Compound::Histogram)) = part_of("_bucket") {
        return (whole, Part::Value, Some("le"));
    }
    for (suffix, part) in [("_sum", Part::Sum), ("_count", Part::Count)] {
        if let Some((whole, _)) = part_of(suffix) {
            return (whole, part, None);
        }
    }
    (name, Part::Value, None)
}

fn write_family(
    name: &str,
    compound: Option<Compound>,
    lines: &[Line<'_>],
    out: &mut impl Write,
) -> io::Result<()> {
    let Some(first) = lines.first() else { return Ok(()) };
    let kind = match (compound, first.series.kind) {
        (Some(Compound::Histogram), _) => "histogram",
        (Some(Compound::Summary), _) => "summary",
        (None, MetricKind::Counter) => "counter",
        (None, MetricKind::Gauge) => "gauge",
        (None, MetricKind::Untyped) => "untyped",
    };
    if !first.series.help.is_empty() {
        write!(out, "# HELP {name} ")?;
        write_escaped(&first.series.help, false, out)?;
        out.write_all(b"\n")?;
    }
    writeln!(out, "# TYPE {name} {kind}")?;
    lines.iter().try_for_each(|line| line.write(out))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(observation: &Observation, expect: &str) {
        let mut page = Vec::new();
        write(observation, &mut page).unwrap();
        assert_eq!(String::from_utf8(page).unwrap(), expect);
    }

    #[test]
    fn families_are_written_once_and_values_escaped() {
        let mut observation = Observation::at(0);
        observation.gauge("b", "two\nlines \"and\" \\", &[], 1.5);
        observation.counter("a_total", "", &[("x", "q\"\\\n"), ("le", "é")], 2e6);
        observation.gauge("b", "two", &[("x", "1")], f64::NAN);
        observation.untyped("c", "u", &[], f64::INFINITY);
        let expect = "# TYPE a_total counter\n\
            a_total{le=\"é\",x=\"q\\\"\\\\\\n\"} 2e+06\n\
            # HELP b two\\nlines \"and\" \\\\\n\
            # TYPE b gauge\n\
            b 1.5\n\
            b{x=\"1\"} NaN\n\
            # HELP c u\n\
            # TYPE c untyped\n\
            c +Inf\n";
        check(&observation, expect);
    }

    #[test]
    fn series_are_sorted_and_labels_without_a_value_shown() {
        let mut observation = Observation::at(0);
        observation.gauge("a", "", &[("z", ""), ("x", "2")], 1.0);
        observation.gauge("a", "", &[("y", "1"), ("x", "10")], 2.0);
        observation.gauge("a", "", &[("w", "3")], 3.0);
        let expect = "# TYPE a gauge\n\
            a{w=\"3\"} 3\n\
            a{x=\"10\",y=\"1\"} 2\n\
            a{x=\"2\",z=\"\"} 1\n";
        check(&observation, expect);
    }

    #[test]
    fn metrics_that_belong_together_are_one_family() {
        let mut observation = Observation::at(0);
        let x = ("x", "1");
        observation.counter("h_sum", "Of h.", &[x], 9.0);
        for (bound, value) in [("+Inf", 3.0), ("10", 2.0), ("5", 1.0)] {
            observation.counter("h_bucket", "Of h.", &[("le", bound), x], value);
        }
        observation.counter("h_count", "Of h.", &[x], 3.0);
        observation.gauge("h_more", "", &[("quantile", "1"), x], 1.0);
        observation.counter("s_count", "", &[], 4.0);
        observation.counter("s_bucket", "", &[("le", "1"), x], 4.0);
        observation.gauge("s", "", &[("quantile", "0.5"), x], 4.0);
        observation.compound("h", Compound::Histogram);
        observation.compound("s", Compound::Summary);
        let expect = "# HELP h Of h.\n\
            # TYPE h histogram\n\
            h_bucket{x=\"1\",le=\"5\"} 1\n\
            h_bucket{x=\"1\",le=\"10\"} 2\n\
            h_bucket{x=\"1\",le=\"+Inf\"} 3\n\
            h_sum{x=\"1\"} 9\n\
            h_count{x=\"1\"} 3\n\
            # TYPE h_more gauge\n\
            h_more{quantile=\"1\",x=\"1\"} 1\n\
            # TYPE s summary\n\
            s_count 4\n\
            s{x=\"1\",quantile=\"0.5\"} 4\n\
            # TYPE s_bucket counter\n\
            s_bucket{le=\"1\",x=\"1\"} 4\n";
        check(&observation, expect);
    }
}
