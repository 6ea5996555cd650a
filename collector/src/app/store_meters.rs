//! What the store counts, as it shows at `/metrics`.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use upkeep_store::{Size, Store, Usage};

/// Asks the store whenever somebody looks.
#[derive(Debug)]
pub(super) struct StoreMeters(pub(super) Arc<Store>);

impl Collector for StoreMeters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counter = ConstCounter::new(self.0.conflicts());
        let help = "Samples that were left out since their instant had another value";
        let name = "upkeep_samples_conflicts";
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        encode_usage(self.0.usage(), &mut encoder)?;
        encode_size(self.0.size(), &mut encoder)
    }
}

fn encode_usage(usage: Usage, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let Usage { series, max_series, max_journal_bytes } = usage;
    let limit = "Where the journal is sealed at once (storage.journal_mib)";
    for (name, help, value) in [
        ("series", "Series there are", series as u64),
        ("series_limit", "Series there may be (limits.series)", max_series as u64),
        ("journal_limit_bytes", limit, max_journal_bytes),
    ] {
        let name = format!("upkeep_samples_{name}");
        let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
    }
    Ok(())
}

fn encode_size(size: Size, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let unit = Some(&Unit::Bytes);
    for (name, help, bytes) in [
        ("sealed", "What sealed samples take", size.chunk_bytes),
        ("database", "What the file takes that sealed samples are in", size.database_bytes),
        ("journal", "What samples take that are not sealed yet", size.journal_bytes),
    ] {
        let name = format!("upkeep_samples_{name}");
        let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
        gauge.encode(encoder.encode_descriptor(&name, help, unit, gauge.metric_type())?)?;
    }
    let counter = ConstCounter::new(size.dropped_bytes);
    let help = "Sealed samples dropped since they took more than storage.retention_bytes";
    let name = "upkeep_samples_dropped";
    counter.encode(encoder.encode_descriptor(name, help, unit, counter.metric_type())?)
}
