//! `/api/v1/format_query` and `/api/v1/parse_query`: expressions without their values.

use axum::response::Response;

use super::error::ApiError;
use super::parameters::Parameters;
use super::prometheus;

/// `GET|POST /api/v1/format_query`: the parameter `query`, laid out for people.
pub(super) async fn format(parameters: Parameters) -> Result<Response, ApiError> {
    let formatted = upkeep_promql::format(text(&parameters)).map_err(refused)?;
    Ok(prometheus::success(formatted))
}

/// `GET|POST /api/v1/parse_query`: the parameter `query` as a tree.
pub(super) async fn parse(parameters: Parameters) -> Result<Response, ApiError> {
    let tree = upkeep_promql::parse_tree(text(&parameters)).map_err(refused)?;
    Ok(prometheus::success(tree))
}

fn text(parameters: &Parameters) -> &str {
    parameters.get("query").unwrap_or_default()
}

fn refused(error: upkeep_promql::ParseError) -> ApiError {
    ApiError::parameter("query", error)
}
