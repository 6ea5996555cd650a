//! Who enters news and stores what was entered, and who may look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::task;
use tokio::time::{self, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::entries::{Entries, week, week_start_ms};
use super::news::{News, Reporter};
use crate::clock::Clock;
use crate::state::{Origin, State, StateError, Tally};

/// How often what was entered is stored. A crash loses no more than this.
const STORE_EVERY: Duration = Duration::from_secs(15);

/// How many rows are stored at a time, so that others get at the database in between.
const ROWS_AT_ONCE: usize = 2_000;

/// Whoever has this can look. Clones share everything.
#[derive(Clone, Default)]
pub struct Ledger {
    entries: Arc<Mutex<Entries>>,
}

/// Enters and stores.
pub struct Keeper {
    ledger: Ledger,
    told: mpsc::Receiver<Vec<News>>,
    state: State,
    clock: Clock,
}

/// Takes up what was kept before a restart.
///
/// # Errors
/// When it cannot be read.
pub fn open(
    state: State,
    clock: Clock,
    registry: &mut Registry,
) -> Result<(Reporter, Ledger, Keeper), StateError> {
    let (tallies, unended) = state.usefulness()?;
    let entries = Arc::new(Mutex::new(Entries::restore(tallies, unended)));
    let ledger = Ledger { entries };
    let (reporter, told) = Reporter::open(registry);
    Ok((reporter, ledger.clone(), Keeper { ledger, told, state, clock }))
}

impl Ledger {
    /// What became of the alerts that fired within so many weeks, the present one included, and when
    /// the first of these began, in milliseconds since 1970.
    pub fn look_back(&self, weeks: u32, now_ms: i64) -> (i64, BTreeMap<Arc<Origin>, Tally>) {
        let first = week(now_ms).saturating_sub(i64::from(weeks)).saturating_add(1);
        (week_start_ms(first), self.entries().since(first))
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    /// Enters what is told until `stop`, and stores it.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = time::interval(STORE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                news = self.told.recv() => match news {
                    Some(news) => self.enter(news),
                    None => {
                        stop.cancelled().await;
                        break;
                    }
                },
                _ = ticks.tick() => self.store().await,
            }
        }
        while let Ok(news) = self.told.try_recv() {
            self.enter(news);
        }
        self.store().await;
    }

    fn enter(&self, news: Vec<News>) {
        let mut entries = self.ledger.entries();
        news.into_iter().for_each(|news| entries.enter(news));
    }

    /// Stores what changed, piece by piece; what cannot be stored is kept for the next time.
    async fn store(&self) {
        let (ledger, state, now_ms) =
            (self.ledger.clone(), self.state.clone(), self.clock.now_ms());
        let stored = task::spawn_blocking(move || {
            ledger.entries().forget(now_ms);
            loop {
                let changes = ledger.entries().take_changes(ROWS_AT_ONCE);
                if changes.is_empty() {
                    return;
                }
                if let Err(error) = state.change_usefulness(&changes) {
                    tracing::error!(%error, "what became of alerts could not be stored");
                    ledger.entries().keep_changes(changes);
                    return;
                }
            }
        });
        if let Err(error) = stored.await {
            tracing::error!(%error, "storing what became of alerts broke down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Fingerprint;
    use crate::state;

    #[tokio::test]
    async fn what_is_told_is_shown_and_stored_when_it_stops() {
        let (_folder, state) = state::temporary();
        let clock = Clock::new(|| 5_000);
        let open = || open(state.clone(), clock.clone(), &mut Registry::default()).unwrap();
        let (reporter, ledger, keeper) = open();
        let stop = CancellationToken::new();
        let running = tokio::spawn(keeper.run(stop.clone()));
        let origin = Arc::new(Origin::Outside { name: "Full".to_owned() });
        let fired = |alert| News::Fired {
            origin: Arc::clone(&origin),
            alert: Fingerprint(alert),
            at_ms: 5_000,
        };
        reporter.tell(vec![fired(1), fired(2)]);
        while ledger.look_back(1, 5_000).1.is_empty() {
            task::yield_now().await;
        }
        assert_eq!(ledger.look_back(1, 5_000).1[&origin].fired, 2);
        reporter.tell(vec![fired(3)]);
        stop.cancel();
        running.await.unwrap();
        let (_, ledger, _) = open();
        let (since_ms, kept) = ledger.look_back(2, 5_000);
        assert_eq!(kept[&origin].fired, 3);
        assert_eq!(since_ms, -10 * 24 * 3_600_000);
    }
}
