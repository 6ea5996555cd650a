//! What a request carries.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::bounds;
use super::error::ApiError;

/// A body of JSON, whatever kind of content it calls itself.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let reading = Bytes::from_request(request, state);
        let bytes = bounds::within_body_timeout(reading).await?.map_err(|rejection| {
            let malformed = || ApiError::bad_data(format!("the body: {}", rejection.body_text()));
            bounds::body_error(rejection.status(), malformed)
        })?;
        let read = serde_json::from_slice(&bytes);
        read.map(Self).map_err(|error| ApiError::bad_data(format!("the body: {error}")))
    }
}
