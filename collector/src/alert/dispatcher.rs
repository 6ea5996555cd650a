//! Carries out what the book decides: stores changes, sends messages, comes back in time; and answers
//! at its desk.

mod answer;
mod ready;
mod said;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{self, JoinSet};
use tokio::time;
use tokio_util::sync::CancellationToken;

pub use ready::Ready;

use said::Said;

use super::Settings;
use super::book::{Book, Job, Outcome};
use super::courier::{Courier, Receivers};
use super::desk::{Desk, Question, Shown};
use super::group::milliseconds;
use super::routing::Routing;
use super::silence::{Silence, SilenceError};
use crate::action::{Order, Queue};
use crate::clock::{Clock, ClockWatch};
use crate::ledger::Reporter;
use crate::notify::{Alert, Channel, Notification, NotifyError, one_line};
use crate::state::{AlertChanges, Delivery, DeliveryOutcome, State, StateError};

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

/// A message that ended.
struct Sent {
    job: Job,
    outcome: Outcome,
    /// What was answered, or why it did not arrive.
    answer: String,
}

/// Tells receivers of alerts.
pub struct Dispatcher {
    book: Book,
    ready: Ready,
    /// Whom others than the routes may tell.
    receivers: Receivers,
    /// What the desk shows of the routing file.
    shown: Shown,
    state: State,
    clock: Clock,
    clock_watch: ClockWatch,
    /// Changes that could not be stored yet.
    unsaved: AlertChanges,
    sending: JoinSet<Sent>,
    /// What the log said of receivers that cannot be told.
    said: Said,
    questions: mpsc::Receiver<Question>,
    /// Who runs actions, if anybody does, and what is to be run as soon as it is stored that it is.
    actions: Option<Queue>,
    orders: Vec<Order>,
    /// For how long silences are kept that are over, and when it was last looked for such.
    keep_silences_ms: i64,
    forgot_at_ms: Option<i64>,
    reporter: Reporter,
}

impl Dispatcher {
    /// A dispatcher that takes up what was known before a restart, and its desk.
    ///
    /// # Errors
    /// When the state cannot be read or a channel not be set up.
    pub fn new(
        routing: Routing,
        settings: &Settings,
        state: State,
        clock: Clock,
    ) -> Result<(Self, Desk), DispatcherError> {
        let ready = Ready::new(routing)?;
        ready.warn();
        let now_ms = clock.now_ms();
        let (desk, questions) = Desk::open(ready.facts(now_ms));
        let mut book = Book::new(ready.routes(), settings.external_url.clone());
        book.take_silences(silences(&state)?);
        book.restore_flapping(settings.flapping, state.flapping()?);
        book.restore(state.alerts()?, state.notifications()?, now_ms);
        book.restore_acknowledgements(state.acknowledgements()?);
        let dispatcher = Self {
            book,
            receivers: Receivers::new(ready.channels.clone()),
            ready,
            shown: desk.shown(),
            clock_watch: ClockWatch::begin(&clock),
            state,
            clock,
            unsaved: AlertChanges::default(),
            sending: JoinSet::new(),
            said: Said::default(),
            questions,
            actions: None,
            orders: Vec::new(),
            keep_silences_ms: milliseconds(settings.keep_silences),
            forgot_at_ms: None,
            reporter: Reporter::default(),
        };
        Ok((dispatcher, desk))
    }

    /// Orders the actions that rules ask for there.
    #[must_use]
    pub fn ordering_at(self, actions: Queue) -> Self {
        Self { actions: Some(actions), ..self }
    }

    /// The same, that tells the ledger of usefulness what becomes of alerts.
    #[must_use]
    pub fn reporting_to(self, reporter: Reporter) -> Self {
        Self { reporter, ..self }
    }

    /// Somebody who can be told what is no alert; `None` if there is no receiver of that name.
    pub fn courier(&self, receiver: &str) -> Option<Courier> {
        Courier::new(receiver, self.receivers.clone())
    }

    /// Tells of alerts as they come, until `stop`.
    pub async fn run(mut self, mut alerts: mpsc::Receiver<Vec<Alert>>, stop: CancellationToken) {
        let (mut is_open, mut is_asked) = (true, true);
        self.act(Vec::new()).await;
        loop {
            let sleep = self.until_next();
            // What is due is looked at after each turn, and what is ready has its turn by chance, so
            // nothing starves. All that there is of one kind shares a turn, since each waits for the
            // disk.
            let jobs = tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = self.sending.join_next() => self.settle_all(ended),
                batch = alerts.recv(), if is_open => {
                    is_open = batch.is_some();
                    self.accept_all(batch, &mut alerts);
                    Vec::new()
                }
                question = self.questions.recv(), if is_asked => {
                    self.follow_clock();
                    match question {
                        Some(question) => self.answer(question).await,
                        None => is_asked = false,
                    }
                    Vec::new()
                }
                () = time::sleep(sleep) => Vec::new(),
            };
            self.act(jobs).await;
            self.forget().await;
        }
        // What is already there is stored, so that it is told after the next start.
        self.accept_all(None, &mut alerts);
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
        self.reporter.tell(self.book.take_news());
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
        self.orders.extend(self.book.take_orders());
        self.reporter.tell(self.book.take_news());
        self.save().await;
        // An action that would be forgotten with a crash would be run again, so it waits.
        if self.unsaved.is_empty() && !self.orders.is_empty() {
            let orders = std::mem::take(&mut self.orders);
            if let Some(actions) = &self.actions {
                actions.put(orders).await;
            }
        }
        for job in jobs {
            let channels = self.ready.channels.get(&job.key.receiver);
            let Some(channel) = channels.and_then(|channels| channels.get(job.key.channel)) else {
                continue;
            };
            self.sending.spawn(send(job, Arc::clone(channel)));
        }
    }

    /// Takes a batch of alerts and those that wait behind it by now.
    fn accept_all(&mut self, first: Option<Vec<Alert>>, alerts: &mut mpsc::Receiver<Vec<Alert>>) {
        self.follow_clock();
        let waiting = (0..alerts.len()).map_while(|_| alerts.try_recv().ok());
        for batch in first.into_iter().chain(waiting) {
            self.book.accept(batch, self.clock.now_ms());
        }
    }

    /// Takes how a message ended, and those that ended meanwhile; what can be sent next comes back.
    fn settle_all(&mut self, first: Result<Sent, task::JoinError>) -> Vec<Job> {
        let mut jobs = self.settle(first);
        while let Some(ended) = self.sending.try_join_next() {
            jobs.extend(self.settle(ended));
        }
        jobs
    }

    fn settle(&mut self, ended: Result<Sent, task::JoinError>) -> Vec<Job> {
        self.follow_clock();
        match ended {
            Ok(sent) => {
                let now_ms = self.clock.now_ms();
                self.say(&sent, now_ms);
                self.unsaved.deliver(self.delivery(&sent, now_ms));
                self.book.settle(&sent.job, sent.outcome, now_ms)
            }
            Err(error) => {
                tracing::error!(%error, "sending a message broke down");
                Vec::new()
            }
        }
    }

    /// Says in the log that a message did not arrive, unless it said so of its receiver just now.
    fn say(&mut self, Sent { job, outcome, answer: error }: &Sent, now_ms: i64) {
        let what = match outcome {
            Outcome::Told => return,
            Outcome::Failed { .. } => "telling failed and is tried again",
            Outcome::Refused { .. } => "telling was refused",
        };
        let Some(left_out) = self.said.admit(&job.key.receiver, now_ms) else { return };
        let (receiver, group) = (&job.key.receiver, one_line(&job.key.group));
        tracing::warn!(receiver, channel = job.key.channel, group, error, left_out, "{what}");
    }

    /// What is kept of how a message ended.
    fn delivery(&self, Sent { job, outcome, answer }: &Sent, now_ms: i64) -> Delivery {
        let channels = self.ready.channels.get(&job.key.receiver);
        let channel = channels.and_then(|channels| channels.get(job.key.channel));
        let outcome = match outcome {
            Outcome::Told => DeliveryOutcome::Told,
            Outcome::Failed { .. } => DeliveryOutcome::Failed,
            Outcome::Refused { .. } => DeliveryOutcome::Refused,
        };
        let Notification { alerts, at_ms, .. } = &job.notification;
        let alerts =
            alerts.iter().map(|one| (one.fingerprint().to_string(), !one.is_resolved(*at_ms)));
        Delivery {
            at_ms: now_ms,
            receiver: job.key.receiver.clone(),
            channel: job.key.channel,
            kind: channel.map(|channel| channel.kind().to_owned()).unwrap_or_default(),
            group: job.key.group.clone(),
            reason: job.reason.name().to_owned(),
            outcome,
            answer: answer.clone(),
            alerts: alerts.collect(),
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

/// The silences that were kept. One that cannot be understood any more silences nothing.
fn silences(state: &State) -> Result<Vec<Silence>, StateError> {
    let understood = state.silences()?.into_iter().filter_map(|record| {
        let id = record.id;
        Silence::of(record)
            .inspect_err(|error: &SilenceError| {
                tracing::error!(silence = %id, %error, "a silence cannot be used and is left out");
            })
            .ok()
    });
    Ok(understood.collect())
}

async fn send(job: Job, channel: Arc<Channel>) -> Sent {
    let (receiver, group, reason) = (&job.key.receiver, one_line(&job.key.group), job.reason);
    let kind = channel.kind();
    let sending = AssertUnwindSafe(channel.send(&job.notification)).catch_unwind().await;
    let result = sending.unwrap_or_else(|_| Err(NotifyError::Message("a fault here".to_owned())));
    let answer = result.as_ref().map_or_else(ToString::to_string, Clone::clone);
    let outcome = match result {
        Ok(_) => {
            let alerts = job.notification.alerts.len();
            tracing::info!(receiver, kind, group, alerts, ?reason, "told");
            Outcome::Told
        }
        Err(error) if error.is_permanent() => Outcome::Refused { reason: error.to_string() },
        Err(error) => Outcome::Failed { reason: error.to_string(), random: rand::random() },
    };
    Sent { job, outcome, answer }
}

#[cfg(test)]
mod tests;
