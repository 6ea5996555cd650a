//! The samples of a script, as a source.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use upkeep_model::{Labels, METRIC_NAME, SeriesSamples};
use upkeep_promql::{Selection, Source, SourceError, Step};

use super::notation;

/// What was loaded since the last `clear`.
#[derive(Debug, Default)]
pub(crate) struct Data {
    series: BTreeMap<Labels, BTreeMap<i64, f64>>,
    unsupported: BTreeMap<Labels, Unsupported>,
    touched: Cell<Option<&'static str>>,
}

/// Samples of one series that are not supported.
#[derive(Debug)]
struct Unsupported {
    reason: &'static str,
    times: BTreeSet<i64>,
}

const NATIVE: &str = "native histograms";
const TYPE_AND_UNIT: &str = "type and unit labels, which are experimental";
const START_TIMESTAMPS: &str = "start timestamps, which are experimental";

impl Data {
    pub(crate) fn load(
        &mut self,
        step_ms: i64,
        lines: &[&str],
        as_native: bool,
    ) -> Result<(), String> {
        let mut loaded = BTreeMap::new();
        for line in lines {
            if let Some((series, _)) = line.split_once("@st ") {
                let (labels, _) = notation::labels(series)?;
                // Where its samples are does not matter: all of them need what is not there.
                self.refuse(labels, START_TIMESTAMPS, (0..1_000).map(|index| index * step_ms));
                continue;
            }
            let (labels, items) = notation::series(line)?;
            // Of a series that stands twice in one block, the last line holds.
            loaded.insert(labels, items);
        }
        for (labels, items) in loaded {
            self.add(
                labels,
                (0_i64..).map(|index| index * step_ms).zip(items).collect(),
                as_native,
            );
        }
        Ok(())
    }

    fn add(&mut self, labels: Labels, timed: Vec<(i64, Step)>, as_native: bool) {
        let times = |wanted: fn(&Step) -> bool| -> Vec<i64> {
            timed.iter().filter(|(_, item)| wanted(item)).map(|(at_ms, _)| *at_ms).collect()
        };
        let values = times(|item| matches!(item, Step::Value(_)));
        self.refuse(labels.clone(), NATIVE, times(|item| matches!(item, Step::Native)));
        if as_native && let Some(native) = without_bucket(&labels) {
            self.refuse(native, NATIVE, values.iter().copied());
        }
        if labels.get("__type__").or(labels.get("__unit__")).is_some() {
            self.refuse(labels.clone(), TYPE_AND_UNIT, values);
        }
        for (at_ms, item) in timed {
            if let Step::Value(value) = item {
                self.series.entry(labels.clone()).or_default().insert(at_ms, value);
            }
        }
    }

    fn refuse(
        &mut self,
        labels: Labels,
        reason: &'static str,
        times: impl IntoIterator<Item = i64>,
    ) {
        let mut times = times.into_iter().peekable();
        if times.peek().is_some() {
            let none = || Unsupported { reason, times: BTreeSet::new() };
            self.unsupported.entry(labels).or_insert_with(none).times.extend(times);
        }
    }

    /// Why what was asked for since the last call cannot be answered from this data.
    pub(crate) fn obstacle(&self) -> Option<&'static str> {
        self.touched.take()
    }
}

/// The native histogram that a classic one is loaded as, besides.
fn without_bucket(labels: &Labels) -> Option<Labels> {
    let name = labels.metric_name()?.strip_suffix("_bucket")?.to_owned();
    let mut native = labels.clone().with(METRIC_NAME, name);
    native.remove("le");
    Some(native)
}

impl Source for Data {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        let accepts =
            |labels: &Labels| selection.matchers.iter().all(|matcher| matcher.matches(labels));
        let stretch = selection.after_ms + 1..=selection.through_ms;
        let has_some = |times: &BTreeSet<i64>| {
            !stretch.is_empty() && times.range(stretch.clone()).next().is_some()
        };
        let refused = self.unsupported.iter().filter(|(labels, _)| accepts(labels));
        if let Some((_, one)) = refused.into_iter().find(|(_, one)| has_some(&one.times)) {
            self.touched.set(Some(one.reason));
        }
        let selected = self.series.iter().filter(|(labels, _)| accepts(labels));
        let found = selected.map(|(labels, samples)| {
            let within = samples.iter().filter(|(at_ms, _)| stretch.contains(at_ms));
            SeriesSamples {
                labels: labels.clone(),
                timestamps: within.clone().map(|(at_ms, _)| *at_ms).collect(),
                values: within.map(|(_, value)| *value).collect(),
            }
        });
        Ok(found.filter(|series| !series.timestamps.is_empty()).collect())
    }
}
