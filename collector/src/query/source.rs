//! The store as PromQL sees it.

use std::sync::Arc;

use upkeep_model::SeriesSamples;
use upkeep_promql::{Selection, Source, SourceError};
use upkeep_store::Store;

/// A store for evaluations, held by a shared reference.
pub struct StoreSource {
    store: Arc<Store>,
}

impl StoreSource {
    /// A source that reads from the store.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

impl Source for StoreSource {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        self.store
            .select(&selection.matchers, selection.after_ms, selection.through_ms)
            .map_err(|error| SourceError(error.to_string()))
    }
}
