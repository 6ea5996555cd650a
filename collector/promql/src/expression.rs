//! An expression that is known to be well typed.

use std::fmt;

use upkeep_model::Matcher;

use crate::eval::Function;
use crate::position::Position;

/// The type of an expression's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueType {
    Scalar,
    Vector,
    Matrix,
    Text,
}

impl ValueType {
    /// The name that Prometheus' trees have.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
            Self::Text => "string",
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::Text => "string",
        })
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Expression {
    Number(f64),
    Text(String),
    Selector(Selector),
    Range(RangeSelector),
    Subquery(Subquery),
    Negate(Box<Expression>),
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call(Call),
    /// Something that has the same value at every step, so that it is evaluated once.
    Constant(Box<Expression>),
}

impl Expression {
    pub(crate) fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::Text(_) => ValueType::Text,
            Self::Selector(_) | Self::Aggregate(_) => ValueType::Vector,
            Self::Range(_) | Self::Subquery(_) => ValueType::Matrix,
            Self::Negate(inner) | Self::Constant(inner) => inner.value_type(),
            Self::Binary(binary) => binary.value_type,
            Self::Call(call) => call.function.returns,
        }
    }

    /// Calls `visit` with the expression and everything in it.
    pub(crate) fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        match self {
            Self::Number(_) | Self::Text(_) | Self::Selector(_) | Self::Range(_) => {}
            Self::Subquery(subquery) => subquery.expression.walk(visit),
            Self::Negate(inner) | Self::Constant(inner) => inner.walk(visit),
            Self::Binary(binary) => {
                binary.left.walk(visit);
                binary.right.walk(visit);
            }
            Self::Aggregate(aggregate) => {
                if let Some(parameter) = &aggregate.parameter {
                    parameter.walk(visit);
                }
                aggregate.expression.walk(visit);
            }
            Self::Call(call) => call.arguments.iter().for_each(|argument| argument.walk(visit)),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Selector {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) time: TimeShift,
}

/// `offset` and `@` of a selector or subquery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimeShift {
    pub(crate) offset_ms: i64,
    pub(crate) anchor: Option<Anchor>,
}

/// What `@` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    At(i64),
    Start,
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct RangeSelector {
    pub(crate) selector: Selector,
    pub(crate) range_ms: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Subquery {
    pub(crate) expression: Box<Expression>,
    pub(crate) range_ms: i64,
    /// `None` stands for the default step.
    pub(crate) step_ms: Option<i64>,
    pub(crate) time: TimeShift,
}

#[derive(Clone, Debug)]
pub(crate) struct Binary {
    pub(crate) operator: Operator,
    pub(crate) left: Expression,
    pub(crate) right: Expression,
    pub(crate) matching: Matching,
    pub(crate) value_type: ValueType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Arithmetic(Arithmetic),
    Comparison {
        comparison: Comparison,
        /// Give 0 or 1 instead of filtering.
        returns_bool: bool,
    },
    Set(SetOperator),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetOperator {
    And,
    Or,
    Unless,
}

/// Which series of the two sides belong together.
#[derive(Clone, Debug)]
pub(crate) struct Matching {
    pub(crate) labels: LabelChoice,
    pub(crate) cardinality: Cardinality,
    /// The labels that `group_left` or `group_right` takes from the one side.
    pub(crate) include: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cardinality {
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
}

/// A choice among labels: `by`, `on` keep those named, `without`, `ignoring` all but those.
#[derive(Clone, Debug)]
pub(crate) enum LabelChoice {
    Only(Vec<String>),
    AllBut(Vec<String>),
}

#[derive(Clone, Debug)]
pub(crate) struct Aggregate {
    pub(crate) operation: Aggregation,
    pub(crate) parameter: Option<Expression>,
    pub(crate) parameter_place: Position,
    pub(crate) expression: Expression,
    pub(crate) grouping: LabelChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregation {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Quantile,
    CountValues,
    Topk,
    Bottomk,
    Limitk,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) function: &'static Function,
    pub(crate) arguments: Vec<Expression>,
    pub(crate) place: Position,
    /// One an argument.
    pub(crate) argument_places: Vec<Position>,
}

impl Call {
    /// Where an argument stands in the text; the call itself if there is no such argument.
    pub(crate) fn place_of(&self, argument: usize) -> Position {
        self.argument_places.get(argument).copied().unwrap_or(self.place)
    }
}
