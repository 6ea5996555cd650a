//! The desk: through it the API asks about alerts and silences, and changes them. The dispatcher
//! answers between two turns, so that nothing is ever decided on half of a change.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time;
use uuid::Uuid;

use super::dispatcher::Ready;
use super::silence::{Silence, SilenceDraft, SilenceError, SilenceState};
use super::view::{AlertFilter, AlertView, GroupView};
use crate::notify::{Alert, Fingerprint};
use crate::state::{Acknowledgement, By};

/// So many questions may wait; whoever asks beyond them waits in the API.
const QUESTIONS: usize = 64;

/// How long an answer may take: a turn of the dispatcher may have to wait for the disk.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whoever has this can ask and act. Clones share everything.
#[derive(Clone, Debug)]
pub struct Desk {
    questions: mpsc::Sender<Question>,
    facts: Shown,
}

/// What is shown, which the dispatcher replaces when the routing file changes.
pub(super) type Shown = Arc<RwLock<Arc<Facts>>>;

/// What only the routing file changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The names of those who can be told, in the order of the routing file.
    pub receivers: Vec<String>,
    /// The routing file as it can be shown, without secrets.
    pub routing: String,
    /// When the dispatcher began, in milliseconds since 1970.
    pub since_ms: i64,
}

/// A silence, and whether it holds.
pub type SeenSilence = (Silence, SilenceState);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum DeskError {
    /// The dispatcher stopped, or is about to.
    #[error("alerts are not being looked after any more: the collector is stopping")]
    Stopped,
    /// It is busy for too long.
    #[error("alerts could not be asked for within {} s", PATIENCE.as_secs())]
    Busy,
    /// The silence is refused.
    #[error(transparent)]
    Silence(#[from] SilenceError),
    /// There is no such alert, or it does not fire.
    #[error("no alert fires with the fingerprint {0}")]
    NoSuchAlert(Fingerprint),
    /// A change could not be stored, and was not made.
    #[error("the change could not be stored, and was not made; the collector's log says why")]
    NotStored,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, DeskError>>;

/// What the dispatcher is asked.
pub(super) enum Question {
    Accept { alerts: Vec<Alert>, reply: Reply<()> },
    Alerts { filter: AlertFilter, reply: Reply<Vec<AlertView>> },
    Groups { filter: AlertFilter, reply: Reply<Vec<GroupView>> },
    Silences { reply: Reply<Vec<SeenSilence>> },
    PutSilence { draft: SilenceDraft, by: By, reply: Reply<Uuid> },
    ExpireSilence { id: Uuid, by: By, reply: Reply<()> },
    Reload { ready: Box<Ready>, reply: Reply<bool> },
    Acknowledge { alert: Fingerprint, made: Option<Acknowledgement>, by: By, reply: Reply<()> },
}

impl Desk {
    /// A desk, and where what is asked there arrives.
    pub(super) fn open(facts: Facts) -> (Self, mpsc::Receiver<Question>) {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        (Self { questions, facts: Arc::new(RwLock::new(Arc::new(facts))) }, asked)
    }

    /// What only the routing file changes.
    pub fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.facts.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where that is shown.
    pub(super) fn shown(&self) -> Shown {
        Arc::clone(&self.facts)
    }

    /// Has the dispatcher go by another routing file, and says whether it is another one. Nobody is told
    /// again because of that.
    ///
    /// # Errors
    /// When the dispatcher does not answer.
    pub async fn reload(&self, ready: Ready) -> Result<bool, DeskError> {
        self.ask(|reply| Question::Reload { ready: Box::new(ready), reply }).await
    }

    /// Hands in alerts; they are stored when this returns, as far as the disk takes them.
    ///
    /// # Errors
    /// When the dispatcher does not take them.
    pub async fn accept(&self, alerts: Vec<Alert>) -> Result<(), DeskError> {
        self.ask(|reply| Question::Accept { alerts, reply }).await
    }

    /// The alerts that fire and are wanted, in the order of their fingerprints.
    ///
    /// # Errors
    /// When the dispatcher does not answer.
    pub async fn alerts(&self, filter: AlertFilter) -> Result<Vec<AlertView>, DeskError> {
        self.ask(|reply| Question::Alerts { filter, reply }).await
    }

    /// The groups with alerts that fire and are wanted, in the order of their labels.
    ///
    /// # Errors
    /// When the dispatcher does not answer.
    pub async fn groups(&self, filter: AlertFilter) -> Result<Vec<GroupView>, DeskError> {
        self.ask(|reply| Question::Groups { filter, reply }).await
    }

    /// Every silence that is kept: what holds first, then what will, then what is over; within these
    /// what changes next comes first, and of what is over what ended last.
    ///
    /// # Errors
    /// When the dispatcher does not answer.
    pub async fn silences(&self) -> Result<Vec<SeenSilence>, DeskError> {
        let mut silences = self.ask(|reply| Question::Silences { reply }).await?;
        silences.sort_by_key(|(silence, state)| {
            let next_ms = match state {
                SilenceState::Active => silence.record.ends_at_ms,
                SilenceState::Pending => silence.record.starts_at_ms,
                SilenceState::Expired => -silence.record.ends_at_ms,
            };
            (*state, next_ms, silence.record.id)
        });
        Ok(silences)
    }

    /// Makes a silence or changes one; what comes back identifies it. It holds and is stored when
    /// this returns.
    ///
    /// # Errors
    /// When the silence makes no sense, cannot be stored, or the dispatcher does not answer.
    pub async fn put_silence(&self, draft: SilenceDraft, by: By) -> Result<Uuid, DeskError> {
        self.ask(|reply| Question::PutSilence { draft, by, reply }).await
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// When there is none, it is over, cannot be stored, or the dispatcher does not answer.
    pub async fn expire_silence(&self, id: Uuid, by: By) -> Result<(), DeskError> {
        self.ask(|reply| Question::ExpireSilence { id, by, reply }).await
    }

    /// Notes that somebody takes care of an alert that fires, or that nobody does any more.
    ///
    /// # Errors
    /// When there is none, it cannot be stored, or the dispatcher does not answer.
    pub async fn acknowledge(
        &self,
        alert: Fingerprint,
        made: Option<Acknowledgement>,
        by: By,
    ) -> Result<(), DeskError> {
        self.ask(|reply| Question::Acknowledge { alert, made, by, reply }).await
    }

    async fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> Question) -> Result<T, DeskError> {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            self.questions.send(question(reply)).await.map_err(|_| DeskError::Stopped)?;
            answer.await.map_err(|_| DeskError::Stopped)?
        };
        time::timeout(PATIENCE, asking).await.map_err(|_| DeskError::Busy)?
    }
}
