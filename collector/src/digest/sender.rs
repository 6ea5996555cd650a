//! Sends digests when they are due. What each channel has got is stored, so that a restart sends
//! nothing twice and leaves nothing out; only the power going between sending and storing does.

use std::time::Duration;

use tokio::task;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::digester::{Digester, Told};
use super::due::Schedule;
use super::report::Kind;
use crate::alert::Courier;
use crate::clock::Clock;
use crate::notify::NotifyError;
use crate::state::{State, StateError};

/// How often it is looked whether a digest is due.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// The first pause after a failure, and the longest.
const FIRST_PAUSE_MS: i64 = 60_000;
const LONGEST_PAUSE_MS: i64 = 30 * 60_000;

/// Sends digests until `stop`; waits for it if nobody is to read them.
pub async fn run(
    digester: Digester,
    schedule: Schedule,
    state: State,
    clock: Clock,
    stop: CancellationToken,
) {
    let Some(courier) = digester.courier().cloned() else {
        stop.cancelled().await;
        return;
    };
    let mut sender = Sender { digester, courier, schedule, state, clock, pauses: [None; 2] };
    let mut looks = time::interval(LOOK_EVERY);
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        if stop.run_until_cancelled(sender.look()).await.is_none() {
            break;
        }
    }
}

struct Sender {
    digester: Digester,
    courier: Courier,
    schedule: Schedule,
    state: State,
    clock: Clock,
    /// For each kind after a failure: until when to wait, and how long the next pause is.
    pauses: [Option<(i64, i64)>; 2],
}

impl Sender {
    async fn look(&mut self) {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            let now_ms = self.clock.now_ms();
            let pause = self.pauses.get(place).copied().flatten();
            if pause.is_some_and(|(until_ms, _)| now_ms < until_ms) {
                continue;
            }
            let is_done = self.send_due(kind, now_ms).await == Some(true);
            let longer_ms = pause.map_or(FIRST_PAUSE_MS, |(_, longer_ms)| longer_ms);
            let again = (
                now_ms.saturating_add(longer_ms),
                longer_ms.saturating_mul(2).min(LONGEST_PAUSE_MS),
            );
            if let Some(slot) = self.pauses.get_mut(place) {
                *slot = (!is_done).then_some(again);
            }
        }
    }

    /// Sends a digest by the channels that lack it; whether all have got it, or never will. Nothing
    /// if the state cannot be used, which was said.
    async fn send_due(&self, kind: Kind, now_ms: i64) -> Option<bool> {
        let Some(due_ms) = self.schedule.last_due(kind, now_ms) else { return Some(true) };
        let receiver = self.courier.receiver().to_owned();
        let noted = self.with_state(move |state| state.digests(kind.name(), &receiver)).await?;
        let channels = self.courier.kinds().len();
        let Waiting { due, new } = waiting(&noted, channels, due_ms, now_ms);
        self.note(kind, new, due_ms).await?;
        if due.is_empty() {
            return Some(true);
        }
        let report = self.digester.report(kind).await;
        if report.entries.is_empty() {
            self.note(kind, due, due_ms).await?;
            return Some(true);
        }
        let told = self.digester.send_by(&self.courier, &report, &due).await;
        let is_over =
            |told: &Told| told.outcome.as_ref().err().is_none_or(NotifyError::is_permanent);
        let is_done = told.iter().all(is_over);
        let over = told.iter().filter(|told| is_over(told)).map(|told| told.channel);
        self.note(kind, over.collect(), due_ms).await?;
        Some(is_done)
    }

    async fn note(&self, kind: Kind, channels: Vec<usize>, due_ms: i64) -> Option<()> {
        if channels.is_empty() {
            return Some(());
        }
        let receiver = self.courier.receiver().to_owned();
        let note =
            move |state: &State| state.note_digest(kind.name(), &receiver, &channels, due_ms);
        self.with_state(note).await
    }

    async fn with_state<T: Send + 'static>(
        &self,
        work: impl FnOnce(&State) -> Result<T, StateError> + Send + 'static,
    ) -> Option<T> {
        let state = self.state.clone();
        match task::spawn_blocking(move || work(&state)).await {
            Ok(Ok(done)) => Some(done),
            Ok(Err(error)) => {
                tracing::error!(%error, "a digest cannot be sent yet");
                None
            }
            Err(error) => {
                tracing::error!(%error, "looking after digests broke down");
                None
            }
        }
    }
}

/// The channels that lack a digest, and those that get their first one the next time.
#[derive(Debug, PartialEq, Eq)]
struct Waiting {
    due: Vec<usize>,
    new: Vec<usize>,
}

/// Which channels wait, by when the last digest was due that each has got. One that has never got any
/// begins with the next, as does one that got its last by a clock that was ahead.
fn waiting(noted: &[(usize, i64)], channels: usize, due_ms: i64, now_ms: i64) -> Waiting {
    let mut waiting = Waiting { due: Vec::new(), new: Vec::new() };
    for channel in 0..channels {
        let last_ms = noted.iter().find(|(known, _)| *known == channel).map(|(_, at_ms)| *at_ms);
        match last_ms {
            None => waiting.new.push(channel),
            Some(last_ms) if last_ms > now_ms => waiting.new.push(channel),
            Some(last_ms) if last_ms < due_ms => waiting.due.push(channel),
            Some(_) => {}
        }
    }
    waiting
}

#[cfg(test)]
mod tests;
