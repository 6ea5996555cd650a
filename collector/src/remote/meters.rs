//! What remote write counts about itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Samples that came in, by what became of them, and how many series they are of.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    samples: Family<Became, Counter<u64, AtomicU64>>,
    pub(super) series: Arc<AtomicUsize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Became {
    result: Taken,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelValue)]
pub(super) enum Taken {
    Stored,
    /// Its series has labels that cannot be stored.
    InvalidLabels,
    /// Its series would be one too many.
    TooManySeries,
    TooOld,
    TooFarAhead,
    /// It is a native histogram.
    Histogram,
}

impl Meters {
    /// Meters that show in the registry.
    pub fn register(registry: &mut Registry) -> Self {
        let meters = Self::default();
        let help = "Samples that came by remote write, by what became of them";
        registry.register("upkeep_remote_write_received_samples", help, meters.samples.clone());
        registry.register_collector(Box::new(LiveSeries(Arc::clone(&meters.series))));
        meters
    }

    pub(super) fn note(&self, result: Taken, samples: usize) {
        if samples > 0 {
            self.samples.get_or_create(&Became { result }).inc_by(samples as u64);
        }
    }
}

#[derive(Debug)]
struct LiveSeries(Arc<AtomicUsize>);

impl Collector for LiveSeries {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(self.0.load(Ordering::Relaxed) as f64);
        let help = "Series that something came for by remote write within the last hour";
        let name = "upkeep_remote_write_received_series";
        gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
    }
}
