//! Which hosts' samples have just arrived, so that rules that look at one host at a time need not wait
//! for their group's turn.
//!
//! Hosts that arrive within a moment are looked at together: agents observe at whole multiples of
//! their interval, so many come at once. What all groups use for it is bounded; beyond that hosts are
//! left to the turns.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, mpsc};
use tokio::time;

use super::hosts::Hosts;

/// So long it is waited for others after the first host.
const WINDOW: Duration = Duration::from_millis(30);

/// The share of one core that evaluations on arrival may use.
const SHARE: f64 = 0.1;

/// What was not used may be used later, up to this.
const MOST_SAVED: Duration = Duration::from_secs(1);

/// What is counted about evaluations on arrival.
#[derive(Clone, Debug, Default)]
pub struct ArrivalMeters {
    left: Counter,
}

impl ArrivalMeters {
    /// Meters that show in the registry.
    pub fn register(registry: &mut Registry) -> Self {
        let meters = Self::default();
        let help = "Times that a group left hosts whose samples had arrived to its next turn, since \
                    evaluations on arrival had used their share of a core";
        registry.register("upkeep_collector_rule_arrivals_over_budget", help, meters.left.clone());
        meters
    }
}

/// Hands arriving hosts to the groups that want them.
#[derive(Debug)]
pub(super) struct Arrivals {
    groups: Mutex<Vec<Weak<Waiting>>>,
    budget: Mutex<Budget>,
    meters: ArrivalMeters,
}

/// The hosts that one group has not looked at since their samples came.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    hosts: Mutex<Hosts>,
    came: Notify,
}

impl Arrivals {
    pub(super) fn new(meters: ArrivalMeters) -> Self {
        Self { groups: Mutex::default(), budget: Mutex::default(), meters }
    }

    /// Where a group finds its hosts, for as long as it holds on to it.
    pub(super) fn join(&self) -> Arc<Waiting> {
        let waiting = Arc::new(Waiting::default());
        let mut groups = locked(&self.groups);
        groups.retain(|group| group.strong_count() > 0);
        groups.push(Arc::downgrade(&waiting));
        waiting
    }

    /// Hands hosts on until nobody tells of any more.
    pub(super) async fn hand_on(self: Arc<Self>, mut told: mpsc::Receiver<String>) {
        while let Some(first) = told.recv().await {
            time::sleep(WINDOW).await;
            let mut hosts = Hosts::default();
            hosts.insert(first);
            while let Ok(host) = told.try_recv() {
                hosts.insert(host);
            }
            for group in locked(&self.groups).iter().filter_map(Weak::upgrade) {
                locked(&group.hosts).extend(&hosts);
                group.came.notify_one();
            }
        }
    }

    /// Whether hosts may be looked at now; that they may not is counted.
    pub(super) fn admits(&self, steady_ms: i64) -> bool {
        let admits = locked(&self.budget).admits(steady_ms);
        if !admits {
            self.meters.left.inc();
        }
        admits
    }

    /// Takes it that an evaluation on arrival took so long.
    pub(super) fn spend(&self, took: Duration) {
        locked(&self.budget).spend(took);
    }
}

impl Waiting {
    /// Waits until there are hosts to look at.
    pub(super) async fn arrival(&self) {
        self.came.notified().await;
    }

    /// Takes the hosts there are.
    pub(super) fn take(&self) -> Hosts {
        std::mem::take(&mut *locked(&self.hosts))
    }
}

/// A share of a core's time.
#[derive(Debug)]
struct Budget {
    saved: f64,
    shown_ms: Option<i64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { saved: MOST_SAVED.as_secs_f64(), shown_ms: None }
    }
}

impl Budget {
    fn admits(&mut self, steady_ms: i64) -> bool {
        let passed_ms = steady_ms.saturating_sub(self.shown_ms.unwrap_or(steady_ms)).max(0);
        self.shown_ms = Some(steady_ms);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of any run fit")]
        let earned = passed_ms as f64 / 1000.0 * SHARE;
        self.saved = (self.saved + earned).min(MOST_SAVED.as_secs_f64());
        self.saved > 0.0
    }

    fn spend(&mut self, took: Duration) {
        self.saved -= took.as_secs_f64();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_time_may_be_used_and_a_little_saved() {
        let mut budget = Budget::default();
        let mut check = |now_ms: i64, took_ms: u64, admits: bool| {
            assert_eq!(budget.admits(now_ms), admits, "{now_ms}");
            budget.spend(Duration::from_millis(took_ms));
        };
        check(0, 900, true);
        check(0, 300, true);
        check(0, 0, false);
        // 0.2 s are owed, which takes two seconds.
        check(1_900, 0, false);
        check(2_100, 0, true);
        // However long nothing is used, no more than a second is saved.
        check(1_000_000, 1_001, true);
        check(1_000_000, 0, false);
        check(1_000_020, 0, true);
        // A clock that goes back earns nothing.
        check(0, 1_001, true);
        check(0, 0, false);
    }

    #[tokio::test]
    async fn hosts_of_a_moment_come_together_to_every_group_that_is_there() {
        let arrivals = Arc::new(Arrivals::new(ArrivalMeters::default()));
        let (one, other) = (arrivals.join(), arrivals.join());
        let (telling, told) = mpsc::channel(8);
        tokio::spawn(Arc::clone(&arrivals).hand_on(told));
        drop(other);
        for host in ["a", "b", "a"] {
            telling.send(host.to_owned()).await.unwrap();
        }
        one.arrival().await;
        let mut expect = Hosts::default();
        expect.insert("a".to_owned());
        expect.insert("b".to_owned());
        assert_eq!(one.take(), expect);
        assert!(one.take().is_empty());
        telling.send("c".to_owned()).await.unwrap();
        time::sleep(WINDOW * 2).await;
        telling.send("d".to_owned()).await.unwrap();
        time::sleep(WINDOW * 2).await;
        one.arrival().await;
        let mut expect = Hosts::default();
        expect.insert("c".to_owned());
        expect.insert("d".to_owned());
        assert_eq!(one.take(), expect, "what a group had no time for waits for it");
    }
}
