//! `/-/reload`: has rules and routing read again.

use axum::extract::State;
use axum::response::Response;

use super::error::{ApiError, ErrorType};
use super::{Services, prometheus};
use crate::reload::ReloadError;

/// `POST /-/reload`: 200 with what became of the rule groups and whether the routing file changed, or 500
/// with everything that is wrong with the files; then all stays as it was.
pub(super) async fn reload(State(services): State<Services>) -> Result<Response, ApiError> {
    match services.reloader.reload().await {
        Ok(reloaded) => Ok(prometheus::success(reloaded)),
        Err(error) => {
            let why = match error {
                ReloadError::Desk(_) => error.to_string(),
                _ => format!("rules and routing stay as they were: {error}"),
            };
            Err(ApiError::new(ErrorType::Internal, why))
        }
    }
}
