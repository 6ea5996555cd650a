//! A parsed expression and its evaluation.

use std::fmt;

use upkeep_model::Matcher;

use crate::answer::Answer;
use crate::eval::{self, EvalError, Limits};
use crate::expression::Expression;
use crate::locality;
use crate::source::Source;

/// An expression that parsed and type-checks.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    expression: Expression,
}

impl Query {
    pub(crate) fn new(text: &str, expression: Expression) -> Self {
        Self { text: text.to_owned(), expression }
    }

    /// Evaluates at one moment, given in milliseconds since 1970.
    ///
    /// # Errors
    /// When the samples cannot be read, a limit is passed, or the series do not fit the
    /// expression (see [`EvalError`]).
    pub fn instant(
        &self,
        source: &dyn Source,
        at_ms: i64,
        limits: &Limits,
    ) -> Result<Answer, EvalError> {
        eval::instant(&self.expression, source, at_ms, limits)
    }

    /// Evaluates at `start_ms` and every `step_ms` after it, up to and including `end_ms`.
    ///
    /// # Errors
    /// As [`Query::instant`], and when the range is backwards, has no step or too many of them, or
    /// the expression is neither a scalar nor an instant vector.
    pub fn range(
        &self,
        source: &dyn Source,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        limits: &Limits,
    ) -> Result<Answer, EvalError> {
        eval::range(&self.expression, source, (start_ms, end_ms), step_ms, limits)
    }

    /// Whether each series of the result carries the label as the series do that it is made of, and
    /// is made of none with another value of it: evaluated over those of some values alone, it gives
    /// what it gives of them when it is evaluated over all.
    pub fn keeps_apart(&self, label: &str) -> bool {
        locality::keeps_apart(&self.expression, label)
    }

    /// The matchers of every selector, in the order in which they stand in the text.
    pub fn selectors(&self) -> Vec<Vec<Matcher>> {
        let mut found = Vec::new();
        self.expression.walk(&mut |expression| match expression {
            Expression::Selector(selector) => found.push(selector.matchers.clone()),
            Expression::Range(range) => found.push(range.selector.matchers.clone()),
            _ => {}
        });
        found
    }
}

/// The text that was parsed.
impl fmt::Display for Query {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
