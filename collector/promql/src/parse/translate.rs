//! A checked tree to an [`Expression`], which has what the evaluation needs and nothing else.

use upkeep_model::{METRIC_NAME, Matcher};

use super::token::Sign;
use super::tree::{self, Group, Node, NodeKind};
use super::{ParseError, signature::Signature};
use crate::eval::function;
use crate::expression::{
    Aggregate, Aggregation, Arithmetic, Binary, Call, Cardinality, Comparison, Expression,
    LabelChoice, Matching, Operator, RangeSelector, Selector, SetOperator, Subquery, TimeShift,
};
use crate::position::Position;

pub(super) fn expression(text: &str, node: &Node) -> Result<Expression, ParseError> {
    Ok(match &node.kind {
        NodeKind::Number { value, .. } => Expression::Number(*value),
        NodeKind::Text(value) => Expression::Text(value.clone()),
        NodeKind::Paren(inner) => expression(text, inner)?,
        NodeKind::Selector(inner) => Expression::Selector(selector(inner)),
        NodeKind::Range { selector: inner, range_ms } => {
            Expression::Range(RangeSelector { selector: selector(inner), range_ms: *range_ms })
        }
        NodeKind::Subquery(subquery) => Expression::Subquery(Subquery {
            expression: Box::new(expression(text, &subquery.inner)?),
            range_ms: subquery.range_ms,
            step_ms: subquery.step_ms,
            time: time_shift(subquery.time),
        }),
        NodeKind::Unary { sign: Sign::Subtract, operand } => {
            Expression::Negate(Box::new(expression(text, operand)?))
        }
        NodeKind::Unary { operand, .. } => expression(text, operand)?,
        NodeKind::Binary(inner) => binary(text, inner)?,
        NodeKind::Aggregate(inner) => aggregate(text, node, inner)?,
        NodeKind::Call { signature, arguments } => call(text, node, signature, arguments)?,
    })
}

fn selector(node: &tree::Selector) -> Selector {
    Selector { matchers: matchers(node), time: time_shift(node.time) }
}

/// All matchers of a selector, that of its name first.
pub(super) fn matchers(node: &tree::Selector) -> Vec<Matcher> {
    let name = node.name.as_ref().map(|name| Matcher::equal(METRIC_NAME, name));
    name.into_iter().chain(node.matchers.iter().cloned()).collect()
}

fn time_shift(time: tree::Time) -> TimeShift {
    TimeShift { offset_ms: time.offset_ms, anchor: time.anchor }
}

fn binary(text: &str, node: &tree::Binary) -> Result<Expression, ParseError> {
    let modifier = &node.modifier;
    Ok(Expression::Binary(Box::new(Binary {
        operator: operator(node.sign, modifier.returns_bool),
        left: expression(text, &node.left)?,
        right: expression(text, &node.right)?,
        matching: Matching {
            labels: match modifier.is_on {
                true => LabelChoice::Only(modifier.labels.clone()),
                false => LabelChoice::AllBut(modifier.labels.clone()),
            },
            cardinality: match modifier.group {
                None => Cardinality::OneToOne,
                Some(Group::Left) => Cardinality::ManyToOne,
                Some(Group::Right) => Cardinality::OneToMany,
            },
            include: modifier.include.clone(),
        },
        value_type: node.value_type(),
    })))
}

fn operator(sign: Sign, returns_bool: bool) -> Operator {
    let compare = |comparison| Operator::Comparison { comparison, returns_bool };
    match sign {
        Sign::Add => Operator::Arithmetic(Arithmetic::Add),
        Sign::Subtract => Operator::Arithmetic(Arithmetic::Subtract),
        Sign::Multiply => Operator::Arithmetic(Arithmetic::Multiply),
        Sign::Divide => Operator::Arithmetic(Arithmetic::Divide),
        Sign::Modulo => Operator::Arithmetic(Arithmetic::Modulo),
        Sign::Power => Operator::Arithmetic(Arithmetic::Power),
        Sign::Atan2 => Operator::Arithmetic(Arithmetic::Atan2),
        Sign::Equal => compare(Comparison::Equal),
        Sign::NotEqual => compare(Comparison::NotEqual),
        Sign::Greater => compare(Comparison::Greater),
        Sign::Less => compare(Comparison::Less),
        Sign::GreaterOrEqual => compare(Comparison::GreaterOrEqual),
        Sign::LessOrEqual => compare(Comparison::LessOrEqual),
        Sign::And => Operator::Set(SetOperator::And),
        Sign::Or => Operator::Set(SetOperator::Or),
        Sign::Unless => Operator::Set(SetOperator::Unless),
    }
}

fn aggregate(text: &str, node: &Node, inner: &tree::Aggregate) -> Result<Expression, ParseError> {
    let operation = match inner.operation {
        "sum" => Aggregation::Sum,
        "avg" => Aggregation::Avg,
        "min" => Aggregation::Min,
        "max" => Aggregation::Max,
        "count" => Aggregation::Count,
        "group" => Aggregation::Group,
        "stddev" => Aggregation::Stddev,
        "stdvar" => Aggregation::Stdvar,
        "quantile" => Aggregation::Quantile,
        "count_values" => Aggregation::CountValues,
        "topk" => Aggregation::Topk,
        "bottomk" => Aggregation::Bottomk,
        "limitk" => Aggregation::Limitk,
        other => {
            let what = format!("aggregation \"{other}\"");
            return Err(ParseError::unsupported(text, node.start, what, "experimental"));
        }
    };
    let parameter = inner.parameter.as_ref();
    let place = parameter.unwrap_or(node).start;
    let parameter = parameter.map(|parameter| expression(text, parameter)).transpose()?;
    if matches!(&parameter, Some(Expression::Text(name)) if name.is_empty()) {
        return Err(ParseError::at(text, place, "invalid label name \"\""));
    }
    Ok(Expression::Aggregate(Box::new(Aggregate {
        operation,
        parameter,
        parameter_place: Position::of(text, place),
        expression: expression(text, &inner.inner)?,
        grouping: match inner.is_without {
            true => LabelChoice::AllBut(inner.grouping.clone()),
            false => LabelChoice::Only(inner.grouping.clone()),
        },
    })))
}

fn call(
    text: &str,
    node: &Node,
    signature: &Signature,
    arguments: &[Node],
) -> Result<Expression, ParseError> {
    let Some(function) = function::find(signature.name) else {
        let what = format!("function \"{}\"", signature.name);
        return Err(ParseError::unsupported(text, node.start, what, "unknown"));
    };
    let expressions = arguments.iter().map(|argument| expression(text, argument));
    Ok(Expression::Call(Call {
        function,
        arguments: expressions.collect::<Result<_, _>>()?,
        place: Position::of(text, node.start),
        argument_places: arguments.iter().map(|one| Position::of(text, one.start)).collect(),
    }))
}
