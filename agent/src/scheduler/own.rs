//! What the agent says about itself, beside the host.

use std::time::Duration;

use upkeep_model::Observation;

use super::worker::Outcome;
use crate::buffer::{Loss, RoomLasts, Statistics, room_lasts};
#[cfg(target_os = "linux")]
use crate::host::OwnUsage;

/// The metrics of this process, under the names that Prometheus' client libraries give them.
pub const PROCESS_METRICS: [&str; 8] = [
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_virtual_memory_max_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_threads",
    "process_start_time_seconds",
];

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
    self::unreadable(outcome.name, unreadable, out);
}

/// Adds how much could not be read of a source since the start, if anything ever was.
pub(super) fn unreadable(source: &str, count: u64, out: &mut Observation) {
    if count > 0 {
        let help = "Values and files that could not be read and were left out of observations.";
        let labels = [("collector", source)];
        out.counter("upkeep_agent_unreadable_values_total", help, &labels, count as f64);
    }
}

/// Adds how long all probes together took.
pub(super) fn observation(took: Duration, out: &mut Observation) {
    let help = "Duration of the observation, all probes together.";
    out.gauge("upkeep_agent_observation_duration_seconds", help, &[], took.as_secs_f64());
}

/// Adds what the agent is.
pub(super) fn version(version: &str, out: &mut Observation) {
    out.gauge("upkeep_agent_build_info", "The agent's version.", &[("version", version)], 1.0);
}

/// Adds what its process takes.
#[cfg(target_os = "linux")]
pub(super) fn process(usage: &OwnUsage, out: &mut Observation) {
    let [cpu, resident, virtual_size, virtual_max, open_files, max_files, threads, start] =
        PROCESS_METRICS;
    let help = "Time of processors that the agent took, of user and system.";
    out.counter(cpu, help, &[], usage.cpu.as_secs_f64());
    out.gauge(resident, "Memory that the agent has in use.", &[], usage.resident_bytes as f64);
    let help = "Addresses that the agent has in use.";
    out.gauge(virtual_size, help, &[], usage.virtual_bytes as f64);
    out.gauge(threads, "Threads of the agent.", &[], usage.threads as f64);
    for (name, help, value) in [
        (virtual_max, "Addresses that the agent may have in use.", usage.max_virtual_bytes),
        (open_files, "Files that the agent has open.", usage.open_files),
        (max_files, "Files that the agent may have open.", usage.max_open_files),
    ] {
        if let Some(value) = value {
            out.gauge(name, help, &[], value as f64);
        }
    }
    if let Some(started) = usage.started {
        out.gauge(start, "When the agent was started, in seconds since 1970.", &[], started);
    }
}

/// Adds how its ticks and its buffer are.
pub(super) fn delivery(
    statistics: &Statistics,
    pace: Option<f64>,
    skipped_ticks: u64,
    out: &mut Observation,
) {
    let now_ms = out.timestamp_ms;
    out.counter(
        "upkeep_agent_skipped_ticks_total",
        "Ticks that were passed over because an earlier one took too long.",
        &[],
        skipped_ticks as f64,
    );
    let help = "What the last observation took in the buffer.";
    let last = statistics.last_observation_bytes as f64;
    out.gauge("upkeep_agent_observation_bytes", help, &[], last);
    let bytes = "What the buffered records take.";
    out.gauge("upkeep_agent_buffer_bytes", bytes, &[], statistics.bytes as f64);
    let limit = "What the buffered records may take at the moment.";
    out.gauge("upkeep_agent_buffer_limit_bytes", limit, &[], statistics.limit_bytes as f64);
    if let Some(pace) = pace {
        let help = "What is written to the buffer a second, over the last minutes.";
        out.gauge("upkeep_agent_buffer_bytes_per_second", help, &[], pace);
    }
    if let RoomLasts::For { seconds, .. } = room_lasts(statistics, pace) {
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

/// Adds what was lost and declared, once something was.
pub(super) fn losses(losses: &[Loss], out: &mut Observation) {
    for loss in losses {
        let lane = loss.lane.to_string();
        let labels = [("lane", lane.as_str()), ("reason", loss.cause.label())];
        let help = "Gaps that were declared since the agent was started.";
        out.counter("upkeep_agent_buffer_declared_gaps_total", help, &labels, loss.gaps as f64);
        let help = "When the last gap was declared, in seconds since 1970.";
        let last = loss.last_ms as f64 / 1000.0;
        out.gauge("upkeep_agent_buffer_last_gap_timestamp_seconds", help, &labels, last);
    }
}

#[cfg(test)]
mod tests {
    use upkeep_model::Lane;

    use super::*;
    use crate::buffer::LossCause;

    #[test]
    fn capacity_is_known_once_the_pace_is() {
        let statistics = Statistics { bytes: 1_000, limit_bytes: 4_000, ..Statistics::default() };
        let check = |pace, expect: &[(&str, f64)]| {
            let mut out = Observation::at(0);
            delivery(&statistics, pace, 0, &mut out);
            let told = out.iter().filter_map(|(series, value)| {
                let name = series.labels.metric_name().unwrap();
                (name.ends_with("_seconds") || name.ends_with("_second"))
                    .then(|| (name.trim_start_matches("upkeep_agent_buffer_").to_owned(), value))
            });
            let mut told: Vec<_> = told.filter(|(name, _)| name != "oldest_age_seconds").collect();
            told.sort_by(|one, other| one.0.cmp(&other.0));
            let told: Vec<_> = told.iter().map(|(name, value)| (&**name, *value)).collect();
            assert_eq!(told, expect);
        };
        check(None, &[]);
        check(Some(10.0), &[("bytes_per_second", 10.0), ("capacity_seconds", 300.0)]);
    }

    #[test]
    fn losses_are_told_by_lane_and_reason() {
        let mut out = Observation::at(0);
        losses(&[], &mut out);
        assert_eq!(out.len(), 0);
        let (lane, cause) = (Lane::Samples, LossCause::Full);
        let loss = Loss { lane, cause, records: Some(9), gaps: 2, last_ms: 1_500 };
        losses(&[loss], &mut out);
        let told: Vec<_> =
            out.iter().map(|(series, value)| (series.labels.to_string(), value)).collect();
        let labels = r#"{lane="samples", reason="full"}"#;
        let expect = [
            (format!("upkeep_agent_buffer_declared_gaps_total{labels}"), 2.0),
            (format!("upkeep_agent_buffer_last_gap_timestamp_seconds{labels}"), 1.5),
        ];
        assert_eq!(told, expect);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_told_under_its_names_and_a_limit_that_is_none_is_not() {
        let usage = OwnUsage {
            cpu: Duration::from_millis(1500),
            resident_bytes: 2,
            virtual_bytes: 3,
            threads: 4,
            open_files: Some(5),
            max_open_files: Some(6),
            max_virtual_bytes: None,
            started: Some(7.5),
        };
        let mut out = Observation::at(0);
        process(&usage, &mut out);
        let mut told: Vec<(String, f64)> = out
            .iter()
            .map(|(series, value)| (series.labels.metric_name().unwrap().to_owned(), value))
            .collect();
        told.sort_by(|one, other| one.0.cmp(&other.0));
        let told: Vec<(&str, f64)> = told.iter().map(|(name, value)| (&**name, *value)).collect();
        let expect = [
            ("process_cpu_seconds_total", 1.5),
            ("process_max_fds", 6.0),
            ("process_open_fds", 5.0),
            ("process_resident_memory_bytes", 2.0),
            ("process_start_time_seconds", 7.5),
            ("process_threads", 4.0),
            ("process_virtual_memory_bytes", 3.0),
        ];
        assert_eq!(told, expect);
    }
}
