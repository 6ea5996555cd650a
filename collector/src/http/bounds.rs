//! What holds for every request: a bound on the size of its body, that a long answer is compressed, and
//! that a bug in a handler is an error object for the client and a line in the log, not a broken
//! connection.

use std::any::Any;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

use super::error::{ApiError, ErrorType};

/// No request's body may be longer.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A request's body has to arrive within this time, once its head has.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for a body to be read, for as long as it may take.
pub(super) async fn within_body_timeout<T>(
    reading: impl Future<Output = T>,
) -> Result<T, ApiError> {
    tokio::time::timeout(BODY_TIMEOUT, reading).await.map_err(|_| {
        let message = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
        ApiError::new(ErrorType::TooSlow, message)
    })
}

/// The bound on what is read of a body whose length was not announced.
pub(super) fn body_limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(MAX_BODY_BYTES)
}

/// Refuses a body that announces itself as too large before any of it is read.
pub(super) async fn refuse_large_body(request: Request, next: Next) -> Response {
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let length = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    match length {
        Some(length) if length > MAX_BODY_BYTES => too_large().into_response(),
        _ => next.run(request).await,
    }
}

/// The error for a body that could not be read, by the status that the reader gave.
pub(super) fn body_error(status: StatusCode, otherwise: impl FnOnce() -> ApiError) -> ApiError {
    if status == StatusCode::PAYLOAD_TOO_LARGE { too_large() } else { otherwise() }
}

fn too_large() -> ApiError {
    let message = format!("the body is longer than {MAX_BODY_BYTES} bytes");
    ApiError::new(ErrorType::TooLarge, message)
}

/// Answers of fewer bytes are not worth compressing: they fit into a packet as they are.
const COMPRESSED_FROM_BYTES: u64 = 1024;

/// Compresses answers for who accepts gzip, as they are sent and with little work. What has no length
/// is long.
pub(super) fn compression() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(COMPRESSED_FROM_BYTES))
}

type PanicAnswer = fn(Box<dyn Any + Send>) -> Response<Body>;

/// Turns a panic into an answer.
pub(super) fn catch_panic() -> CatchPanicLayer<PanicAnswer> {
    CatchPanicLayer::custom(panicked)
}

fn panicked(cause: Box<dyn Any + Send>) -> Response<Body> {
    let text = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("of unknown cause");
    tracing::error!(panic = text, "a request handler panicked");
    let message = "the request met a fault in the collector; its log says more";
    ApiError::new(ErrorType::Internal, message).into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_object() {
        let broken = async || -> StatusCode { panic!("broken on purpose") };
        let router = Router::new().route("/", get(broken)).layer(catch_panic());
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), MAX_BODY_BYTES).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["errorType"], "internal");
        assert!(!body.to_string().contains("on purpose"));
    }
}
