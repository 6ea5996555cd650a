//! `/api/v2/alerts/groups`: the alerts that fire as receivers are told of them.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use upkeep_model::Labels;

use super::super::Services;
use super::super::error::ApiError;
use super::super::parameters::Parameters;
use super::alerts::AlertView;
use super::filter::alert_filter;
use super::status::ReceiverView;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct GroupView {
    alerts: Vec<AlertView>,
    labels: Labels,
    receiver: ReceiverView,
    route_labels: Labels,
}

/// `GET /api/v2/alerts/groups`.
pub(in crate::http) async fn list(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Json<Vec<GroupView>>, ApiError> {
    let Some(filter) = alert_filter(&parameters)? else { return Ok(Json(Vec::new())) };
    let groups = services.alerts.groups(filter).await?.into_iter();
    let views = groups.map(|group| GroupView {
        alerts: group.alerts.into_iter().map(|view| AlertView::of(view, &group.muted_by)).collect(),
        labels: group.labels,
        receiver: ReceiverView { name: group.receiver },
        route_labels: Labels::default(),
    });
    Ok(Json(views.collect()))
}
