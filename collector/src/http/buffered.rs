//! What waits at a host, as its agent last reported it among its samples.

use std::collections::BTreeMap;

use serde::Serialize;
use upkeep_model::{
    HostId, INSTANCE, METRIC_NAME, MatchOperator, Matcher, SeriesSamples, is_stale,
};

use super::error::ApiError;
use super::{Services, time};
use crate::query::Window;
use crate::state::LossSummary;

/// The names of the metrics that are read, whole.
const NAMES: &str = "upkeep_agent_buffer_(bytes|limit_bytes|capacity_seconds|oldest_age_seconds|\
    records|dropped_records_total|refused_observations_total)";

/// What the agent said, each value of its newest report.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    at_ms: i64,
    values: BTreeMap<(String, Option<String>), f64>,
}

/// What waits at a host. What is not known is null, with the reason beside it.
#[derive(Serialize)]
pub(super) struct BufferView {
    reported_at: Option<String>,
    unknown_reason: Option<String>,
    samples: Option<f64>,
    events: Option<f64>,
    bytes: Option<f64>,
    limit_bytes: Option<f64>,
    /// The time of the oldest record that waits; null where none does.
    oldest: Option<String>,
    /// How long the room lasts if nothing is delivered.
    room_seconds: Option<f64>,
    room_unknown_reason: Option<String>,
    /// Since the agent was started.
    dropped_samples: Option<f64>,
    dropped_events: Option<f64>,
    refused_observations: Option<f64>,
    declared: Declared,
}

/// The gaps that the collector knows of.
#[derive(Serialize)]
struct Declared {
    gaps: u64,
    /// Of those whose records had numbers.
    records: u64,
    last_at: Option<String>,
}

/// The newest report of one host, whatever its name was then; at most so many milliseconds old.
pub(super) async fn report_of(
    services: &Services,
    host: HostId,
    age_ms: i64,
) -> Result<Option<Report>, ApiError> {
    let found = select(services, Some(host), Vec::new(), age_ms).await?;
    Ok(newest(found).into_values().max_by_key(|report| report.at_ms))
}

/// The newest reports of hosts, by their names.
pub(super) async fn reports(
    services: &Services,
    instances: impl Iterator<Item = &str>,
    age_ms: i64,
) -> Result<BTreeMap<String, Report>, ApiError> {
    let any = instances.map(regex::escape).collect::<Vec<_>>().join("|");
    if any.is_empty() {
        return Ok(BTreeMap::new());
    }
    Ok(newest(select(services, None, vec![matching(INSTANCE, &any)?], age_ms).await?))
}

async fn select(
    services: &Services,
    host: Option<HostId>,
    mut matchers: Vec<Matcher>,
    age_ms: i64,
) -> Result<Vec<SeriesSamples>, ApiError> {
    matchers.push(matching(METRIC_NAME, NAMES)?);
    let now_ms = services.clock.now_ms();
    let window = Window { after_ms: now_ms.saturating_sub(age_ms), through_ms: now_ms };
    let found = services.engine.samples(host, vec![matchers], window).await?;
    Ok(found.into_iter().flatten().collect())
}

fn matching(label: &str, pattern: &str) -> Result<Matcher, ApiError> {
    Matcher::new(label, MatchOperator::Matches, pattern)
        .map_err(|error| ApiError::internal("looking for the reports of agents", &error))
}

/// The newest report of each host: of its values those that came last, all at the same time.
fn newest(series: Vec<SeriesSamples>) -> BTreeMap<String, Report> {
    let mut reports: BTreeMap<String, Report> = BTreeMap::new();
    for one in series {
        let Some((at_ms, value)) = one.timestamps.last().zip(one.values.last()) else { continue };
        let (Some(name), Some(instance)) = (one.labels.metric_name(), one.labels.get(INSTANCE))
        else {
            continue;
        };
        let report = reports.entry(instance.to_owned()).or_default();
        if *at_ms > report.at_ms {
            *report = Report { at_ms: *at_ms, values: BTreeMap::new() };
        }
        if *at_ms == report.at_ms && !is_stale(*value) {
            let lane = one.labels.get("lane").map(str::to_owned);
            report.values.insert((name.to_owned(), lane), *value);
        }
    }
    reports
}

impl BufferView {
    /// What is to be shown of a host; `looked_for` is how far back a report was looked for, in words.
    pub(super) fn of(report: Option<&Report>, losses: LossSummary, looked_for: &str) -> Self {
        let value = |name: &str, lane: Option<&str>| {
            let key = (format!("upkeep_agent_buffer_{name}"), lane.map(str::to_owned));
            report.and_then(|report| report.values.get(&key).copied())
        };
        let room_seconds = value("capacity_seconds", None);
        let unknown = format!("no report of its agent came in the last {looked_for}");
        let young = "the agent does not know its pace yet";
        let room_unknown = if report.is_some() { young } else { &unknown };
        let oldest_age = value("oldest_age_seconds", None).filter(|age| *age > 0.0);
        let oldest = report.zip(oldest_age).map(|(report, age)| {
            #[expect(clippy::cast_possible_truncation, reason = "ages are far below 2^53 ms")]
            time::text(report.at_ms.saturating_sub((age * 1000.0).round() as i64))
        });
        Self {
            reported_at: report.map(|report| time::text(report.at_ms)),
            samples: value("records", Some("samples")),
            events: value("records", Some("events")),
            bytes: value("bytes", None),
            limit_bytes: value("limit_bytes", None),
            oldest,
            room_seconds,
            room_unknown_reason: room_seconds.is_none().then(|| room_unknown.to_owned()),
            dropped_samples: value("dropped_records_total", Some("samples")),
            dropped_events: value("dropped_records_total", Some("events")),
            refused_observations: value("refused_observations_total", None),
            unknown_reason: report.is_none().then_some(unknown),
            declared: Declared {
                gaps: losses.gaps,
                records: losses.records,
                last_at: losses.last_at_ms.map(time::text),
            },
        }
    }
}
