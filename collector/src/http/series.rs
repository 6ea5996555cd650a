//! `/api/v1/series`.

use axum::extract::State;
use axum::response::Response;
use upkeep_model::Matcher;

use super::error::ApiError;
use super::parameters::{MAX_TIME_MS, MIN_TIME_MS, Parameters};
use super::{Services, prometheus};
use crate::query::{LookUp, Window};

/// `GET|POST /api/v1/series`: parameters `match[]` (at least one), `start`, `end`, `limit`, `timeout`.
pub(super) async fn list(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.limit()?;
    let look_up = look_up(&parameters)?;
    if look_up.selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    Ok(prometheus::list(services.engine.series(look_up).await?, limit))
}

/// What a request asks about series.
pub(super) fn look_up(parameters: &Parameters) -> Result<LookUp, ApiError> {
    Ok(LookUp {
        selectors: selectors(parameters)?,
        window: window(parameters)?,
        timeout: parameters.length("timeout")?,
    })
}

/// The selectors of a request, one a `match[]`.
pub(super) fn selectors(parameters: &Parameters) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let parse = |text| {
        upkeep_promql::parse_selector(text).map_err(|error| ApiError::parameter("match[]", error))
    };
    parameters.all("match[]").map(parse).collect()
}

/// The stretch of time of a request; without `start` and `end` all of it.
fn window(parameters: &Parameters) -> Result<Window, ApiError> {
    let start_ms = parameters.time("start")?.unwrap_or(MIN_TIME_MS);
    let through_ms = parameters.time("end")?.unwrap_or(MAX_TIME_MS);
    if through_ms < start_ms {
        let why = "end timestamp must not be before start timestamp";
        return Err(ApiError::parameter("end", why));
    }
    Ok(Window { after_ms: start_ms - 1, through_ms })
}
