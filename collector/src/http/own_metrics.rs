//! `GET /metrics`: what the collector counts about itself, as OpenMetrics text.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text;

use super::Services;
use super::error::ApiError;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn show(State(services): State<Services>) -> Result<Response, ApiError> {
    let mut body = String::new();
    text::encode(&mut body, &services.registry)
        .map_err(|error| ApiError::internal("writing the metrics", &error))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response())
}
