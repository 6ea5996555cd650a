//! `/-/reload`: has the rule files read again.

use axum::extract::State;
use axum::response::Response;

use super::error::{ApiError, ErrorType};
use super::{Services, prometheus};

/// `POST /-/reload`: 200 with what became of the rule groups, or 500 with everything that is wrong with
/// the files; then the rules stay as they were.
pub(super) async fn reload(State(services): State<Services>) -> Result<Response, ApiError> {
    match services.reloader.reload().await {
        Ok(reloaded) => Ok(prometheus::success(reloaded)),
        Err(error) => {
            let why = format!("the rules stay as they were: {error}");
            Err(ApiError::new(ErrorType::Internal, why))
        }
    }
}
