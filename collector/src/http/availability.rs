//! `/api/v1/hosts/{host}/availability`: when a host was up, when it was down, and when nobody knows.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use upkeep_model::{ChangeKind, HostId, METRIC_NAME, Matcher, SeriesSamples, is_stale};

use super::error::ApiError;
use super::parameters::Parameters;
use super::{Services, hosts, prometheus, time};
use crate::fleet::{
    Evidence, HostState, Interval, LostStretch, Sighting, Stop, Why, decide_availability,
};
use crate::query::Window;
use crate::state::{ChangeFilter, DeclaredGap, HostRecord, SeenChange};

const A_DAY_MS: i64 = 24 * 3_600_000;

/// The longest stretch of time that is answered for.
const LONGEST_MS: i64 = 31 * A_DAY_MS;

/// So far to either side it is looked for what tells of the stretch.
const BESIDE_MS: i64 = A_DAY_MS;

/// So many intervals are shown, the newest; the totals are of all.
const SHOWN: usize = 1_000;

/// So many gaps and stops are looked at, the newest.
const EVIDENCE: u32 = 1_000;

/// A clock that is further off says nothing about when the host was booted.
const BELIEVED_OFFSET_MS: i64 = 10 * 60_000;

/// Series that are in every observation, and the one that tells when the host was booted.
const SEEN: &str = "upkeep_agent_build_info";
const BOOTED: &str = "node_boot_time_seconds";

#[derive(Serialize)]
struct View {
    id: HostId,
    instance: String,
    start: String,
    end: String,
    intervals: Vec<IntervalView>,
    /// Whether there were more intervals, before those.
    truncated: bool,
    totals: Totals,
}

#[derive(Serialize)]
struct IntervalView {
    state: &'static str,
    start: String,
    end: String,
    seconds: f64,
    reason: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct Totals {
    up_seconds: f64,
    down_seconds: f64,
    unknown_seconds: f64,
    /// The part of the time that is known in which it was up; null where nothing is known.
    availability: Option<f64>,
}

/// `GET /api/v1/hosts/{host}/availability`: parameters `start` (a day before the end) and `end` (now).
pub(super) async fn show(
    State(services): State<Services>,
    Path(host): Path<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let now_ms = services.clock.now_ms();
    let end_ms = parameters.time("end")?.unwrap_or(now_ms).min(now_ms);
    let start_ms = parameters.time("start")?.unwrap_or(end_ms.saturating_sub(A_DAY_MS));
    if start_ms >= end_ms {
        return Err(ApiError::parameter("start", "it is not before the end, or not before now"));
    }
    if end_ms.saturating_sub(start_ms) > LONGEST_MS {
        return Err(ApiError::parameter("start", "at most 31 days are answered for at once"));
    }
    let record = hosts::find(&services, host).await?.record;
    let evidence = evidence(&services, &record, (start_ms, end_ms)).await?;
    let mut found = decide_availability(&evidence, start_ms, end_ms, now_ms);
    let totals = totals(&found);
    let first_shown = found.len().saturating_sub(SHOWN);
    let view = View {
        id: record.id,
        instance: record.instance,
        start: time::text(start_ms),
        end: time::text(end_ms),
        intervals: found.drain(first_shown..).map(interval).collect(),
        truncated: first_shown > 0,
        totals,
    };
    Ok(prometheus::success(view))
}

async fn evidence(
    services: &Services,
    record: &HostRecord,
    (start_ms, end_ms): (i64, i64),
) -> Result<Evidence, ApiError> {
    let (after_ms, through_ms) =
        (start_ms.saturating_sub(BESIDE_MS), end_ms.saturating_add(BESIDE_MS));
    let window = Window { after_ms, through_ms };
    let selectors = [SEEN, BOOTED].map(|name| vec![Matcher::equal(METRIC_NAME, name)]).to_vec();
    let mut samples =
        services.engine.samples(Some(record.id), selectors, window).await?.into_iter();
    let (seen, booted) = (samples.next().unwrap_or_default(), samples.next().unwrap_or_default());
    let is_believed = record.clock_offset_ms.unwrap_or_default().abs() <= BELIEVED_OFFSET_MS;
    let id = record.id;
    let (gaps, stops, outages) = services
        .ask_state(move |state| {
            let kinds = vec![ChangeKind::AgentStopped, ChangeKind::Shutdown];
            let (host, from_ms, to_ms) = (Some(id), Some(after_ms), Some(through_ms));
            let filter = ChangeFilter { host, kinds, from_ms, to_ms, after: None };
            let gaps = state.gaps(id, EVIDENCE)?;
            Ok((gaps, state.changes(&filter, EVIDENCE)?, state.outages(after_ms, through_ms)?))
        })
        .await?;
    let mut lost: Vec<LostStretch> = gaps.into_iter().filter_map(lost_stretch).collect();
    lost.sort_by_key(|lost| lost.from_ms);
    Ok(Evidence {
        interval_ms: record.interval_ms,
        seen: sightings(&seen, if is_believed { &booted } else { &[] }),
        lost,
        stops: stops.into_iter().rev().map(stop).collect(),
        outages,
    })
}

/// The observations, ascending; each with the boot that it saw.
fn sightings(seen: &[SeriesSamples], booted: &[SeriesSamples]) -> Vec<Sighting> {
    let mut times: Vec<i64> = samples(seen).map(|(at_ms, _)| at_ms).collect();
    times.sort_unstable();
    times.dedup();
    let mut boots: Vec<(i64, f64)> = samples(booted).collect();
    boots.sort_unstable_by_key(|(at_ms, _)| *at_ms);
    let boot_of = |at_ms: i64| {
        let found = boots.binary_search_by_key(&at_ms, |(at_ms, _)| *at_ms).ok()?;
        let (_, seconds) = *boots.get(found)?;
        #[expect(clippy::cast_possible_truncation, reason = "a time is far below 2^53 ms")]
        (seconds > 0.0 && seconds < 1e12).then_some((seconds * 1000.0) as i64)
    };
    times.into_iter().map(|at_ms| Sighting { at_ms, boot_ms: boot_of(at_ms) }).collect()
}

fn samples(series: &[SeriesSamples]) -> impl Iterator<Item = (i64, f64)> {
    let all = series.iter().flat_map(|one| one.timestamps.iter().zip(&one.values));
    all.map(|(at_ms, value)| (*at_ms, *value)).filter(|(_, value)| !is_stale(*value))
}

/// A gap of samples whose times and numbers are known.
fn lost_stretch(declared: DeclaredGap) -> Option<LostStretch> {
    let DeclaredGap { gap, .. } = declared;
    let (from_ms, to_ms) = gap.from_ms.zip(gap.to_ms)?;
    (gap.lane == upkeep_model::Lane::Samples && gap.first > 0).then(|| LostStretch {
        from_ms,
        to_ms,
        records: gap.last.saturating_sub(gap.first).saturating_add(1),
        reason: gap.reason,
    })
}

fn stop(seen: SeenChange) -> Stop {
    Stop { at_ms: seen.at_ms, is_shutdown: seen.change.kind == ChangeKind::Shutdown }
}

fn totals(found: &[Interval]) -> Totals {
    let of = |state: HostState| {
        let chosen = found.iter().filter(|one| one.state == state);
        seconds(chosen.map(|one| one.to_ms - one.from_ms).sum())
    };
    let [up, down, unknown] = [HostState::Up, HostState::Down, HostState::Unknown].map(of);
    let known = up + down;
    Totals {
        up_seconds: up,
        down_seconds: down,
        unknown_seconds: unknown,
        availability: (known > 0.0).then_some(up / known),
    }
}

fn interval(found: Interval) -> IntervalView {
    IntervalView {
        state: found.state.as_str(),
        start: time::text(found.from_ms),
        end: time::text(found.to_ms),
        seconds: seconds(found.to_ms - found.from_ms),
        reason: reason(&found.why),
    }
}

fn reason(why: &Why) -> String {
    match why {
        Why::Observed => "it was observed".to_owned(),
        Why::Lost(reason) => format!("it was observed, and the samples are lost: {reason}"),
        Why::SameBoot => "its kernel ran all the while, and it was not observed".to_owned(),
        Why::Booted(at_ms) => {
            format!("it ended without a word and was booted at {}", time::text(*at_ms))
        }
        Why::ShutDownAndBooted(from_ms, to_ms) => format!(
            "it was shut down at {} and booted at {}",
            time::text(*from_ms),
            time::text(*to_ms)
        ),
        Why::ShutDown(at_ms) => {
            format!("it was shut down at {}, and nothing came since", time::text(*at_ms))
        }
        Why::AgentStopped(at_ms) => {
            format!("its agent was stopped at {}, and nothing came since", time::text(*at_ms))
        }
        Why::CollectorAway => "the collector did not run, and nothing came later".to_owned(),
        Why::Silence => "nothing came from it".to_owned(),
        Why::NothingBefore => "nothing is known of it before".to_owned(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "stretches of time are far below 2^53 ms")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_at_all_is_zero_and_has_no_sign() {
        let text = serde_json::to_string(&totals(&[])).unwrap();
        let zero = r#""up_seconds":0.0,"down_seconds":0.0,"unknown_seconds":0.0"#;
        assert_eq!(text, format!("{{{zero},\"availability\":null}}"));
    }
}
