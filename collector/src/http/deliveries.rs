//! `/api/v1/alerts/{fingerprint}/deliveries`: who was told of an alert, when, and what came of it.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::error::ApiError;
use super::parameters::{PageLengths, Parameters};
use super::{Services, acknowledgements, prometheus, time};
use crate::state::SeenDelivery;

const LENGTHS: PageLengths = PageLengths { usual: 100, most: 1000 };

#[derive(Serialize)]
struct Page {
    deliveries: Vec<DeliveryView>,
    /// What to give as `cursor` for older ones; null on the last page.
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct DeliveryView {
    first_at: String,
    last_at: String,
    tries: u64,
    receiver: String,
    channel: u64,
    kind: String,
    group_key: String,
    reason: String,
    outcome: &'static str,
    /// Null if nothing was said.
    answer: Option<String>,
    alerts: u64,
    status: &'static str,
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
    let deliveries =
        services.ask_state(move |state| state.deliveries(&fingerprint, before, limit)).await?;
    let is_full = deliveries.len() == limit as usize;
    let next_cursor = deliveries.last().filter(|_| is_full).map(|last| last.id.to_string());
    let deliveries = deliveries.into_iter().map(view).collect();
    Ok(prometheus::success(Page { deliveries, next_cursor }))
}

fn view(delivery: SeenDelivery) -> DeliveryView {
    DeliveryView {
        first_at: time::text(delivery.first_at_ms),
        last_at: time::text(delivery.last_at_ms),
        tries: delivery.tries,
        receiver: delivery.receiver,
        channel: delivery.channel,
        kind: delivery.kind,
        group_key: delivery.group,
        reason: delivery.reason,
        outcome: delivery.outcome.name(),
        answer: Some(delivery.answer).filter(|answer| !answer.is_empty()),
        alerts: delivery.alerts,
        status: if delivery.fires { "firing" } else { "resolved" },
    }
}
