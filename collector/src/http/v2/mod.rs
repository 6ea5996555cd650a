//! `/api/v2/`: Alertmanager's API, so that its tools and dashboards find what they know, and whoever
//! sends alerts to it can send them here.
//!
//! Errors are bare JSON strings here, see [`bare`].

pub(super) mod alerts;
mod filter;
pub(super) mod groups;
mod moment;
pub(super) mod silences;
pub(super) mod status;

use axum::response::{IntoResponse, Response};

use super::error::{ApiError, ErrorType};
use crate::alert::{DeskError, SilenceError};

/// What all paths of this API begin with.
pub(super) const PREFIX: &str = "/api/v2/";

/// Turns an error object into the bare string that Alertmanager answers with, under the same code.
pub(super) async fn bare(mut response: Response) -> Response {
    let Some(error) = response.extensions_mut().remove::<ApiError>() else { return response };
    let mut told = axum::Json(error.message).into_response();
    *told.status_mut() = response.status();
    for (name, value) in response.headers() {
        if !told.headers().contains_key(name) {
            told.headers_mut().insert(name, value.clone());
        }
    }
    told
}

impl From<DeskError> for ApiError {
    fn from(error: DeskError) -> Self {
        let kind = match &error {
            DeskError::Stopped | DeskError::Busy => ErrorType::Unavailable,
            DeskError::NotStored => ErrorType::Internal,
            DeskError::NoSuchAlert(_) | DeskError::Silence(SilenceError::NotFound(_)) => {
                ErrorType::NotFound
            }
            // Alertmanager's own clients know no other code for it.
            DeskError::Silence(SilenceError::AlreadyExpired(_)) => ErrorType::Internal,
            DeskError::Silence(_) => ErrorType::BadData,
        };
        Self::new(kind, error.to_string())
    }
}
