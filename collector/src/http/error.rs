//! What went wrong, as every route tells it: Prometheus' error object under its HTTP codes.
//!
//! ```json
//! {"status":"error","errorType":"bad_data","error":"invalid parameter \"time\": …"}
//! ```

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use thiserror::Error;

use crate::auth::Refusal;
use crate::query::QueryError;
use crate::state::StateError;

/// The classes of error that a client can tell apart without reading the text. The first six are
/// Prometheus'; the others are for what its API leaves to the HTTP code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The request makes no sense.
    BadData,
    /// The query was understood and could not be evaluated.
    Execution,
    /// The time or the room for it ran out.
    Timeout,
    /// The fault is ours.
    Internal,
    /// A part of the collector is not there yet.
    Unavailable,
    /// There is no such thing.
    NotFound,
    /// The request carries no valid token.
    Unauthorized,
    /// The token's scopes do not reach this far.
    Forbidden,
    /// The route exists under another method.
    MethodNotAllowed,
    /// The body exceeds [`super::MAX_BODY_BYTES`].
    TooLarge,
    /// The body is of a kind that is not understood.
    UnsupportedMedia,
    /// The body did not arrive within [`super::BODY_TIMEOUT`].
    TooSlow,
}

impl ErrorType {
    /// The HTTP status that it is answered with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// The word in the error object.
    pub fn word(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::NotFound => "not_found",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooLarge => "too_large",
            Self::UnsupportedMedia => "unsupported_media_type",
            Self::TooSlow => "too_slow",
        }
    }
}

/// An answer that says why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ApiError {
    /// Its class.
    pub kind: ErrorType,
    /// What went wrong, for people; names the parameter or the thing.
    pub message: String,
}

impl ApiError {
    /// An error of a class with its text.
    pub fn new(kind: ErrorType, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The request makes no sense.
    pub fn bad_data(message: impl Into<String>) -> Self {
        Self::new(ErrorType::BadData, message)
    }

    /// A parameter has a value that does not do, in Prometheus' words.
    pub fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {why}"))
    }

    /// A cursor is not one that a page of the list has given.
    pub fn cursor() -> Self {
        Self::parameter("cursor", "it is none that an earlier page gave")
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorType::NotFound, message)
    }

    /// The fault is ours: the cause goes to the log, and the client learns only where it was.
    pub fn internal(place: &str, cause: &dyn std::error::Error) -> Self {
        tracing::error!(place, %cause, "request failed");
        Self::new(ErrorType::Internal, format!("{place} failed; the collector's log says why"))
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let kind = match &error {
            QueryError::Timeout(_) => ErrorType::Timeout,
            QueryError::NoRange(why) => return Self::parameter("query", why),
            QueryError::Resolution(_) => ErrorType::BadData,
            QueryError::Evaluation(_) => ErrorType::Execution,
            QueryError::Store(_) => return Self::internal("reading samples", &error),
            QueryError::Stopped => ErrorType::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::State(cause) => Self::internal("looking up the token", &cause),
            Refusal::Scope { .. } => Self::new(ErrorType::Forbidden, refusal.to_string()),
            _ => Self::new(ErrorType::Unauthorized, refusal.to_string()),
        }
    }
}

impl From<StateError> for ApiError {
    fn from(cause: StateError) -> Self {
        Self::internal("reading the collector's state", &cause)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorObject<'a> {
    status: &'static str,
    error_type: &'static str,
    error: &'a str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let object =
            ErrorObject { status: "error", error_type: self.kind.word(), error: &self.message };
        let mut response = (self.kind.status(), axum::Json(object)).into_response();
        response.extensions_mut().insert(self.clone());
        if self.kind == ErrorType::Unauthorized {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
