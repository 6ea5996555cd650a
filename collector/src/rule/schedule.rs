//! Evaluates each group on its interval until it is told to stop, and takes up changed rule files.
//!
//! Groups run beside each other, each in a task of its own that never has more than one evaluation
//! going; what an evaluation overruns is left out and counted. An evaluation's changes are stored
//! before its alerts are handed on. Alerts are handed on again every minute, so that one that was
//! lost on its way, by a crash at the wrong moment, arrives after all.
//!
//! Changed files are taken up all or not at all. A group that says what it said before is not even
//! interrupted; the others' tasks end before those begin that replace them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{self, JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use upkeep_model::Labels;
use upkeep_promql::Source;

use super::Settings;
use super::arrival::{ArrivalMeters, Arrivals};
use super::check::load;
use super::file::{Content, Group};
use super::group::{LiveGroup, Surroundings, Takeover};
use super::record::{RecordedPoint, Recorder};
use super::reload::{ReloadError, ReloadMeters, ReloadRequests, Reloaded};
use super::snapshot::{Arrival, Board};
use super::turn::{Desk, TELL_AGAIN, keep_evaluating};
use crate::clock::Clock;
use crate::ledger::Reporter;
use crate::notify::Alert;
use crate::state::{State, StateError};

/// How many evaluations' alerts may wait to be taken. A group whose alerts find no place waits,
/// and its next evaluation comes later.
pub const ALERT_QUEUE: usize = 64;

/// What the schedule works with.
#[derive(Clone)]
pub struct Parts {
    /// Where samples come from.
    pub source: Arc<dyn Source + Send + Sync>,
    /// Where results go.
    pub recorder: Arc<dyn Recorder>,
    /// Where the alerts' stages are kept over a restart.
    pub state: State,
    /// Who tells people.
    pub alerts: mpsc::Sender<Vec<Alert>>,
    /// Who keeps the ledger of usefulness.
    pub reporter: Reporter,
    /// Where everybody may look.
    pub board: Arc<Board>,
    /// Tells the time.
    pub clock: Clock,
    /// What is counted about reloads.
    pub meters: ReloadMeters,
    /// What is counted about evaluations on arrival.
    pub arrival_meters: ArrivalMeters,
    /// Which files and folders hold the rules when they are read again.
    pub files: Arc<dyn Fn() -> Vec<PathBuf> + Send + Sync>,
}

/// Rules are not evaluated any more.
#[derive(Debug, Error)]
pub enum ScheduleError {
    /// The schedule could not begin.
    #[error("the alerts from before the restart cannot be read: {0}")]
    State(#[from] StateError),
    /// Some groups had ended, and those to replace them had not begun.
    #[error("taking up changed rules broke down: {0}")]
    Replacing(#[from] JoinError),
}

/// Evaluates the groups, and those that reloads put in their place, until `stop`. Hosts whose samples
/// `arrived` are looked at by rules that look at one host at a time.
///
/// # Errors
/// When the alerts from before the restart cannot be read, or a reload broke down half way.
pub async fn run(
    groups: Vec<Group>,
    settings: &Settings,
    parts: Parts,
    (mut requests, arrived): (ReloadRequests, mpsc::Receiver<String>),
    stop: CancellationToken,
) -> Result<(), ScheduleError> {
    let mut schedule = Schedule::begin(groups, settings, parts)?;
    let handing_on = tokio::spawn(Arc::clone(&schedule.arrivals).hand_on(arrived));
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => break,
            request = requests.next() => request,
        };
        match request {
            // Whoever asked may not wait for the answer.
            Some(answering) => drop(answering.send(schedule.reload().await?)),
            None => {
                stop.cancelled().await;
                break;
            }
        }
    }
    handing_on.abort();
    end_all(schedule.running.into_values()).await;
    Ok(())
}

/// What runs, and all that another group needs to run.
struct Schedule {
    parts: Parts,
    settings: Settings,
    surroundings: Surroundings,
    arrivals: Arc<Arrivals>,
    running: BTreeMap<String, Running>,
}

/// One group that is evaluated.
struct Running {
    content: Content,
    stop: CancellationToken,
    task: JoinHandle<Option<(LiveGroup, Desk)>>,
}

/// A group that begins.
struct Beginning {
    content: Content,
    group: LiveGroup,
    desk: Desk,
}

impl Schedule {
    fn begin(groups: Vec<Group>, settings: &Settings, parts: Parts) -> Result<Self, StateError> {
        let surroundings = Surroundings {
            source: Arc::clone(&parts.source),
            recorder: Arc::clone(&parts.recorder),
            limits: settings.limits.clone(),
            timeout: settings.timeout,
            external_url: settings.external_url.clone(),
            external_labels: Labels::default(),
            tell_again: TELL_AGAIN,
            settle: settings.settle,
        };
        let arrivals = Arc::new(Arrivals::new(parts.arrival_meters.clone()));
        let (settings, running) = (settings.clone(), BTreeMap::new());
        let mut schedule = Self { parts, settings, surroundings, arrivals, running };
        let Parts { state, clock, board, meters, .. } = schedule.parts.clone();
        let now_ms = clock.now_ms();
        schedule.name_unused(&groups);
        let keys: Vec<_> = groups.iter().map(Group::key).collect();
        state.retain_rule_groups(&keys)?;
        let mut beginning = Vec::new();
        for group in groups {
            let mut new = schedule.beginning(group);
            new.restore(&state, now_ms)?;
            beginning.push(new);
        }
        board.arrange(beginning.iter().map(|new| Arrival::New(new.group.status())).collect());
        beginning.into_iter().for_each(|new| schedule.start(new));
        meters.succeeded(now_ms);
        Ok(schedule)
    }

    /// Makes a group live, without anything of before.
    fn beginning(&self, group: Group) -> Beginning {
        let require_outcome = self.settings.require_outcome.of(&group.file);
        name_muted(&group, require_outcome);
        let content = group.content();
        let interval = group.interval.unwrap_or(self.settings.interval);
        let surroundings = self.surroundings.clone();
        let group = LiveGroup::new(group, interval, require_outcome, surroundings);
        let Parts { state, alerts, reporter, board, clock, .. } = self.parts.clone();
        Beginning {
            content,
            group,
            desk: Desk::new(state, (alerts, reporter), board, clock, Arc::clone(&self.arrivals)),
        }
    }

    /// Says which files the settings excuse that there are not.
    fn name_unused(&self, groups: &[Group]) {
        let files = groups.iter().map(|group| group.file.as_path());
        for file in self.settings.require_outcome.without_file(files) {
            tracing::warn!(file, "rules.require_outcome_except names no file that has rules");
        }
    }

    fn start(&mut self, new: Beginning) {
        let Beginning { content, group, desk } = new;
        let (key, stop) = (group.key().to_owned(), CancellationToken::new());
        let task = tokio::spawn(keep_evaluating(group, desk, stop.clone()));
        self.running.insert(key, Running { content, stop, task });
    }

    /// Reads the files again and goes on by them, if all of them are good.
    async fn reload(&mut self) -> Result<Result<Reloaded, ReloadError>, JoinError> {
        let (files, actions) = (Arc::clone(&self.parts.files), self.settings.actions.clone());
        let groups = match task::spawn_blocking(move || load(&files(), Some(&actions))).await? {
            Ok(groups) => groups,
            Err(faults) => {
                self.parts.meters.failed();
                return Ok(Err(faults.into()));
            }
        };
        let reloaded = self.replace(groups).await?;
        self.parts.meters.succeeded(self.parts.clock.now_ms());
        let Reloaded { unchanged, changed, added, removed } = reloaded;
        tracing::info!(unchanged, changed, added, removed, "rules were read again");
        Ok(Ok(reloaded))
    }

    /// Puts groups in place of those that run.
    async fn replace(&mut self, groups: Vec<Group>) -> Result<Reloaded, JoinError> {
        self.name_unused(&groups);
        let before = std::mem::take(&mut self.running);
        let Plan { arriving, ending, reloaded } = self.plan(groups, before);
        let mut in_use: Vec<_> = self.running.keys().cloned().collect();
        in_use.extend(arriving.iter().filter_map(Arriving::key).map(str::to_owned));
        let ended = end_all(ending).await;
        let (parts, now_ms) = (self.parts.clone(), self.parts.clock.now_ms());
        let work =
            task::spawn_blocking(move || hand_over(&parts, arriving, ended, &in_use, now_ms));
        let arriving = work.await?;
        self.parts.board.arrange(arriving.iter().map(Arriving::shown).collect());
        for arriving in arriving {
            if let Arriving::New(new) = arriving {
                self.start(*new);
            }
        }
        Ok(reloaded)
    }

    /// Lets groups that say what they said before go on, makes the others live, and names those whose
    /// tasks are to end.
    fn plan(&mut self, groups: Vec<Group>, mut before: BTreeMap<String, Running>) -> Plan {
        let (mut arriving, mut ending) = (Vec::new(), Vec::new());
        let mut reloaded = Reloaded::default();
        for group in groups {
            let key = group.key();
            match before.remove(&key) {
                Some(same) if same.content == group.content() && !same.task.is_finished() => {
                    reloaded.unchanged += 1;
                    arriving.push(Arriving::GoesOn { file: group.file, name: group.name });
                    self.running.insert(key, same);
                    continue;
                }
                Some(other) => {
                    reloaded.changed += 1;
                    ending.push(other);
                }
                None => reloaded.added += 1,
            }
            arriving.push(Arriving::New(Box::new(self.beginning(group))));
        }
        reloaded.removed = before.len();
        ending.extend(before.into_values());
        Plan { arriving, ending, reloaded }
    }
}

/// What a reload does.
struct Plan {
    /// The groups that there will be, in order.
    arriving: Vec<Arriving>,
    /// Those that go, or are replaced.
    ending: Vec<Running>,
    reloaded: Reloaded,
}

/// A group that there will be after a reload.
enum Arriving {
    /// It goes on as it is.
    GoesOn { file: PathBuf, name: String },
    /// It begins, perhaps where another ended.
    New(Box<Beginning>),
}

impl Arriving {
    fn key(&self) -> Option<&str> {
        match self {
            Self::GoesOn { .. } => None,
            Self::New(new) => Some(new.group.key()),
        }
    }

    fn shown(&self) -> Arrival {
        match self {
            Self::GoesOn { file, name } => {
                Arrival::GoesOn { file: file.clone(), name: name.clone() }
            }
            Self::New(new) => Arrival::New(new.group.status()),
        }
    }
}

impl Beginning {
    /// Takes up what is stored of the group.
    fn restore(&mut self, state: &State, now_ms: i64) -> Result<(), StateError> {
        let (stored, evaluated_at_ms) = state.rule_alerts(self.group.key())?;
        self.group.restore(stored, evaluated_at_ms, now_ms);
        Ok(())
    }

    /// Goes on where the group ended that this one replaces, and gives the ends of its series.
    fn take_over(&mut self, before: (LiveGroup, Desk), now_ms: i64) -> Vec<RecordedPoint> {
        let (group, desk) = before;
        self.desk = desk;
        let Takeover { changes, ended } = self.group.take_over(group, now_ms);
        self.desk.take_changes(changes, self.group.key(), now_ms);
        ended
    }
}

/// Gives what ended to the groups that replace it, and ends the series of the rest.
fn hand_over(
    parts: &Parts,
    mut arriving: Vec<Arriving>,
    mut ended: BTreeMap<String, (LiveGroup, Desk)>,
    in_use: &[String],
    now_ms: i64,
) -> Vec<Arriving> {
    // What stays of groups that are gone is forgotten at the next reload or start.
    if let Err(error) = parts.state.retain_rule_groups(in_use) {
        tracing::error!(%error, "alerts of removed rule groups could not be forgotten");
    }
    let mut points = Vec::new();
    for arriving in &mut arriving {
        let Arriving::New(new) = arriving else { continue };
        match ended.remove(new.group.key()) {
            Some(before) => points.extend(new.take_over(before, now_ms)),
            // It is new, or the one before broke down and left no more than what is stored.
            None => {
                if let Err(error) = new.restore(&parts.state, now_ms) {
                    tracing::error!(%error, group = new.group.key(), "its alerts begin anew");
                }
            }
        }
    }
    points.extend(ended.into_values().flat_map(|(group, _)| group.end(now_ms)));
    if points.is_empty() {
        return arriving;
    }
    if let Err(error) = parts.recorder.record(points) {
        tracing::warn!(%error, "series of removed rules end only by their age");
    }
    arriving
}

/// Tells tasks to end, waits until all of them have, and gives what they leave.
async fn end_all(
    running: impl IntoIterator<Item = Running>,
) -> BTreeMap<String, (LiveGroup, Desk)> {
    let running: Vec<_> = running.into_iter().collect();
    running.iter().for_each(|one| one.stop.cancel());
    let mut ended = BTreeMap::new();
    for one in running {
        match one.task.await {
            Ok(Some((group, desk))) => {
                ended.insert(group.key().to_owned(), (group, desk));
            }
            // What broke down has said so.
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "a rule group broke down"),
        }
    }
    ended
}

/// Says which rules notify nobody, so that nobody is unpaged without knowing.
fn name_muted(group: &Group, require_outcome: bool) {
    for rule in &group.rules {
        if let Some(muted) = rule.muted(require_outcome) {
            let (rule, reason) = (rule.name(), muted.reason());
            if muted.is_whole() {
                tracing::info!(rule, reason, "the rule notifies nobody");
            } else {
                tracing::info!(rule, reason, "the rule does not always notify");
            }
        }
    }
}

#[cfg(test)]
mod tests;
