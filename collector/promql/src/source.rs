//! Where samples come from.

use thiserror::Error;
use upkeep_model::{Matcher, SeriesSamples};

/// Something that holds samples and finds them by matchers and time.
pub trait Source {
    /// Returns every series that all matchers accept and that has samples in the stretch of time,
    /// each series once, in any order, its timestamps strictly ascending. Staleness markers are
    /// among the samples.
    ///
    /// # Errors
    /// When the samples cannot be read.
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError>;
}

/// What one selector of an expression needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// All of them must accept a series.
    pub matchers: Vec<Matcher>,
    /// The start of the stretch in milliseconds since 1970, itself not part of it.
    pub after_ms: i64,
    /// The end of the stretch in milliseconds since 1970, itself part of it.
    pub through_ms: i64,
}

/// Why a [`Source`] could not give samples, for people.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SourceError(pub String);
