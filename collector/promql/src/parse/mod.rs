//! Text to a checked expression.
//!
//! The grammar is the `promql-parser` crate's; nothing outside of this module knows it. Its tree
//! is translated into [`Expression`], which names functions, operators and times in this crate's
//! terms, so that the evaluation meets nothing that it does not support.

mod guard;
mod invariant;
mod translate;
mod tree;

use std::panic;

use promql_parser::parser;
use thiserror::Error;
use upkeep_model::Matcher;

use crate::expression::Expression;
use crate::query::Query;

pub use tree::Tree;

/// Why a text is not an expression that can be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// The text does not follow the grammar, or the types in it do not fit.
    #[error("parse error: {0}")]
    Invalid(String),
    /// The text is an expression of PromQL, but something in it is not supported.
    #[error("parse error: {what} is not supported: {reason}")]
    Unsupported {
        /// The function, operator or modifier.
        what: String,
        /// Why.
        reason: &'static str,
    },
    /// The text is longer or nests deeper than any expression in earnest.
    #[error("parse error: the expression has {what}, the limit is {limit}")]
    TooLarge {
        /// What there is too much of, with its number.
        what: String,
        /// How much is accepted.
        limit: usize,
    },
}

/// Parses an expression and checks its types.
///
/// # Errors
/// When the text is no valid expression, or uses what is not supported.
pub fn parse(text: &str) -> Result<Query, ParseError> {
    let (_, expression) = read(text)?;
    Ok(Query::new(text.trim(), invariant::mark(expression)))
}

/// Lays an expression out for people: on one line where it is short, else indented.
///
/// # Errors
/// As [`parse`].
pub fn format(text: &str) -> Result<String, ParseError> {
    Ok(read(text)?.0.prettify())
}

/// Parses an expression to its tree as other programs take it.
///
/// # Errors
/// As [`parse`].
pub fn parse_tree(text: &str) -> Result<Tree, ParseError> {
    Ok(Tree::of(&read(text)?.0))
}

fn read(text: &str) -> Result<(parser::Expr, Expression), ParseError> {
    guard::check(text)?;
    // The parser slices strings and converts durations without checking; an odd text must not
    // take the caller down.
    let parsed = panic::catch_unwind(|| parser::parse(text))
        .map_err(|_| ParseError::Invalid("the expression cannot be read".to_owned()))?;
    let tree = parsed.map_err(|message| {
        guard::refused_feature(text)
            .unwrap_or_else(|| ParseError::Invalid(in_prometheus_words(&message)))
    })?;
    let expression = translate::expression(&tree)?;
    Ok((tree, expression))
}

/// Parses a bare selector such as `up{job="node"}` to its matchers, as look-ups of series take it.
///
/// # Errors
/// When the text is no valid expression, or one that is more than a selector.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let wrong = || ParseError::Invalid("expected a bare selector of series".to_owned());
    parse(text)?.bare_selector().ok_or_else(wrong)
}

/// Type errors as Prometheus words them, which calls the types by their long names.
fn in_prometheus_words(message: &str) -> String {
    let Some((expected, rest)) =
        message.strip_prefix("expected type ").and_then(|rest| rest.split_once(" in "))
    else {
        return message.to_owned();
    };
    let Some((context, got)) = rest.rsplit_once(", got ") else { return message.to_owned() };
    let context = context.replace('\'', "\"");
    format!("expected type {} in {context}, got {}", long_type(expected), long_type(got))
}

fn long_type(name: &str) -> &str {
    match name {
        "vector" => "instant vector",
        "matrix" => "range vector",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_selector_is_one() {
        let check = |text: &str, expect: Option<usize>| {
            assert_eq!(parse_selector(text).ok().map(|found| found.len()), expect, "{text}");
        };
        check("up", Some(1));
        check("up{job=\"node\", instance!=\"\"}", Some(3));
        check("{job=\"node\"}", Some(1));
        check("up[5m]", None);
        check("up offset 5m", None);
        check("up @ 5", None);
        check("sum(up)", None);
        check("up{", None);
    }

    fn check(text: &str, expect: &str) {
        let message = parse(text).map(|_| "fine".to_owned()).unwrap_or_else(|e| e.to_string());
        assert!(message.contains(expect), "{text:.200}: {message}");
    }

    #[test]
    fn expressions_are_laid_out() {
        let check = |text: &str, expect: &str| assert_eq!(format(text).unwrap(), expect);
        check("sum(rate(a{b=\"c\"}[5m]))by(job,x)", "sum by (job, x) (rate(a{b=\"c\"}[5m]))");
        check(" a+on(x)group_left(y)b ", "a + on (x) group_left (y) b");
        check("max_over_time((a)[1h:30s] offset 1d)", "max_over_time((a)[1h:30s] offset 1d)");
        check("a>bool 5", "a > bool 5");
        let long = format!("sum({0})/{0}", "abcdefghijklmnopqrstuvwxyz".repeat(3));
        let name = "abcdefghijklmnopqrstuvwxyz".repeat(3);
        check(&long, &format!("  sum({name})\n/\n  {name}"));
        assert_eq!(format("sum(").unwrap_err(), parse("sum(").unwrap_err());
    }

    #[test]
    fn errors_say_what_is_wrong() {
        check("up", "fine");
        check("", "no expression found in input");
        check("up{", "unexpected end of input inside braces");
        check("up)", "unexpected right parenthesis");
        check("foo bar", "invalid promql query");
        check("rate(up)", "expected type range vector in call to function \"rate\", got instant");
        check("sum(1)", "expected type instant vector in aggregation expression, got scalar");
        check("ln(0)", "expected type instant vector in call to function \"ln\", got scalar");
        check("frobnicate(up)", "unknown function with name 'frobnicate'");
        check("up{job=~\"(\"}", "illegal regex");
        check("{job=~\".*\"}", "at least one non-empty matcher");
        check("1 == 2", "comparisons between scalars must use BOOL modifier");
        check("up and 1", "set operator 'and' not allowed in binary scalar expression");
        check("up + \"x\"", "binary expression must contain only scalar and instant vector");
        check("count_values(\"\", up)", "invalid label name \"\"");
        check("up[5m] offset 1h", "fine");
        check("\"\\é\"", "unknown escape");
    }

    #[test]
    fn what_is_not_supported_is_named() {
        check("histogram_count(up)", "function \"histogram_count\" is not supported: native");
        check("mad_over_time(up[5m])", "function \"mad_over_time\" is not supported: experim");
        check("limit_ratio(0.5, up)", "aggregation \"limit_ratio\" is not supported: experim");
        check("a + fill(1) b", "modifier \"fill\" is not supported: experimental");
        check("rate(a[5m] smoothed)", "modifier \"smoothed\" is not supported: experimental");
        check("a{b=\"smoothed\"}", "fine");
        check("a{b=\"1\" or b=\"2\"}", "\"or\" between matchers is not supported");
        check("a[5m+1m]", "duration expression is not supported: experimental");
        check("a[5m:1m]", "fine");
    }

    #[test]
    fn odd_texts_are_refused_and_never_panic() {
        let deep = "(".repeat(10_000) + "1";
        check(&deep, "nested brackets, the limit is");
        check(&format!("1{}", "+1".repeat(2_000)), "operators, the limit is");
        check(&"-".repeat(10_000), "operators, the limit is");
        check(&format!("a{{b=\"{}\"}}", "x".repeat(70_000)), "bytes, the limit is");
        check("a[1e30]", "parse error");
        check("a[1e400]", "parse error");
        check("a offset 1e30", "duration out of range: 1e30");
        check("a OFFSET -Inf, 1", "duration out of range: inf");
        check("a offset nan", "duration out of range: nan");
    }

    #[test]
    fn a_query_keeps_its_text_and_names_its_selectors() {
        let query = parse(" rate(a{b=\"c\"}[5m]) / on (x) {__name__=~\"d.*\"} ").unwrap();
        assert_eq!(query.to_string(), "rate(a{b=\"c\"}[5m]) / on (x) {__name__=~\"d.*\"}");
        let matchers: Vec<Vec<String>> = query
            .selectors()
            .iter()
            .map(|matchers| matchers.iter().map(ToString::to_string).collect())
            .collect();
        assert_eq!(matchers, [vec!["__name__=\"a\"", "b=\"c\""], vec!["__name__=~\"d.*\""]]);
    }
}
