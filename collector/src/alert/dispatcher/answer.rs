//! What the dispatcher answers at its desk. A silence is stored before it holds, and holds before
//! whoever wanted it is told so.

use std::sync::{Arc, PoisonError};

use tokio::task;
use uuid::Uuid;

use super::{Dispatcher, Ready};
use crate::alert::desk::{DeskError, Question, SeenSilence};
use crate::alert::silence::{Silence, SilenceDraft};
use crate::notify::Fingerprint;
use crate::state::{Acknowledgement, By, SilenceChange, State, StateError};

/// For how long it is kept what was sent to whom, and of how many alerts at most.
const KEEP_DELIVERIES_MS: i64 = 30 * 24 * 3_600_000;
const MOST_DELIVERED: u32 = 500_000;

/// How often it is looked for what is to be forgotten.
const FORGET_EVERY_MS: i64 = 15 * 60_000;

impl Dispatcher {
    /// Answers. Whoever asked may have gone meanwhile, which is no fault.
    pub(super) async fn answer(&mut self, question: Question) {
        let now_ms = self.clock.now_ms();
        match question {
            Question::Accept { alerts, reply } => {
                self.book.accept_of_others(alerts, now_ms);
                // What the disk does not take is told all the same, and stored later.
                self.save().await;
                drop(reply.send(Ok(())));
            }
            Question::Alerts { filter, reply } => {
                drop(reply.send(Ok(self.book.alerts(&filter, now_ms))));
            }
            Question::Groups { filter, reply } => {
                drop(reply.send(Ok(self.book.groups(&filter, now_ms))));
            }
            Question::Silences { reply } => drop(reply.send(Ok(self.silences(now_ms)))),
            Question::PutSilence { draft, by, reply } => {
                drop(reply.send(self.put_silence(&draft, by).await));
            }
            Question::ExpireSilence { id, by, reply } => {
                drop(reply.send(self.expire_silence(id, by).await));
            }
            Question::Reload { ready, reply } => drop(reply.send(Ok(self.reload(*ready).await))),
            Question::Acknowledge { alert, made, by, reply } => {
                drop(reply.send(self.acknowledge(alert, made, by).await));
            }
        }
    }

    /// Goes by another routing file, and says whether it is another one. The channels are new in any
    /// case, since files that they need may have changed.
    async fn reload(&mut self, ready: Ready) -> bool {
        let is_changed = ready.routing != self.ready.routing;
        if is_changed {
            ready.warn();
            let now_ms = self.clock.now_ms();
            let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
            let since_ms = shown.since_ms;
            *shown = Arc::new(ready.facts(since_ms));
            drop(shown);
            self.book.reroute(ready.routes(), now_ms);
        }
        self.receivers.replace(ready.channels.clone());
        self.ready = ready;
        self.save().await;
        is_changed
    }

    /// Forgets what is old, if it was not done just now: silences that have been over for long, and
    /// what was sent to whom.
    pub(super) async fn forget(&mut self) {
        let now_ms = self.clock.now_ms();
        if self.forgot_at_ms.is_some_and(|at_ms| (now_ms - at_ms).abs() < FORGET_EVERY_MS) {
            return;
        }
        self.forgot_at_ms = Some(now_ms);
        self.book.forget_flapping(now_ms);
        let before_ms = now_ms.saturating_sub(KEEP_DELIVERIES_MS);
        // What cannot be forgotten now is forgotten the next time.
        drop(self.store(move |state| state.forget_deliveries(before_ms, MOST_DELIVERED)).await);
        let ids = self.book.silences().long_over(self.keep_silences_ms, now_ms);
        if ids.is_empty() {
            return;
        }
        let gone = ids.clone();
        if self.store(move |state| state.forget_silences(&gone)).await.is_ok() {
            self.book.forget_silences(&ids);
        }
    }

    fn silences(&self, now_ms: i64) -> Vec<SeenSilence> {
        let silences = self.book.silences().iter();
        silences.map(|silence| (silence.clone(), silence.state(now_ms))).collect()
    }

    async fn put_silence(&mut self, draft: &SilenceDraft, by: By) -> Result<Uuid, DeskError> {
        let now_ms = self.clock.now_ms();
        let changes = self.book.silences().put(draft, Uuid::new_v4(), now_ms)?;
        let id = changes.last().map(|(silence, _)| silence.record.id);
        self.take_silences(changes, by).await?;
        id.ok_or(DeskError::NotStored)
    }

    async fn expire_silence(&mut self, id: Uuid, by: By) -> Result<(), DeskError> {
        let ended = self.book.silences().expire(id, self.clock.now_ms())?;
        self.take_silences(vec![(ended, SilenceChange::Expired)], by).await
    }

    async fn acknowledge(
        &mut self,
        alert: Fingerprint,
        made: Option<Acknowledgement>,
        by: By,
    ) -> Result<(), DeskError> {
        if !self.book.fires(alert, self.clock.now_ms()) {
            return Err(DeskError::NoSuchAlert(alert));
        }
        let (stored, name) = (made.clone(), alert.to_string());
        self.store(move |state| match &stored {
            Some(made) => state.acknowledge(&name, made, &by),
            None => state.withdraw_acknowledgement(&name, &by),
        })
        .await?;
        self.book.take_acknowledgement(alert, made);
        Ok(())
    }

    async fn take_silences(
        &mut self,
        changes: Vec<(Silence, SilenceChange)>,
        by: By,
    ) -> Result<(), DeskError> {
        let records: Vec<_> =
            changes.iter().map(|(silence, change)| (silence.record.clone(), *change)).collect();
        self.store(move |state| state.store_silences(&records, &by)).await?;
        self.book.take_silences(changes.into_iter().map(|(silence, _)| silence));
        Ok(())
    }

    /// Stores something on a thread that may wait for the disk.
    async fn store(
        &self,
        work: impl FnOnce(&State) -> Result<(), StateError> + Send + 'static,
    ) -> Result<(), DeskError> {
        let state = self.state.clone();
        match task::spawn_blocking(move || work(&state)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::error!(%error, "what somebody wants of alerts could not be stored");
                Err(DeskError::NotStored)
            }
            Err(error) => {
                tracing::error!(%error, "storing what somebody wants of alerts broke down");
                Err(DeskError::NotStored)
            }
        }
    }
}
