//! What the metrics are that a sender describes.

use upkeep_model::is_metric_name;

use super::message::RawMetadata;
use crate::state::{MetricMetadata, MetricType};

/// Those of the descriptions that have a name that a metric may have; others help nobody.
pub(super) fn metrics(described: &[RawMetadata<'_>]) -> Vec<(String, MetricMetadata)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let metric = |one: &RawMetadata<'_>| {
        let name = std::str::from_utf8(one.name).ok().filter(|name| is_metric_name(name))?;
        let metadata =
            MetricMetadata { kind: kind(one.kind), help: text(one.help), unit: text(one.unit) };
        Some((name.to_owned(), metadata))
    };
    described.iter().filter_map(metric).collect()
}

/// The numbers that `prometheus.MetricMetadata` gives the kinds.
fn kind(number: u64) -> MetricType {
    match number {
        1 => MetricType::Counter,
        2 => MetricType::Gauge,
        3 => MetricType::Histogram,
        4 => MetricType::GaugeHistogram,
        5 => MetricType::Summary,
        6 => MetricType::Info,
        7 => MetricType::StateSet,
        _ => MetricType::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_of_a_metric_is_left_out() {
        let raw =
            |kind, name: &'static [u8]| RawMetadata { kind, name, help: b"H\xffp", unit: b"bytes" };
        let found = metrics(&[raw(1, b"a"), raw(9, b"b"), raw(2, b""), raw(2, b"\xff")]);
        let metadata =
            |kind| MetricMetadata { kind, help: "H\u{fffd}p".to_owned(), unit: "bytes".to_owned() };
        let expect = [("a", MetricType::Counter), ("b", MetricType::Unknown)];
        assert_eq!(found, expect.map(|(name, kind)| (name.to_owned(), metadata(kind))));
    }
}
