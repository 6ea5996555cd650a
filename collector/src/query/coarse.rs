//! Summaries as queries see them: what an answer says when samples it is made of are only kept as
//! summaries.
//!
//! A function over windows that begin and end where summaries do has the same value as over the samples
//! themselves, if it is one of [`EXACT`]. Every other answer is approximate, and told to be.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use upkeep_model::SeriesSamples;
use upkeep_promql::{Hint, Selection, Source, SourceError};
use upkeep_store::{Found, Shape, Summaries};

use super::source::StoreSource;

/// Functions that summaries answer exactly.
const EXACT: [&str; 12] = [
    "absent_over_time",
    "avg_over_time",
    "count_over_time",
    "delta",
    "first_over_time",
    "increase",
    "last_over_time",
    "max_over_time",
    "min_over_time",
    "present_over_time",
    "rate",
    "sum_over_time",
];

/// Where a step takes the last sample there is one at least so often, in milliseconds.
const SELECTED_MS: i64 = 150_000;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The samples that serve a function best where they are made of summaries.
pub(super) fn shape_of(hint: Hint) -> Shape {
    // So that every window has a sample.
    let within_ms = hint.range_ms / 2;
    match hint.function {
        None => Shape::Sparse { within_ms: within_ms.min(SELECTED_MS) },
        Some(
            "absent_over_time" | "first_over_time" | "last_over_time" | "max_over_time"
            | "min_over_time" | "present_over_time",
        ) => Shape::Sparse { within_ms },
        Some("rate" | "increase" | "irate" | "resets") => Shape::Counter,
        Some(_) => Shape::Level,
    }
}

/// A store for one query, which notes where its samples were made of summaries.
pub(super) struct CoarseAware {
    source: StoreSource,
    met: Mutex<BTreeMap<Option<&'static str>, Met>>,
}

/// The summaries that were met for a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Met {
    summaries: Summaries,
    /// Whether all windows begin and end where summaries do.
    is_aligned: bool,
}

impl CoarseAware {
    pub(super) fn new(source: StoreSource) -> Self {
        Self { source, met: Mutex::default() }
    }

    /// What of the answer is approximate.
    pub(super) fn warnings(&self) -> Vec<String> {
        let met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let warning = |(function, met): (&Option<&'static str>, &Met)| {
            function.and_then(|function| warning(function, *met))
        };
        met.iter().filter_map(warning).collect()
    }

    /// That samples were picked which are no more than made of summaries.
    pub(super) fn infos(&self) -> Vec<String> {
        let met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.get(&None).map(|met| kept(met.summaries)).into_iter().collect()
    }
}

impl Source for CoarseAware {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        let Found { series, summaries } = self.source.find(selection)?;
        if let Some(summaries) = summaries {
            let hint = selection.hint;
            let is_aligned = [hint.range_ms, hint.step_ms, selection.through_ms]
                .into_iter()
                .all(|ms| ms % summaries.resolution.ms() == 0);
            let here = Met { summaries, is_aligned };
            let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
            let all = met.entry(hint.function).or_insert(here);
            all.summaries = all.summaries.with(summaries);
            all.is_aligned &= is_aligned;
        }
        Ok(series)
    }
}

fn warning(function: &str, met: Met) -> Option<String> {
    let kept = kept(met.summaries);
    if !EXACT.contains(&function) {
        return Some(format!("{kept}: {function} is approximate"));
    }
    let resolution = met.summaries.resolution;
    let reason = format!("its windows do not begin and end at multiples of {resolution}");
    (!met.is_aligned).then(|| format!("{kept}: {function} is approximate, since {reason}"))
}

fn kept(summaries: Summaries) -> String {
    let Summaries { resolution, through_ms } = summaries;
    let midnight_ms = through_ms.div_euclid(DAY_MS).saturating_add(1).saturating_mul(DAY_MS);
    let day = Timestamp::from_millisecond(midnight_ms)
        .map_or_else(|_| format!("{midnight_ms} ms"), |at| at.strftime("%Y-%m-%d").to_string());
    format!("samples before {day} are kept as summaries of {resolution} only")
}

#[cfg(test)]
mod tests;
