//! `/api/v1/events`: what changed on the hosts, for markers on graphs and for "what changed before
//! this".

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use upkeep_model::{Change, ChangeKind, HostId};

use super::error::ApiError;
use super::parameters::{self, PageLengths, Parameters};
use super::{Services, hosts, prometheus, time};
use crate::state::{ChangeCursor, ChangeFilter, SeenChange};

const LENGTHS: PageLengths = PageLengths { usual: 100, most: 1000 };

#[derive(Serialize)]
struct Page {
    events: Vec<EventView>,
    /// What to give as `cursor` for older events; null on the last page.
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct EventView {
    id: i64,
    host: HostId,
    instance: String,
    at: String,
    received_at: String,
    kind: ChangeKind,
    subject: String,
    before: String,
    after: String,
}

/// `GET /api/v1/events`: parameters `host` (id or instance), any number of `kind`, `start`, `end`,
/// `limit` and `cursor`; the newest events first.
pub(super) async fn list(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.page(LENGTHS)?;
    let host = hosts::chosen(&services, &parameters).await?;
    let filter = ChangeFilter {
        host,
        kinds: parameters.all("kind").map(kind).collect::<Result<_, _>>()?,
        from_ms: parameters.time("start")?,
        to_ms: parameters.time("end")?,
        after: parameters.get("cursor").map(cursor).transpose()?,
    };
    // One more than a page tells whether there is another.
    let found = services.ask_state(move |state| state.changes(&filter, limit.saturating_add(1)));
    let mut changes = found.await?;
    let next_cursor = parameters::cut(&mut changes, limit).map(cursor_text);
    let events = changes.into_iter().map(view).collect();
    Ok(prometheus::success(Page { events, next_cursor }))
}

fn kind(word: &str) -> Result<ChangeKind, ApiError> {
    ChangeKind::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| {
        let known = ChangeKind::ALL.map(ChangeKind::as_str).join(", ");
        ApiError::parameter("kind", format!("{word:?} is none of {known}"))
    })
}

fn cursor_text(last: &SeenChange) -> String {
    format!("{}.{}", last.at_ms, last.id)
}

fn cursor(text: &str) -> Result<ChangeCursor, ApiError> {
    let parts = text.split_once('.');
    let numbers = parts.and_then(|(at_ms, id)| Some((at_ms.parse().ok()?, id.parse().ok()?)));
    numbers.map(|(at_ms, id)| ChangeCursor { at_ms, id }).ok_or_else(ApiError::cursor)
}

fn view(seen: SeenChange) -> EventView {
    let SeenChange { id, host, instance, at_ms, received_at_ms, change } = seen;
    let Change { id: _, kind, subject, before, after } = change;
    EventView {
        id,
        host,
        instance,
        at: time::text(at_ms),
        received_at: time::text(received_at_ms),
        kind,
        subject,
        before,
        after,
    }
}
