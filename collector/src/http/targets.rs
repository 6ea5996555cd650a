//! `/api/v1/targets`: the hosts as Prometheus shows what it scrapes.
//!
//! Nobody is scraped here: a host connects by itself. So a target has no address to ask, the last
//! scrape is when something last came from the host, and what is not known says so in `lastError`.

use std::collections::BTreeMap;

use axum::extract::State as Shared;
use axum::response::Response;
use serde::Serialize;
use upkeep_model::Labels;

use super::error::ApiError;
use super::hosts::{Liveness, liveness};
use super::parameters::Parameters;
use super::{Services, prometheus, time};
use crate::fleet::{HOST_JOB, Member};
use crate::state::HostRecord;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Targets {
    active_targets: Vec<Target>,
    dropped_targets: [(); 0],
    dropped_target_counts: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    discovered_labels: BTreeMap<&'static str, String>,
    labels: Labels,
    scrape_pool: &'static str,
    scrape_url: &'static str,
    global_url: &'static str,
    last_error: String,
    last_scrape: String,
    /// Seconds.
    last_scrape_duration: f64,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
}

/// `GET /api/v1/targets`: parameters `state` (`active`, `dropped` or `any`) and `scrapePool`.
pub(super) async fn list(
    Shared(services): Shared<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let state = parameters.get("state").unwrap_or("any").to_lowercase();
    let (with_active, with_dropped) = match state.as_str() {
        "any" => (true, true),
        word => (word == "active", word == "dropped"),
    };
    let of_pool = parameters.get("scrapePool").is_none_or(|pool| pool == HOST_JOB);
    let active_targets = if with_active && of_pool { active(&services).await? } else { Vec::new() };
    let dropped = (with_dropped && of_pool).then_some((HOST_JOB, 0));
    let dropped_target_counts = dropped.into_iter().collect();
    let targets = Targets { active_targets, dropped_targets: [], dropped_target_counts };
    Ok(prometheus::success(targets))
}

/// The hosts that somebody waits for; who was shut out is none of them.
async fn active(services: &Services) -> Result<Vec<Target>, ApiError> {
    let hosts = services.ask_state(crate::state::State::hosts).await?;
    let now_ms = services.clock.now_ms();
    let hosts = hosts.into_iter().filter(|host| host.revoked_at_ms.is_none());
    // Who was enrolled by another process a moment ago is not in memory yet, and is no target either.
    let members = hosts.filter_map(|host| Some((services.fleet.member(host.id)?, host)));
    Ok(members.map(|(member, host)| target(&member, host, now_ms)).collect())
}

fn target(member: &Member, host: HostRecord, now_ms: i64) -> Target {
    let heard_ms = member.last_heard_ms();
    let seen_ms = heard_ms.or(host.last_seen_ms);
    let (health, last_error) = match liveness(member.verdict(now_ms), heard_ms.is_some(), seen_ms) {
        Liveness::Up => ("up", String::new()),
        Liveness::Down(reason) => ("down", reason),
        Liveness::Unknown(reason) => ("unknown", reason),
    };
    let interval = time::duration(host.interval_ms);
    Target {
        discovered_labels: BTreeMap::from([
            ("__address__", host.instance),
            ("__meta_upkeep_host", host.id.to_string()),
            ("__meta_upkeep_hostname", host.hostname),
            ("job", HOST_JOB.to_owned()),
        ]),
        labels: member.complete(Labels::default()),
        scrape_pool: HOST_JOB,
        scrape_url: "",
        global_url: "",
        last_error,
        last_scrape: time::text_or_zero(seen_ms),
        last_scrape_duration: 0.0,
        health,
        scrape_timeout: interval.clone(),
        scrape_interval: interval,
    }
}
