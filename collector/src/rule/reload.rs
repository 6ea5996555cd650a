//! Asks the running schedule to read its rule files again, and says how that went.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::Serialize;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::yaml::Faults;

/// So many may wait until the files are read for them; whoever comes then waits to ask.
const WAITING: usize = 8;

/// What became of the groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Groups that say what they said before, and go on undisturbed.
    pub unchanged: usize,
    /// Groups of the same file and name that say something else, or had broken down.
    pub changed: usize,
    /// Groups that were not there before.
    pub added: usize,
    /// Groups that are there no more.
    pub removed: usize,
}

/// Why the rules stay as they were.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The files cannot be used.
    #[error(transparent)]
    Files(#[from] Faults),
    /// Nobody evaluates rules: the collector is being stopped.
    #[error("the rules are not evaluated any more")]
    Stopped,
}

type Answer = Result<Reloaded, ReloadError>;

/// Whoever wants the rule files read again has one. Clones ask the same schedule.
#[derive(Clone, Debug)]
pub struct Reloader(mpsc::Sender<oneshot::Sender<Answer>>);

/// What the schedule is asked.
#[derive(Debug)]
pub struct ReloadRequests(mpsc::Receiver<oneshot::Sender<Answer>>);

/// A reloader, and where its requests arrive.
pub fn reloading() -> (Reloader, ReloadRequests) {
    let (asking, asked) = mpsc::channel(WAITING);
    (Reloader(asking), ReloadRequests(asked))
}

impl Reloader {
    /// Has the rule files read again. They are used only if all of them can be.
    ///
    /// # Errors
    /// With everything that is wrong with the files; then nothing has changed.
    pub async fn reload(&self) -> Answer {
        let (answering, answer) = oneshot::channel();
        self.0.send(answering).await.map_err(|_| ReloadError::Stopped)?;
        answer.await.unwrap_or(Err(ReloadError::Stopped))
    }
}

impl ReloadRequests {
    /// The next request; `None` if nobody can make one any more.
    pub async fn next(&mut self) -> Option<oneshot::Sender<Answer>> {
        self.0.recv().await
    }
}

/// What is counted about reloads, under the names that Prometheus' own have after its prefix.
#[derive(Clone, Debug, Default)]
pub struct ReloadMeters {
    successful: Gauge,
    succeeded_at: Gauge<f64, AtomicU64>,
}

impl ReloadMeters {
    /// Meters that show in the registry.
    pub fn register(registry: &mut Registry) -> Self {
        let meters = Self::default();
        let help = "Whether the rule and routing files were good when they were last read";
        let name = "upkeep_collector_config_last_reload_successful";
        registry.register(name, help, meters.successful.clone());
        let help = "When good rule files were last read, in seconds since 1970";
        let name = "upkeep_collector_config_last_reload_success_timestamp_seconds";
        registry.register(name, help, meters.succeeded_at.clone());
        meters
    }

    pub(super) fn succeeded(&self, now_ms: i64) {
        self.successful.set(1);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of any date fit")]
        self.succeeded_at.set(now_ms as f64 / 1000.0);
    }

    /// The files could not be used.
    pub fn failed(&self) {
        self.successful.set(0);
    }
}
