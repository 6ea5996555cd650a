//! One group's turns: when they come, and what is done with what each gives.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::arrival::{Arrivals, Waiting};
use super::group::{Evaluation, LiveGroup};
use super::snapshot::Board;
use crate::clock::{Clock, ClockWatch};
use crate::ledger::Reporter;
use crate::notify::Alert;
use crate::state::{RuleAlertChanges, State};

/// How long after an observation its samples are taken to have arrived: fsync, network, commit.
const LONGEST_ARRIVAL_MS: i64 = 300;

/// The turns of all groups lie within so long.
const LONGEST_SPREAD_MS: i64 = 700;

/// How often alerts that still stand are handed on again, and the time of a group's last evaluation
/// is stored.
pub(super) const TELL_AGAIN: Duration = Duration::from_mins(1);

/// What one group's task has beside the group.
pub(super) struct Desk {
    state: State,
    alerts: mpsc::Sender<Vec<Alert>>,
    reporter: Reporter,
    board: Arc<Board>,
    clock: Clock,
    clock_watch: ClockWatch,
    /// Changes that could not be stored yet.
    unsaved: RuleAlertChanges,
    saved_at_ms: i64,
    arrivals: Arc<Arrivals>,
}

/// Why a group is evaluated.
enum Due {
    /// Its turn has come.
    Turn,
    /// Samples of hosts have arrived.
    Arrival,
}

/// Evaluates a group on its interval until `stop`, and in between, as their samples arrive, for some
/// hosts; gives back what another task may go on with, or nothing if an evaluation broke down.
pub(super) async fn keep_evaluating(
    mut group: LiveGroup,
    mut desk: Desk,
    stop: CancellationToken,
) -> Option<(LiveGroup, Desk)> {
    let interval_ms = milliseconds(group.interval()).max(1);
    let offset_ms = spread(group.key(), interval_ms);
    let mut at_ms = next_slot(desk.clock.now_ms(), interval_ms, offset_ms);
    let waiting = group.looks_at_hosts().then(|| desk.arrivals.join());
    // The moment of the last evaluation on arrival; a turn that is late does not go back behind it.
    let mut looked_ms = i64::MIN;
    loop {
        let due = tokio::select! {
            biased;
            () = stop.cancelled() => return Some((group, desk)),
            () = time::sleep(until(at_ms, desk.clock.now_ms())) => Due::Turn,
            () = arrival(waiting.as_deref()) => Due::Arrival,
        };
        if let Some(set_ms) = desk.clock_watch.look(&desk.clock) {
            let now_ms = desk.clock.now_ms();
            group.clock_was_set(set_ms, now_ms);
            // What is stored is of the clock as it was.
            desk.saved_at_ms = i64::MIN;
            looked_ms = i64::MIN;
            at_ms = next_slot(now_ms, interval_ms, offset_ms);
            continue;
        }
        let (evaluated, alerts) = match due {
            Due::Turn => {
                let at_ms = at_ms.max(looked_ms.saturating_add(1));
                work(group, desk, move |group, desk| desk.turn(group, at_ms)).await?
            }
            Due::Arrival => {
                looked_ms = desk.clock.now_ms().max(looked_ms.saturating_add(1));
                let (now_ms, waiting) = (looked_ms, waiting.clone());
                work(group, desk, move |group, desk| desk.arrival(group, waiting, now_ms)).await?
            }
        };
        (group, desk) = evaluated;
        if !alerts.is_empty() {
            tokio::select! {
                biased;
                sent = desk.alerts.send(alerts) => if sent.is_err() {
                    return Some((group, desk));
                },
                // What found no place is told again, in a minute, by whoever goes on.
                () = stop.cancelled() => return Some((group, desk)),
            }
        }
        if let Due::Turn = due {
            let next_ms = next_slot(desk.clock.now_ms(), interval_ms, offset_ms);
            let skipped = next_ms.saturating_sub(at_ms) / interval_ms - 1;
            group.missed += u64::try_from(skipped).unwrap_or(0);
            // The sleep may end a moment early by the wall clock; a clock set back is followed.
            at_ms = if next_ms == at_ms { at_ms.saturating_add(interval_ms) } else { next_ms };
        }
    }
}

/// Waits for hosts; for ever where a group has no use for them.
async fn arrival(waiting: Option<&Waiting>) {
    match waiting {
        Some(waiting) => waiting.arrival().await,
        None => std::future::pending().await,
    }
}

/// Does what blocks, evaluation and state, and gives back what it was done with; nothing if it broke
/// down. What runs is not cut off by anybody.
async fn work(
    mut group: LiveGroup,
    mut desk: Desk,
    work: impl FnOnce(&mut LiveGroup, &mut Desk) -> Vec<Alert> + Send + 'static,
) -> Option<((LiveGroup, Desk), Vec<Alert>)> {
    let done = task::spawn_blocking(move || {
        let alerts = work(&mut group, &mut desk);
        ((group, desk), alerts)
    });
    match done.await {
        Ok(done) => Some(done),
        Err(error) => {
            tracing::error!(%error, "an evaluation broke down; its group is not evaluated any more");
            None
        }
    }
}

impl Desk {
    /// A desk for a group that begins.
    pub(super) fn new(
        state: State,
        (alerts, reporter): (mpsc::Sender<Vec<Alert>>, Reporter),
        board: Arc<Board>,
        clock: Clock,
        arrivals: Arc<Arrivals>,
    ) -> Self {
        let (clock_watch, unsaved) = (ClockWatch::begin(&clock), RuleAlertChanges::default());
        let saved_at_ms = i64::MIN;
        Self { state, alerts, reporter, board, clock, clock_watch, unsaved, saved_at_ms, arrivals }
    }

    /// Stores what changed in a group beside its evaluations.
    pub(super) fn take_changes(&mut self, changes: RuleAlertChanges, group: &str, at_ms: i64) {
        self.unsaved.extend(changes);
        self.save(group, at_ms);
    }

    /// Evaluates everything; what is to be told comes back.
    fn turn(&mut self, group: &mut LiveGroup, at_ms: i64) -> Vec<Alert> {
        let evaluation = group.evaluate(at_ms);
        self.take(evaluation, group, at_ms)
    }

    /// Evaluates what can be for the hosts that wait; what is to be told comes back.
    fn arrival(
        &mut self,
        group: &mut LiveGroup,
        waiting: Option<Arc<Waiting>>,
        now_ms: i64,
    ) -> Vec<Alert> {
        let hosts = waiting.map(|waiting| waiting.take()).unwrap_or_default();
        if hosts.is_empty() || !self.arrivals.admits(self.clock.steady_ms()) {
            return Vec::new();
        }
        let started = Instant::now();
        let evaluation = group.evaluate_hosts(&hosts, now_ms);
        let alerts = if evaluation.transitions.is_empty() && evaluation.alerts.is_empty() {
            Vec::new()
        } else {
            self.take(evaluation, group, now_ms)
        };
        self.arrivals.spend(started.elapsed());
        alerts
    }

    /// Stores and shows an evaluation; what is to be told comes back.
    fn take(&mut self, evaluation: Evaluation, group: &LiveGroup, at_ms: i64) -> Vec<Alert> {
        for transition in &evaluation.transitions {
            let reason = transition.reason;
            tracing::debug!(group = group.key(), alert = %transition.labels, ?reason, "transition");
        }
        self.reporter.tell(evaluation.news);
        self.unsaved.extend(evaluation.changes);
        let is_due = at_ms.saturating_sub(self.saved_at_ms) >= milliseconds(TELL_AGAIN);
        if is_due || !self.unsaved.is_empty() {
            self.save(group.key(), at_ms);
        }
        self.board.post(group.status());
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
    use super::*;

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
}
