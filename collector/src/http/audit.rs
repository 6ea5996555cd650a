//! `/api/v1/audit`: who changed what, and what was refused.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::error::ApiError;
use super::parameters::{PageLengths, Parameters};
use super::{Services, prometheus, time};
use crate::state::AuditEntry;

const LENGTHS: PageLengths = PageLengths { usual: 100, most: 1000 };

#[derive(Serialize)]
struct Page {
    entries: Vec<EntryView>,
    /// What to give as `cursor` for older entries; null on the last page.
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct EntryView {
    id: i64,
    at: String,
    actor: String,
    action: String,
    subject: String,
    outcome: String,
    detail: String,
}

/// `GET /api/v1/audit`: parameters `limit` and `cursor`; the newest entries first.
pub(super) async fn list(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.page(LENGTHS)?;
    let before = parameters
        .get("cursor")
        .map(str::parse::<i64>)
        .transpose()
        .map_err(|_| ApiError::cursor())?;
    let entries = services.ask_state(move |state| state.audit(before, limit)).await?;
    // The first entry of all has the number 1, so a page that ends with it is the last.
    let last = entries.last().filter(|last| last.id > 1 && entries.len() == limit as usize);
    let next_cursor = last.map(|last| last.id.to_string());
    let entries = entries.into_iter().map(view).collect();
    Ok(prometheus::success(Page { entries, next_cursor }))
}

fn view(entry: AuditEntry) -> EntryView {
    let AuditEntry { id, at_ms, actor, action, subject, outcome, detail } = entry;
    EntryView { id, at: time::text(at_ms), actor, action, subject, outcome, detail }
}
