//! The loop: it reads what was measured, has it judged, writes the series, and keeps what was learned.
//!
//! What is behind, after a start or since samples could not be read, is caught up with in pieces, by the
//! same way as what is new; after the first start that is all the samples that are of use.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::task;
use tokio::time::{self, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use upkeep_model::{HostId, INSTANCE};
use upkeep_promql::{Query, Row, Value};
use upkeep_store::{Append, Store, StoreError};
use uuid::Uuid;

use super::baseline::{HOUR_MS, STEP_MS, WEEK_MS};
use super::board::ChartBoard;
use super::series::ChartPoint;
use super::sheet::{Sheet, Taken};
use super::signal::Signal;
use crate::clock::Clock;
use crate::query::{Engine, Instants, QueryError, Wishes};
use crate::state::{KeptChart, State, StateError};

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(15);

/// Samples have so long to arrive before they are looked at.
const ARRIVAL_MS: i64 = 45_000;

/// Points are written once more after so long, or their series would have ended before the next ones.
const REPEATED_AFTER_MS: i64 = STEP_MS / 2;

/// So much is caught up with at a time.
const PIECE_MS: i64 = 3 * HOUR_MS;

/// Samples that are older than this are of no use: an hour of the week remembers four.
const OF_USE_MS: i64 = 4 * WEEK_MS;

/// So many charts are kept in one transaction: others write, too.
const KEPT_AT_ONCE: usize = 100;

/// When a host is in an incident: an alert fires that is more than a note, and that is not of a chart
/// (those carry the label `signal`). What has fired for a day is a condition, and no incident any more.
const INCIDENTS: &str = "count by (instance) (
    ALERTS{alertstate=\"firing\",severity!=\"info\",signal=\"\"}
    unless ALERTS{alertstate=\"firing\"} offset 1d)";

/// Whether a host is in maintenance at a moment, in milliseconds since 1970.
pub type Covers = Box<dyn Fn(&str, i64) -> bool + Send>;

/// Says which hosts are in maintenance and when; it is asked before each look at samples.
pub type Maintenance = Arc<dyn Fn() -> BoxFuture<'static, Covers> + Send + Sync>;

/// Says which hosts there are by name; charts of others stay as long as something comes of them.
pub type Hosts = Arc<dyn Fn() -> BTreeSet<String> + Send + Sync>;

/// What the loop works with.
pub struct Parts {
    /// Reads what was measured.
    pub engine: Engine,
    /// Where the series are written to.
    pub store: Arc<Store>,
    /// Where what was learned is kept.
    pub state: State,
    /// Tells the time.
    pub clock: Clock,
    /// Says what is not to be learned from.
    pub maintenance: Maintenance,
    /// Says which hosts there are: the charts of one that is deleted or renamed go at once.
    pub hosts: Hosts,
    /// Where the charts are shown.
    pub board: Arc<ChartBoard>,
}

/// Why charts are not kept; it is tried again.
#[derive(Debug, Error)]
pub enum ToleranceError {
    /// What was measured cannot be read.
    #[error("the signal cannot be read: {0}")]
    Query(#[from] QueryError),
    /// The expression that says who is in an incident is none.
    #[error("it cannot be told who is in an incident: {0}")]
    Incidents(String),
    /// A host has more than one series.
    #[error("the expression gives more than one series of {0}; only one of them is charted")]
    Twice(String),
    /// There are too many hosts.
    #[error("{0} hosts are too many and have no chart")]
    TooMany(usize),
    /// The state cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The series cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A blocking task ended early.
    #[error("a task ended early: {0}")]
    Task(#[from] task::JoinError),
}

/// Keeps the charts of the signals until it is told to stop.
///
/// # Errors
/// When what was learned cannot be read.
pub async fn watch(
    signals: Vec<Signal>,
    parts: Parts,
    stop: CancellationToken,
) -> Result<(), ToleranceError> {
    let mut watch = Watch::load(signals, parts).await?;
    let mut ticks = time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        while stop.run_until_cancelled(watch.turn()).await == Some(Progress::Behind) {}
    }
    Ok(())
}

/// Whether there is more to do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Behind,
    Done,
}

struct Watch {
    parts: Parts,
    sheets: Vec<Sheet>,
    incidents: Query,
    hosts: BTreeSet<String>,
    repeated_ms: i64,
    /// What is wrong, by signal or other part, so that it is logged once.
    trouble: BTreeMap<String, String>,
}

/// A stretch of time, its first and last moment, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    start_ms: i64,
    end_ms: i64,
}

/// The hosts that were in an incident, and when.
type Incidents = HashMap<String, HashSet<i64>>;

impl Watch {
    async fn load(signals: Vec<Signal>, parts: Parts) -> Result<Self, ToleranceError> {
        let state = parts.state.clone();
        let kept = task::spawn_blocking(move || state.charts()).await??;
        let from_ms = due(parts.clock.now_ms()).saturating_sub(OF_USE_MS);
        let sheet = |signal| Sheet::of_kept(signal, &kept, from_ms);
        let sheets: Vec<Sheet> = signals.into_iter().map(sheet).collect();
        sheets.iter().for_each(|sheet| parts.board.post(&sheet.signal.name, sheet.statuses()));
        let incidents = upkeep_promql::parse(INCIDENTS)
            .map_err(|error| ToleranceError::Incidents(error.to_string()))?;
        let (hosts, trouble) = ((parts.hosts)(), BTreeMap::new());
        Ok(Self { parts, sheets, incidents, hosts, repeated_ms: 0, trouble })
    }

    /// Takes every signal one piece further.
    async fn turn(&mut self) -> Progress {
        let due_ms = due(self.parts.clock.now_ms());
        let dropped = self.drop_hosts().await;
        self.note("hosts", dropped.err());
        let (mut progress, mut incidents) = (Progress::Done, None);
        for index in 0..self.sheets.len() {
            let Some(sheet) = self.sheets.get_mut(index) else { continue };
            if sheet.through_ms > due_ms + HOUR_MS {
                sheet.come_back_to(due_ms);
            }
            if sheet.through_ms >= due_ms {
                continue;
            }
            let start_ms = sheet.through_ms + STEP_MS;
            let end_ms = due_ms.min(sheet.through_ms + PIECE_MS);
            let began = Instant::now();
            let done = self.piece(index, Stretch { start_ms, end_ms }, &mut incidents).await;
            // What fails is tried again at the next look, and not at once.
            if done.is_ok() && end_ms < due_ms {
                progress = Progress::Behind;
            }
            let signal = self.sheets.get(index).map(|sheet| sheet.signal.name.clone());
            self.note(&signal.unwrap_or_default(), done.err());
            if end_ms > start_ms {
                // Catching up leaves half of the time to others.
                time::sleep(began.elapsed()).await;
            }
        }
        if progress == Progress::Done {
            let repeated = self.repeat(due_ms).await;
            self.note("repetition", repeated.err());
        }
        progress
    }

    /// Reads a stretch of a signal, judges it, writes the series, and keeps what has its turn.
    async fn piece(
        &mut self,
        index: usize,
        stretch: Stretch,
        incidents: &mut Option<(Stretch, Incidents)>,
    ) -> Result<(), ToleranceError> {
        if incidents.as_ref().is_none_or(|(of, _)| *of != stretch) {
            let rows = self.read(self.incidents.clone(), stretch).await?;
            *incidents = Some((stretch, in_incidents(&rows)));
        }
        let Some((_, known)) = incidents else { return Ok(()) };
        let Some(sheet) = self.sheets.get(index) else { return Ok(()) };
        let read = self.read(sheet.signal.query.clone(), stretch).await;
        let covers = (self.parts.maintenance)().await;
        let now_ms = self.parts.clock.now_ms();
        let Some(sheet) = self.sheets.get_mut(index) else { return Ok(()) };
        let rows = match read {
            Ok(rows) => rows,
            Err(error) => {
                // What cannot be read once will not be later; charts go on with what comes.
                sheet.through_ms = stretch.end_ms;
                return Err(error);
            }
        };
        let taken = task::block_in_place(|| {
            let is_paused = |instance: &str, at_ms: i64| {
                known.get(instance).is_some_and(|moments| moments.contains(&at_ms))
                    || covers(instance, at_ms)
            };
            sheet.take(&rows, stretch.end_ms, now_ms, is_paused)
        });
        drop(covers);
        self.parts.board.post(&sheet.signal.name, sheet.statuses());
        let is_current = stretch.end_ms > now_ms - 2 * STEP_MS;
        let gone = if is_current { sheet.forget() } else { Vec::new() };
        let kept = if is_current { sheet.kept() } else { Vec::new() };
        let Taken { points, twice, refused } = taken;
        self.write(points).await?;
        self.keep(kept, gone).await?;
        match (twice, refused) {
            (Some(instance), _) => Err(ToleranceError::Twice(instance)),
            (None, 0) => Ok(()),
            (None, refused) => Err(ToleranceError::TooMany(refused)),
        }
    }

    /// Keeps charts, and forgets those that are no more, by signal and host.
    async fn keep(
        &self,
        kept: Vec<KeptChart>,
        gone: Vec<(String, String)>,
    ) -> Result<(), ToleranceError> {
        let state = self.parts.state.clone();
        task::spawn_blocking(move || {
            if !gone.is_empty() {
                state.forget_charts(&gone)?;
            }
            kept.chunks(KEPT_AT_ONCE).try_for_each(|some| state.keep_charts(some))
        })
        .await??;
        Ok(())
    }

    /// Drops the charts of hosts that were there at the last look and are not any more.
    async fn drop_hosts(&mut self) -> Result<(), ToleranceError> {
        let hosts = (self.parts.hosts)();
        let before = std::mem::replace(&mut self.hosts, hosts);
        let mut gone = Vec::new();
        for instance in before.difference(&self.hosts) {
            for sheet in &mut self.sheets {
                sheet.drop_host(instance);
                gone.push((sheet.signal.name.clone(), instance.clone()));
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let post = |sheet: &Sheet| self.parts.board.post(&sheet.signal.name, sheet.statuses());
        self.sheets.iter().for_each(post);
        self.keep(Vec::new(), gone).await
    }

    async fn read(&self, query: Query, stretch: Stretch) -> Result<Vec<Row>, ToleranceError> {
        let Stretch { start_ms, end_ms } = stretch;
        let instants = Instants::Range { start_ms, end_ms, step_ms: STEP_MS };
        let (answer, _place) =
            self.parts.engine.evaluate(query, instants, Wishes::default()).await?;
        Ok(match answer.value {
            Value::Matrix(rows) => rows,
            Value::Vector(_) | Value::Scalar { .. } | Value::Text { .. } => Vec::new(),
        })
    }

    /// Writes the last points once more when their time has come.
    async fn repeat(&mut self, due_ms: i64) -> Result<(), ToleranceError> {
        let at_ms = due_ms + REPEATED_AFTER_MS;
        if self.parts.clock.now_ms() < at_ms || self.repeated_ms >= at_ms {
            return Ok(());
        }
        self.repeated_ms = at_ms;
        let current = self.sheets.iter().filter(|sheet| sheet.through_ms == due_ms);
        let points = current.flat_map(|sheet| sheet.repeated(at_ms)).collect();
        self.write(points).await
    }

    /// The series belong to no host: the store keeps them under the identity that no host has.
    async fn write(&self, points: Vec<ChartPoint>) -> Result<(), ToleranceError> {
        if points.is_empty() {
            return Ok(());
        }
        let (store, home) = (Arc::clone(&self.parts.store), HostId(Uuid::nil()));
        task::spawn_blocking(move || store.commit(vec![Append::Points { home, points }])).await??;
        Ok(())
    }

    /// Logs what is wrong, once for as long as it stays the same.
    fn note(&mut self, part: &str, error: Option<ToleranceError>) {
        let Some(error) = error.map(|error| error.to_string()) else {
            self.trouble.remove(part);
            return;
        };
        if self.trouble.get(part) != Some(&error) {
            tracing::warn!(part, error, "charts are not whole");
            self.trouble.insert(part.to_owned(), error);
        }
    }
}

/// The last moment whose samples have had time to arrive.
fn due(now_ms: i64) -> i64 {
    let arrived_ms = now_ms.saturating_sub(ARRIVAL_MS);
    arrived_ms - arrived_ms.rem_euclid(STEP_MS)
}

fn in_incidents(rows: &[Row]) -> Incidents {
    let of_host = |row: &Row| {
        let instance = row.labels.get(INSTANCE)?.to_owned();
        Some((instance, row.points().map(|(at_ms, _)| at_ms).collect()))
    };
    rows.iter().filter_map(of_host).collect()
}
