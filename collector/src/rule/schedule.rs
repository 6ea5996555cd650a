//! Evaluates each group on its interval until it is told to stop.
//!
//! Groups run beside each other, each in a task of its own that never has more than one evaluation
//! going; what an evaluation overruns is left out and counted. An evaluation's changes are stored
//! before its alerts are handed on. Alerts are handed on again every minute, so that one that was
//! lost on its way, by a crash at the wrong moment, arrives after all.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{self, JoinSet};
use tokio::time;
use tokio_util::sync::CancellationToken;
use upkeep_promql::Source;

use super::Settings;
use super::file::Group;
use super::group::{Evaluation, LiveGroup, Surroundings};
use super::record::Recorder;
use super::snapshot::Board;
use crate::clock::{Clock, ClockWatch};
use crate::notify::Alert;
use crate::state::{RuleAlertChanges, State, StateError};

/// How long after an observation its samples are taken to have arrived: fsync, network, commit.
const LONGEST_ARRIVAL_MS: i64 = 300;

/// The turns of all groups lie within so long.
const LONGEST_SPREAD_MS: i64 = 700;

/// How often alerts that still stand are handed on again, and the time of a group's last evaluation
/// is stored.
const TELL_AGAIN: Duration = Duration::from_mins(1);

/// How many evaluations' alerts may wait to be taken. A group whose alerts find no place waits,
/// and its next evaluation comes later.
pub const ALERT_QUEUE: usize = 64;

/// What the schedule works with.
pub struct Parts {
    /// Where samples come from.
    pub source: Arc<dyn Source + Send + Sync>,
    /// Where results go.
    pub recorder: Arc<dyn Recorder>,
    /// Where the alerts' stages are kept over a restart.
    pub state: State,
    /// Who tells people.
    pub alerts: mpsc::Sender<Vec<Alert>>,
    /// Where everybody may look.
    pub board: Arc<Board>,
    /// Tells the time.
    pub clock: Clock,
}

/// The schedule could not begin.
#[derive(Debug, Error)]
#[error("the alerts from before the restart cannot be read: {0}")]
pub struct ScheduleError(#[from] StateError);

/// Evaluates the groups until `stop`.
///
/// # Errors
/// When the alerts from before the restart cannot be read.
pub async fn run(
    groups: Vec<Group>,
    settings: &Settings,
    parts: Parts,
    stop: CancellationToken,
) -> Result<(), ScheduleError> {
    let surroundings = Surroundings {
        source: parts.source,
        recorder: parts.recorder,
        limits: settings.limits.clone(),
        timeout: settings.timeout,
        external_url: settings.external_url.clone(),
        tell_again: TELL_AGAIN,
        settle: settings.settle,
    };
    name_muted(&groups, settings.require_outcome);
    let live = groups.into_iter().map(|group| {
        let interval = group.interval.unwrap_or(settings.interval);
        LiveGroup::new(group, interval, settings.require_outcome, surroundings.clone())
    });
    let live = restored(live.collect(), &parts.state, parts.clock.now_ms())?;
    parts.board.reset(live.iter().map(LiveGroup::status).collect());
    let mut tasks = JoinSet::new();
    for (place, group) in live.into_iter().enumerate() {
        let desk = Desk {
            place,
            state: parts.state.clone(),
            alerts: parts.alerts.clone(),
            board: Arc::clone(&parts.board),
            clock: parts.clock.clone(),
            unsaved: RuleAlertChanges::default(),
            saved_at_ms: i64::MIN,
        };
        tasks.spawn(keep_evaluating(group, desk, stop.clone()));
    }
    drop(parts.alerts);
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a rule group broke down and is not evaluated any more");
        }
    }
    Ok(())
}

/// Says which rules notify nobody, so that nobody is unpaged without knowing.
fn name_muted(groups: &[Group], require_outcome: bool) {
    for rule in groups.iter().flat_map(|group| &group.rules) {
        if let Some(muted) = rule.muted(require_outcome) {
            tracing::info!(rule = rule.name(), reason = muted.reason(), "the rule notifies nobody");
        }
    }
}

fn restored(
    mut groups: Vec<LiveGroup>,
    state: &State,
    now_ms: i64,
) -> Result<Vec<LiveGroup>, StateError> {
    let keys: Vec<_> = groups.iter().map(|group| group.key().to_owned()).collect();
    state.retain_rule_groups(&keys)?;
    for group in &mut groups {
        let (stored, evaluated_at_ms) = state.rule_alerts(group.key())?;
        group.restore(stored, evaluated_at_ms, now_ms);
    }
    Ok(groups)
}

/// What one group's task has beside the group.
struct Desk {
    place: usize,
    state: State,
    alerts: mpsc::Sender<Vec<Alert>>,
    board: Arc<Board>,
    clock: Clock,
    /// Changes that could not be stored yet.
    unsaved: RuleAlertChanges,
    saved_at_ms: i64,
}

async fn keep_evaluating(mut group: LiveGroup, mut desk: Desk, stop: CancellationToken) {
    let interval_ms = milliseconds(group.interval()).max(1);
    let offset_ms = spread(group.key(), interval_ms);
    let mut at_ms = next_slot(desk.clock.now_ms(), interval_ms, offset_ms);
    let mut clock_watch = ClockWatch::begin(&desk.clock);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = time::sleep(until(at_ms, desk.clock.now_ms())) => {}
        }
        if let Some(set_ms) = clock_watch.look(&desk.clock) {
            let now_ms = desk.clock.now_ms();
            group.clock_was_set(set_ms, now_ms);
            // What is stored is of the clock as it was.
            desk.saved_at_ms = i64::MIN;
            at_ms = next_slot(now_ms, interval_ms, offset_ms);
            continue;
        }
        // Evaluation and state block; a task that runs to its end is not cut off by `stop`.
        let work = task::spawn_blocking(move || {
            let evaluation = group.evaluate(at_ms);
            let alerts = desk.take(evaluation, &group, at_ms);
            (group, desk, alerts)
        });
        let alerts;
        (group, desk, alerts) = match work.await {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "an evaluation broke down; its group is not evaluated any more");
                return;
            }
        };
        if !alerts.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                sent = desk.alerts.send(alerts) => if sent.is_err() { return },
            }
        }
        let next_ms = next_slot(desk.clock.now_ms(), interval_ms, offset_ms);
        let skipped = next_ms.saturating_sub(at_ms) / interval_ms - 1;
        group.missed += u64::try_from(skipped).unwrap_or(0);
        // The sleep may end a moment early by the wall clock; a clock set back is followed.
        at_ms = if next_ms == at_ms { at_ms.saturating_add(interval_ms) } else { next_ms };
    }
}

impl Desk {
    /// Stores and shows an evaluation; what is to be told comes back.
    fn take(&mut self, evaluation: Evaluation, group: &LiveGroup, at_ms: i64) -> Vec<Alert> {
        for transition in &evaluation.transitions {
            let reason = transition.reason;
            tracing::debug!(group = group.key(), alert = %transition.labels, ?reason, "transition");
        }
        self.unsaved.extend(evaluation.changes);
        let is_due = at_ms.saturating_sub(self.saved_at_ms) >= milliseconds(TELL_AGAIN);
        if is_due || !self.unsaved.is_empty() {
            self.save(group.key(), at_ms);
        }
        self.board.post(self.place, group.status());
        evaluation.alerts
    }

    /// A change that cannot be stored is kept for the next time: people are told all the same.
    fn save(&mut self, group: &str, at_ms: i64) {
        match self.state.change_rule_alerts(group, &self.unsaved, at_ms) {
            Ok(()) => {
                self.unsaved = RuleAlertChanges::default();
                self.saved_at_ms = at_ms;
            }
            Err(error) => tracing::error!(group, %error, "alerts could not be stored"),
        }
    }
}

/// Where within the interval a group has its turn. Agents observe at whole multiples of their
/// interval by the wall clock, so a turn comes as soon after that as data needs to arrive; not all
/// groups have it at once.
fn spread(key: &str, interval_ms: i64) -> i64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let arrival_ms = (interval_ms / 10).min(LONGEST_ARRIVAL_MS);
    let window_ms = u64::try_from((interval_ms / 10).min(LONGEST_SPREAD_MS)).unwrap_or(0).max(1);
    arrival_ms + i64::try_from(hasher.finish() % window_ms).unwrap_or(0)
}

/// The first turn after a moment.
fn next_slot(now_ms: i64, interval_ms: i64, offset_ms: i64) -> i64 {
    let since = now_ms.saturating_sub(offset_ms);
    let turns = since.div_euclid(interval_ms).saturating_add(1);
    turns.saturating_mul(interval_ms).saturating_add(offset_ms)
}

fn until(at_ms: i64, now_ms: i64) -> Duration {
    let left_ms = at_ms.saturating_sub(now_ms);
    Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::rule::file;
    use crate::rule::memory::Memory;
    use crate::rule::snapshot::{Health, RuleKind};
    use crate::state;

    #[test]
    fn turns_come_every_interval_and_always_later() {
        let check = |now, interval, offset, expect| {
            assert_eq!(next_slot(now, interval, offset), expect, "{now} {interval} {offset}");
        };
        check(0, 15_000, 0, 15_000);
        check(14_999, 15_000, 0, 15_000);
        check(15_000, 15_000, 0, 30_000);
        check(1_000, 15_000, 4_000, 4_000);
        check(4_000, 15_000, 4_000, 19_000);
        check(2, 1, 0, 3);
    }

    #[test]
    fn groups_are_spread_over_a_window_soon_after_the_observations() {
        let check = |interval, window: std::ops::Range<i64>, different| {
            let turns: std::collections::BTreeSet<_> =
                (0..50).map(|number| spread(&format!("file:{number}"), interval)).collect();
            assert!(turns.iter().all(|turn| window.contains(turn)), "{interval}: {turns:?}");
            assert!(turns.len() >= different, "{interval}: {turns:?}");
        };
        check(15_000, 300..1_000, 40);
        check(1_000, 100..200, 30);
        check(20, 2..4, 2);
        check(1, 0..1, 1);
    }

    const RULES: &str = "
groups:
  - name: hosts
    interval: 20ms
    rules:
      - record: hosts
        expr: count(up)
      - alert: HostDown
        expr: up{job='one'} == 0
        for: 1s
        annotations: {action: look, outcome: it runs}
";

    /// A schedule over a memory, with a clock that jumps as the test wants.
    struct World {
        memory: Arc<Memory>,
        state: State,
        board: Arc<Board>,
        now: Arc<std::sync::atomic::AtomicI64>,
    }

    impl World {
        fn new(state: &State, now_ms: i64) -> Self {
            Self {
                memory: Arc::default(),
                state: state.clone(),
                board: Arc::default(),
                now: Arc::new(now_ms.into()),
            }
        }

        /// Lets the schedule run until an alert comes, or until it has been evaluated at `until_ms`.
        async fn run(&self, until_ms: i64) -> Vec<Alert> {
            let groups = file::parse(Path::new("r.yml"), RULES).unwrap();
            let (alerts, mut queue) = mpsc::channel(ALERT_QUEUE);
            // Each look at the clock lets 10 ms pass, so no test waits for the wall clock.
            let now = Arc::clone(&self.now);
            let clock = Clock::new(move || now.fetch_add(10, std::sync::atomic::Ordering::SeqCst));
            let parts = Parts {
                source: self.memory.clone(),
                recorder: self.memory.clone(),
                state: self.state.clone(),
                alerts,
                board: Arc::clone(&self.board),
                clock,
            };
            let stop = CancellationToken::new();
            let settings = Settings::default();
            let schedule = run(groups, &settings, parts, stop.clone());
            let watch = async {
                let mut told = Vec::new();
                loop {
                    let batch = time::timeout(Duration::from_millis(5), queue.recv()).await;
                    told.extend(batch.ok().flatten().unwrap_or_default());
                    let groups = self.board.snapshot().groups;
                    let evaluated = groups.first().and_then(|group| group.last_evaluation_ms);
                    if !told.is_empty() || evaluated.is_some_and(|at_ms| at_ms >= until_ms) {
                        stop.cancel();
                        return told;
                    }
                }
            };
            let (ended, told) = tokio::join!(schedule, watch);
            ended.unwrap();
            told
        }
    }

    #[tokio::test]
    async fn an_alert_waits_fires_and_survives_a_restart() {
        let (_folder, state) = state::temporary();
        let world = World::new(&state, 1_000_000);
        world.memory.put("up", &[("instance", "web1"), ("job", "one")], 999_990, 0.0);
        assert!(world.run(1_000_500).await.is_empty(), "it waits");
        let told = world.run(1_010_000).await;
        assert_eq!(told.len(), 1);
        let waited_ms = told[0].starts_at_ms - 1_000_000;
        assert!(
            (1_000..2_000).contains(&waited_ms),
            "the wait went on over the restart: {waited_ms}"
        );

        let again = world.run(1_020_000).await;
        assert_eq!(again, told, "the same alert, which began when it began");
        let status = world.board.snapshot().groups[0].clone();
        assert!(matches!(status.rules[0].health, Health::Ok), "{status:?}");
        let RuleKind::Alerting { alerts, .. } = &status.rules[1].kind else { panic!() };
        assert_eq!(alerts.len(), 1);
    }
}
