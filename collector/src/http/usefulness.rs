//! `/api/v1/rules/usefulness`: what became of the alerts of each rule, and what that says about it.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::error::ApiError;
use super::parameters::Parameters;
use super::{Services, prometheus, time};
use crate::ledger::{Origin, Tally, Usefulness, WEEKS, quantile_ms, usefulness};

/// So many weeks are looked back over unless the request says otherwise.
const USUAL_WEEKS: u32 = 4;

#[derive(Serialize)]
struct Answer {
    /// When the first of the weeks began.
    since: String,
    weeks: u32,
    rules: Vec<RuleView>,
}

#[derive(Serialize)]
struct RuleView {
    /// Null for alerts of others, as is the group.
    file: Option<String>,
    group: Option<String>,
    rule: String,
    fired: u64,
    told: u64,
    notified: u64,
    acknowledged: u64,
    acted_on: u64,
    silenced: u64,
    flapped: u64,
    resolved: u64,
    resolved_by_itself: u64,
    lasted_seconds: Quantiles,
    lasted_by_itself_seconds: Quantiles,
    acknowledged_after_seconds: Quantiles,
    verdict: &'static str,
    reason: String,
    /// Why the rule notifies nobody; null if it does.
    muted_reason: Option<&'static str>,
}

/// Both null if there was nothing to measure.
#[derive(Serialize)]
struct Quantiles {
    p50: Option<i64>,
    p90: Option<i64>,
}

/// `GET`: parameter `weeks`.
pub(super) async fn list(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let weeks = match parameters.get("weeks") {
        None => USUAL_WEEKS,
        Some(text) => text.parse().ok().filter(|weeks| WEEKS.contains(weeks)).ok_or_else(|| {
            let why = format!("it must be from {} to {}", WEEKS.start(), WEEKS.end());
            ApiError::parameter("weeks", why)
        })?,
    };
    let (since_ms, tallies) = services.ledger.look_back(weeks, services.clock.now_ms());
    let rules = usefulness(services.rules.snapshot().alerting(), tallies);
    let rules = rules.into_iter().map(RuleView::of).collect();
    Ok(prometheus::success(Answer { since: time::text(since_ms), weeks, rules }))
}

impl RuleView {
    fn of(one: Usefulness) -> Self {
        let (file, group, rule) = match one.origin {
            Origin::Rule { file, group, name } => (Some(file), Some(group), name),
            Origin::Outside { name } => (None, None, name),
        };
        let Tally { fired, told, notified, acknowledged, acted, silenced, .. } = one.tally;
        Self {
            file,
            group,
            rule,
            fired,
            told,
            notified,
            acknowledged,
            acted_on: acted,
            silenced,
            flapped: one.tally.flapped,
            resolved: one.tally.resolved,
            resolved_by_itself: one.tally.by_itself,
            lasted_seconds: Quantiles::of(&one.tally.lasted),
            lasted_by_itself_seconds: Quantiles::of(&one.tally.lasted_by_itself),
            acknowledged_after_seconds: Quantiles::of(&one.tally.acknowledged_after),
            verdict: one.judgement.verdict.name(),
            reason: one.judgement.reason,
            muted_reason: one.muted,
        }
    }
}

impl Quantiles {
    fn of(spread: &[u64]) -> Self {
        let seconds = |share| quantile_ms(spread, share).map(|ms| ms / 1000);
        Self { p50: seconds(0.5), p90: seconds(0.9) }
    }
}
