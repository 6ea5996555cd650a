//! Has rules and routing read again while the collector runs: both are taken up, or neither.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::task;

use crate::alert::{self, Desk, DeskError, Ready};
use crate::rule::{self, ReloadMeters};
use crate::yaml::{Fault, Faults};

/// Of the faults of files so many are logged; the answer to who asked has them all.
const FAULTS_LOGGED: usize = 20;

/// What is read again.
#[derive(Clone)]
pub struct Sources {
    /// Which files and folders hold the rules.
    pub rules: Arc<dyn Fn() -> Vec<PathBuf> + Send + Sync>,
    /// The actions that rules may ask for.
    pub actions: BTreeSet<String>,
    /// The routing file, if there is one.
    pub routing: Arc<dyn Fn() -> Option<PathBuf> + Send + Sync>,
    /// What else is set about telling people.
    pub settings: alert::Settings,
    /// The receiver of digests, which a routing file must have.
    pub digests_to: Option<String>,
}

/// Whoever wants the files read again has one. Clones ask the same collector.
#[derive(Clone)]
pub struct Reloader {
    rules: rule::Reloader,
    desk: Desk,
    sources: Sources,
    meters: ReloadMeters,
    /// The routing file that is gone by; held while files are read, so that one reload follows another.
    routing: Arc<Mutex<Option<PathBuf>>>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// The groups of rules.
    #[serde(flatten)]
    pub rules: rule::Reloaded,
    /// Whether the routing file says something else than before.
    pub routing_changed: bool,
}

/// Why everything stays as it was.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// Files cannot be used.
    #[error(transparent)]
    Files(#[from] Faults),
    /// The rules refuse.
    #[error(transparent)]
    Rules(#[from] rule::ReloadError),
    /// Alerts are not looked after, or the collector is too busy. The rules are those of the files.
    #[error("the rules were taken up, the routing file was not: {0}")]
    Desk(#[from] DeskError),
    /// Reading the files broke down.
    #[error("the files could not be read: {0}")]
    Reading(#[from] task::JoinError),
}

impl Reloader {
    /// A reloader of what the sources hold now.
    pub fn new(rules: rule::Reloader, desk: Desk, sources: Sources, meters: ReloadMeters) -> Self {
        let routing = Arc::new(Mutex::new((sources.routing)()));
        Self { rules, desk, sources, meters, routing }
    }

    /// Has rules and routing read again. They are used only if all of them can be.
    ///
    /// # Errors
    /// With everything that is wrong with the files; then nothing has changed.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        self.read_again().await.inspect_err(|error| {
            if !matches!(error, ReloadError::Rules(_)) {
                self.meters.failed();
            }
            log(error);
        })
    }

    async fn read_again(&self) -> Result<Reloaded, ReloadError> {
        let mut routing = self.routing.lock().await;
        // A file that is there no more is a mistake, and no wish that nobody be told.
        let file = (self.sources.routing)().or_else(|| routing.clone());
        let (sources, wanted) = (self.sources.clone(), file.clone());
        let ready = task::spawn_blocking(move || read(&sources, wanted)).await??;
        let rules = self.rules.reload().await?;
        let routing_changed = self.desk.reload(ready).await?;
        *routing = file;
        tracing::info!(routing_changed, "the routing file was read again");
        Ok(Reloaded { rules, routing_changed })
    }
}

/// Reads everything, and gives the routing file ready to be used if nothing is wrong anywhere.
fn read(sources: &Sources, wanted: Option<PathBuf>) -> Result<Ready, Faults> {
    let rules = rule::load(&(sources.rules)(), Some(&sources.actions));
    let mut faults = rules.err().map(|faults| faults.0).unwrap_or_default();
    let settings =
        alert::Settings { routing: wanted.clone().unwrap_or_default(), ..sources.settings.clone() };
    let ready = match wanted {
        Some(_) => Ready::load(&settings),
        None => Ok(Ready::of_nobody()),
    };
    if let (Ok(ready), Some(file), Some(wanted)) = (&ready, &wanted, &sources.digests_to)
        && !ready.has_receiver(wanted)
    {
        let message = format!("it has no receiver `{wanted}`, which digest.receiver names");
        faults.push(Fault { file: file.clone(), place: None, message });
    }
    match ready {
        Ok(ready) if faults.is_empty() => Ok(ready),
        Ok(_) => Err(Faults(faults)),
        Err(found) => {
            faults.extend(found.0);
            Err(Faults(faults))
        }
    }
}

fn log(error: &ReloadError) {
    let (ReloadError::Files(Faults(faults))
    | ReloadError::Rules(rule::ReloadError::Files(Faults(faults)))) = error
    else {
        return tracing::error!(%error, "rules and routing could not be read again");
    };
    for fault in faults.iter().take(FAULTS_LOGGED) {
        tracing::error!("{fault}");
    }
    let faults = faults.len();
    tracing::error!(faults, "rules and routing stay as they were: their files cannot be used");
}
