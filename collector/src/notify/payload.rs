//! What webhooks and commands are given: Alertmanager's payload, version 4.

use jiff::Timestamp;
use serde::Serialize;
use upkeep_model::Labels;

use super::{Alert, Annotations, Notification, NotifyError, Status};

/// What an end that has not come is called: the zero time of Alertmanager's language.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A notification as JSON, with so many of its alerts at most; 0 means any number.
///
/// # Errors
/// Never in practice: nothing in it has a form that JSON lacks.
pub(super) fn json(notification: &Notification, max_alerts: usize) -> Result<Vec<u8>, NotifyError> {
    serde_json::to_vec(&payload(notification, max_alerts))
        .map_err(|error| NotifyError::Message(error.to_string()))
}

/// Version 4 of the payload; the names and their order are Alertmanager's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    receiver: &'a str,
    status: &'static str,
    alerts: Vec<PayloadAlert<'a>>,
    group_labels: &'a Labels,
    common_labels: Labels,
    common_annotations: Annotations,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'static str,
    group_key: &'a str,
    truncated_alerts: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PayloadAlert<'a> {
    status: &'static str,
    labels: &'a Labels,
    annotations: &'a Annotations,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
}

fn payload(notification: &Notification, max_alerts: usize) -> Payload<'_> {
    let count = notification.alerts.len();
    let shown = if max_alerts == 0 { count } else { count.min(max_alerts) };
    let alerts = notification.alerts.iter().take(shown);
    Payload {
        receiver: &notification.receiver,
        status: notification.status().name(),
        alerts: alerts.map(|alert| payload_alert(notification, alert)).collect(),
        group_labels: &notification.group_labels,
        common_labels: notification.common_labels(),
        common_annotations: notification.common_annotations(),
        external_url: &notification.external_url,
        version: "4",
        group_key: &notification.group_key,
        truncated_alerts: count - shown,
    }
}

fn payload_alert<'a>(notification: &Notification, alert: &'a Alert) -> PayloadAlert<'a> {
    let status = notification.status_of(alert);
    let ends_at_ms = alert.ends_at_ms.filter(|_| status == Status::Resolved);
    PayloadAlert {
        status: status.name(),
        labels: &alert.labels,
        annotations: &alert.annotations,
        starts_at: rfc3339(alert.starts_at_ms),
        ends_at: ends_at_ms.map_or_else(|| NEVER.to_owned(), rfc3339),
        generator_url: &alert.generator_url,
        fingerprint: alert.fingerprint().to_string(),
    }
}

fn rfc3339(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(|_| NEVER.to_owned(), |at| at.to_string())
}
