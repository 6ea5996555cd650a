//! Alerts as Alertmanager's API takes them.

use jiff::Timestamp;
use serde::Serialize;
use upkeep_model::Labels;

use super::queue::Told;
use crate::notify::{Annotations, NotifyError};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostedAlert<'a> {
    labels: &'a Labels,
    annotations: &'a Annotations,
    starts_at: String,
    /// Left out where it is not known; the other side decides then.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
    #[serde(rename = "generatorURL", skip_serializing_if = "str::is_empty")]
    generator_url: &'a str,
}

/// Alerts as a request's body.
///
/// # Errors
/// Never in practice: nothing in it has a form that JSON lacks.
pub(super) fn json<'a>(alerts: impl Iterator<Item = &'a Told>) -> Result<Vec<u8>, NotifyError> {
    let posted: Vec<_> = alerts
        .map(|told| PostedAlert {
            labels: &told.alert.labels,
            annotations: &told.alert.annotations,
            starts_at: moment(told.alert.starts_at_ms),
            ends_at: told.ends_at_ms().map(moment),
            generator_url: &told.alert.generator_url,
        })
        .collect();
    serde_json::to_vec(&posted).map_err(|error| NotifyError::Message(error.to_string()))
}

fn moment(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap_or_default().to_string()
}
