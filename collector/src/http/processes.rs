//! `/api/v1/hosts/{host}/processes`: which processes take the most of a host.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use upkeep_model::{HostId, ProcessReport, ProcessUsage};

use super::error::ApiError;
use super::{Services, hosts, prometheus, time};

#[derive(Serialize)]
struct Processes {
    id: HostId,
    instance: String,
    /// Why nothing is known, where that is so.
    unknown_reason: Option<&'static str>,
    at: Option<String>,
    over_seconds: Option<f64>,
    by_cpu: Vec<ProcessUsage>,
    by_memory: Vec<ProcessUsage>,
}

/// `GET /api/v1/hosts/{host}/processes`.
pub(super) async fn show(
    State(services): State<Services>,
    Path(host): Path<String>,
) -> Result<Response, ApiError> {
    let record = hosts::find(&services, host).await?.record;
    let id = record.id;
    let report = services.ask_state(move |state| state.processes(id)).await?;
    let never = "the host has not reported its processes yet";
    let unknown_reason = report.is_none().then_some(never);
    let (at, over_seconds) = (
        report.as_ref().map(|report| time::text(report.at_ms)),
        report.as_ref().map(|report| report.over_seconds),
    );
    let ProcessReport { by_cpu, by_memory, .. } = report.unwrap_or_default();
    let instance = record.instance;
    let processes = Processes { id, instance, unknown_reason, at, over_seconds, by_cpu, by_memory };
    Ok(prometheus::success(processes))
}
