//! When the collector's certificate ends: a series of samples, so that rules see it, and a metric of
//! its own.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use upkeep_model::{HostId, INSTANCE, JOB, Labels, METRIC_NAME};
use upkeep_store::{Append, Store, StoreError};
use uuid::Uuid;

use super::ServerKey;
use crate::clock::Clock;

/// How often the series gets a value.
const LOOK: Duration = Duration::from_secs(60);

/// The series, and the collector's own metric.
const METRIC: &str = "upkeep_collector_certificate_not_after_timestamp_seconds";

/// `instance` and `job` of the series that the collector tells about itself.
const COLLECTOR: &str = "upkeep-collector";

/// When the certificate in use ends, in the collector's own metrics.
#[derive(Clone, Debug, Default)]
pub struct Meters(Gauge<i64, AtomicI64>);

impl Meters {
    /// Meters that show in the registry.
    pub fn register(registry: &mut Registry) -> Self {
        let meters = Self::default();
        let help = "When the collector's certificate, or the first above it, ceases to be valid";
        registry.register(METRIC, help, meters.0.clone());
        meters
    }
}

/// Tells when the certificate in use ends until it is told to stop.
pub async fn watch(
    key: Arc<ServerKey>,
    store: Arc<Store>,
    meters: Meters,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = None;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(ends_at_ms) = key.ends_at_ms() else { continue };
        meters.0.set(ends_at_ms / 1000);
        let (store, now_ms) = (Arc::clone(&store), clock.now_ms());
        let told = tokio::task::spawn_blocking(move || tell(&store, ends_at_ms, now_ms)).await;
        let now = match told {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        // A full disk lasts for many turns and is logged once.
        if now != trouble
            && let Some(error) = &now
        {
            tracing::warn!(error, "the end of the certificate cannot be told");
        }
        trouble = now;
    }
}

fn tell(store: &Store, ends_at_ms: i64, now_ms: i64) -> Result<(), StoreError> {
    let labels = Labels::new([(METRIC_NAME, METRIC), (INSTANCE, COLLECTOR), (JOB, COLLECTOR)]);
    let points = vec![(labels, now_ms, ends_at_ms as f64 / 1000.0)];
    store.commit(vec![Append::Points { home: HostId(Uuid::nil()), points }])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prometheus_client::encoding::text;
    use upkeep_model::{MatchOperator, Matcher};

    use super::*;
    use crate::ca::{Authority, HOST_LIFETIME};

    const NOW: i64 = 1_800_000_000_000;
    const DAY_MS: i64 = 24 * 3_600_000;

    /// The last point of the series.
    fn last(store: &Store) -> Option<(i64, f64)> {
        let name = Matcher::new(METRIC_NAME, MatchOperator::Equal, METRIC).unwrap();
        let found = store.select(&[name], i64::MIN, i64::MAX).unwrap();
        let series = found.first()?;
        series.timestamps.last().copied().zip(series.values.last().copied())
    }

    fn authority(folder: &Path) -> Authority {
        Authority::create(folder, &["collector.example".to_owned()], NOW).unwrap();
        Authority::open(folder, HOST_LIFETIME).unwrap()
    }

    /// Runs the watch for the moment of its first look.
    async fn look(key: &Arc<ServerKey>, store: &Arc<Store>, meters: &Meters, now_ms: i64) {
        let stop = CancellationToken::new();
        let (key, kept) = (Arc::clone(key), Arc::clone(store));
        let clock = Clock::new(move || now_ms);
        let watching = tokio::spawn(watch(key, kept, meters.clone(), clock, stop.clone()));
        while last(store).is_none_or(|(at_ms, _)| at_ms != now_ms) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        watching.await.unwrap();
    }

    #[tokio::test]
    async fn the_end_of_the_certificate_in_use_is_told_and_moves_as_it_is_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority(folder.path());
        let store = Store::open(&folder.path().join("samples"), Default::default()).unwrap();
        let store = Arc::new(store);
        let mut registry = Registry::default();
        let meters = Meters::register(&mut registry);
        let key = ServerKey::new(authority.server_certificate(NOW).unwrap()).unwrap();
        look(&key, &store, &meters, NOW).await;
        let end = |from_ms: i64| ((from_ms + 90 * DAY_MS) / 1000) as f64;
        assert_eq!(last(&store), Some((NOW, end(NOW))));

        let later = NOW + 61 * DAY_MS;
        key.replace(authority.server_certificate(later).unwrap()).unwrap();
        look(&key, &store, &meters, later).await;
        assert_eq!(last(&store), Some((later, end(later))));
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        assert!(page.contains(&format!("{METRIC} {}\n", end(later))), "{page}");

        // What stands above it counts as well: nobody accepts a chain of which one part is over.
        let last = NOW + 3640 * DAY_MS;
        key.replace(authority.server_certificate(last).unwrap()).unwrap();
        assert_eq!(key.ends_at_ms(), Some(NOW + 3650 * DAY_MS));
    }
}
