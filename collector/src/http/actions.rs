//! `/api/v1/alerts/{fingerprint}/actions`: which actions an alert asked for, and what came of them.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::error::ApiError;
use super::parameters::{PageLengths, Parameters};
use super::{Services, acknowledgements, prometheus, time};
use crate::state::SeenRun;

const LENGTHS: PageLengths = PageLengths { usual: 100, most: 1000 };

#[derive(Serialize)]
struct Page {
    actions: Vec<RunView>,
    /// What to give as `cursor` for older ones; null on the last page.
    next_cursor: Option<String>,
}

/// One run, here and on its alert.
#[derive(Serialize)]
pub(super) struct RunView {
    action: String,
    /// Null if there is no action of that name.
    kind: Option<String>,
    asked_at: String,
    began_at: Option<String>,
    ended_at: Option<String>,
    outcome: &'static str,
    /// The code of a command or the status of an answer; null if there is none.
    status: Option<i64>,
    /// Null if nothing was said.
    answer: Option<String>,
}

/// `GET`: parameters `limit` and `cursor`; the newest first.
pub(super) async fn list(
    State(services): State<Services>,
    Path(fingerprint): Path<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.page(LENGTHS)?;
    let before = parameters
        .get("cursor")
        .map(str::parse::<i64>)
        .transpose()
        .map_err(|_| ApiError::cursor())?;
    let fingerprint = acknowledgements::parse(&fingerprint)?.to_string();
    let runs =
        services.ask_state(move |state| state.runs_for_alert(&fingerprint, before, limit)).await?;
    let is_full = runs.len() == limit as usize;
    let next_cursor = runs.last().filter(|_| is_full).map(|last| last.id.to_string());
    let actions = runs.into_iter().map(RunView::of).collect();
    Ok(prometheus::success(Page { actions, next_cursor }))
}

impl RunView {
    pub(super) fn of(run: SeenRun) -> Self {
        Self {
            action: run.action,
            kind: Some(run.kind).filter(|kind| !kind.is_empty()),
            asked_at: time::text(run.asked_at_ms),
            began_at: run.began_at_ms.map(time::text),
            ended_at: run.ended_at_ms.map(time::text),
            outcome: run.outcome.name(),
            status: run.status,
            answer: Some(run.answer).filter(|answer| !answer.is_empty()),
        }
    }
}
