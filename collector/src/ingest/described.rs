//! What the metrics are that a host describes.

use upkeep_model::{HostId, Series};

use super::Services;
use super::quota::LogQuota;
use crate::state::{MetricMetadata, MetricType};

/// Keeps what is new of it. Nobody waits for the disk where nothing is, as at most connections, and
/// samples are taken although it cannot be written: the host tells it again at its next connection.
pub(super) async fn keep_metadata(
    services: &Services,
    (host, quota): (HostId, &LogQuota<HostId>),
    series: &[Series],
) {
    let state = services.state.clone();
    let fresh = state.new_metadata(metrics(series));
    if fresh.is_empty() {
        return;
    }
    let kept = services.disk_work.ask(move || state.keep_metadata(fresh)).await;
    if let Err(error) = kept
        && quota.admits(host, services.clock.now_ms())
    {
        tracing::warn!(%host, reason = error.message(), "what its metrics are is not kept");
    }
}

/// Each metric once where its series follow on one another, as hosts describe them.
fn metrics(series: &[Series]) -> Vec<(String, MetricMetadata)> {
    let mut metrics: Vec<(String, MetricMetadata)> = Vec::new();
    for one in series {
        let name = one.labels.metric_name().unwrap_or_default();
        let kind = MetricType::from(one.kind);
        let is_last = metrics.last().is_some_and(|(last, metadata)| {
            last == name && metadata.kind == kind && metadata.help == one.help
        });
        if !is_last {
            let metadata = MetricMetadata { kind, help: one.help.clone(), unit: String::new() };
            metrics.push((name.to_owned(), metadata));
        }
    }
    metrics
}
