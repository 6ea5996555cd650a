//! Matchers on labels, as selectors, routes and silences have them.

use std::fmt;

use regex::Regex;
use thiserror::Error;

use crate::Labels;
use crate::re2::{PatternError, compile_anchored};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOperator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends.
    Matches,
    /// `!~`, anchored at both ends.
    NotMatches,
}

/// A matcher's regular expression cannot be compiled.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("matcher {name}: {source}")]
pub struct MatcherError {
    /// The label's name.
    pub name: String,
    /// What is wrong with the expression.
    pub source: PatternError,
}

/// One condition on one label; an absent label counts as an empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    operator: MatchOperator,
    value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// A matcher of series whose label has this very value.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        Self { name, operator: MatchOperator::Equal, value, regex: None }
    }

    /// Makes a matcher; regular expressions are compiled here, once.
    ///
    /// # Errors
    /// When the value is not a regular expression where the operator wants one.
    pub fn new(
        name: impl Into<String>,
        operator: MatchOperator,
        value: impl Into<String>,
    ) -> Result<Self, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let regex = match operator {
            MatchOperator::Equal | MatchOperator::NotEqual => None,
            MatchOperator::Matches | MatchOperator::NotMatches => Some(
                compile_anchored(&value)
                    .map_err(|source| MatcherError { name: name.clone(), source })?,
            ),
        };
        Ok(Self { name, operator, value, regex })
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn operator(&self) -> MatchOperator {
        self.operator
    }

    /// What it compares with.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label's value passes.
    pub fn accepts(&self, value: &str) -> bool {
        let matched = match &self.regex {
            Some(regex) => regex.is_match(value),
            None => value == self.value,
        };
        let negative = matches!(self.operator, MatchOperator::NotEqual | MatchOperator::NotMatches);
        matched != negative
    }

    /// Whether a label set passes.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.accepts(labels.get(&self.name).unwrap_or_default())
    }
}

/// Two matchers are equal if they say the same; their compiled expressions follow from that.
impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.operator, &self.value) == (&other.name, other.operator, &other.value)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.operator {
            MatchOperator::Equal => "=",
            MatchOperator::NotEqual => "!=",
            MatchOperator::Matches => "=~",
            MatchOperator::NotMatches => "!~",
        };
        write!(formatter, "{}{operator}{:?}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_accept_as_prometheus_does() {
        let check = |operator, pattern: &str, value: &str, expect: bool| {
            let matcher = Matcher::new("x", operator, pattern).unwrap();
            assert_eq!(matcher.accepts(value), expect, "{matcher} on {value:?}");
        };
        check(MatchOperator::Equal, "a", "a", true);
        check(MatchOperator::Equal, "", "", true);
        check(MatchOperator::NotEqual, "a", "", true);
        check(MatchOperator::Matches, "a|b", "b", true);
        check(MatchOperator::Matches, "a|b", "bc", false);
        check(MatchOperator::Matches, ".*", "line\nline", true);
        check(MatchOperator::NotMatches, ".+", "", true);
        check(MatchOperator::NotMatches, "a.", "ab", false);
    }

    #[test]
    fn a_broken_expression_names_its_label() {
        let error = Matcher::new("job", MatchOperator::Matches, "(").unwrap_err();
        assert!(error.to_string().starts_with("matcher job: "), "{error}");
    }
}
