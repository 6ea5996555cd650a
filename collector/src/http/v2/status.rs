//! `/api/v2/status` and `/api/v2/receivers`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::super::Services;
use super::super::error::ApiError;
use super::super::parameters::Parameters;
use super::{filter, moment};

/// The version of Alertmanager whose API this is. Dashboards choose by it how they ask; our own
/// version stands under `revision`.
const ALERTMANAGER_VERSION: &str = "0.28.0";

/// Who can be told.
#[derive(Serialize)]
pub(in crate::http) struct ReceiverView {
    pub(super) name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Status {
    cluster: Cluster,
    config: Config,
    uptime: String,
    version_info: VersionInfo,
}

/// There is one collector, and no cluster of them.
#[derive(Serialize)]
struct Cluster {
    peers: [(); 0],
    status: &'static str,
}

#[derive(Serialize)]
struct Config {
    original: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionInfo {
    branch: &'static str,
    build_date: &'static str,
    build_user: &'static str,
    go_version: &'static str,
    revision: &'static str,
    version: &'static str,
}

/// `GET /api/v2/status`.
pub(in crate::http) async fn show(State(services): State<Services>) -> Json<Status> {
    let facts = services.alerts.facts();
    Json(Status {
        cluster: Cluster { peers: [], status: "disabled" },
        config: Config { original: facts.routing.clone() },
        uptime: moment::text(facts.since_ms),
        version_info: VersionInfo {
            branch: "",
            build_date: "",
            build_user: "",
            go_version: "",
            revision: concat!("upkeep-collector ", env!("CARGO_PKG_VERSION")),
            version: ALERTMANAGER_VERSION,
        },
    })
}

/// `GET /api/v2/receivers`.
pub(in crate::http) async fn receivers(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Json<Vec<ReceiverView>>, ApiError> {
    let facts = services.alerts.facts();
    let views = facts.receivers.iter().map(|name| ReceiverView { name: name.clone() });
    let are_wanted = filter::wants_receivers(&parameters)?;
    Ok(Json(views.filter(|_| are_wanted).collect()))
}
