//! What the agent says about itself, beside the host.

use std::time::Duration;

use upkeep_model::Observation;

use super::worker::Outcome;
use crate::buffer::Statistics;

/// Adds how a probe did. What it could not read is counted since the start, and told of those probes
/// only that ever met something unreadable.
pub(super) fn probe(outcome: &Outcome, unreadable: u64, out: &mut Observation) {
    out.gauge(
        "node_scrape_collector_duration_seconds",
        "Duration of a collector's scrape.",
        &[("collector", outcome.name)],
        outcome.took.as_secs_f64(),
    );
    out.gauge(
        "node_scrape_collector_success",
        "Whether a collector succeeded.",
        &[("collector", outcome.name)],
        if outcome.failure.is_none() { 1.0 } else { 0.0 },
    );
    if unreadable > 0 {
        let help = "Values and files that could not be read and were left out of observations.";
        let labels = [("collector", outcome.name)];
        out.counter("upkeep_agent_unreadable_values_total", help, &labels, unreadable as f64);
    }
}

/// Adds what the agent is.
pub(super) fn version(version: &str, out: &mut Observation) {
    out.gauge("upkeep_agent_build_info", "The agent's version.", &[("version", version)], 1.0);
}

/// Adds how its ticks and its buffer are.
pub(super) fn delivery(
    statistics: &Statistics,
    skipped_ticks: u64,
    interval: Duration,
    out: &mut Observation,
) {
    let now_ms = out.timestamp_ms;
    out.counter(
        "upkeep_agent_skipped_ticks_total",
        "Ticks that were passed over because an earlier one took too long.",
        &[],
        skipped_ticks as f64,
    );
    let bytes = "What the buffered records take.";
    out.gauge("upkeep_agent_buffer_bytes", bytes, &[], statistics.bytes as f64);
    let limit = "What the buffered records may take at the moment.";
    out.gauge("upkeep_agent_buffer_limit_bytes", limit, &[], statistics.limit_bytes as f64);
    if let Some(seconds) = capacity_seconds(statistics, interval) {
        let help = "How long the buffer's room lasts if nothing is delivered.";
        out.gauge("upkeep_agent_buffer_capacity_seconds", help, &[], seconds);
    }
    let age = statistics.oldest_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest).max(0));
    let help = "Age of the oldest record that is not delivered.";
    out.gauge("upkeep_agent_buffer_oldest_age_seconds", help, &[], age as f64 / 1000.0);
    for (lane, records, dropped) in [
        ("samples", statistics.samples, statistics.dropped_samples),
        ("events", statistics.events, statistics.dropped_events),
    ] {
        let labels = [("lane", lane)];
        let help = "Records that are not delivered.";
        out.gauge("upkeep_agent_buffer_records", help, &labels, records as f64);
        let help = "Records that were dropped to make room.";
        out.counter("upkeep_agent_buffer_dropped_records_total", help, &labels, dropped as f64);
    }
    out.counter(
        "upkeep_agent_buffer_refused_observations_total",
        "Observations that could not be written to the buffer.",
        &[],
        statistics.refused as f64,
    );
}

fn capacity_seconds(statistics: &Statistics, interval: Duration) -> Option<f64> {
    let left = statistics.limit_bytes.saturating_sub(statistics.bytes) as f64;
    let each = statistics.last_observation_bytes;
    (each > 0).then(|| (left / each as f64).floor() * interval.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_known_once_something_was_appended() {
        let statistics = Statistics { bytes: 1_000, limit_bytes: 4_050, ..Statistics::default() };
        assert_eq!(capacity_seconds(&statistics, Duration::from_secs(10)), None);
        let statistics = Statistics { last_observation_bytes: 100, ..statistics };
        assert_eq!(capacity_seconds(&statistics, Duration::from_secs(10)), Some(300.0));
    }
}
