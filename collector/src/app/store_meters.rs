//! What the store counts, as it shows at `/metrics`.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use upkeep_store::Store;

/// Asks the store whenever somebody looks.
#[derive(Debug)]
pub(super) struct StoreMeters(pub(super) Arc<Store>);

impl Collector for StoreMeters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counter = ConstCounter::new(self.0.conflicts());
        let help = "Samples that were left out since their instant had another value";
        let name = "upkeep_samples_conflicts";
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
    }
}
