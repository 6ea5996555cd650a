//! How every chart stands, for whoever asks.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::chart::{Judged, Learned};

/// A chart as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ChartStatus {
    /// The host.
    pub instance: String,
    /// The signal.
    pub signal: String,
    /// What the signal's numbers count.
    pub unit: String,
    /// The last point, and what is to be said of it.
    pub last: Judged,
    /// Since when a rule is broken without a pause, in milliseconds since 1970.
    pub broken_since_ms: Option<i64>,
    /// How it came to its limits.
    pub learned: Learned,
}

/// Where the charts of each signal are put and everybody may look.
#[derive(Debug, Default)]
pub struct ChartBoard {
    by_signal: RwLock<BTreeMap<String, Vec<ChartStatus>>>,
}

impl ChartBoard {
    /// Every chart: those out of tolerance first, then by host and signal.
    pub fn charts(&self) -> Vec<ChartStatus> {
        let by_signal = self.by_signal.read().unwrap_or_else(PoisonError::into_inner);
        let mut charts: Vec<ChartStatus> = by_signal.values().flatten().cloned().collect();
        let in_tolerance = |chart: &ChartStatus| chart.last.broken.is_empty();
        charts.sort_by(|one, other| {
            in_tolerance(one)
                .cmp(&in_tolerance(other))
                .then_with(|| one.instance.cmp(&other.instance))
                .then_with(|| one.signal.cmp(&other.signal))
        });
        charts
    }

    /// One chart.
    pub fn chart(&self, instance: &str, signal: &str) -> Option<ChartStatus> {
        let by_signal = self.by_signal.read().unwrap_or_else(PoisonError::into_inner);
        by_signal.get(signal)?.iter().find(|chart| chart.instance == instance).cloned()
    }

    /// Replaces the charts of a signal.
    pub fn post(&self, signal: &str, charts: Vec<ChartStatus>) {
        let mut by_signal = self.by_signal.write().unwrap_or_else(PoisonError::into_inner);
        by_signal.insert(signal.to_owned(), charts);
    }
}
