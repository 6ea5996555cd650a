//! The tree that the grammar makes of a text: everything it says, with the places where it says it.

use upkeep_model::Matcher;

use super::ParseError;
use super::signature::Signature;
use super::token::Sign;
use crate::expression::{Anchor, ValueType};

/// A part of an expression, and the bytes of the text that it stands in.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Clone, Debug)]
pub(super) enum NodeKind {
    Number {
        value: f64,
        /// Whether it was written as a duration.
        is_duration: bool,
    },
    Text(String),
    Paren(Box<Node>),
    Selector(Selector),
    Range {
        selector: Selector,
        range_ms: i64,
    },
    Subquery(Box<Subquery>),
    Unary {
        sign: Sign,
        operand: Box<Node>,
    },
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call {
        signature: &'static Signature,
        arguments: Vec<Node>,
    },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    /// The metric name in front of the braces.
    pub(super) name: Option<String>,
    /// Those within the braces.
    pub(super) matchers: Vec<Matcher>,
    pub(super) time: Time,
}

/// `offset` and `@`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Time {
    pub(super) offset_ms: i64,
    pub(super) anchor: Option<Anchor>,
}

#[derive(Clone, Debug)]
pub(super) struct Subquery {
    pub(super) inner: Node,
    pub(super) range_ms: i64,
    pub(super) step_ms: Option<i64>,
    pub(super) time: Time,
}

#[derive(Clone, Debug)]
pub(super) struct Binary {
    pub(super) sign: Sign,
    /// Where the operator stands.
    pub(super) at: usize,
    pub(super) left: Node,
    pub(super) right: Node,
    pub(super) modifier: Modifier,
}

/// What stands between an operator and its right operand.
#[derive(Clone, Debug, Default)]
pub(super) struct Modifier {
    pub(super) returns_bool: bool,
    /// Whether the labels are those of `on`.
    pub(super) is_on: bool,
    pub(super) labels: Vec<String>,
    pub(super) group: Option<Group>,
    pub(super) include: Vec<String>,
}

/// Which side of an operator may have several series for one on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Left,
    Right,
}

#[derive(Clone, Debug)]
pub(super) struct Aggregate {
    pub(super) operation: &'static str,
    pub(super) parameter: Option<Node>,
    pub(super) inner: Node,
    pub(super) is_without: bool,
    pub(super) grouping: Vec<String>,
}

impl Node {
    pub(super) fn value_type(&self) -> ValueType {
        match &self.kind {
            NodeKind::Number { .. } => ValueType::Scalar,
            NodeKind::Text(_) => ValueType::Text,
            NodeKind::Paren(inner) => inner.value_type(),
            NodeKind::Selector(_) | NodeKind::Aggregate(_) => ValueType::Vector,
            NodeKind::Range { .. } | NodeKind::Subquery(_) => ValueType::Matrix,
            NodeKind::Unary { operand, .. } => operand.value_type(),
            NodeKind::Binary(binary) => binary.value_type(),
            NodeKind::Call { signature, .. } => signature.returns,
        }
    }

    /// An error at the start of the node.
    pub(super) fn error(&self, text: &str, message: impl Into<String>) -> ParseError {
        ParseError::at(text, self.start, message)
    }
}

impl Binary {
    pub(super) fn value_type(&self) -> ValueType {
        let is_scalar = |node: &Node| node.value_type() == ValueType::Scalar;
        match is_scalar(&self.left) && is_scalar(&self.right) {
            true => ValueType::Scalar,
            false => ValueType::Vector,
        }
    }

    /// Whether series of two vectors are matched.
    pub(super) fn matches_vectors(&self) -> bool {
        [&self.left, &self.right].iter().all(|side| side.value_type() == ValueType::Vector)
    }
}
