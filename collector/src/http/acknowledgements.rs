//! `/api/v1/alerts/{fingerprint}/acknowledgement`: who takes care of an alert.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::body::Body;
use super::error::ApiError;
use super::{Services, prometheus, time};
use crate::auth::Caller;
use crate::notify::Fingerprint;
use crate::state::Acknowledgement;

/// So long may an author and a note be together.
const MAX_BYTES: usize = 16 * 1024;

/// Who takes care of an alert, here and on the alert.
#[derive(Serialize)]
pub(super) struct AcknowledgementView {
    author: String,
    note: String,
    made_at: String,
    expires_at: Option<String>,
}

/// What whoever takes care of an alert says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Posted {
    note: String,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

/// `POST`: somebody does; without an author it is whom the token was made for.
pub(super) async fn make(
    State(services): State<Services>,
    Extension(caller): Extension<Caller>,
    Path(fingerprint): Path<String>,
    Body(posted): Body<Posted>,
) -> Result<Response, ApiError> {
    let fingerprint = parse(&fingerprint)?;
    let by = services.by(&caller);
    let made = Acknowledgement {
        author: posted.author.filter(|author| !author.is_empty()).unwrap_or(caller.name),
        note: posted.note,
        made_at_ms: by.at_ms,
        expires_at_ms: posted.expires_at.map(|at| at.as_millisecond()),
    };
    if made.author.len() + made.note.len() > MAX_BYTES {
        return Err(ApiError::bad_data(format!("author and note have {MAX_BYTES} bytes at most")));
    }
    if !made.holds(by.at_ms) {
        return Err(ApiError::bad_data("expires_at is in the past"));
    }
    services.alerts.acknowledge(fingerprint, Some(made.clone()), by).await?;
    Ok(prometheus::success(AcknowledgementView::of(made)))
}

/// `DELETE`: nobody does any more.
pub(super) async fn withdraw(
    State(services): State<Services>,
    Extension(caller): Extension<Caller>,
    Path(fingerprint): Path<String>,
) -> Result<Response, ApiError> {
    let by = services.by(&caller);
    services.alerts.acknowledge(parse(&fingerprint)?, None, by).await?;
    Ok(prometheus::success(()))
}

/// The fingerprint of an alert, as its sixteen hexadecimal digits.
pub(super) fn parse(text: &str) -> Result<Fingerprint, ApiError> {
    let number = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
    number.map(Fingerprint).ok_or_else(|| {
        ApiError::bad_data(format!("{text:?} is not a fingerprint of sixteen hexadecimal digits"))
    })
}

impl AcknowledgementView {
    pub(super) fn of(made: Acknowledgement) -> Self {
        Self {
            author: made.author,
            note: made.note,
            made_at: time::text(made.made_at_ms),
            expires_at: made.expires_at_ms.map(time::text),
        }
    }
}
