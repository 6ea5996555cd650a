//! What a host's probes saw at one moment.

use std::sync::Arc;

use crate::admission::shown;
use crate::{Labels, METRIC_NAME, MetricKind, Series, SeriesFault, SeriesTable};

/// The bits of Prometheus' staleness marker, a NaN of its own.
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The value that says that a series has ended. It is compared by [`is_stale`], never by `==`.
pub const fn stale_marker() -> f64 {
    f64::from_bits(STALE_BITS)
}

/// Whether a value is the staleness marker, as opposed to any other NaN.
pub const fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// One value of one series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The number of what was measured, in the observation's table of series.
    pub series: u32,
    /// The value, in the base unit that the metric's name says.
    pub value: f64,
}

/// What several metrics are that belong together, by their names: those of `x` with its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compound {
    /// `x_bucket` with the label `le`, `x_sum` and `x_count`.
    Histogram,
    /// `x` with the label `quantile`, `x_sum` and `x_count`.
    Summary,
}

/// Everything the probes saw in one tick, under one timestamp.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// Wall clock of the tick in milliseconds since 1970.
    pub timestamp_ms: i64,
    table: SeriesTable,
    samples: Vec<Sample>,
    compounds: Vec<(String, Compound)>,
    left_out: LeftOut,
}

/// What was given to an observation and could not be taken. Names and labels that are made of what
/// stands in a file are only as good as the file, and the collector would refuse one that is bad with
/// everything beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many values.
    pub count: usize,
    /// The name of the first one's metric, cut short where it is long, and what is wrong with it.
    pub first: Option<(String, SeriesFault)>,
}

impl Observation {
    /// An observation without values yet, with a table of series of its own.
    pub fn at(timestamp_ms: i64) -> Self {
        Self::within(&SeriesTable::default(), timestamp_ms)
    }

    /// An observation without values yet, whose series are those of a table that outlives it. What
    /// is observed again and again then allocates nothing for a series that is known.
    pub fn within(table: &SeriesTable, timestamp_ms: i64) -> Self {
        Self { timestamp_ms, table: table.clone(), ..Self::default() }
    }

    /// Adds a value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(MetricKind::Gauge, name, help, labels, value);
    }

    /// Adds a value that only grows.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(MetricKind::Counter, name, help, labels, value);
    }

    /// Adds a value of a kind that its source does not say.
    pub fn untyped(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(MetricKind::Untyped, name, help, labels, value);
    }

    /// Says that metrics which were added belong together. A page says so of them; each is a metric
    /// by itself nevertheless.
    pub fn compound(&mut self, name: &str, compound: Compound) {
        self.compounds.push((name.to_owned(), compound));
    }

    /// What was given and could not be taken, once: it is forgotten with this.
    pub fn take_left_out(&mut self) -> LeftOut {
        std::mem::take(&mut self.left_out)
    }

    /// Takes the values of another observation over, after those that are there. It keeps its room
    /// for values, so that it can be used again, and what it left out.
    pub fn take(&mut self, other: &mut Self) {
        self.compounds.append(&mut other.compounds);
        if self.table.is_same(&other.table) {
            self.samples.append(&mut other.samples);
            return;
        }
        let empty = other.table.empty_labels();
        for sample in &other.samples {
            let Some(series) = other.table.get(sample.series) else { continue };
            let labels = series.labels.iter().filter(|(name, _)| *name != METRIC_NAME);
            let empty = empty.get(&sample.series).into_iter().flatten();
            let labels: Vec<_> = labels.chain(empty.map(|label| (label.as_str(), ""))).collect();
            let name = series.labels.metric_name().unwrap_or_default();
            self.add(series.kind, name, &series.help, &labels, sample.value);
        }
        other.samples.clear();
    }

    /// The values under the numbers of their series, in the order in which the probes gave them.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The table that the numbers of the series are of.
    pub fn table(&self) -> &SeriesTable {
        &self.table
    }

    /// The metrics that were said to belong together, by the names of the whole.
    pub fn compounds(&self) -> &[(String, Compound)] {
        &self.compounds
    }

    /// Every series with its value, in the order in which the probes gave them.
    pub fn iter(&self) -> impl Iterator<Item = (Arc<Series>, f64)> {
        self.samples
            .iter()
            .filter_map(|sample| Some((self.table.get(sample.series)?, sample.value)))
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there is no value yet.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    fn add(
        &mut self,
        kind: MetricKind,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        match self.table.number(kind, name, help, labels) {
            Ok(series) => self.samples.push(Sample { series, value }),
            Err(fault) => {
                self.left_out.count += 1;
                self.left_out.first.get_or_insert_with(|| (shown(name), fault));
            }
        }
    }
}

/// A stretch of one series: as many timestamps as values, timestamps strictly ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesSamples {
    /// The full label set, metric name included.
    pub labels: Labels,
    /// Milliseconds since 1970; series that are measured together share them.
    pub timestamps: Arc<[i64]>,
    /// One value a timestamp; staleness markers are among them.
    pub values: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stale_marker_is_a_nan_unlike_others() {
        assert!(stale_marker().is_nan() && is_stale(stale_marker()));
        assert!(!is_stale(f64::NAN));
    }

    #[test]
    fn what_no_collector_would_take_is_left_out_and_counted() {
        let mut all = Observation::at(5);
        for (name, label) in [("a", "b"), ("a b", "b"), ("a", "job"), ("a", "b")] {
            all.gauge(name, "", &[(label, "1")], 1.0);
        }
        assert_eq!(all.len(), 2);
        let fault = SeriesFault::MetricName("a b".to_owned());
        let expect = LeftOut { count: 2, first: Some(("a b".to_owned(), fault)) };
        assert_eq!(all.take_left_out(), expect);
        assert_eq!(all.take_left_out(), LeftOut::default());
    }

    #[test]
    fn values_of_another_table_are_taken_under_the_numbers_of_ones_own() {
        let table = SeriesTable::default();
        let mut all = Observation::within(&table, 5);
        all.gauge("a", "", &[], 1.0);
        for mut part in [Observation::within(&table, 5), Observation::at(5)] {
            part.counter("b_total", "Of b.", &[("x", "1"), ("y", "")], 2.0);
            part.compound("c", Compound::Summary);
            all.take(&mut part);
            assert!(part.is_empty() && part.compounds().is_empty());
        }
        let numbers: Vec<u32> = all.samples().iter().map(|sample| sample.series).collect();
        assert_eq!(numbers, [0, 1, 1]);
        let b = Series::new(MetricKind::Counter, "b_total", "Of b.", &[("x", "1")]);
        assert!(all.iter().skip(1).all(|(series, value)| *series == b && value == 2.0));
        assert_eq!((all.len(), table.len()), (3, 2));
        assert_eq!(table.empty_labels(), [(1, vec!["y".to_owned()])].into());
        assert_eq!(
            all.compounds(),
            [const { Compound::Summary }; 2].map(|one| ("c".to_owned(), one))
        );
    }
}
