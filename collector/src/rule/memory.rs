//! A source and recorder in memory, for unit tests of rules and of this module.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use upkeep_model::{Labels, SeriesSamples};
use upkeep_promql::{Selection, Source, SourceError};

use super::record::{RecordError, RecordedPoint, Recorder};

/// By series: its values by their time.
type Samples = BTreeMap<Labels, BTreeMap<i64, f64>>;

#[derive(Default)]
pub(super) struct Memory {
    series: Mutex<Samples>,
    #[cfg(test)]
    broken: std::sync::atomic::AtomicBool,
}

impl Memory {
    fn series(&self) -> MutexGuard<'_, Samples> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Memory {
    pub(super) fn put(&self, name: &str, labels: &[(&str, &str)], at_ms: i64, value: f64) {
        let labels = Labels::new(labels.iter().copied()).with(upkeep_model::METRIC_NAME, name);
        self.record(vec![(labels, at_ms, value)]).unwrap();
    }

    pub(super) fn breaks(&self, broken: bool) {
        self.broken.store(broken, std::sync::atomic::Ordering::SeqCst);
    }

    pub(super) fn samples(&self, series: &str) -> Vec<(i64, f64)> {
        let all = self.series();
        let found = all.iter().find(|(labels, _)| labels.to_string() == series);
        found.map_or_else(Vec::new, |(_, samples)| samples.iter().map(|(t, v)| (*t, *v)).collect())
    }
}

impl Recorder for Memory {
    fn record(&self, points: Vec<RecordedPoint>) -> Result<(), RecordError> {
        #[cfg(test)]
        if self.broken.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(RecordError("no space left".to_owned()));
        }
        let mut series = self.series();
        for (labels, at_ms, value) in points {
            series.entry(labels).or_default().insert(at_ms, value);
        }
        Ok(())
    }
}

impl Source for Memory {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        let after_ms = selection.after_ms.saturating_add(1);
        if after_ms > selection.through_ms {
            return Ok(Vec::new());
        }
        let series = self.series();
        let accepted = series
            .iter()
            .filter(|(labels, _)| selection.matchers.iter().all(|matcher| matcher.matches(labels)));
        let found = accepted.map(|(labels, samples)| {
            let samples = samples.range(after_ms..=selection.through_ms);
            SeriesSamples {
                labels: labels.clone(),
                timestamps: samples.clone().map(|(at_ms, _)| *at_ms).collect(),
                values: samples.map(|(_, value)| *value).collect(),
            }
        });
        Ok(found.filter(|series| !series.timestamps.is_empty()).collect())
    }
}
