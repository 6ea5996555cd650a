//! `/api/v1/metadata`: what metrics are, as those who report them say.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::error::ApiError;
use super::parameters::Parameters;
use super::{Services, prometheus};
use crate::state::{MetadataByName, MetricMetadata};

#[derive(Serialize)]
struct View {
    #[serde(rename = "type")]
    kind: &'static str,
    help: String,
    unit: String,
}

/// `GET /api/v1/metadata`: parameters `metric`, `limit` (metrics), `limit_per_metric`.
pub(super) async fn list(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = number(&parameters, "limit")?;
    let limit_per_metric = number(&parameters, "limit_per_metric")?;
    let name = parameters.get("metric").map(str::to_owned);
    let known = services.ask_state(move |state| state.metadata(name.as_deref())).await?;
    let metrics = if limit < 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    // As in Prometheus, 0 is no limit here, and one of none at all above.
    let each = usize::try_from(limit_per_metric).ok().filter(|each| *each > 0);
    Ok(prometheus::success(views(known, metrics, each.unwrap_or(usize::MAX))))
}

fn views(known: MetadataByName, metrics: usize, each: usize) -> BTreeMap<String, Vec<View>> {
    let view = |MetricMetadata { kind, help, unit }| View { kind: kind.as_str(), help, unit };
    let of_one = |all: Vec<MetricMetadata>| all.into_iter().take(each).map(view).collect();
    known.into_iter().take(metrics).map(|(name, all)| (name, of_one(all))).collect()
}

/// A whole number, negative where it is not given.
fn number(parameters: &Parameters, name: &str) -> Result<i64, ApiError> {
    let Some(text) = parameters.get(name) else { return Ok(-1) };
    text.parse().map_err(|_| ApiError::bad_data(format!("{name} must be a number")))
}
