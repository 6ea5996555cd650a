//! Webhooks: Alertmanager's payload, version 4, by HTTP POST.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Url, redirect};
use rustls::ClientConfig;
use serde::Serialize;
use upkeep_model::Labels;

use super::{Alert, Annotations, Notification, NotifyError, Secret, Status, address};
use crate::outbound::{beginning, chain, client_config};

/// How long a request may take unless the configuration says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What an end that has not come is called: the zero time of Alertmanager's language.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// How a webhook proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// The header `Authorization` with a scheme such as `Bearer`.
    Header {
        /// The scheme.
        scheme: String,
        /// What follows it.
        credentials: Secret,
    },
    /// User and password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
}

/// What can be set about a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where to send; secret, since such addresses often carry a token.
    pub url: Secret,
    /// Whether to tell that alerts are resolved.
    pub send_resolved: bool,
    /// The most alerts in one message; 0 means any number.
    pub max_alerts: usize,
    /// How long a request may take.
    pub timeout: Duration,
    /// How to prove who we are.
    pub authorization: Option<Authorization>,
    /// A file of certificates that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Networks that may be sent to though they are not of the world.
    pub allow_networks: Vec<IpNet>,
}

/// Sends to one address.
pub struct Webhook {
    settings: WebhookSettings,
    tls: ClientConfig,
    /// The client of the last request and the addresses that it is bound to.
    client: Mutex<Option<(Vec<SocketAddr>, Client)>>,
}

impl Webhook {
    /// A webhook as it is set.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub fn new(settings: WebhookSettings) -> Result<Self, NotifyError> {
        let tls = client_config(settings.ca_file.as_deref())
            .map_err(|error| NotifyError::Configuration(error.to_string()))?;
        Ok(Self { settings, tls, client: Mutex::new(None) })
    }

    /// Whether to tell that alerts are resolved.
    pub fn sends_resolved(&self) -> bool {
        self.settings.send_resolved
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// When the address may not be sent to or does not take it.
    pub async fn send(&self, notification: &Notification) -> Result<(), NotifyError> {
        let url = parse_url(&self.settings.url.read().await?)?;
        let destination = destination(&url);
        let addresses = self.addresses(&url, &destination).await?;
        let client = self.client(&url, addresses)?;
        let body = serde_json::to_vec(&payload(notification, self.settings.max_alerts))
            .map_err(|error| NotifyError::Message(error.to_string()))?;
        let mut request = client
            .post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .timeout(self.settings.timeout)
            .body(body);
        request = match &self.settings.authorization {
            None => request,
            Some(Authorization::Basic { username, password }) => {
                request.basic_auth(username, Some(password.read().await?))
            }
            Some(Authorization::Header { scheme, credentials }) => {
                let value = format!("{scheme} {}", credentials.read().await?);
                let mut value = HeaderValue::from_str(&value).map_err(|_| {
                    NotifyError::Configuration("the credentials are no header value".to_owned())
                })?;
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
        };
        let response = request.send().await.map_err(|error| NotifyError::Unreachable {
            destination: destination.clone(),
            reason: chain(&error.without_url()),
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let detail = beginning(response).await;
        Err(NotifyError::Answer { destination, status: status.as_u16(), detail })
    }

    /// The addresses of the host that may be sent to.
    async fn addresses(
        &self,
        url: &Url,
        destination: &str,
    ) -> Result<Vec<SocketAddr>, NotifyError> {
        let unreachable = |reason: String| NotifyError::Unreachable {
            destination: destination.to_owned(),
            reason,
        };
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default().unwrap_or(0);
        let found: Vec<SocketAddr> = match bare.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((bare, port)))
                .await
                .map_err(|_| unreachable("its name was not resolved in time".to_owned()))?
                .map_err(|error| unreachable(error.to_string()))?
                .collect(),
        };
        let mut refused = None;
        let mut allowed = Vec::new();
        for found in found {
            match address::refusal(found.ip(), &self.settings.allow_networks) {
                None => allowed.push(found),
                Some(reason) => refused = Some((found.ip(), reason)),
            }
        }
        allowed.sort();
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some((address, reason))) => {
                Err(NotifyError::Forbidden { destination: destination.to_owned(), address, reason })
            }
            (true, None) => Err(unreachable("its name has no address".to_owned())),
        }
    }

    /// A client that connects to the given addresses and no others; the last one if they are the
    /// same, since it may still have a connection.
    fn client(&self, url: &Url, addresses: Vec<SocketAddr>) -> Result<Client, NotifyError> {
        let mut last = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((bound, client)) = &*last
            && *bound == addresses
        {
            return Ok(client.clone());
        }
        let client = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .resolve_to_addrs(url.host_str().unwrap_or_default(), &addresses)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("upkeep-collector/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| NotifyError::Configuration(chain(&error)))?;
        *last = Some((addresses, client.clone()));
        Ok(client)
    }
}

/// Reads an address that a webhook may have.
///
/// # Errors
/// When it is none, or of another protocol than HTTP.
pub fn parse_url(text: &str) -> Result<Url, NotifyError> {
    // The text is not repeated: it may carry a secret.
    let fault = |what: &str| NotifyError::Configuration(format!("the webhook's URL {what}"));
    let url = Url::parse(text).map_err(|error| fault(&format!("cannot be read: {error}")))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(fault("must begin with http:// or https:// and name a host")),
    }
}

/// Scheme, host and port: the rest may carry secrets.
fn destination(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
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

#[cfg(test)]
mod tests;
