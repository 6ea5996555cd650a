//! Text to a checked expression.
//!
//! The [`lexer`] divides a text into tokens, the [`grammar`] makes a tree of them that says all the
//! text says, and [`check`] finds what is wrong with its types. The tree is written as text and as
//! JSON, and translated into [`Expression`](crate::expression::Expression), so that the evaluation
//! meets nothing that it does not support. Errors are those of Prometheus' parser, with its places.

mod check;
mod format;
mod grammar;
mod invariant;
mod json;
mod lexer;
mod number;
mod selector;
mod signature;
mod token;
mod translate;
mod tree;

use thiserror::Error;
use upkeep_model::Matcher;

use crate::position::Position;
use crate::query::Query;
use lexer::Tokens;
use token::Kind;
use tree::{Node, NodeKind};

/// Why a text is not an expression that can be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// The text does not follow the grammar, or the types in it do not fit.
    #[error("{}: parse error: {message}", shown(*.at))]
    Invalid {
        /// Where; `None` for a text without anything in it.
        at: Option<Position>,
        /// What is wrong.
        message: String,
    },
    /// The text is an expression of PromQL, but something in it is not supported.
    #[error("{at}: parse error: {what} is not supported: {reason}")]
    Unsupported {
        /// Where.
        at: Position,
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

fn shown(at: Option<Position>) -> String {
    at.map_or_else(|| "unknown position".to_owned(), |at| at.to_string())
}

impl ParseError {
    fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let at = (!text.is_empty()).then(|| Position::of(text, offset));
        Self::Invalid { at, message: message.into() }
    }

    fn unsupported(
        text: &str,
        offset: usize,
        what: impl Into<String>,
        reason: &'static str,
    ) -> Self {
        Self::Unsupported { at: Position::of(text, offset), what: what.into(), reason }
    }
}

/// Parses an expression and checks its types.
///
/// # Errors
/// When the text is no valid expression, or uses what is not supported.
pub fn parse(text: &str) -> Result<Query, ParseError> {
    let expression = translate::expression(text, &checked(text)?)?;
    Ok(Query::new(text.trim(), invariant::mark(expression)))
}

/// Parses a bare selector such as `up{job="node"}` to its matchers, as look-ups of series take it.
///
/// # Errors
/// When the text is no valid expression, or one that is more than a selector.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let tokens = sized_tokens(text)?;
    let node = grammar::selector(text, &tokens)?;
    check::types(text, &node)?;
    Ok(match node.kind {
        NodeKind::Selector(selector) => translate::matchers(&selector),
        _ => Vec::new(),
    })
}

/// Writes an expression in the one form that Prometheus' `format_query` gives it: long ones on
/// several lines, comments left out.
///
/// # Errors
/// As [`parse`].
pub fn format(text: &str) -> Result<String, ParseError> {
    Ok(format::pretty(&checked(text)?, 0))
}

/// The tree of an expression, in the shape of Prometheus' `parse_query`.
///
/// # Errors
/// As [`parse`].
pub fn parse_tree(text: &str) -> Result<serde_json::Value, ParseError> {
    Ok(json::tree(&checked(text)?))
}

fn sized_tokens(text: &str) -> Result<Tokens, ParseError> {
    within("bytes", text.len(), MAX_BYTES)?;
    let tokens = lexer::tokens(text);
    check_size(&tokens)?;
    Ok(tokens)
}

fn checked(text: &str) -> Result<Node, ParseError> {
    let tokens = sized_tokens(text)?;
    let node = grammar::expression(text, &tokens)?;
    check::types(text, &node)?;
    Ok(node)
}

/// Longest text accepted, in bytes. The longest dashboard queries in the wild have a few KiB.
const MAX_BYTES: usize = 64 * 1024;
/// Deepest nesting of brackets. Every level is a few stack frames here and in the evaluation.
const MAX_DEPTH: usize = 100;
/// Most operators. A chain of operators nests as deep as it is long.
const MAX_OPERATORS: usize = 400;

fn within(what: &str, number: usize, limit: usize) -> Result<(), ParseError> {
    if number > limit {
        return Err(ParseError::TooLarge { what: format!("{number} {what}"), limit });
    }
    Ok(())
}

/// Everything after this works on a tree, whose depth the stack must bear.
fn check_size(tokens: &Tokens) -> Result<(), ParseError> {
    let (mut depth, mut deepest, mut operators) = (0_usize, 0, 0);
    let mut in_braces = false;
    for token in &tokens.tokens {
        match token.kind {
            Kind::LeftParen | Kind::LeftBracket => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            Kind::RightParen => depth = depth.saturating_sub(1),
            Kind::LeftBrace => in_braces = true,
            Kind::RightBrace => in_braces = false,
            Kind::Operator(_) if !in_braces => operators += 1,
            _ => {}
        }
    }
    within("nested brackets", deepest, MAX_DEPTH)?;
    within("operators", operators, MAX_OPERATORS)
}

#[cfg(test)]
mod tests;
