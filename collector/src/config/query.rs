//! What queries may take.

use serde::Deserialize;

use super::Span;
use crate::query::Settings;

/// What queries may take.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Query {
    /// The most samples that one may hold at a time.
    pub max_samples: usize,
    /// How long one may take, its wait for others included.
    pub timeout: Span,
    /// How many run at once.
    pub concurrent: usize,
}

impl Default for Query {
    fn default() -> Self {
        let Settings { max_samples, timeout, concurrency, .. } = Settings::default();
        Self { max_samples, timeout: Span(timeout), concurrent: concurrency }
    }
}

impl Query {
    /// What queries are bounded by.
    pub fn settings(&self) -> Settings {
        let Self { max_samples, timeout, concurrent: concurrency } = *self;
        Settings { max_samples, timeout: timeout.0, concurrency, ..Settings::default() }
    }
}
