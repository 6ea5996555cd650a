//! Alerts of our own rules, sent on to other Alertmanagers as a Prometheus does.
//!
//! What rules say of their alerts passes through here on its way to whoever tells people. Each
//! Alertmanager has a bounded queue and a task of its own, so none waits for another, and nobody here
//! for any of them. Rules speak of their alerts again every minute, and of those that are over for a
//! quarter of an hour, so what did not arrive comes again.

mod message;
mod queue;
mod target;

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::target::{Target, keep_sending};
use crate::clock::Clock;
use crate::notify::{Alert, HttpSettings, NotifyError, parse_url};

pub use target::TargetStatus;

/// What every Alertmanager's address ends with.
const PATH: &str = "/api/v2/alerts";

/// One Alertmanager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its address, the prefix of its paths included.
    pub url: String,
    /// How to send.
    pub http: HttpSettings,
}

/// An Alertmanager cannot be sent to.
#[derive(Debug, Error)]
#[error("alertmanager {url}: {source}")]
pub struct ForwardError {
    url: String,
    source: NotifyError,
}

/// The Alertmanagers, and how each of them does. Clones share everything.
#[derive(Clone, Default)]
pub struct Forwarding(Arc<[Arc<Target>]>);

impl Forwarding {
    /// To the Alertmanagers as they are set.
    ///
    /// # Errors
    /// When the certificates of one cannot be read.
    pub fn new(settings: Vec<Settings>) -> Result<Self, ForwardError> {
        let target = |one: Settings| {
            let url = one.url.clone();
            let made = address(&one.url).and_then(|address| Target::new(address, one.http));
            made.map(Arc::new).map_err(|source| ForwardError { url, source })
        };
        settings.into_iter().map(target).collect::<Result<Vec<_>, _>>().map(|all| Self(all.into()))
    }

    /// Whether there is any.
    pub fn is_needed(&self) -> bool {
        !self.0.is_empty()
    }

    /// How each of them does, in the order of the configuration.
    pub fn statuses(&self) -> Vec<TargetStatus> {
        self.0.iter().map(|target| target.status()).collect()
    }

    /// Hands alerts on to `next`, and to every Alertmanager, until `stop`.
    pub async fn run(
        self,
        mut alerts: mpsc::Receiver<Vec<Alert>>,
        next: mpsc::Sender<Vec<Alert>>,
        clock: Clock,
        stop: CancellationToken,
    ) {
        let mut sending = JoinSet::new();
        for target in self.0.iter() {
            sending.spawn(keep_sending(Arc::clone(target)));
        }
        while let Some(Some(batch)) = stop.run_until_cancelled(alerts.recv()).await {
            for target in self.0.iter() {
                target.put(&batch, clock.now_ms());
            }
            // Whoever tells people may have ended, and then all is about to.
            if next.send(batch).await.is_err() {
                stop.cancelled().await;
            }
        }
        // What is already here is told after the next start, if whoever tells people stores it.
        while let Ok(batch) = alerts.try_recv() {
            drop(next.try_send(batch));
        }
        // What was not sent is spoken of again after the next start.
        sending.shutdown().await;
    }
}

/// Where an Alertmanager takes alerts.
///
/// # Errors
/// When its address is none, or carries a user, a password or parameters: it is shown as it is.
pub fn address(url: &str) -> Result<reqwest::Url, NotifyError> {
    let whole = format!("{}{PATH}", url.trim_end_matches('/'));
    let address = parse_url(&whole)?;
    let is_plain = address.username().is_empty()
        && address.password().is_none()
        && address.query().is_none()
        && address.fragment().is_none();
    if is_plain {
        return Ok(address);
    }
    let reason = "the URL must have no user, password, parameters or fragment";
    Err(NotifyError::Configuration(reason.to_owned()))
}

#[cfg(test)]
mod tests;
