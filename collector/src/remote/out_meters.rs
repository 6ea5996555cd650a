//! What sending to others counts about itself.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Samples by target and what became of them, failed requests, and how far each target is behind.
#[derive(Clone, Debug, Default)]
pub struct OutMeters {
    samples: Family<Became, Counter<u64, AtomicU64>>,
    failures: Family<To, Counter<u64, AtomicU64>>,
    behind: Family<To, Gauge<i64, AtomicI64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Became {
    target: String,
    result: Sent,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct To {
    target: String,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Sent {
    /// The target took it.
    Taken,
    /// The target will never take it.
    Refused,
    /// The target was too far behind.
    PassedOver,
    /// It was in a part of the journal that is damaged; counted by part.
    Lost,
}

impl OutMeters {
    /// Meters that show in the registry.
    pub fn register(registry: &mut Registry) -> Self {
        let meters = Self::default();
        let help = "Samples for targets of remote write, by what became of them";
        registry.register("upkeep_remote_write_sent_samples", help, meters.samples.clone());
        let help = "Requests to targets of remote write that failed and are tried again";
        registry.register("upkeep_remote_write_failed_requests", help, meters.failures.clone());
        let help = "Bytes of the samples' journal that a target of remote write is yet to be sent";
        registry.register("upkeep_remote_write_behind_bytes", help, meters.behind.clone());
        meters
    }

    pub(super) fn count(&self, target: &str, result: Sent, samples: usize) {
        let became = Became { target: target.to_owned(), result };
        self.samples.get_or_create(&became).inc_by(samples as u64);
    }

    pub(super) fn count_failure(&self, target: &str) {
        self.failures.get_or_create(&To { target: target.to_owned() }).inc();
    }

    pub(super) fn behind(&self, target: &str, bytes: u64) {
        let gauge = self.behind.get_or_create(&To { target: target.to_owned() });
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
