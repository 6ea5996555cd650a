//! PagerDuty: events of version 2, one incident a group, resolved when the group is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::http_client::{HttpClient, HttpSettings, parse_url};
use super::view::{AlertView, Bounds, View, link};
use super::{Notification, NotifyError, Secret, Status};

/// Where events go unless the configuration says otherwise.
pub const PAGERDUTY_URL: &str = "https://events.pagerduty.com/v2/enqueue";

/// How much of a group an event shows; the service refuses events of more than 512 KB.
const BOUNDS: Bounds = Bounds { alerts: 50, text: 1_000 };

/// The most links of an event.
const MAX_LINKS: usize = 10;

/// What the service takes as a severity.
const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];

/// What can be set about events of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagerDutySettings {
    /// Where events go.
    pub url: String,
    /// The integration's key.
    pub routing_key: Secret,
    /// The severity of all events; unset: that of the alerts if the service knows it, else `error`.
    pub severity: Option<String>,
    /// What the events are called as coming from, `client`, `client_url`, `component`, `class` and
    /// `group`, as far as they are set.
    pub fixed: BTreeMap<&'static str, String>,
    /// Whether to resolve incidents.
    pub send_resolved: bool,
    /// How to send.
    pub http: HttpSettings,
}

/// Sends to one service of PagerDuty.
pub struct PagerDuty {
    settings: PagerDutySettings,
    client: HttpClient,
}

impl PagerDuty {
    /// A service as it is set.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub fn new(settings: PagerDutySettings) -> Result<Self, NotifyError> {
        let client = HttpClient::new(settings.http.clone())?;
        Ok(Self { settings, client })
    }

    /// Whether to resolve incidents.
    pub fn sends_resolved(&self) -> bool {
        self.settings.send_resolved
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// When the address may not be sent to or does not take it.
    pub async fn send(&self, notification: &Notification) -> Result<String, NotifyError> {
        let url = parse_url(&self.settings.url)?;
        let routing_key = self.settings.routing_key.read().await?;
        let body = self.event(notification, &routing_key).to_string().into_bytes();
        let answer = self.client.post(url, body, &[&routing_key]).await?;
        self.client.receipt(answer).map(|receipt| receipt.to_string())
    }

    fn event(&self, notification: &Notification, routing_key: &str) -> Value {
        let view = View::of(notification, BOUNDS);
        let mut event = json!({
            "routing_key": routing_key,
            "dedup_key": incident(&notification.group_key),
            "event_action": match notification.status() {
                Status::Firing => "trigger",
                Status::Resolved => "resolve",
            },
            "payload": self.payload(notification, &view),
            "links": links(&view),
            "client": "Upkeep",
        });
        if let Some(event) = event.as_object_mut() {
            event.extend(link(&view.external_url).map(|url| ("client_url".to_owned(), url.into())));
            event.extend(self.fixed(&["client", "client_url"]));
        }
        event
    }

    fn payload(&self, notification: &Notification, view: &View) -> Value {
        let common = notification.common_labels();
        let severity = self.settings.severity.as_deref().or_else(|| common.get("severity"));
        let severity = severity.filter(|name| SEVERITIES.contains(name)).unwrap_or("error");
        let source = common.get("instance").map_or_else(
            || link(&view.external_url).unwrap_or_else(|| "Upkeep".to_owned()),
            |instance| super::text::one_line(instance, super::view::MAX_TITLE),
        );
        let firing = view.alerts.iter().filter(|alert| alert.is_firing).map(details);
        let resolved = view.alerts.iter().filter(|alert| !alert.is_firing).map(details);
        let mut payload = json!({
            "summary": view.title,
            "source": source,
            "severity": severity,
            "custom_details": {
                "num_firing": notification.firing(),
                "num_resolved": notification.alerts.len() - notification.firing(),
                "not_shown": view.hidden,
                "firing": firing.collect::<Vec<_>>(),
                "resolved": resolved.collect::<Vec<_>>(),
            },
        });
        let since_ms = notification.alerts.iter().map(|alert| alert.starts_at_ms).min();
        let since = since_ms.and_then(|at_ms| Timestamp::from_millisecond(at_ms).ok());
        if let Some(payload) = payload.as_object_mut() {
            payload.extend(since.map(|at| ("timestamp".to_owned(), at.to_string().into())));
            payload.extend(self.fixed(&["component", "class", "group", "source"]));
        }
        payload
    }

    fn fixed(&self, keys: &[&'static str]) -> Vec<(String, Value)> {
        let values = keys.iter().filter_map(|key| self.settings.fixed.get_key_value(key));
        values.map(|(key, value)| ((*key).to_owned(), value.as_str().into())).collect()
    }
}

/// The name of a group's incident; the same as Alertmanager's, so that whoever moves here resolves
/// what is open.
fn incident(group_key: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(group_key.as_bytes()))
}

fn details(alert: &AlertView) -> Value {
    let texts = [
        ("alert", alert.name.as_str()),
        ("since", &alert.since),
        ("until", &alert.until),
        ("do", &alert.action),
        ("so_that", &alert.outcome),
        ("owner", &alert.owner),
        ("runbook", alert.runbook.as_deref().unwrap_or_default()),
    ];
    let mut details: Map<String, Value> = texts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| (name.to_owned(), text.into()))
        .collect();
    let pairs = |pairs: &[(String, String)]| {
        let entries = pairs.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str())));
        Value::Object(entries.collect())
    };
    details.insert("annotations".to_owned(), pairs(&alert.annotations));
    details.insert("labels".to_owned(), pairs(&alert.labels));
    Value::Object(details)
}

fn links(view: &View) -> Vec<Value> {
    let mut links: Vec<Value> = Vec::new();
    for alert in &view.alerts {
        let found = [("Runbook", &alert.runbook), ("Rule", &alert.source)];
        for (word, url) in found.into_iter().filter_map(|(word, url)| Some((word, url.as_ref()?))) {
            let link = json!({ "href": url, "text": format!("{word} of {}", alert.name) });
            if links.len() < MAX_LINKS && !links.contains(&link) {
                links.push(link);
            }
        }
    }
    links
}

#[cfg(test)]
pub(super) mod tests;
