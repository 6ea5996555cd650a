//! One group's turns: when they come, and what is done with what each gives.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::group::{Evaluation, LiveGroup};
use super::snapshot::Board;
use crate::clock::{Clock, ClockWatch};
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
    board: Arc<Board>,
    clock: Clock,
    clock_watch: ClockWatch,
    /// Changes that could not be stored yet.
    unsaved: RuleAlertChanges,
    saved_at_ms: i64,
}

/// Evaluates a group on its interval until `stop`, and gives back what another task may go on with;
/// nothing if an evaluation broke down.
pub(super) async fn keep_evaluating(
    mut group: LiveGroup,
    mut desk: Desk,
    stop: CancellationToken,
) -> Option<(LiveGroup, Desk)> {
    let interval_ms = milliseconds(group.interval()).max(1);
    let offset_ms = spread(group.key(), interval_ms);
    let mut at_ms = next_slot(desk.clock.now_ms(), interval_ms, offset_ms);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Some((group, desk)),
            () = time::sleep(until(at_ms, desk.clock.now_ms())) => {}
        }
        if let Some(set_ms) = desk.clock_watch.look(&desk.clock) {
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
                return None;
            }
        };
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
        let next_ms = next_slot(desk.clock.now_ms(), interval_ms, offset_ms);
        let skipped = next_ms.saturating_sub(at_ms) / interval_ms - 1;
        group.missed += u64::try_from(skipped).unwrap_or(0);
        // The sleep may end a moment early by the wall clock; a clock set back is followed.
        at_ms = if next_ms == at_ms { at_ms.saturating_add(interval_ms) } else { next_ms };
    }
}

impl Desk {
    /// A desk for a group that begins.
    pub(super) fn new(
        state: State,
        alerts: mpsc::Sender<Vec<Alert>>,
        board: Arc<Board>,
        clock: Clock,
    ) -> Self {
        let (clock_watch, unsaved) = (ClockWatch::begin(&clock), RuleAlertChanges::default());
        Self { state, alerts, board, clock, clock_watch, unsaved, saved_at_ms: i64::MIN }
    }

    /// Stores what changed in a group beside its evaluations.
    pub(super) fn take_changes(&mut self, changes: RuleAlertChanges, group: &str, at_ms: i64) {
        self.unsaved.extend(changes);
        self.save(group, at_ms);
    }

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
