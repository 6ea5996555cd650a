//! Microsoft Teams: an adaptive card to a workflow's webhook (`msteamsv2`).

use serde_json::{Value, json};

use super::http_client::{HttpClient, HttpSettings, parse_url};
use super::view::{Bounds, Part, View, more};
use super::{Notification, NotifyError, Secret};

/// How much of a group a card shows; Teams refuses messages of more than 28 KB.
const BOUNDS: Bounds = Bounds { alerts: 20, text: 500 };
const MAX_ALERTS: usize = 20_000;

/// What can be set about messages to one channel of Teams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamsSettings {
    /// The workflow's address.
    pub url: Secret,
    /// Whether to tell that alerts are resolved.
    pub send_resolved: bool,
    /// How to send.
    pub http: HttpSettings,
}

/// Sends to one channel of Teams.
pub struct Teams {
    settings: TeamsSettings,
    client: HttpClient,
}

impl Teams {
    /// A channel as it is set.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub fn new(settings: TeamsSettings) -> Result<Self, NotifyError> {
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
        let body = message(notification).to_string().into_bytes();
        let answer = self.client.post(url, body, &[]).await?;
        // Behind a connector the true answer stands in the text of one that says 200.
        let is_limited = answer.is_success() && answer.text.contains("HTTP error 429");
        let answer = if is_limited { answer.with_status(429) } else { answer };
        self.client.receipt(answer).map(|receipt| receipt.to_string())
    }
}

fn message(notification: &Notification) -> Value {
    let view = View::of(notification, BOUNDS);
    let fitted = view.fit(MAX_ALERTS, block, |block| block.to_string().len());
    let colour = if view.is_firing { "attention" } else { "good" };
    let mut body = vec![runs(vec![json!({
        "type": "TextRun", "text": view.title, "weight": "bolder", "size": "medium", "color": colour,
    })])];
    body.extend(fitted.pieces);
    body.extend(more(fitted.hidden).map(|text| runs(vec![run(&text)])));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "body": body,
            },
        }],
    })
}

/// An alert as a block of runs: unlike other texts of cards, what they hold is not read as markup.
fn block(parts: Vec<Part<'_>>) -> Value {
    let mut lines = Vec::new();
    for (at, part) in parts.into_iter().enumerate() {
        let end = if at == 0 { "" } else { "\n" };
        lines.push(match part {
            Part::Heading(text) => {
                json!({ "type": "TextRun", "text": format!("{end}{text}"), "weight": "bolder" })
            }
            Part::Pair(name, text) => run(&format!("{end}{name}: {}", text.replace('\n', "\n  "))),
            Part::Link(name, url) => json!({
                "type": "TextRun", "text": format!("{end}{name}"),
                "selectAction": { "type": "Action.OpenUrl", "url": url },
            }),
        });
    }
    runs(lines)
}

fn runs(inlines: Vec<Value>) -> Value {
    json!({ "type": "RichTextBlock", "separator": true, "inlines": inlines })
}

fn run(text: &str) -> Value {
    json!({ "type": "TextRun", "text": text })
}

#[cfg(test)]
pub(super) mod tests;
