//! `GET /api/v1/status/buildinfo`, by which clients find out what they talk to.

use axum::response::Response;
use serde::Serialize;

use super::prometheus;

/// The version of Prometheus whose API and language these are. Clients such as Grafana choose by
/// it which parameters they may send; our own version stands under `revision`.
const PROMETHEUS_VERSION: &str = "3.8.0";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildInfo {
    version: &'static str,
    revision: &'static str,
    branch: &'static str,
    build_user: &'static str,
    build_date: &'static str,
    go_version: &'static str,
}

/// There is no `features` object: clients would take us for another product that has one.
pub(super) async fn show() -> Response {
    prometheus::success(BuildInfo {
        version: PROMETHEUS_VERSION,
        revision: concat!("upkeep-collector ", env!("CARGO_PKG_VERSION")),
        branch: "",
        build_user: "",
        build_date: "",
        go_version: "",
    })
}
