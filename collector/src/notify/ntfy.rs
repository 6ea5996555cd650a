//! ntfy: a message to a topic, at <https://ntfy.sh> or a server of one's own.

use serde_json::{Value, json};

use super::http_client::{HttpClient, HttpSettings, parse_url};
use super::view::{Bounds, Part, View, link, more};
use super::{Notification, NotifyError, Secret};

/// The server unless the configuration says otherwise.
pub const NTFY_URL: &str = "https://ntfy.sh";

/// How much of a group a message shows; the server makes an attachment of more than 4,096 bytes.
const BOUNDS: Bounds = Bounds { alerts: 30, text: 400 };
const MAX_ALERTS: usize = 3_800;

/// The most buttons of a message.
const MAX_ACTIONS: usize = 3;

/// What can be set about messages to one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NtfySettings {
    /// The server.
    pub url: String,
    /// The topic; whoever knows it may read it.
    pub topic: Secret,
    /// The priority of all messages, 1 to 5; unset: by severity.
    pub priority: Option<u8>,
    /// Words or pictures that messages carry.
    pub tags: Vec<String>,
    /// Whether to tell that alerts are resolved.
    pub send_resolved: bool,
    /// How to send.
    pub http: HttpSettings,
}

/// Sends to one topic.
pub struct Ntfy {
    settings: NtfySettings,
    client: HttpClient,
}

impl Ntfy {
    /// A topic as it is set.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub fn new(settings: NtfySettings) -> Result<Self, NotifyError> {
        let client = HttpClient::new(settings.http.clone())?;
        Ok(Self { settings, client })
    }

    /// Whether to tell that alerts are resolved.
    pub fn sends_resolved(&self) -> bool {
        self.settings.send_resolved
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// When the server may not be sent to or does not take it.
    pub async fn send(&self, notification: &Notification) -> Result<String, NotifyError> {
        let url = parse_url(&self.settings.url)?;
        let topic = self.settings.topic.read().await?;
        let body = self.message(notification, &topic).to_string().into_bytes();
        let answer = self.client.post(url, body, &[&topic]).await?;
        self.client.receipt(answer).map(|receipt| receipt.to_string())
    }

    fn message(&self, notification: &Notification, topic: &str) -> Value {
        let view = View::of(notification, BOUNDS);
        let fitted = view.fit(MAX_ALERTS, plain, String::len);
        let mut text = fitted.pieces;
        text.extend(more(fitted.hidden));
        let mut tags = vec![if view.is_firing { "rotating_light" } else { "white_check_mark" }];
        tags.extend(self.settings.tags.iter().map(String::as_str));
        let mut message = json!({
            "topic": topic,
            "title": view.title,
            "message": text.join("\n\n"),
            "priority": self.settings.priority.unwrap_or_else(|| priority(notification, &view)),
            "tags": tags,
            "actions": actions(&view),
        });
        if let (Some(message), Some(url)) = (message.as_object_mut(), link(&view.external_url)) {
            message.insert("click".to_owned(), url.into());
        }
        message
    }
}

/// How loud a message is: the gravest alert that fires decides.
fn priority(notification: &Notification, view: &View) -> u8 {
    let firing = notification.alerts.iter().filter(|alert| !alert.is_resolved(notification.at_ms));
    let loudness = firing.map(|alert| match alert.labels.get("severity") {
        Some("critical") => 5,
        Some("warning") => 4,
        _ => 3,
    });
    loudness.max().unwrap_or(if view.is_firing { 3 } else { 2 })
}

fn plain(parts: Vec<Part<'_>>) -> String {
    let line = |part| match part {
        Part::Heading(text) => text,
        Part::Pair(name, text) => format!("{name}: {}", text.replace('\n', "\n  ")),
        Part::Link(name, url) => format!("{name}: {url}"),
    };
    parts.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

fn actions(view: &View) -> Vec<Value> {
    let mut urls: Vec<&String> = Vec::new();
    for url in view.alerts.iter().filter_map(|alert| alert.runbook.as_ref()) {
        if urls.len() < MAX_ACTIONS && !urls.contains(&url) {
            urls.push(url);
        }
    }
    let action = |url| json!({ "action": "view", "label": "Runbook", "url": url });
    urls.into_iter().map(action).collect()
}

#[cfg(test)]
pub(super) mod tests;
