//! `/api/v1/query` and `/api/v1/query_range`.

use axum::extract::State;
use axum::response::Response;
use upkeep_promql::Query;

use super::error::ApiError;
use super::parameters::Parameters;
use super::{Services, prometheus};
use crate::query::{Instants, Wishes};

/// `GET|POST /api/v1/query`: parameters `query`, `time`, `timeout`, `limit`, `lookback_delta`.
pub(super) async fn instant(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.limit()?;
    let at_ms = parameters.time("time")?.unwrap_or_else(|| services.clock.now_ms());
    let wishes = wishes(&parameters)?;
    let query = parse(&parameters)?;
    let answer = services.engine.evaluate(query, Instants::At(at_ms), wishes).await?;
    Ok(prometheus::answer(answer, limit))
}

/// `GET|POST /api/v1/query_range`: the same with `start`, `end` and `step` for `time`.
pub(super) async fn range(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.limit()?;
    let start_ms = parameters.required_time("start")?;
    let end_ms = parameters.required_time("end")?;
    if end_ms < start_ms {
        let why = "end timestamp must not be before start time";
        return Err(ApiError::parameter("end", why));
    }
    let step_ms = parameters.required_duration("step")?;
    if step_ms <= 0 {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive \
                   integer";
        return Err(ApiError::parameter("step", why));
    }
    let wishes = wishes(&parameters)?;
    let query = parse(&parameters)?;
    let instants = Instants::Range { start_ms, end_ms, step_ms };
    let answer = services.engine.evaluate(query, instants, wishes).await?;
    Ok(prometheus::answer(answer, limit))
}

fn parse(parameters: &Parameters) -> Result<Query, ApiError> {
    upkeep_promql::parse(parameters.get("query").unwrap_or_default())
        .map_err(|error| ApiError::parameter("query", error))
}

fn wishes(parameters: &Parameters) -> Result<Wishes, ApiError> {
    // A lookback of zero or less is none of the request's own, as in Prometheus.
    let lookback = parameters.length("lookback_delta")?.filter(|lookback| !lookback.is_zero());
    Ok(Wishes { timeout: parameters.length("timeout")?, lookback })
}
