//! `POST /api/v1/write`: Prometheus' remote write, version 1.
//!
//! A sender tries again as long as it is told 5xx or 429. So what will never be stored is 400, whatever
//! the reason, and 503 says that the store takes nothing at the moment.

use axum::Extension;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Services;
use super::bounds::within_body_timeout;
use super::error::{ApiError, ErrorType};
use crate::auth::Caller;
use crate::remote::{MAX_PACKED_BYTES, WriteError, check_headers};

/// When a sender that was told 503 may try again, in seconds.
const RETRY_AFTER: &str = "5";

pub(super) async fn take(
    State(services): State<Services>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    match write(&services, &caller, request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            let is_passing = error.kind == ErrorType::Unavailable;
            let mut response = error.into_response();
            if is_passing {
                let after = HeaderValue::from_static(RETRY_AFTER);
                response.headers_mut().insert(header::RETRY_AFTER, after);
            }
            response
        }
    }
}

async fn write(services: &Services, caller: &Caller, request: Request) -> Result<(), ApiError> {
    let headers = request.headers();
    check_headers(headers)
        .map_err(|fault| ApiError::new(ErrorType::UnsupportedMedia, fault.to_string()))?;
    let announced = announced(headers);
    if announced.is_some_and(|length| length > MAX_PACKED_BYTES) {
        return Err(too_long());
    }
    let room = services.write_in.room(announced).await?;
    let reading = to_bytes(request.into_body(), MAX_PACKED_BYTES);
    let body = within_body_timeout(reading).await?.map_err(|error| {
        let is_too_long = std::error::Error::source(&error)
            .is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>());
        if is_too_long { too_long() } else { ApiError::bad_data(format!("the body: {error}")) }
    })?;
    let now_ms = services.clock.now_ms();
    services.write_in.take(&caller.token, body, now_ms).await?;
    drop(room);
    Ok(())
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_long() -> ApiError {
    ApiError::bad_data(format!("the body is longer than {MAX_PACKED_BYTES} bytes"))
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let kind = if error.is_passing() { ErrorType::Unavailable } else { ErrorType::BadData };
        if error.is_passing() {
            tracing::warn!(%error, "remote write");
        }
        Self::new(kind, error.to_string())
    }
}
