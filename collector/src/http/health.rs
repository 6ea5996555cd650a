//! Whether the collector lives, and whether it is ready: two pages that need no token.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::Services;

/// What the collector still waits for before it is of full use. Each part names itself and why it
/// is not ready, and takes that back once it is.
#[derive(Debug, Default)]
pub struct Readiness {
    reasons: Mutex<BTreeMap<&'static str, String>>,
}

impl Readiness {
    /// A part is not ready, for a reason in words for an operator.
    pub fn hold(&self, part: &'static str, reason: impl Into<String>) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.insert(part, reason.into());
    }

    /// A part is ready.
    pub fn release(&self, part: &'static str) {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    /// Why the collector is not ready, a line a part; empty if it is.
    pub fn reasons(&self) -> Vec<String> {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.iter().map(|(part, reason)| format!("{part}: {reason}")).collect()
    }
}

#[derive(Serialize)]
pub(super) struct Healthy {
    healthy: bool,
}

/// `GET /-/healthy`: answered as long as the process serves requests.
pub(super) async fn healthy() -> Json<Healthy> {
    Json(Healthy { healthy: true })
}

#[derive(Serialize)]
pub(super) struct Ready {
    ready: bool,
    reasons: Vec<String>,
}

/// `GET /-/ready`: 200 if every part is ready, else 503 with the reasons.
pub(super) async fn ready(State(services): State<Services>) -> (StatusCode, Json<Ready>) {
    let reasons = services.readiness.reasons();
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, reasons }))
}
