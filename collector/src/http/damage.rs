//! `/api/v1/damage`: what was found damaged on the collector's own disk, and what is lost by it.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use upkeep_model::HostId;

use super::error::ApiError;
use super::parameters::{PageLengths, Parameters};
use super::{Services, prometheus, time};
use crate::state::FoundDamage;

const LENGTHS: PageLengths = PageLengths { usual: 100, most: 10_000 };

/// A finding as the API shows it; what cannot be told of host and time is null.
#[derive(Serialize)]
struct DamageView {
    part: &'static str,
    place: String,
    lost: String,
    host: Option<HostId>,
    from: Option<String>,
    to: Option<String>,
    found_at: String,
}

/// `GET /api/v1/damage`: parameter `limit`; the newest first.
pub(super) async fn list(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.page(LENGTHS)?;
    let found = services.ask_state(move |state| state.damage(limit)).await?;
    Ok(prometheus::success(found.into_iter().map(view).collect::<Vec<_>>()))
}

fn view(found: FoundDamage) -> DamageView {
    let FoundDamage { part, place, lost, host, from_ms, through_ms, found_at_ms } = found;
    DamageView {
        part: part.as_str(),
        place,
        lost,
        host,
        from: from_ms.map(time::text),
        to: through_ms.map(time::text),
        found_at: time::text(found_at_ms),
    }
}
