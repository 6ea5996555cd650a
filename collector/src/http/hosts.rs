//! `/api/v1/hosts` and `/api/v1/hosts/{host}`: the fleet and how each host stands.

use std::collections::BTreeMap;

use axum::extract::{Path, State as Shared};
use axum::response::Response;
use serde::Serialize;
use upkeep_model::{HostFacts, HostId};

use super::buffered::{self, BufferView};
use super::error::ApiError;
use super::parameters::{PageLengths, Parameters};
use super::patches::{RebootView, UpdatesSummary};
use super::{Services, prometheus, time};
use crate::fleet::{Fleet, Verdict};
use crate::state::{HostRecord, HostUpdates, LossSummary, State, StateError};

const LENGTHS: PageLengths = PageLengths { usual: 100, most: 1000 };

/// How far back the report of an agent is looked for, in milliseconds and in words: in a list, and of one
/// host.
const LISTED_REPORT: (i64, &str) = (10 * 60_000, "10 minutes");
const SHOWN_REPORT: (i64, &str) = (24 * 3_600_000, "24 hours");

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
    clock_synchronized: Option<bool>,
    facts: Option<HostFacts>,
    updates: UpdatesSummary,
    reboot: RebootView,
    buffer: BufferView,
}

/// `GET /api/v1/hosts`: parameters `limit`, `cursor`, and any number of `tag=NAME` or
/// `tag=NAME=VALUE`, all of which a host must have.
pub(super) async fn list(
    Shared(services): Shared<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.page(LENGTHS)? as usize;
    let cursor = parameters.get("cursor").unwrap_or_default().to_owned();
    let tags: Vec<TagFilter> = parameters.all("tag").map(TagFilter::parse).collect();
    let found = services.ask_state(move |state| page(state, cursor, limit, &tags)).await?;
    let (records, next_cursor) = found;
    let now_ms = services.clock.now_ms();
    let instances = records.iter().map(|host| host.record.instance.as_str());
    let reports = buffered::reports(&services, instances, LISTED_REPORT.0).await?;
    let view_of = |host: Found| {
        let report = reports.get(&host.record.instance);
        let buffer = BufferView::of(report, host.losses, LISTED_REPORT.1);
        view(host, buffer, &services.fleet, now_ms)
    };
    let hosts = records.into_iter().map(view_of).collect();
    Ok(prometheus::success(Page { hosts, next_cursor }))
}

/// `GET /api/v1/hosts/{host}`: one host by its id or instance.
pub(super) async fn show(
    Shared(services): Shared<Services>,
    Path(host): Path<String>,
) -> Result<Response, ApiError> {
    let found = find(&services, host).await?;
    let report = buffered::report_of(&services, found.record.id, SHOWN_REPORT.0).await?;
    let buffer = BufferView::of(report.as_ref(), found.losses, SHOWN_REPORT.1);
    Ok(prometheus::success(view(found, buffer, &services.fleet, services.clock.now_ms())))
}

/// A host with what it last said about its patches.
pub(super) struct Found {
    pub(super) record: HostRecord,
    pub(super) updates: Option<HostUpdates>,
    losses: LossSummary,
}

/// The host of that id or instance.
pub(super) async fn find(services: &Services, name: String) -> Result<Found, ApiError> {
    let missing = ApiError::not_found(format!("no host {name:?}"));
    let found = services.ask_state(move |state| {
        state.find_host(&name)?.map(|record| with_updates(state, record)).transpose()
    });
    found.await?.ok_or(missing)
}

/// The host that the parameter `host` (id or instance) limits a list to; `None` for all.
pub(super) async fn chosen(
    services: &Services,
    parameters: &Parameters,
) -> Result<Option<HostId>, ApiError> {
    let Some(name) = parameters.get("host") else { return Ok(None) };
    Ok(Some(find(services, name.to_owned()).await?.record.id))
}

fn with_updates(state: &State, record: HostRecord) -> Result<Found, StateError> {
    let (updates, losses) = (state.updates(record.id)?, state.losses(record.id)?);
    Ok(Found { record, updates, losses })
}

/// Up to `limit` hosts after the cursor that have the tags, and the cursor for those after them.
fn page(
    state: &State,
    mut cursor: String,
    limit: usize,
    tags: &[TagFilter],
) -> Result<(Vec<Found>, Option<String>), StateError> {
    let mut found: Vec<Found> = Vec::new();
    // With one more than a page, one look-up tells whether the page is the last.
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
fn view(host: Found, buffer: BufferView, fleet: &Fleet, now_ms: i64) -> HostView {
    let Found { record, updates, losses: _ } = host;
    let member = fleet.member(record.id);
    let heard_ms = member.as_ref().and_then(|member| member.last_heard_ms());
    let last_seen_ms = heard_ms.or(record.last_seen_ms);
    // Who was enrolled by another process a moment ago is not in memory yet.
    let verdict = member.map_or(Verdict::Heard, |member| member.verdict(now_ms));
    let (up, up_reason) = match liveness(verdict, heard_ms.is_some(), last_seen_ms) {
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
        last_seen: last_seen_ms.map(time::text),
        enrolled_at: time::text(record.enrolled_at_ms),
        agent_version: record.agent_version,
        revoked: record.revoked_at_ms.is_some(),
        revoked_at: record.revoked_at_ms.map(time::text),
        clock_offset_seconds: record.clock_offset_ms.map(seconds),
        clock_synchronized: record.clock_synchronized,
        facts: record.facts,
        updates: UpdatesSummary::of(updates.as_ref()),
        reboot: RebootView::of(updates.as_ref()),
        buffer,
    }
}

/// Whether a host is there, with the reason where it is not known to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    Up,
    Down(String),
    Unknown(String),
}

/// What can be said of a host by the fleet's verdict. `heard` is whether something came from it
/// since this collector started; before that, nobody is missed, and nobody is known to be there.
pub(super) fn liveness(verdict: Verdict, heard: bool, last_seen_ms: Option<i64>) -> Liveness {
    let seen = last_seen_ms.map(time::text);
    match (verdict, seen) {
        (Verdict::NotExpected, _) => {
            Liveness::Unknown("it was revoked, so nothing is taken from it".to_owned())
        }
        (Verdict::Silent { .. }, Some(seen)) => {
            Liveness::Down(format!("nothing came from it since {seen}"))
        }
        (Verdict::Silent { .. }, None) => Liveness::Down("nothing ever came from it".to_owned()),
        (Verdict::Heard, _) if heard => Liveness::Up,
        (Verdict::Heard, Some(seen)) => Liveness::Unknown(format!(
            "the collector started just now and has not heard from it; it was last seen {seen}"
        )),
        (Verdict::Heard, None) => Liveness::Unknown("it has not connected yet".to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_up_only_if_it_was_heard() {
        let silent = Verdict::Silent { for_ms: 1 };
        let check = |verdict, heard, seen, up: Option<bool>, reason: &str| {
            let found = match liveness(verdict, heard, seen) {
                Liveness::Up => (Some(true), String::new()),
                Liveness::Down(reason) => (Some(false), reason),
                Liveness::Unknown(reason) => (None, reason),
            };
            assert_eq!(found, (up, reason.to_owned()));
        };
        check(Verdict::Heard, true, Some(0), Some(true), "");
        check(Verdict::Heard, false, None, None, "it has not connected yet");
        check(
            Verdict::Heard,
            false,
            Some(0),
            None,
            "the collector started just now and has not heard from it; it was last seen \
             1970-01-01T00:00:00Z",
        );
        check(
            silent,
            true,
            Some(0),
            Some(false),
            "nothing came from it since 1970-01-01T00:00:00Z",
        );
        check(silent, false, None, Some(false), "nothing ever came from it");
        let revoked = "it was revoked, so nothing is taken from it";
        check(Verdict::NotExpected, true, Some(0), None, revoked);
    }
}
