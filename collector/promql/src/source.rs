//! Where samples come from.

use std::time::Instant;

use thiserror::Error;
use upkeep_model::{Matcher, SeriesSamples};

/// Something that holds samples and finds them by matchers and time.
pub trait Source {
    /// Returns every series that all matchers accept and that has samples in the stretch of time,
    /// each series once, in any order, its timestamps strictly ascending. Staleness markers are
    /// among the samples.
    ///
    /// # Errors
    /// When the samples cannot be read, or a limit of the selection is passed; a source finds that
    /// as early as it can, so that no query takes more memory or time than it may.
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError>;

    /// The same for several selections; a source may do those together that have something in common.
    ///
    /// # Errors
    /// As for one selection; none has a result then.
    fn select_all(&self, selections: &[Selection]) -> Result<Vec<Vec<SeriesSamples>>, SourceError> {
        selections.iter().map(|selection| self.select(selection)).collect()
    }
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
    /// Most samples that all series together may have.
    pub max_samples: usize,
    /// When the query must be done.
    pub deadline: Option<Instant>,
    /// What becomes of the samples, for a source that has summaries of them.
    pub hint: Hint,
}

/// How the samples of a [`Selection`] are used. A source may ignore it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// The function that gets the window of every step, such as `rate` or `max_over_time`; `None`
    /// where a step takes the last sample, or where the samples themselves are the answer.
    pub function: Option<&'static str>,
    /// The width of a step's window in milliseconds: the first window is the first so many
    /// milliseconds of the stretch.
    pub range_ms: i64,
    /// The distance of windows in milliseconds; 0 where there is but one.
    pub step_ms: i64,
    /// Whether nothing but the last sample of each window counts. Where there is but one window, a source
    /// may leave out all samples of a series before its last.
    pub takes_last: bool,
}

/// Why a [`Source`] could not give samples.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    /// They cannot be read; the text says why.
    #[error("{0}")]
    Failed(String),
    /// There are more than [`Selection::max_samples`].
    #[error("the selector has too many samples")]
    TooManySamples,
    /// [`Selection::deadline`] passed.
    #[error("reading samples took too long")]
    Timeout,
}
