//! One Alertmanager: what waits for it, and how it does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::Notify;
use tokio::time;

use super::message;
use super::queue::{Told, Waiting};
use crate::notify::{Alert, Fingerprint, HttpSettings, NotifyError, Post};

/// So many alerts go in one request, as with Prometheus.
const BATCH: usize = 64;

/// How long the first pause after a failure is, and any at most; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// See the module's description.
pub(super) struct Target {
    url: Url,
    post: Post,
    waiting: Mutex<Waiting>,
    news: Notify,
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    sent: u64,
    last_error: Option<String>,
}

/// How an Alertmanager does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetStatus {
    /// Where alerts are sent to.
    pub url: String,
    /// Why the last request failed; `None` if it did not.
    pub last_error: Option<String>,
    /// How many alerts wait.
    pub waiting: usize,
    /// How many were sent.
    pub sent: u64,
    /// How many were left out, since too many waited or they were refused.
    pub dropped: u64,
}

impl Target {
    pub(super) fn new(url: Url, http: HttpSettings) -> Result<Self, NotifyError> {
        Ok(Self {
            post: Post::new(url.clone(), http)?,
            url,
            waiting: Mutex::default(),
            news: Notify::new(),
            health: Mutex::default(),
        })
    }

    /// Takes what is said of alerts; waits for nobody.
    pub(super) fn put(&self, alerts: &[Alert], at_ms: i64) {
        let mut waiting = lock(&self.waiting);
        alerts.iter().for_each(|alert| waiting.put(Told { alert: alert.clone(), at_ms }));
        drop(waiting);
        self.news.notify_one();
    }

    pub(super) fn status(&self) -> TargetStatus {
        let (health, waiting) = (lock(&self.health), lock(&self.waiting));
        TargetStatus {
            url: self.url.to_string(),
            last_error: health.last_error.clone(),
            waiting: waiting.len(),
            sent: health.sent,
            dropped: waiting.dropped,
        }
    }

    async fn send(&self, batch: &[(Fingerprint, Told)]) -> Result<(), NotifyError> {
        let body = message::json(batch.iter().map(|(_, told)| told))?;
        self.post.send(body).await.map(drop)
    }

    /// Notes how a request went. The log says when that changes, and not again and again.
    fn note(&self, sent: usize, error: Option<&NotifyError>) {
        let mut health = lock(&self.health);
        let (url, was_well) = (self.url.as_str(), health.last_error.is_none());
        match error {
            Some(error) if was_well => {
                tracing::warn!(url, %error, "an Alertmanager takes no alerts")
            }
            None if !was_well => tracing::info!(url, "an Alertmanager takes alerts again"),
            _ => {}
        }
        health.sent += sent as u64;
        health.last_error = error.map(ToString::to_string);
    }
}

/// Sends to an Alertmanager what comes to wait for it, for ever.
pub(super) async fn keep_sending(target: std::sync::Arc<Target>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let batch = lock(&target.waiting).take(BATCH);
        if batch.is_empty() {
            target.news.notified().await;
            continue;
        }
        match target.send(&batch).await {
            Ok(()) => {
                target.note(batch.len(), None);
                pause = FIRST_PAUSE;
            }
            Err(error) if error.is_permanent() => {
                target.note(0, Some(&error));
                lock(&target.waiting).dropped += batch.len() as u64;
            }
            Err(error) => {
                target.note(0, Some(&error));
                lock(&target.waiting).put_back(batch);
                // Many collectors must not come back at one moment.
                time::sleep(pause.mul_f64(1.0 - 0.5 * rand::random::<f64>())).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
