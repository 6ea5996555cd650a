//! What the store counts, as it shows at `/metrics`.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use upkeep_store::{Store, Usage};

/// Asks the store whenever somebody looks.
#[derive(Debug)]
pub(super) struct StoreMeters(pub(super) Arc<Store>);

impl Collector for StoreMeters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counter = ConstCounter::new(self.0.conflicts());
        let help = "Samples that were left out since their instant had another value";
        let name = "upkeep_samples_conflicts";
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        let Usage { series, max_series, journal_bytes, max_journal_bytes } = self.0.usage();
        for (name, help, value) in [
            ("upkeep_samples_series", "Series there are", series as u64),
            (
                "upkeep_samples_series_limit",
                "Series there may be (limits.series)",
                max_series as u64,
            ),
            (
                "upkeep_samples_journal_bytes",
                "What waits in the journal to be sealed",
                journal_bytes,
            ),
            (
                "upkeep_samples_journal_limit_bytes",
                "Where the journal is sealed at once (storage.journal_mib)",
                max_journal_bytes,
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
