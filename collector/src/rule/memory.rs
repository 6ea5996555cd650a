//! A source and recorder in memory, for tests.

use std::collections::BTreeMap;
use std::sync::Mutex;

use upkeep_model::{Labels, METRIC_NAME, SeriesSamples};
use upkeep_promql::{Selection, Source, SourceError};

use super::record::{RecordError, RecordedPoint, Recorder};

#[derive(Default)]
pub(super) struct Memory {
    series: Mutex<BTreeMap<Labels, BTreeMap<i64, f64>>>,
    broken: Mutex<bool>,
}

impl Memory {
    pub(super) fn put(&self, name: &str, labels: &[(&str, &str)], at_ms: i64, value: f64) {
        let labels = Labels::new(labels.iter().copied()).with(METRIC_NAME, name);
        self.record(vec![(labels, at_ms, value)]).unwrap();
    }

    pub(super) fn breaks(&self, broken: bool) {
        *self.broken.lock().unwrap() = broken;
    }

    pub(super) fn samples(&self, series: &str) -> Vec<(i64, f64)> {
        let all = self.series.lock().unwrap();
        let found = all.iter().find(|(labels, _)| labels.to_string() == series);
        found.map_or_else(Vec::new, |(_, samples)| samples.iter().map(|(t, v)| (*t, *v)).collect())
    }
}

impl Recorder for Memory {
    fn record(&self, points: Vec<RecordedPoint>) -> Result<(), RecordError> {
        if *self.broken.lock().unwrap() {
            return Err(RecordError("no space left".to_owned()));
        }
        let mut series = self.series.lock().unwrap();
        for (labels, at_ms, value) in points {
            series.entry(labels).or_default().insert(at_ms, value);
        }
        Ok(())
    }
}

impl Source for Memory {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        let series = self.series.lock().unwrap();
        let accepted = series
            .iter()
            .filter(|(labels, _)| selection.matchers.iter().all(|matcher| matcher.matches(labels)));
        let window = selection.after_ms + 1..=selection.through_ms;
        let found = accepted.map(|(labels, samples)| {
            let samples = samples.range(window.clone());
            SeriesSamples {
                labels: labels.clone(),
                timestamps: samples.clone().map(|(at_ms, _)| *at_ms).collect(),
                values: samples.map(|(_, value)| *value).collect(),
            }
        });
        Ok(found.filter(|series| !series.timestamps.is_empty()).collect())
    }
}
