//! The parser's tree to our own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser::token::{
    T_ADD, T_ATAN2, T_AVG, T_BOTTOMK, T_COUNT, T_COUNT_VALUES, T_DIV, T_EQLC, T_GROUP, T_GTE,
    T_GTR, T_LAND, T_LIMITK, T_LOR, T_LSS, T_LTE, T_LUNLESS, T_MAX, T_MIN, T_MOD, T_MUL, T_NEQ,
    T_POW, T_QUANTILE, T_STDDEV, T_STDVAR, T_SUB, T_SUM, T_TOPK, TokenType,
};
use promql_parser::parser::{
    self as tree, AtModifier, LabelModifier, Offset, VectorMatchCardinality,
};
use upkeep_model::{METRIC_NAME, MatchOperator, Matcher};

use super::ParseError;
use crate::eval::function;
use crate::expression::{
    Aggregate, Aggregation, Anchor, Arithmetic, Binary, Call, Cardinality, Comparison, Expression,
    LabelChoice, Matching, Operator, RangeSelector, Selector, SetOperator, Subquery, TimeShift,
    ValueType,
};

pub(super) fn expression(node: &tree::Expr) -> Result<Expression, ParseError> {
    match node {
        tree::Expr::NumberLiteral(number) => Ok(Expression::Number(number.val)),
        tree::Expr::StringLiteral(string) => Ok(Expression::Text(string.val.clone())),
        tree::Expr::Paren(paren) => expression(&paren.expr),
        tree::Expr::VectorSelector(vector) => Ok(Expression::Selector(selector(vector)?)),
        tree::Expr::MatrixSelector(matrix) => Ok(Expression::Range(RangeSelector {
            selector: selector(&matrix.vs)?,
            range_ms: milliseconds(matrix.range)?,
        })),
        tree::Expr::Subquery(node) => subquery(node),
        tree::Expr::Unary(unary) => Ok(Expression::Negate(Box::new(expression(&unary.expr)?))),
        tree::Expr::Binary(node) => binary(node),
        tree::Expr::Aggregate(node) => aggregate(node),
        tree::Expr::Call(node) => call(node),
        tree::Expr::Extension(_) => Err(unsupported("an extension", "unknown")),
    }
}

fn unsupported(what: impl Into<String>, reason: &'static str) -> ParseError {
    ParseError::Unsupported { what: what.into(), reason }
}

fn invalid(message: impl Into<String>) -> ParseError {
    ParseError::Invalid(message.into())
}

fn selector(node: &tree::VectorSelector) -> Result<Selector, ParseError> {
    let mut matchers = Vec::new();
    if let Some(name) = &node.name {
        matchers.push(matcher(METRIC_NAME, MatchOperator::Equal, name)?);
    }
    add_matchers(&node.matchers, &mut matchers)?;
    Ok(Selector { matchers, time: time_shift(node.offset.as_ref(), node.at.as_ref())? })
}

fn add_matchers(nodes: &Matchers, matchers: &mut Vec<Matcher>) -> Result<(), ParseError> {
    if !nodes.or_matchers.is_empty() {
        return Err(unsupported("\"or\" between matchers", "not part of PromQL"));
    }
    for node in &nodes.matchers {
        let operator = match node.op {
            MatchOp::Equal => MatchOperator::Equal,
            MatchOp::NotEqual => MatchOperator::NotEqual,
            MatchOp::Re(_) => MatchOperator::Matches,
            MatchOp::NotRe(_) => MatchOperator::NotMatches,
        };
        matchers.push(matcher(&node.name, operator, &node.value)?);
    }
    Ok(())
}

fn matcher(name: &str, operator: MatchOperator, value: &str) -> Result<Matcher, ParseError> {
    Matcher::new(name, operator, value).map_err(|error| invalid(error.to_string()))
}

fn time_shift(offset: Option<&Offset>, at: Option<&AtModifier>) -> Result<TimeShift, ParseError> {
    let offset_ms = match offset {
        None => 0,
        Some(Offset::Pos(duration)) => milliseconds(*duration)?,
        Some(Offset::Neg(duration)) => -milliseconds(*duration)?,
    };
    let anchor = match at {
        None => None,
        Some(AtModifier::Start) => Some(Anchor::Start),
        Some(AtModifier::End) => Some(Anchor::End),
        Some(AtModifier::At(time)) => Some(Anchor::At(unix_ms(*time)?)),
    };
    Ok(TimeShift { offset_ms, anchor })
}

/// The largest stretch or moment accepted, in milliseconds: far beyond any clock, and small enough
/// that sums of a few of them stay exact.
const MAX_MS: i64 = i64::MAX / 16;

fn milliseconds(duration: Duration) -> Result<i64, ParseError> {
    let converted = i64::try_from(duration.as_millis()).ok().filter(|&ms| ms <= MAX_MS);
    converted.ok_or_else(|| invalid("duration out of range"))
}

fn unix_ms(time: SystemTime) -> Result<i64, ParseError> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => milliseconds(after),
        Err(before) => Ok(-milliseconds(before.duration())?),
    }
}

fn subquery(node: &tree::SubqueryExpr) -> Result<Expression, ParseError> {
    let step_ms = node.step.map(milliseconds).transpose()?;
    if step_ms == Some(0) {
        return Err(invalid("duration must be greater than 0"));
    }
    Ok(Expression::Subquery(Subquery {
        expression: Box::new(expression(&node.expr)?),
        range_ms: milliseconds(node.range)?,
        step_ms,
        time: time_shift(node.offset.as_ref(), node.at.as_ref())?,
    }))
}

fn binary(node: &tree::BinaryExpr) -> Result<Expression, ParseError> {
    let (left, right) = (expression(&node.lhs)?, expression(&node.rhs)?);
    let modifier = node.modifier.clone().unwrap_or_default();
    if modifier.fill_values != tree::VectorMatchFillValues::default() {
        return Err(unsupported("modifier \"fill\"", "experimental"));
    }
    let scalars = [&left, &right].iter().all(|side| side.value_type() == ValueType::Scalar);
    let cardinality = match modifier.card {
        VectorMatchCardinality::ManyToOne(_) => Cardinality::ManyToOne,
        VectorMatchCardinality::OneToMany(_) => Cardinality::OneToMany,
        VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => {
            Cardinality::OneToOne
        }
    };
    let include = modifier.card.labels().map(|list| list.labels.clone()).unwrap_or_default();
    Ok(Expression::Binary(Box::new(Binary {
        operator: operator(node.op, modifier.return_bool)?,
        left,
        right,
        matching: Matching {
            labels: label_choice(modifier.matching.as_ref()),
            cardinality,
            include,
        },
        value_type: if scalars { ValueType::Scalar } else { ValueType::Vector },
    })))
}

/// Without a list, all labels count.
fn label_choice(modifier: Option<&LabelModifier>) -> LabelChoice {
    match modifier {
        None => LabelChoice::AllBut(Vec::new()),
        Some(LabelModifier::Include(labels)) => LabelChoice::Only(labels.labels.clone()),
        Some(LabelModifier::Exclude(labels)) => LabelChoice::AllBut(labels.labels.clone()),
    }
}

fn operator(token: TokenType, returns_bool: bool) -> Result<Operator, ParseError> {
    let compare = |comparison| Operator::Comparison { comparison, returns_bool };
    Ok(match token.id() {
        T_ADD => Operator::Arithmetic(Arithmetic::Add),
        T_SUB => Operator::Arithmetic(Arithmetic::Subtract),
        T_MUL => Operator::Arithmetic(Arithmetic::Multiply),
        T_DIV => Operator::Arithmetic(Arithmetic::Divide),
        T_MOD => Operator::Arithmetic(Arithmetic::Modulo),
        T_POW => Operator::Arithmetic(Arithmetic::Power),
        T_ATAN2 => Operator::Arithmetic(Arithmetic::Atan2),
        T_EQLC => compare(Comparison::Equal),
        T_NEQ => compare(Comparison::NotEqual),
        T_GTR => compare(Comparison::Greater),
        T_LSS => compare(Comparison::Less),
        T_GTE => compare(Comparison::GreaterOrEqual),
        T_LTE => compare(Comparison::LessOrEqual),
        T_LAND => Operator::Set(SetOperator::And),
        T_LOR => Operator::Set(SetOperator::Or),
        T_LUNLESS => Operator::Set(SetOperator::Unless),
        _ => return Err(unsupported(format!("operator \"{token}\""), "unknown")),
    })
}

fn aggregate(node: &tree::AggregateExpr) -> Result<Expression, ParseError> {
    let operation = match node.op.id() {
        T_SUM => Aggregation::Sum,
        T_AVG => Aggregation::Avg,
        T_MIN => Aggregation::Min,
        T_MAX => Aggregation::Max,
        T_COUNT => Aggregation::Count,
        T_GROUP => Aggregation::Group,
        T_STDDEV => Aggregation::Stddev,
        T_STDVAR => Aggregation::Stdvar,
        T_QUANTILE => Aggregation::Quantile,
        T_COUNT_VALUES => Aggregation::CountValues,
        T_TOPK => Aggregation::Topk,
        T_BOTTOMK => Aggregation::Bottomk,
        T_LIMITK => Aggregation::Limitk,
        _ => return Err(unsupported(format!("aggregation \"{}\"", node.op), "experimental")),
    };
    let parameter = node.param.as_ref().map(|parameter| expression(parameter)).transpose()?;
    check_parameter(operation, parameter.as_ref())?;
    let grouping = match &node.modifier {
        None => LabelChoice::Only(Vec::new()),
        some => label_choice(some.as_ref()),
    };
    let expression = expression(&node.expr)?;
    Ok(Expression::Aggregate(Box::new(Aggregate { operation, parameter, expression, grouping })))
}

fn check_parameter(
    operation: Aggregation,
    parameter: Option<&Expression>,
) -> Result<(), ParseError> {
    let (Some(parameter), wanted) = (
        parameter,
        match operation {
            Aggregation::CountValues => ValueType::Text,
            _ => ValueType::Scalar,
        },
    ) else {
        return Ok(());
    };
    expect_type(wanted, parameter, "aggregation parameter")?;
    match parameter {
        Expression::Text(name) if name.is_empty() => {
            Err(invalid(format!("invalid label name {name:?}")))
        }
        _ => Ok(()),
    }
}

fn expect_type(
    wanted: ValueType,
    expression: &Expression,
    context: &str,
) -> Result<(), ParseError> {
    let got = expression.value_type();
    if got == wanted {
        return Ok(());
    }
    Err(invalid(format!("expected type {wanted} in {context}, got {got}")))
}

fn call(node: &tree::Call) -> Result<Expression, ParseError> {
    let name = node.func.name;
    let Some(function) = function::find(name) else {
        let reason = match name.starts_with("histogram_") {
            _ if node.func.experimental => "experimental",
            true => "native histograms",
            false => "unknown",
        };
        return Err(unsupported(format!("function {name:?}"), reason));
    };
    let arguments = node
        .args
        .args
        .iter()
        .map(|argument| expression(argument))
        .collect::<Result<Vec<_>, _>>()?;
    let last = function.arguments.last();
    for (position, argument) in arguments.iter().enumerate() {
        if let Some(&wanted) = function.arguments.get(position).or(last) {
            expect_type(wanted, argument, &format!("call to function {name:?}"))?;
        }
    }
    Ok(Expression::Call(Call { function, arguments }))
}
