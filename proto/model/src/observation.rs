//! What a host's probes saw at one moment.

use crate::{Labels, METRIC_NAME};

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

/// How a metric behaves, in Prometheus' terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Grows until its source restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// The source does not say.
    Untyped,
}

/// One series as its host describes it: the labels carry the metric name, and neither `instance`
/// nor `job`, which the collector adds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    /// Name and labels.
    pub labels: Labels,
    /// How it behaves.
    pub kind: MetricKind,
    /// One line for people; may be empty.
    pub help: String,
}

impl Series {
    /// A series of a metric with the given labels.
    pub fn new(kind: MetricKind, name: &str, help: &str, labels: &[(&str, &str)]) -> Self {
        let labels = Labels::new(labels.iter().copied()).with(METRIC_NAME, name);
        Self { labels, kind, help: help.to_owned() }
    }
}

/// One value of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What was measured.
    pub series: Series,
    /// The value, in the base unit that the metric's name says.
    pub value: f64,
}

/// Everything the probes saw in one tick, under one timestamp.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Wall clock of the tick in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The values, in the order in which the probes gave them.
    pub samples: Vec<Sample>,
}

impl Observation {
    /// An observation without values yet.
    pub fn at(timestamp_ms: i64) -> Self {
        Self { timestamp_ms, samples: Vec::new() }
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

    fn add(
        &mut self,
        kind: MetricKind,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        self.samples.push(Sample { series: Series::new(kind, name, help, labels), value });
    }
}

/// A stretch of one series: as many timestamps as values, timestamps strictly ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesSamples {
    /// The full label set, metric name included.
    pub labels: Labels,
    /// Milliseconds since 1970.
    pub timestamps: Vec<i64>,
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
}
