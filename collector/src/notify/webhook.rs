//! Webhooks: Alertmanager's payload, version 4, by HTTP POST.

use super::http_client::{HttpClient, HttpSettings, Receipt, parse_url};
use super::{Notification, NotifyError, Secret, payload};

/// What can be set about a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where to send; secret, since such addresses often carry a token.
    pub url: Secret,
    /// Whether to tell that alerts are resolved.
    pub send_resolved: bool,
    /// The most alerts in one message; 0 means any number.
    pub max_alerts: usize,
    /// How to send.
    pub http: HttpSettings,
}

/// Sends to one address.
pub struct Webhook {
    settings: WebhookSettings,
    client: HttpClient,
}

impl Webhook {
    /// A webhook as it is set.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub fn new(settings: WebhookSettings) -> Result<Self, NotifyError> {
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
        self.call(notification).await.map(|receipt| receipt.to_string())
    }

    /// Sends a notification, and gives what was answered.
    ///
    /// # Errors
    /// When the address may not be sent to or does not take it.
    pub async fn call(&self, notification: &Notification) -> Result<Receipt, NotifyError> {
        let url = parse_url(&self.settings.url.read().await?)?;
        let body = payload::json(notification, self.settings.max_alerts)?;
        let answer = self.client.post(url, body, &[]).await?;
        self.client.receipt(answer)
    }
}

#[cfg(test)]
mod tests;
