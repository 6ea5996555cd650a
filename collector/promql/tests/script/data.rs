//! The samples of a script, as a source.

use std::collections::BTreeMap;

use upkeep_model::{Labels, METRIC_NAME, Matcher, SeriesSamples};
use upkeep_promql::{Selection, Source, SourceError};

use super::notation::{self, Item};

/// What was loaded since the last `clear`.
#[derive(Debug, Default)]
pub(crate) struct Data {
    series: BTreeMap<Labels, BTreeMap<i64, f64>>,
    /// Series that need what is not supported, with the reason.
    unsupported: BTreeMap<Labels, &'static str>,
}

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
                self.unsupported.insert(labels, "start timestamps, which are experimental");
                continue;
            }
            let (labels, items) = notation::series(line)?;
            if as_native && let Some(native) = without_bucket(&labels) {
                self.unsupported.insert(native, "native histograms");
            }
            if labels.get("__type__").or(labels.get("__unit__")).is_some() {
                self.unsupported
                    .insert(labels.clone(), "type and unit labels, which are experimental");
            }
            // Of a series that stands twice in one block, the last line holds.
            loaded.insert(labels, items);
        }
        for (labels, items) in loaded {
            for (at_ms, item) in (0_i64..).map(|index| index * step_ms).zip(items) {
                match item {
                    Item::Gap => {}
                    Item::Native => {
                        self.unsupported.insert(labels.clone(), "native histograms");
                    }
                    Item::Value(value) => {
                        self.series.entry(labels.clone()).or_default().insert(at_ms, value);
                    }
                }
            }
        }
        Ok(())
    }

    /// Why a selector cannot be answered from this data.
    pub(crate) fn obstacle(&self, matchers: &[Matcher]) -> Option<&'static str> {
        let selected = |labels: &Labels| matchers.iter().all(|matcher| matcher.matches(labels));
        self.unsupported.iter().find(|(labels, _)| selected(labels)).map(|(_, reason)| *reason)
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
        let selected = self
            .series
            .iter()
            .filter(|(labels, _)| selection.matchers.iter().all(|matcher| matcher.matches(labels)));
        let stretch = |samples: &BTreeMap<i64, f64>| {
            let within = |at: &i64| *at > selection.after_ms && *at <= selection.through_ms;
            samples.iter().filter(|(at, _)| within(at)).map(|(at, value)| (*at, *value)).unzip()
        };
        Ok(selected
            .map(|(labels, samples)| {
                let (timestamps, values): (Vec<i64>, _) = stretch(samples);
                SeriesSamples { labels: labels.clone(), timestamps: timestamps.into(), values }
            })
            .filter(|series| !series.timestamps.is_empty())
            .collect())
    }
}
