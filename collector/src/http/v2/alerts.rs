//! `/api/v2/alerts`: the alerts that fire, and the way in for those of others.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use upkeep_model::{Labels, MAX_LABEL_VALUE_BYTES};

use super::super::Services;
use super::super::acknowledgements::AcknowledgementView;
use super::super::actions::RunView;
use super::super::body::Body;
use super::super::error::ApiError;
use super::super::parameters::Parameters;
use super::filter::alert_filter;
use super::moment::{self, Moment};
use super::status::ReceiverView;
use crate::alert;
use crate::notify::{Alert, Annotations, Origin, PREDEFINED_ACTION};

/// The bounds of an alert of others. Labels beyond them are refused: cut, they would be those of another
/// alert. Annotations are cut, as those of our own rules are.
const MAX_PAIRS: usize = 64;
const MAX_NAME_BYTES: usize = 256;
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// One alert, here and within its group.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct AlertView {
    annotations: Annotations,
    ends_at: String,
    fingerprint: String,
    receivers: Vec<ReceiverView>,
    starts_at: String,
    status: AlertStatus,
    updated_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    labels: Labels,
    /// Ours: who takes care of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledgement: Option<AcknowledgementView>,
    /// Ours: the last action that it asked for, and what came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<RunView>,
    /// Ours: whether it comes and goes too often for each time to be told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    flapping: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertStatus {
    inhibited_by: Vec<String>,
    muted_by: Vec<String>,
    silenced_by: Vec<String>,
    state: &'static str,
}

/// An alert as others send it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct PostedAlert {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: Option<Annotations>,
    #[serde(default)]
    starts_at: Moment,
    #[serde(default)]
    ends_at: Moment,
    #[serde(default, rename = "generatorURL")]
    generator_url: Option<String>,
}

/// `GET /api/v2/alerts`.
pub(in crate::http) async fn list(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Json<Vec<AlertView>>, ApiError> {
    let Some(filter) = alert_filter(&parameters)? else { return Ok(Json(Vec::new())) };
    let alerts = services.alerts.alerts(filter).await?;
    let mut views: Vec<_> = alerts.into_iter().map(|view| AlertView::of(view, &[])).collect();
    add_actions(&services, &mut views).await?;
    Ok(Json(views))
}

/// Adds to alerts that may have asked for one what came of their last action.
async fn add_actions(services: &Services, views: &mut [AlertView]) -> Result<(), ApiError> {
    let asking = || views.iter().filter(|view| view.annotations.get(PREDEFINED_ACTION).is_some());
    let fingerprints: Vec<_> = asking().map(|view| view.fingerprint.clone()).collect();
    if fingerprints.is_empty() {
        return Ok(());
    }
    let runs = services.ask_state(move |state| state.last_runs(&fingerprints)).await?;
    let asking = views.iter_mut().filter(|view| view.annotations.get(PREDEFINED_ACTION).is_some());
    for (view, run) in asking.zip(runs) {
        view.action = run.map(RunView::of);
    }
    Ok(())
}

/// `POST /api/v2/alerts`: those that make sense are taken even if others do not.
pub(in crate::http) async fn take(
    State(services): State<Services>,
    Body(posted): Body<Vec<PostedAlert>>,
) -> Result<StatusCode, ApiError> {
    let now_ms = services.clock.now_ms();
    let (mut alerts, mut faults) = (Vec::new(), Vec::new());
    for (at, posted) in posted.into_iter().enumerate() {
        match posted.read(now_ms) {
            Ok(alert) => alerts.push(alert),
            Err(fault) => faults.push(format!("alert {at}: {fault}")),
        }
    }
    services.alerts.accept(alerts).await?;
    if faults.is_empty() { Ok(StatusCode::OK) } else { Err(ApiError::bad_data(faults.join("; "))) }
}

impl AlertView {
    pub(super) fn of(view: alert::AlertView, muted_by: &[String]) -> Self {
        let is_suppressed = view.is_suppressed() || !muted_by.is_empty();
        let status = AlertStatus {
            inhibited_by: view.inhibited_by.iter().map(ToString::to_string).collect(),
            muted_by: muted_by.to_vec(),
            silenced_by: view.silenced_by.iter().map(ToString::to_string).collect(),
            state: if is_suppressed { "suppressed" } else { "active" },
        };
        Self {
            annotations: view.alert.annotations,
            ends_at: moment::text(view.expires_at_ms),
            fingerprint: view.fingerprint.to_string(),
            receivers: view.receivers.into_iter().map(|name| ReceiverView { name }).collect(),
            starts_at: moment::text(view.alert.starts_at_ms),
            status,
            updated_at: moment::text(view.updated_at_ms),
            generator_url: view.alert.generator_url.to_string(),
            labels: view.alert.labels,
            acknowledgement: view.acknowledgement.map(AcknowledgementView::of),
            action: None,
            flapping: view.is_flapping,
        }
    }
}

impl PostedAlert {
    /// An alert that ends in the future fires until then, unless it is spoken of again.
    fn read(self, now_ms: i64) -> Result<Alert, &'static str> {
        let labels = self.labels.into_iter().filter(|(_, value)| !value.is_empty());
        let labels: BTreeMap<_, _> = labels.collect();
        let annotations = self.annotations.unwrap_or_default();
        if labels.is_empty() {
            return Err("at least one label pair required");
        }
        if labels.contains_key("") || annotations.get("").is_some() {
            return Err("the name of a label or annotation is empty");
        }
        let of_annotations = annotations.iter().map(|(name, _)| name);
        let mut names = labels.keys().map(String::as_str).chain(of_annotations);
        if names.any(|name| name.len() > MAX_NAME_BYTES) {
            return Err("the name of a label or annotation has more than 256 bytes");
        }
        if labels.values().any(|value| value.len() > MAX_LABEL_VALUE_BYTES) {
            return Err("the value of a label has more than 4096 bytes");
        }
        if labels.len() > MAX_PAIRS || annotations.len() > MAX_PAIRS {
            return Err("there are more than 64 labels or annotations");
        }
        let annotations = annotations.iter().map(|(name, text)| (name, cut(text))).collect();
        let starts_at_ms = self.starts_at.0.or(self.ends_at.0).unwrap_or(now_ms);
        if self.ends_at.0.is_some_and(|ends_at_ms| ends_at_ms < starts_at_ms) {
            return Err("start time must be before end time");
        }
        let left = self.ends_at.0.and_then(|at_ms| u64::try_from(at_ms - now_ms).ok());
        let left = left.filter(|left| *left > 0);
        let is_link = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        Ok(Alert {
            labels: Labels::new(labels),
            annotations,
            starts_at_ms,
            ends_at_ms: if left.is_some() { None } else { self.ends_at.0 },
            holds_for: left.map(Duration::from_millis),
            // Messages link to it: anything else than a page would be run by who reads them.
            generator_url: self.generator_url.filter(is_link).unwrap_or_default().into(),
            origin: Origin::Outside,
        })
    }
}

/// The beginning of a text that is too long; what is cut of it identifies nothing.
fn cut(text: &str) -> Cow<'_, str> {
    match text.get(..text.floor_char_boundary(MAX_TEXT_BYTES)) {
        Some(begin) if begin.len() < text.len() => format!("{begin}…").into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_of_others_are_read() {
        let check = |json: &str, expect: Result<(i64, Option<i64>, Option<u64>), &str>| {
            let posted: PostedAlert = serde_json::from_str(json).unwrap();
            let read = posted.read(10_000).map(|alert| {
                let holds_ms = alert.holds_for.map(|left| left.as_millis() as u64);
                (alert.starts_at_ms, alert.ends_at_ms, holds_ms)
            });
            assert_eq!(read, expect, "{json}");
        };
        let a = "\"labels\":{\"alertname\":\"A\"}";
        let (past, future) = ("1970-01-01T00:00:05Z", "1970-01-01T00:00:15Z");
        check(&format!("{{{a}}}"), Ok((10_000, None, None)));
        check(&format!("{{{a},\"endsAt\":\"{past}\"}}"), Ok((5_000, Some(5_000), None)));
        check(
            &format!("{{{a},\"startsAt\":\"{past}\",\"endsAt\":\"{future}\"}}"),
            Ok((5_000, None, Some(5_000))),
        );
        check(
            &format!("{{{a},\"startsAt\":\"{future}\",\"endsAt\":\"{past}\"}}"),
            Err("start time must be before end time"),
        );
        check(
            &format!("{{{a},\"startsAt\":\"{past}\",\"endsAt\":\"0001-01-01T00:00:00Z\"}}"),
            Ok((5_000, None, None)),
        );
        check("{\"labels\":{}}", Err("at least one label pair required"));
        check("{\"labels\":{\"a\":\"\"}}", Err("at least one label pair required"));
        check("{\"labels\":{\"\":\"x\"}}", Err("the name of a label or annotation is empty"));
    }

    #[test]
    fn labels_of_others_are_bounded_and_their_texts_cut() {
        let check = |labels: &[(String, usize)], texts: usize, expect: Result<usize, &str>| {
            let pairs = |pairs: &[(String, usize)]| -> BTreeMap<String, String> {
                pairs.iter().map(|(name, length)| (name.clone(), "é".repeat(length / 2))).collect()
            };
            let posted = serde_json::json!({
                "labels": pairs(labels),
                "annotations": pairs(&[("a".to_owned(), texts)]),
            });
            let posted: PostedAlert = serde_json::from_value(posted).unwrap();
            let read = posted.read(0).map(|alert| alert.annotations.get("a").map_or(0, str::len));
            assert_eq!(read, expect, "{} labels, {texts}", labels.len());
        };
        let named = |name: &str, length: usize| vec![(name.to_owned(), length)];
        let many = |count: usize| (0..count).map(|at| (format!("n{at}"), 2)).collect::<Vec<_>>();
        let whole = Ok(16 * 1024);
        check(&named(&"n".repeat(256), 4096), 16 * 1024, whole);
        check(&many(64), 16 * 1024, whole);
        check(&named("n", 2), 1_000_000, Ok(16 * 1024 + "…".len()));
        check(&named("n", 2), 16 * 1024 + 2, Ok(16 * 1024 + "…".len()));
        let long_name = "the name of a label or annotation has more than 256 bytes";
        check(&named(&"n".repeat(257), 2), 2, Err(long_name));
        check(&named("n", 4098), 2, Err("the value of a label has more than 4096 bytes"));
        check(&many(65), 2, Err("there are more than 64 labels or annotations"));
    }

    #[test]
    fn only_pages_are_linked_to() {
        let check = |url: &str, expect: &str| {
            let json = format!("{{\"labels\":{{\"a\":\"b\"}},\"generatorURL\":\"{url}\"}}");
            let posted: PostedAlert = serde_json::from_str(&json).unwrap();
            assert_eq!(&*posted.read(0).unwrap().generator_url, expect);
        };
        check("https://x/graph", "https://x/graph");
        check("http://x", "http://x");
        check("javascript:alert(1)", "");
        check("", "");
    }
}
