//! The store as PromQL sees it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use upkeep_model::SeriesSamples;
use upkeep_promql::{Selection, Source, SourceError};
use upkeep_store::{Found, Reading, Store, StoreError};

use super::coarse::shape_of;
use super::gaps::{self, GapSource, KnownGap};

/// A store for evaluations, held by a shared reference.
pub struct StoreSource {
    store: Arc<Store>,
}

impl StoreSource {
    /// A source that reads from the store.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// The samples of a selection, in the shape that suits what becomes of them.
    pub(super) fn find(&self, selection: &Selection) -> Result<Found, SourceError> {
        self.store.read_noting(&reading_of(selection)).map_err(source_error)
    }
}

impl Source for StoreSource {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        self.find(selection).map(|found| found.series)
    }

    fn select_all(&self, selections: &[Selection]) -> Result<Vec<Vec<SeriesSamples>>, SourceError> {
        let readings: Vec<_> = selections.iter().map(reading_of).collect();
        self.store.read_all(&readings).map_err(source_error)
    }
}

fn reading_of(selection: &Selection) -> Reading<'_> {
    let Selection { matchers, after_ms, through_ms, max_samples, deadline, hint } = selection;
    Reading {
        max_samples: *max_samples,
        deadline: *deadline,
        shape: shape_of(*hint),
        only_last: hint.takes_last && hint.step_ms == 0,
        ..Reading::of(matchers, *after_ms, *through_ms)
    }
}

fn source_error(error: StoreError) -> SourceError {
    match error {
        StoreError::TooManySamples { .. } => SourceError::TooManySamples,
        StoreError::Timeout => SourceError::Timeout,
        error => SourceError::Failed(error.to_string()),
    }
}

/// A source for one query, whose series end where gaps are declared.
pub(super) struct GapAware<'query> {
    source: &'query dyn Source,
    gaps: &'query dyn GapSource,
    met: Mutex<BTreeSet<KnownGap>>,
}

impl<'query> GapAware<'query> {
    pub(super) fn new(source: &'query dyn Source, gaps: &'query dyn GapSource) -> Self {
        Self { source, gaps, met: Mutex::default() }
    }

    /// What the answer says of the gaps of the hosts whose series were read.
    pub(super) fn infos(&self) -> Vec<String> {
        gaps::infos(&self.met.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Source for GapAware<'_> {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        let mut series = self.source.select(selection)?;
        let (after_ms, through_ms) = (selection.after_ms, selection.through_ms);
        let known = self.gaps.gaps(after_ms, through_ms).map_err(SourceError::Failed)?;
        if !known.is_empty() {
            let met = gaps::mark(&mut series, &known, after_ms);
            self.met.lock().unwrap_or_else(PoisonError::into_inner).extend(met);
        }
        Ok(series)
    }
}
