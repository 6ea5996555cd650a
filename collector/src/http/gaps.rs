//! `/api/v1/hosts/{host}/gaps`: which records of a host were lost, when and why.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::error::ApiError;
use super::{Services, hosts, prometheus, time};
use crate::state::DeclaredGap;

/// The newest so many gaps are shown.
const SHOWN: u32 = 1000;

#[derive(Serialize)]
struct GapView {
    lane: String,
    /// Not known of what was lost before it had numbers.
    records: Option<u64>,
    from: Option<String>,
    to: Option<String>,
    reason: String,
    declared_at: String,
}

/// `GET /api/v1/hosts/{host}/gaps`, the newest first.
pub(super) async fn list(
    State(services): State<Services>,
    Path(host): Path<String>,
) -> Result<Response, ApiError> {
    let id = hosts::find(&services, host).await?.record.id;
    let gaps = services.ask_state(move |state| state.gaps(id, SHOWN)).await?;
    Ok(prometheus::success(gaps.into_iter().map(view).collect::<Vec<_>>()))
}

fn view(declared: DeclaredGap) -> GapView {
    let DeclaredGap { gap, declared_at_ms, .. } = declared;
    GapView {
        lane: gap.lane.to_string(),
        records: (gap.first > 0).then(|| gap.last.saturating_sub(gap.first).saturating_add(1)),
        from: gap.from_ms.map(time::text),
        to: gap.to_ms.map(time::text),
        reason: gap.reason,
        declared_at: time::text(declared_at_ms),
    }
}
