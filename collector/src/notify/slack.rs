//! Slack: a message with one attachment, by an incoming webhook or the method `chat.postMessage`.

use serde_json::{Value, json};

use super::http_client::{Answer, HttpClient, HttpSettings, parse_url};
use super::text::mrkdwn;
use super::view::{Bounds, Part, View, link, more};
use super::{Notification, NotifyError, Secret};

/// How much of a group a message shows. Slack folds attachments that are longer.
const BOUNDS: Bounds = Bounds { alerts: 50, text: 500 };
const MAX_MESSAGE: usize = 7_000;

/// What can be set about messages to one channel of Slack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlackSettings {
    /// The webhook's address, or that of the method `chat.postMessage`.
    pub url: Secret,
    /// The channel; a webhook has its own.
    pub channel: Option<String>,
    /// The name that messages come from.
    pub username: Option<String>,
    /// The picture that messages come with, as `:name:`.
    pub icon_emoji: Option<String>,
    /// The picture that messages come with, as an address.
    pub icon_url: Option<String>,
    /// Whether to tell that alerts are resolved.
    pub send_resolved: bool,
    /// How to send.
    pub http: HttpSettings,
}

/// Sends to one channel of Slack.
pub struct Slack {
    settings: SlackSettings,
    client: HttpClient,
}

impl Slack {
    /// A channel as it is set.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub fn new(settings: SlackSettings) -> Result<Self, NotifyError> {
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
    /// When the address may not be sent to or does not take it.
    pub async fn send(&self, notification: &Notification) -> Result<String, NotifyError> {
        let url = parse_url(&self.settings.url.read().await?)?;
        let body = self.message(notification).to_string().into_bytes();
        let answer = self.client.post(url, body, &[]).await?;
        let answer = truly(answer);
        self.client.receipt(answer).map(|receipt| receipt.to_string())
    }

    fn message(&self, notification: &Notification) -> Value {
        let view = View::of(notification, BOUNDS);
        let fitted = view.fit(MAX_MESSAGE, markup, String::len);
        let mut text = fitted.pieces;
        text.extend(more(fitted.hidden));
        let mut attachment = json!({
            "color": if view.is_firing { "danger" } else { "good" },
            "fallback": mrkdwn(&view.title),
            "title": mrkdwn(&view.title),
            "text": text.join("\n\n"),
            "mrkdwn_in": ["text"],
        });
        if let Some(url) = link(&view.external_url) {
            set(&mut attachment, "title_link", Some(&url));
        }
        let mut message = json!({ "attachments": [attachment] });
        set(&mut message, "channel", self.settings.channel.as_deref());
        set(&mut message, "username", self.settings.username.as_deref());
        set(&mut message, "icon_emoji", self.settings.icon_emoji.as_deref());
        set(&mut message, "icon_url", self.settings.icon_url.as_deref());
        message
    }
}

fn set(object: &mut Value, key: &str, value: Option<&str>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(key.to_owned(), value.into());
    }
}

/// An alert in Slack's markup. Asterisks of others may make a text bold and do no more.
fn markup(parts: Vec<Part<'_>>) -> String {
    let line = |part| match part {
        Part::Heading(text) => format!("*{}*", mrkdwn(&text)),
        Part::Pair(name, text) => {
            format!("{}: {}", mrkdwn(name), mrkdwn(&text.replace('\n', "\n  ")))
        }
        Part::Link(name, url) => format!("<{}|{name}>", mrkdwn(url)),
    };
    parts.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The method answers 200 to everything and says in the text whether it did it.
fn truly(answer: Answer) -> Answer {
    let text: Option<Value> = serde_json::from_str(&answer.text).ok();
    let error = text.as_ref().filter(|text| text.get("ok") == Some(&Value::Bool(false)));
    let status = match error.and_then(|text| text.get("error")).and_then(Value::as_str) {
        Some("ratelimited" | "rate_limited") => 429,
        Some("fatal_error" | "internal_error" | "service_unavailable" | "request_timeout") => 503,
        _ if error.is_some() => 400,
        _ => return answer,
    };
    if answer.is_success() { answer.with_status(status) } else { answer }
}

#[cfg(test)]
pub(super) mod tests;
