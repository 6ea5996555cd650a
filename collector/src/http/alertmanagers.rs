//! `/api/v1/alertmanagers`: whom alerts are sent on to, in Prometheus' JSON and a little more.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::{Services, prometheus};
use crate::forward::TargetStatus;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alertmanagers {
    active_alertmanagers: Vec<AlertmanagerView>,
    /// Always empty: those that are in the configuration are used.
    dropped_alertmanagers: [AlertmanagerView; 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertmanagerView {
    url: String,
    /// Ours: why the last request failed; empty if it did not.
    last_error: String,
    /// Ours: how many alerts wait, were sent, and were left out.
    waiting: usize,
    sent: u64,
    dropped: u64,
}

/// `GET /api/v1/alertmanagers`.
pub(super) async fn list(State(services): State<Services>) -> Response {
    let view = |status: TargetStatus| AlertmanagerView {
        url: status.url,
        last_error: status.last_error.unwrap_or_default(),
        waiting: status.waiting,
        sent: status.sent,
        dropped: status.dropped,
    };
    let active_alertmanagers = services.alertmanagers.statuses().into_iter().map(view).collect();
    prometheus::success(Alertmanagers { active_alertmanagers, dropped_alertmanagers: [] })
}
