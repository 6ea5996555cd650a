//! What can go wrong in an evaluation, and its limits.

use std::time::Instant;

use thiserror::Error;

use crate::source::SourceError;

/// What one evaluation may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most samples read and values computed, together.
    pub max_samples: usize,
    /// For how long a sample stands for its series, in milliseconds.
    pub lookback_ms: i64,
    /// When the evaluation gives up.
    pub deadline: Option<Instant>,
    /// Most steps of a range.
    pub max_points_per_series: usize,
}

/// 50 million samples, a lookback of 5 minutes, no deadline, 11,000 steps, as Prometheus has them.
impl Default for Limits {
    fn default() -> Self {
        Self {
            max_samples: 50_000_000,
            lookback_ms: 5 * 60 * 1000,
            deadline: None,
            max_points_per_series: 11_000,
        }
    }
}

/// Why an evaluation failed, in Prometheus' words where it has some.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EvalError {
    /// The step of a range is not positive.
    #[error(
        "zero or negative query resolution step widths are not accepted. Try a positive integer"
    )]
    Step,
    /// A range is backwards.
    #[error("end timestamp must not be before start time")]
    Order,
    /// A range has too many steps.
    #[error(
        "exceeded maximum resolution of {} points per timeseries. Try decreasing the query \
         resolution (?step=XX)",
        with_thousands(*.limit)
    )]
    Resolution {
        /// How many are accepted.
        limit: usize,
    },
    /// Only scalars and instant vectors have a value at every step.
    #[error("invalid expression type \"{got}\" for range query, must be Scalar or instant Vector")]
    RangeOfType {
        /// The expression's type.
        got: String,
    },
    /// A node got another type than it works on.
    #[error("expected type {wanted}, got {got}")]
    WrongType {
        /// What it works on.
        wanted: String,
        /// What it got.
        got: String,
    },
    /// More samples than accepted.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// The deadline passed.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// The source failed; the text says why.
    #[error("expanding series: {0}")]
    Source(String),
    /// Two series of a result are the same.
    #[error("vector cannot contain metrics with the same labelset")]
    SameLabels,
    /// Several series on the side that must have one.
    #[error(
        "found duplicate series for the match group {group} on the {side} hand-side of the \
         operation: [{first}, {second}];many-to-many matching not allowed: matching labels must \
         be unique on one side"
    )]
    ManyToMany {
        /// The labels by which series were matched.
        group: String,
        /// `left` or `right`.
        side: &'static str,
        /// One of the series.
        first: String,
        /// Another one.
        second: String,
    },
    /// Several series on one side match one on the other, and nothing says that this is meant.
    #[error(
        "multiple matches for labels: many-to-one matching must be explicit \
         (group_left/group_right)"
    )]
    ManyToOne,
    /// Labels taken from the one side made two series of the many side the same.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    GroupingNotUnique,
    /// A count of series that is no number, or does not fit one.
    #[error("{0}")]
    Parameter(String),
    /// A label name that cannot be one.
    #[error("invalid {role} label name in {function}(): {name}")]
    LabelName {
        /// `source` or `destination`.
        role: &'static str,
        /// The function.
        function: &'static str,
        /// The name.
        name: String,
    },
    /// A text that is no regular expression.
    #[error("invalid regular expression in label_replace(): {0}")]
    Regex(String),
}

impl From<SourceError> for EvalError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Failed(why) => Self::Source(why),
            SourceError::TooManySamples => Self::TooManySamples,
            SourceError::Timeout => Self::Timeout,
        }
    }
}

fn with_thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolution_limit_is_written_as_prometheus_writes_it() {
        let message = EvalError::Resolution { limit: 11_000 }.to_string();
        assert!(message.starts_with("exceeded maximum resolution of 11,000 points"), "{message}");
        assert_eq!(with_thousands(999), "999");
        assert_eq!(with_thousands(1_234_567), "1,234,567");
    }
}
