//! `/api/v1/hosts/{host}/gaps`: which records of a host were lost, when and why; on its way here, or
//! later by damage to the collector's disk.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use upkeep_model::Lane;

use super::error::ApiError;
use super::{Services, hosts, prometheus, time};
use crate::state::{DeclaredGap, FoundDamage};

/// The newest so many gaps are shown.
const SHOWN: u32 = 1000;

#[derive(Serialize)]
struct GapView {
    lane: String,
    /// How many they were; not known of what was lost before it had numbers, or from the disk.
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
    let record = hosts::find(&services, host).await?.record;
    let (id, since_ms) = (record.id, record.enrolled_at_ms);
    let found = services.ask_state(move |state| {
        Ok((state.gaps(id, SHOWN)?, state.damage_of_samples(id, since_ms, SHOWN)?))
    });
    let (gaps, damage) = found.await?;
    Ok(prometheus::success(views(gaps, damage)))
}

/// Both kinds in one list, the newest first.
fn views(gaps: Vec<DeclaredGap>, damage: Vec<FoundDamage>) -> Vec<GapView> {
    let gaps = gaps.into_iter().map(|gap| (gap.declared_at_ms, view(gap)));
    let damage = damage.into_iter().map(|one| (one.found_at_ms, view_of_damage(one)));
    let mut all: Vec<_> = gaps.chain(damage).collect();
    all.sort_by_key(|(at_ms, _)| std::cmp::Reverse(*at_ms));
    all.truncate(SHOWN as usize);
    all.into_iter().map(|(_, view)| view).collect()
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

fn view_of_damage(damage: FoundDamage) -> GapView {
    let FoundDamage { place, lost, host, from_ms, through_ms, found_at_ms, .. } = damage;
    let whose = if host.is_some() { "" } else { ", which may be of any host" };
    GapView {
        lane: Lane::Samples.to_string(),
        records: None,
        from: from_ms.map(time::text),
        to: through_ms.map(time::text),
        reason: format!("the collector's disk is damaged: {place}: {lost}{whose}"),
        declared_at: time::text(found_at_ms),
    }
}
