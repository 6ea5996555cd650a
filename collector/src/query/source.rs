//! The store as PromQL sees it.

use upkeep_model::SeriesSamples;
use upkeep_promql::{Selection, Source, SourceError};
use upkeep_store::Store;

/// Lends a store to an evaluation.
pub struct StoreSource<'a> {
    store: &'a Store,
}

impl<'a> StoreSource<'a> {
    /// A source that reads from the store.
    pub fn new(store: &'a Store) -> Self {
        Self { store }
    }
}

impl Source for StoreSource<'_> {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        self.store
            .select(&selection.matchers, selection.after_ms, selection.through_ms)
            .map_err(|error| SourceError(error.to_string()))
    }
}
