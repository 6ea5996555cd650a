//! Carries out orders, a few at a time, each noted before it begins and when it has ended.

use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use thiserror::Error;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::deed::{Doer, Done};
use super::order::{Order, Orders};
use super::settings::{Deed, Settings};
use super::triage::{Refusal, Triage};
use crate::clock::Clock;
use crate::ledger::{News, Reporter};
use crate::notify::{Notification, NotifyError, one_line};
use crate::state::{By, EndedRun, NewRun, Outcome, RunAudit, RunOutcome, State, StateError};

/// So many run at once, so that alerts by the thousand do not start as many programs.
const AT_ONCE: usize = 4;

/// So many wait for one of them to end.
const WAITING: usize = 1_000;

/// How long those that run may go on once all is to stop. They are ended then.
const FAREWELL: Duration = Duration::from_secs(1);

/// For how long runs are kept, how many, and how often it is looked for what is to be forgotten.
const KEEP_MS: i64 = 30 * 24 * 3_600_000;
const MOST_KEPT: u32 = 100_000;
const FORGET_EVERY: Duration = Duration::from_mins(15);

/// How often the log says that orders are refused; the audit log always does.
const SAY_EVERY_MS: i64 = 60_000;

/// Who notes how runs end.
const ACTOR: &str = "collector";

/// Actions cannot be run.
#[derive(Debug, Error)]
pub enum ActionError {
    /// What was run before the restart cannot be read.
    #[error("the runs of actions cannot be read: {0}")]
    State(#[from] StateError),
    /// An action cannot be used.
    #[error("action `{name}`: {source}")]
    Unusable {
        /// The action.
        name: String,
        /// What is wrong.
        source: NotifyError,
    },
}

/// An order that is carried out.
struct Planned {
    id: i64,
    order: Order,
    arguments: Vec<String>,
}

struct Runner {
    triage: Triage,
    doers: BTreeMap<String, Arc<Doer>>,
    external_url: String,
    state: State,
    clock: Clock,
    reporter: Reporter,
    waiting: VecDeque<Planned>,
    running: JoinSet<(Planned, Done)>,
    said_ms: Option<i64>,
}

/// Carries out orders until `stop`, and tells the ledger of usefulness of which alerts that went well. What an earlier run of the collector left unfinished is noted as
/// interrupted first.
///
/// # Errors
/// When an action cannot be used, or what was run before the restart cannot be read.
pub async fn run(
    settings: Vec<Settings>,
    external_url: String,
    mut orders: Orders,
    kept: (State, Clock, Reporter),
    stop: CancellationToken,
) -> Result<(), ActionError> {
    let mut runner = Runner::new(&settings, external_url, kept)?;
    let mut forgetting = time::interval(FORGET_EVERY);
    loop {
        runner.begin().await;
        tokio::select! {
            () = stop.cancelled() => break,
            Some(batch) = orders.0.recv() => runner.take(batch).await,
            Some(ended) = runner.running.join_next() => runner.note_end(ended).await,
            _ = forgetting.tick() => runner.forget().await,
        }
    }
    while let Ok(batch) = orders.0.try_recv() {
        runner.take(batch).await;
    }
    runner.part().await;
    Ok(())
}

impl Runner {
    fn new(
        settings: &[Settings],
        external_url: String,
        (state, clock, reporter): (State, Clock, Reporter),
    ) -> Result<Self, ActionError> {
        let now_ms = clock.now_ms();
        state.interrupt_runs(&By { actor: ACTOR.to_owned(), at_ms: now_ms })?;
        let doer = |one: &Settings| match Doer::new(one) {
            Ok(doer) => Ok((one.name.clone(), Arc::new(doer))),
            Err(source) => Err(ActionError::Unusable { name: one.name.clone(), source }),
        };
        let longest = settings.iter().map(|one| one.limit.within).max().unwrap_or_default();
        let longest_ms = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
        let past = state.runs_since(now_ms.saturating_sub(longest_ms))?.into_iter();
        let past: Vec<_> = past.map(|(name, at_ms)| (name, now_ms - at_ms)).collect();
        Ok(Self {
            triage: Triage::new(settings, &past, clock.steady_ms()),
            doers: settings.iter().map(doer).collect::<Result<_, _>>()?,
            external_url,
            state,
            clock,
            reporter,
            waiting: VecDeque::new(),
            running: JoinSet::new(),
            said_ms: None,
        })
    }

    /// Judges orders and notes them all; those that are admitted wait then. If they cannot be noted,
    /// none is carried out.
    async fn take(&mut self, batch: Vec<Order>) {
        let now_ms = self.clock.now_ms();
        let (mut planned, mut refused) = (Vec::new(), Vec::new());
        for order in batch {
            let has_room = self.waiting.len() + planned.len() < WAITING;
            match self.triage.admit(&order, has_room, self.clock.steady_ms()) {
                Ok(arguments) => planned.push(Planned { id: 0, order, arguments }),
                Err(refusal) => refused.push((order, refusal)),
            }
        }
        let mut runs: Vec<_> =
            planned.iter().map(|one| self.new_run(&one.order, None, now_ms)).collect();
        let refusals = refused.iter();
        runs.extend(refusals.map(|(order, refusal)| self.new_run(order, Some(refusal), now_ms)));
        let mut audits: Vec<_> = planned.iter().map(|one| self.audit(one)).collect();
        audits.extend(self.audits_of(&refused, now_ms));
        let noted = self.store(move |state| state.note_runs(&runs, &audits, now_ms)).await;
        for (mut one, id) in planned.into_iter().zip(noted.unwrap_or_default()) {
            one.id = id;
            self.waiting.push_back(one);
        }
    }

    fn new_run(&self, order: &Order, refusal: Option<&Refusal>, asked_at_ms: i64) -> NewRun {
        NewRun {
            fingerprint: order.fingerprint.to_string(),
            action: order.action.clone(),
            kind: self.triage.deed(order).map_or("", Deed::kind),
            asked_at_ms,
            refusal: refusal.map(ToString::to_string),
        }
    }

    fn audit(&self, Planned { order, arguments, .. }: &Planned) -> RunAudit {
        let what = match self.triage.deed(order) {
            Some(Deed::Command { program, .. }) => format!("{} {arguments:?}", program.display()),
            _ => "its webhook".to_owned(),
        };
        RunAudit {
            actor: format!("alert:{}", order.fingerprint),
            action: order.action.clone(),
            outcome: Outcome::Done,
            detail: format!("for {}: {what}", about(order)),
        }
    }

    /// One entry for all that are refused together for one reason, so that alerts by the thousand do
    /// not fill the audit log; each alert has its own word of it.
    fn audits_of(&mut self, refused: &[(Order, Refusal)], now_ms: i64) -> Vec<RunAudit> {
        let mut groups: BTreeMap<(&str, String), Vec<&Order>> = BTreeMap::new();
        for (order, refusal) in refused {
            groups.entry((&order.action, refusal.to_string())).or_default().push(order);
        }
        let is_silent = |said_ms: i64| (now_ms - said_ms).abs() < SAY_EVERY_MS;
        if !groups.is_empty() && !self.said_ms.is_some_and(is_silent) {
            self.said_ms = Some(now_ms);
            for ((action, reason), orders) in &groups {
                let alerts = orders.len();
                tracing::warn!(action, reason, alerts, "an action is not run");
            }
        }
        let entry = |((action, reason), orders): ((&str, String), Vec<&Order>)| {
            let first = *orders.first()?;
            let others = match orders.len() - 1 {
                0 => String::new(),
                others => format!(" and {others} others"),
            };
            Some(RunAudit {
                actor: format!("alert:{}", first.fingerprint),
                action: action.to_owned(),
                outcome: Outcome::Refused,
                detail: format!("for {}{others}: {reason}", about(first)),
            })
        };
        groups.into_iter().filter_map(entry).collect()
    }

    /// Begins what waits, as far as there is room.
    async fn begin(&mut self) {
        while self.running.len() < AT_ONCE
            && let Some(planned) = self.waiting.pop_front()
        {
            let Some(doer) = self.doers.get(&planned.order.action).map(Arc::clone) else {
                continue;
            };
            let (id, now_ms) = (planned.id, self.clock.now_ms());
            // That it was asked for is noted already.
            self.store(move |state| state.begin_run_of_action(id, now_ms)).await;
            let notification = self.notification(&planned.order, now_ms);
            self.running.spawn(async move {
                let acting = AssertUnwindSafe(doer.act(&planned.arguments, &notification));
                let done = acting.catch_unwind().await;
                (planned, done.unwrap_or_else(|_| Done::failed("a fault here")))
            });
        }
    }

    fn notification(&self, order: &Order, now_ms: i64) -> Notification {
        Notification {
            receiver: order.action.clone(),
            group_key: format!("action:{}:{}", order.action, order.fingerprint),
            subject: None,
            group_labels: order.alert.labels.clone(),
            alerts: vec![order.alert.clone()],
            external_url: self.external_url.clone(),
            at_ms: now_ms,
        }
    }

    /// Takes how a run ended: the one place where that is known.
    async fn note_end(&mut self, ended: Result<(Planned, Done), JoinError>) {
        let (Planned { id, order, .. }, done) = match ended {
            Ok(ended) => ended,
            Err(error) => return tracing::error!(%error, "an action broke down"),
        };
        let Done { outcome, status, answer } = done;
        let (action, alert) = (order.action, one_line(order.alert.name()));
        tracing::info!(action, alert, outcome = outcome.name(), status, answer, "an action ended");
        if outcome == RunOutcome::Done {
            self.reporter.tell(vec![News::Acted { alert: order.fingerprint }]);
        }
        let ended = EndedRun { id, action, outcome, status, answer };
        let by = By { actor: ACTOR.to_owned(), at_ms: self.clock.now_ms() };
        self.store(move |state| state.end_run_of_action(&ended, &by)).await;
    }

    async fn forget(&self) {
        let before_ms = self.clock.now_ms().saturating_sub(KEEP_MS);
        self.store(move |state| state.forget_runs(before_ms, MOST_KEPT)).await;
    }

    /// Lets what runs end, for a while; what does not is ended, and what has not begun never does.
    async fn part(&mut self) {
        let deadline = time::Instant::now() + FAREWELL;
        while let Ok(Some(ended)) = time::timeout_at(deadline, self.running.join_next()).await {
            self.note_end(ended).await;
        }
        self.running.shutdown().await;
        let by = By { actor: ACTOR.to_owned(), at_ms: self.clock.now_ms() };
        self.store(move |state| state.interrupt_runs(&by)).await;
    }

    /// Stores something on a thread that may wait for the disk; nothing comes back if it could not be.
    async fn store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&State) -> Result<T, StateError> + Send + 'static,
    ) -> Option<T> {
        let state = self.state.clone();
        match task::spawn_blocking(move || work(&state)).await {
            Ok(Ok(stored)) => Some(stored),
            Ok(Err(error)) => {
                tracing::error!(%error, "what becomes of actions could not be stored");
                None
            }
            Err(error) => {
                tracing::error!(%error, "storing what becomes of actions broke down");
                None
            }
        }
    }
}

/// Which alert, in one line.
fn about(order: &Order) -> String {
    one_line(&order.alert.labels.to_string())
}

#[cfg(test)]
mod tests;
