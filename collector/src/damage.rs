//! Damage of what the collector keeps: declared durably as it is found, counted in the collector's
//! own metrics, and told as a series of samples, so that rules see it. The log has each finding
//! once, from whoever found it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use upkeep_model::{HostId, INSTANCE, JOB, Labels, METRIC_NAME};
use upkeep_store::{Append, Damage, Store, StoreError};
use uuid::Uuid;

use crate::clock::Clock;
use crate::state::{DamagedPart, FoundDamage, State, StateError};

/// How often it is looked whether something more was found, and the series gets a value.
pub const LOOK: Duration = Duration::from_secs(15);

/// Findings count for so long: an operator is told, and what cannot be undone does not fire for ever.
pub const RECENT: Duration = Duration::from_hours(24);

/// The series, and the collector's own metric.
pub const METRIC: &str = "upkeep_collector_damage_found_last_day";

/// `instance` and `job` of the series that the collector tells about itself.
const COLLECTOR: &str = "upkeep-collector";

/// Why damage could not be declared; it is tried again.
#[derive(Debug, Error)]
pub enum DamageError {
    /// The state cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The series cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A blocking task ended early.
    #[error("a task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Findings of the last day, by part.
#[derive(Clone, Debug, Default)]
pub struct Meters(Family<Part, Gauge<i64, AtomicI64>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Part {
    part: &'static str,
}

impl Meters {
    /// Meters that show in the registry.
    pub fn register(registry: &mut Registry) -> Self {
        let meters = Self::default();
        let help = "Findings of damage on the collector's disk within the last day";
        registry.register(METRIC, help, meters.0.clone());
        meters
    }
}

/// Takes what the store found into the state.
#[derive(Debug)]
pub struct Declarer {
    state: State,
    store: Arc<Store>,
    /// So many of the store's findings are declared; it only ever adds to them.
    declared: AtomicUsize,
}

impl Declarer {
    /// Declares nothing yet.
    pub fn new(state: State, store: Arc<Store>) -> Self {
        Self { state, store, declared: AtomicUsize::new(0) }
    }

    /// Declares what the store and the state found since the last time.
    ///
    /// # Errors
    /// When the state cannot be written; the next time tries again.
    pub fn declare(&self, now_ms: i64) -> Result<(), StateError> {
        self.state.declare_failing(now_ms)?;
        let findings = self.store.damage();
        let declared = self.declared.load(Ordering::Acquire);
        let new = findings.get(declared..).unwrap_or_default();
        if new.is_empty() {
            return Ok(());
        }
        let new: Vec<_> = new.iter().map(|damage| found(damage, now_ms)).collect();
        self.state.declare_damage(&new)?;
        self.declared.store(findings.len(), Ordering::Release);
        Ok(())
    }

    /// Declares, and gives the series its values.
    fn look(&self, meters: &Meters, now_ms: i64) -> Result<(), DamageError> {
        self.declare(now_ms)?;
        let recent_ms = i64::try_from(RECENT.as_millis()).unwrap_or(i64::MAX);
        let counts = self.state.count_damage(now_ms.saturating_sub(recent_ms))?;
        for (part, findings) in &counts {
            let gauge = meters.0.get_or_create(&Part { part: part.as_str() });
            gauge.set(i64::try_from(*findings).unwrap_or(i64::MAX));
        }
        let points =
            counts.iter().map(|(part, findings)| (series(*part), now_ms, *findings as f64));
        let home = HostId(Uuid::nil());
        self.store.commit(vec![Append::Points { home, points: points.collect() }])?;
        Ok(())
    }
}

/// Looks for damage until it is told to stop.
pub async fn watch(declarer: Arc<Declarer>, meters: Meters, clock: Clock, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = None;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let (declarer, meters, now_ms) = (Arc::clone(&declarer), meters.clone(), clock.now_ms());
        let look = tokio::task::spawn_blocking(move || declarer.look(&meters, now_ms));
        let looked = look.await.map_err(DamageError::from).and_then(|result| result);
        let now = looked.err().map(|error| error.to_string());
        // A full disk lasts for many turns and is logged once.
        if now != trouble
            && let Some(error) = &now
        {
            tracing::warn!(error, "damage cannot be declared");
        }
        trouble = now;
    }
}

fn found(damage: &Damage, now_ms: i64) -> FoundDamage {
    FoundDamage {
        part: DamagedPart::Samples,
        place: damage.place.clone(),
        lost: damage.lost.clone(),
        host: damage.affected.host,
        from_ms: damage.affected.from_ms,
        through_ms: damage.affected.through_ms,
        found_at_ms: now_ms,
    }
}

fn series(part: DamagedPart) -> Labels {
    Labels::new([
        (METRIC_NAME, METRIC),
        (INSTANCE, COLLECTOR),
        (JOB, COLLECTOR),
        ("part", part.as_str()),
    ])
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use prometheus_client::encoding::text;
    use upkeep_model::{MatchOperator, Matcher};

    use super::*;
    use crate::state::temporary;

    const HOST: HostId = HostId(Uuid::from_u128(7));

    /// A store with points of one host in its journal, of which a byte in the middle flipped.
    fn damaged(folder: &Path) -> Arc<Store> {
        let store = Store::open(folder, Default::default()).unwrap();
        let labels = Labels::new([(METRIC_NAME, "load")]);
        for at_ms in 0..20 {
            let points = vec![(labels.clone(), at_ms, 1.0)];
            store.commit(vec![Append::Points { home: HOST, points }]).unwrap();
        }
        drop(store);
        let segments = fs::read_dir(folder.join("journal")).unwrap();
        let mut segments = segments.map(|entry| entry.unwrap().path());
        let segment = segments.find(|path| !path.ends_with("tide")).unwrap();
        let mut bytes = fs::read(&segment).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&segment, bytes).unwrap();
        Arc::new(Store::open(folder, Default::default()).unwrap())
    }

    /// The last value of the series of the samples.
    fn told(store: &Store) -> Option<f64> {
        let of_samples = [(METRIC_NAME, METRIC), ("part", "samples")]
            .map(|(name, value)| Matcher::new(name, MatchOperator::Equal, value).unwrap());
        let found = store.select(&of_samples, i64::MIN, i64::MAX).unwrap();
        found.first().and_then(|series| series.values.last().copied())
    }

    #[test]
    fn what_the_store_found_is_declared_once_counted_and_told_as_a_series() {
        let (folder, state) = temporary();
        let store = damaged(&folder.path().join("samples"));
        let declarer = Declarer::new(state.clone(), Arc::clone(&store));
        let mut registry = Registry::default();
        let meters = Meters::register(&mut registry);
        declarer.declare(1000).unwrap();
        let declared = state.damage(10).unwrap();
        assert_eq!(declared.len(), store.damage().len());
        assert!(!declared.is_empty() && declared[0].place.contains("journal"), "{declared:?}");

        declarer.look(&meters, 2000).unwrap();
        assert_eq!(state.damage(10).unwrap(), declared);
        assert_eq!(told(&store), Some(declared.len() as f64));
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        let line = format!("{METRIC}{{part=\"samples\"}} {}\n", declared.len());
        assert!(page.contains(&line), "{page}");

        let day_later = 1001 + RECENT.as_millis() as i64;
        declarer.look(&meters, day_later).unwrap();
        assert_eq!(told(&store), Some(0.0));
    }
}
