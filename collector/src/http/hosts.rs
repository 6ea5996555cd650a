//! `/api/v1/hosts` and `/api/v1/hosts/{host}`: the fleet and how each host stands.

use std::collections::BTreeMap;

use axum::extract::{Path, State as Shared};
use axum::response::Response;
use serde::Serialize;
use upkeep_model::{HostFacts, HostId};

use super::error::ApiError;
use super::parameters::Parameters;
use super::patches::{RebootView, UpdatesSummary};
use super::{Services, prometheus, time};
use crate::state::{HostRecord, HostUpdates, State, StateError};

/// So many hosts a page where the request does not say.
const DEFAULT_LIMIT: usize = 100;

/// The most hosts a page.
const MAX_LIMIT: usize = 1000;

/// A host counts as down once it has missed so many of its intervals.
const MISSED_INTERVALS: i64 = 3;

/// When a host was last seen is written down with this delay at most, in milliseconds.
const SEEN_PRECISION_MS: i64 = 10_000;

/// One page of hosts, in the order of their instances.
#[derive(Serialize)]
struct Page {
    hosts: Vec<HostView>,
    /// What to give as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// A host as the API shows it. What is not known is null, with the reason beside it.
#[derive(Serialize)]
struct HostView {
    id: HostId,
    instance: String,
    hostname: String,
    tags: BTreeMap<String, String>,
    up: Option<bool>,
    up_reason: Option<String>,
    last_seen: Option<String>,
    enrolled_at: String,
    agent_version: String,
    revoked: bool,
    revoked_at: Option<String>,
    clock_offset_seconds: Option<f64>,
    facts: Option<HostFacts>,
    updates: UpdatesSummary,
    reboot: RebootView,
}

/// `GET /api/v1/hosts`: parameters `limit`, `cursor`, and any number of `tag=NAME` or
/// `tag=NAME=VALUE`, all of which a host must have.
pub(super) async fn list(
    Shared(services): Shared<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.limit()?.unwrap_or(DEFAULT_LIMIT);
    if limit > MAX_LIMIT {
        return Err(ApiError::parameter("limit", format!("a page has at most {MAX_LIMIT} hosts")));
    }
    let cursor = parameters.get("cursor").unwrap_or_default().to_owned();
    let tags: Vec<TagFilter> = parameters.all("tag").map(TagFilter::parse).collect();
    let found = services.ask_state(move |state| page(state, cursor, limit, &tags)).await?;
    let (records, next_cursor) = found;
    let now_ms = services.clock.now_ms();
    let hosts = records.into_iter().map(|host| view(host, now_ms)).collect();
    Ok(prometheus::success(Page { hosts, next_cursor }))
}

/// `GET /api/v1/hosts/{host}`: one host by its id or instance.
pub(super) async fn show(
    Shared(services): Shared<Services>,
    Path(host): Path<String>,
) -> Result<Response, ApiError> {
    let found = find(&services, host).await?;
    Ok(prometheus::success(view(found, services.clock.now_ms())))
}

/// A host with what it last said about its patches.
pub(super) struct Found {
    pub(super) record: HostRecord,
    pub(super) updates: Option<HostUpdates>,
}

/// The host of that id or instance.
pub(super) async fn find(services: &Services, name: String) -> Result<Found, ApiError> {
    let missing = ApiError::not_found(format!("no host {name:?}"));
    let found = services.ask_state(move |state| {
        state.find_host(&name)?.map(|record| with_updates(state, record)).transpose()
    });
    found.await?.ok_or(missing)
}

fn with_updates(state: &State, record: HostRecord) -> Result<Found, StateError> {
    let updates = state.updates(record.id)?;
    Ok(Found { record, updates })
}

/// Up to `limit` hosts after the cursor that have the tags, and the cursor for those after them.
fn page(
    state: &State,
    mut cursor: String,
    limit: usize,
    tags: &[TagFilter],
) -> Result<(Vec<Found>, Option<String>), StateError> {
    let mut found: Vec<Found> = Vec::new();
    // One more than a page is looked for, so that the last page knows that it is the last.
    let batch = u32::try_from(limit.saturating_add(1)).unwrap_or(u32::MAX);
    loop {
        let records = state.hosts_after(&cursor, batch)?;
        let Some(last) = records.last() else { return Ok((found, None)) };
        last.instance.clone_into(&mut cursor);
        for record in records.into_iter().filter(|record| has_tags(record, tags)) {
            if found.len() == limit {
                let next = found.last().map(|host| host.record.instance.clone());
                return Ok((found, next));
            }
            found.push(with_updates(state, record)?);
        }
    }
}

/// A host as the API shows it at `now_ms`.
fn view(host: Found, now_ms: i64) -> HostView {
    let Found { record, updates } = host;
    let (up, up_reason) = match liveness(&record, now_ms) {
        Liveness::Up => (Some(true), None),
        Liveness::Down(reason) => (Some(false), Some(reason)),
        Liveness::Unknown(reason) => (None, Some(reason)),
    };
    HostView {
        id: record.id,
        instance: record.instance,
        hostname: record.hostname,
        tags: record.tags,
        up,
        up_reason,
        last_seen: record.last_seen_ms.map(time::text),
        enrolled_at: time::text(record.enrolled_at_ms),
        agent_version: record.agent_version,
        revoked: record.revoked_at_ms.is_some(),
        revoked_at: record.revoked_at_ms.map(time::text),
        clock_offset_seconds: record.clock_offset_ms.map(seconds),
        facts: record.facts,
        updates: UpdatesSummary::of(updates.as_ref()),
        reboot: RebootView::of(updates.as_ref()),
    }
}

/// Whether a host is there.
#[derive(Debug, PartialEq, Eq)]
enum Liveness {
    Up,
    Down(String),
    Unknown(String),
}

fn liveness(host: &HostRecord, now_ms: i64) -> Liveness {
    if host.revoked_at_ms.is_some() {
        return Liveness::Unknown("it was revoked, so nothing is taken from it".to_owned());
    }
    let Some(seen_ms) = host.last_seen_ms else {
        return Liveness::Unknown("it has not connected yet".to_owned());
    };
    if now_ms - seen_ms <= i64::from(host.interval_ms) * MISSED_INTERVALS + SEEN_PRECISION_MS {
        Liveness::Up
    } else {
        Liveness::Down(format!("nothing came from it since {}", time::text(seen_ms)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "offsets of clocks are far below 2^53 ms")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

fn has_tags(host: &HostRecord, tags: &[TagFilter]) -> bool {
    tags.iter().all(|tag| {
        host.tags
            .get(&tag.name)
            .is_some_and(|value| tag.value.as_ref().is_none_or(|of| of == value))
    })
}

#[derive(Debug, PartialEq, Eq)]
struct TagFilter {
    name: String,
    value: Option<String>,
}

impl TagFilter {
    fn parse(text: &str) -> Self {
        match text.split_once('=') {
            Some((name, value)) => Self { name: name.to_owned(), value: Some(value.to_owned()) },
            None => Self { name: text.to_owned(), value: None },
        }
    }
}
