//! Carries out what the book decides: stores changes, sends messages, comes back in time.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{self, JoinSet};
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::book::{Book, Job, Outcome};
use super::routing::Routing;
use crate::clock::{Clock, ClockWatch};
use crate::notify::{Alert, Channel, NotifyError, one_line};
use crate::state::{AlertChanges, State, StateError};

/// How long messages under way have to arrive once the dispatcher is to stop; what has not arrived by
/// then is sent again after the next start.
const FAREWELL: Duration = Duration::from_secs(5);

/// The longest sleep: the wall clock may be set while it lasts.
const LONGEST_SLEEP_MS: i64 = 30_000;

/// The dispatcher could not begin.
#[derive(Debug, Error)]
pub enum DispatcherError {
    /// What was told before the restart cannot be read.
    #[error("alerts and notifications cannot be read: {0}")]
    State(#[from] StateError),
    /// A channel cannot be used.
    #[error("receiver `{receiver}`: {source}")]
    Channel {
        /// The receiver.
        receiver: String,
        /// What is wrong.
        source: NotifyError,
    },
}

/// Tells receivers of alerts.
pub struct Dispatcher {
    book: Book,
    channels: BTreeMap<String, Vec<Arc<Channel>>>,
    state: State,
    clock: Clock,
    clock_watch: ClockWatch,
    /// Changes that could not be stored yet.
    unsaved: AlertChanges,
    sending: JoinSet<(Job, Outcome)>,
}

impl Dispatcher {
    /// A dispatcher that takes up what was known before a restart. `external_url` is the address
    /// under which people reach this server.
    ///
    /// # Errors
    /// When the state cannot be read or a channel not be set up.
    pub fn new(
        routing: Routing,
        external_url: &str,
        state: State,
        clock: Clock,
    ) -> Result<Self, DispatcherError> {
        for warning in &routing.warnings {
            tracing::warn!("{warning}");
        }
        let mut channels = BTreeMap::new();
        for receiver in routing.receivers {
            if receiver.channels.is_empty() {
                tracing::info!(
                    receiver = receiver.name,
                    "the receiver is told nothing: it names no way"
                );
            }
            let ready = receiver
                .channels
                .into_iter()
                .map(|settings| Channel::new(settings).map(Arc::new))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|source| DispatcherError::Channel {
                    receiver: receiver.name.clone(),
                    source,
                })?;
            channels.insert(receiver.name, ready);
        }
        let sends_resolved = channels
            .iter()
            .map(|(name, channels)| {
                let sends = channels.iter().map(|channel| channel.sends_resolved()).collect();
                (name.clone(), sends)
            })
            .collect();
        let mut book = Book::new(
            routing.root,
            sends_resolved,
            routing.resolve_timeout,
            external_url.to_owned(),
            routing.inhibit_rules,
        );
        book.restore(state.alerts()?, state.notifications()?, clock.now_ms());
        let unsaved = AlertChanges::default();
        let (clock_watch, sending) = (ClockWatch::begin(&clock), JoinSet::new());
        Ok(Self { book, channels, state, clock, clock_watch, unsaved, sending })
    }

    /// Tells of alerts as they come, until `stop`.
    pub async fn run(mut self, mut alerts: mpsc::Receiver<Vec<Alert>>, stop: CancellationToken) {
        let mut is_open = true;
        self.act(Vec::new()).await;
        loop {
            let sleep = self.until_next();
            // What is due is looked at after each turn, so nothing starves by this order.
            let jobs = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = self.sending.join_next() => self.settle(ended),
                batch = alerts.recv(), if is_open => {
                    self.follow_clock();
                    match batch {
                        Some(batch) => self.book.accept(batch, self.clock.now_ms()),
                        None => is_open = false,
                    }
                    Vec::new()
                }
                () = time::sleep(sleep) => Vec::new(),
            };
            self.act(jobs).await;
        }
        // What is already there is stored, so that it is told after the next start.
        while let Ok(batch) = alerts.try_recv() {
            self.book.accept(batch, self.clock.now_ms());
        }
        self.save().await;
        self.part().await;
    }

    /// Lets messages under way arrive, for a while.
    async fn part(&mut self) {
        let _ = time::timeout(FAREWELL, async {
            while let Some(ended) = self.sending.join_next().await {
                // What could be sent next waits for the next start.
                self.settle(ended);
            }
        })
        .await;
        self.sending.shutdown().await;
        self.save().await;
    }

    fn follow_clock(&mut self) {
        if let Some(set_ms) = self.clock_watch.look(&self.clock) {
            let before_ms = self.clock.now_ms().saturating_sub(set_ms);
            self.book.clock_was_set(set_ms, before_ms);
        }
    }

    /// Stores what changed, then sends.
    async fn act(&mut self, mut jobs: Vec<Job>) {
        self.follow_clock();
        jobs.extend(self.book.take_due(self.clock.now_ms()));
        self.save().await;
        for job in jobs {
            let channels = self.channels.get(&job.key.receiver);
            let Some(channel) = channels.and_then(|channels| channels.get(job.key.channel)) else {
                continue;
            };
            self.sending.spawn(send(job, Arc::clone(channel)));
        }
    }

    fn settle(&mut self, ended: Result<(Job, Outcome), task::JoinError>) -> Vec<Job> {
        self.follow_clock();
        match ended {
            Ok((job, outcome)) => self.book.settle(&job, outcome, self.clock.now_ms()),
            Err(error) => {
                tracing::error!(%error, "sending a message broke down");
                Vec::new()
            }
        }
    }

    /// A change that cannot be stored is kept for the next time: people are told all the same.
    async fn save(&mut self) {
        self.unsaved.extend(self.book.take_changes());
        if self.unsaved.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut self.unsaved);
        let state = self.state.clone();
        let work = task::spawn_blocking(move || match state.change_alerts(&changes) {
            Ok(()) => AlertChanges::default(),
            Err(error) => {
                tracing::error!(%error, "alerts and notifications could not be stored");
                changes
            }
        });
        match work.await {
            Ok(unsaved) => self.unsaved = unsaved,
            Err(error) => tracing::error!(%error, "storing alerts broke down"),
        }
    }

    fn until_next(&self) -> Duration {
        let now_ms = self.clock.now_ms();
        let at_ms = self.book.next_wake_ms().unwrap_or(i64::MAX);
        let left_ms = at_ms.saturating_sub(now_ms).clamp(0, LONGEST_SLEEP_MS);
        Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
    }
}

async fn send(job: Job, channel: Arc<Channel>) -> (Job, Outcome) {
    let (receiver, group, reason) = (&job.key.receiver, one_line(&job.key.group), job.reason);
    let kind = channel.kind();
    let sending = AssertUnwindSafe(channel.send(&job.notification)).catch_unwind().await;
    let result = sending.unwrap_or_else(|_| Err(NotifyError::Message("a fault here".to_owned())));
    let outcome = match result {
        Ok(()) => {
            let alerts = job.notification.alerts.len();
            tracing::info!(receiver, kind, group, alerts, ?reason, "told");
            Outcome::Told
        }
        Err(error) if error.is_permanent() => {
            tracing::warn!(receiver, kind, group, %error, "telling was refused");
            Outcome::Refused { reason: error.to_string() }
        }
        Err(error) => {
            tracing::warn!(receiver, kind, group, %error, "telling failed and is tried again");
            Outcome::Failed { reason: error.to_string(), random: rand::random() }
        }
    };
    (job, outcome)
}

#[cfg(test)]
mod tests;
