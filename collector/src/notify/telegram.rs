//! Telegram: the method `sendMessage` of a bot.

use std::time::Duration;

use serde_json::{Value, json};

use super::http_client::{HttpClient, HttpSettings, parse_url};
use super::text::html;
use super::view::{Bounds, Part, View, link, more};
use super::{Notification, NotifyError, Secret};

/// Where bots are unless the configuration says otherwise.
pub const TELEGRAM_URL: &str = "https://api.telegram.org";

/// How much of a group a message shows; the service takes 4,096 characters.
const BOUNDS: Bounds = Bounds { alerts: 30, text: 400 };
const MAX_ALERTS: usize = 3_600;

/// What can be set about messages of a bot to one chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelegramSettings {
    /// Where bots are.
    pub url: String,
    /// The bot's token.
    pub token: Secret,
    /// The chat: its number, or the name of a channel.
    pub chat: Secret,
    /// The topic within the chat.
    pub thread: Option<i64>,
    /// Whether messages make no sound.
    pub is_silent: bool,
    /// Whether to tell that alerts are resolved.
    pub send_resolved: bool,
    /// How to send.
    pub http: HttpSettings,
}

/// Sends to one chat.
pub struct Telegram {
    settings: TelegramSettings,
    client: HttpClient,
}

impl Telegram {
    /// A bot as it is set.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub fn new(settings: TelegramSettings) -> Result<Self, NotifyError> {
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
        let token = self.settings.token.read().await?;
        let chat = self.settings.chat.read().await?;
        let base = self.settings.url.trim_end_matches('/');
        let url = parse_url(&format!("{base}/bot{token}/sendMessage"))?;
        let body = self.message(notification, &chat).to_string().into_bytes();
        let mut answer = self.client.post(url, body, &[&token]).await?;
        // The service says how long to wait in its own way.
        let text: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        let wait = text.pointer("/parameters/retry_after").and_then(Value::as_u64);
        answer.retry_after = wait.map(Duration::from_secs).or(answer.retry_after);
        let is_refused = answer.is_success() && text.get("ok") == Some(&Value::Bool(false));
        let answer = if is_refused { answer.with_status(400) } else { answer };
        self.client.receipt(answer).map(|receipt| receipt.to_string())
    }

    fn message(&self, notification: &Notification, chat: &str) -> Value {
        let mut message = json!({
            "chat_id": chat.parse::<i64>().map_or_else(|_| Value::from(chat), Value::from),
            "text": text(notification),
            "parse_mode": "HTML",
            "disable_notification": self.settings.is_silent,
            "link_preview_options": { "is_disabled": true },
        });
        if let (Some(message), Some(thread)) = (message.as_object_mut(), self.settings.thread) {
            message.insert("message_thread_id".to_owned(), thread.into());
        }
        message
    }
}

fn text(notification: &Notification) -> String {
    let view = View::of(notification, BOUNDS);
    let fitted = view.fit(MAX_ALERTS, markup, |text| text.chars().map(char::len_utf16).sum());
    let title = match link(&view.external_url) {
        Some(url) => format!("<b><a href=\"{}\">{}</a></b>", html(&url), html(&view.title)),
        None => format!("<b>{}</b>", html(&view.title)),
    };
    let mut pieces = vec![title];
    pieces.extend(fitted.pieces);
    pieces.extend(more(fitted.hidden));
    pieces.join("\n\n")
}

fn markup(parts: Vec<Part<'_>>) -> String {
    let line = |part| match part {
        Part::Heading(text) => format!("<b>{}</b>", html(&text)),
        Part::Pair(name, text) => format!("{}: {}", html(name), html(&text.replace('\n', "\n  "))),
        Part::Link(name, url) => format!("<a href=\"{}\">{name}</a>", html(url)),
    };
    parts.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
pub(super) mod tests;
