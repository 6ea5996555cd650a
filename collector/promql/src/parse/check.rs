//! Types: what is wrong with a tree that follows the grammar.

use upkeep_model::METRIC_NAME;

use super::ParseError;
use super::signature::{More, Signature};
use super::tree::{Aggregate, Binary, Node, NodeKind, Selector};
use crate::expression::ValueType;
use crate::quote::quoted;

/// Finds the first error, in the order in which Prometheus looks.
pub(super) fn types(text: &str, node: &Node) -> Result<(), ParseError> {
    match &node.kind {
        NodeKind::Number { .. } | NodeKind::Text(_) => Ok(()),
        NodeKind::Paren(inner) => types(text, inner),
        NodeKind::Selector(selector) | NodeKind::Range { selector, .. } => {
            matchers(selector).map_err(|message| node.error(text, message))
        }
        NodeKind::Subquery(subquery) => {
            types(text, &subquery.inner)?;
            match subquery.inner.value_type() {
                ValueType::Vector => Ok(()),
                other => Err(node.error(
                    text,
                    format!(
                        "subquery is only allowed on instant vector, got {} instead",
                        other.short()
                    ),
                )),
            }
        }
        NodeKind::Unary { operand, .. } => {
            types(text, operand)?;
            match operand.value_type() {
                ValueType::Scalar | ValueType::Vector => Ok(()),
                other => Err(node.error(
                    text,
                    format!(
                        "unary expression only allowed on expressions of type scalar or instant \
                         vector, got \"{other}\""
                    ),
                )),
            }
        }
        NodeKind::Binary(binary) => operator(text, node, binary),
        NodeKind::Aggregate(aggregate) => aggregation(text, aggregate),
        NodeKind::Call { signature, arguments } => call(text, node, signature, arguments),
    }
}

fn matchers(selector: &Selector) -> Result<(), String> {
    let Some(name) = &selector.name else {
        return match selector.matchers.iter().any(|matcher| !matcher.accepts("")) {
            true => Ok(()),
            false => Err("vector selector must contain at least one non-empty matcher".to_owned()),
        };
    };
    match selector.matchers.iter().find(|matcher| matcher.name() == METRIC_NAME) {
        None => Ok(()),
        Some(other) => Err(format!(
            "metric name must not be set twice: {} or {}",
            quoted(name),
            quoted(other.value())
        )),
    }
}

fn operator(text: &str, node: &Node, binary: &Binary) -> Result<(), ParseError> {
    let Binary { sign, at, left, right, modifier } = binary;
    types(text, left)?;
    types(text, right)?;
    let (left_type, right_type) = (left.value_type(), right.value_type());
    let both = |wanted: ValueType| left_type == wanted && right_type == wanted;
    let at_operator = |message: String| Err(ParseError::at(text, *at, message));
    if modifier.returns_bool && !sign.is_comparison() {
        return at_operator("bool modifier can only be used on comparison operators".to_owned());
    }
    if sign.is_comparison() && !modifier.returns_bool && both(ValueType::Scalar) {
        return at_operator("comparisons between scalars must use BOOL modifier".to_owned());
    }
    let twice = modifier.labels.iter().find(|label| modifier.include.contains(label));
    if let Some(label) = twice.filter(|_| modifier.is_on) {
        return at_operator(format!(
            "label {} must not occur in ON and GROUP clause at once",
            quoted(label)
        ));
    }
    for side in [left, right] {
        if !matches!(side.value_type(), ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(side.error(text, message));
        }
    }
    if !both(ValueType::Vector) {
        if !modifier.labels.is_empty() {
            let message = "vector matching only allowed between instant vectors";
            return Err(node.error(text, message));
        }
        if sign.is_set() {
            let message =
                format!("set operator \"{}\" not allowed in binary scalar expression", sign.text());
            return Err(node.error(text, message));
        }
    } else if sign.is_set() && modifier.group.is_some() {
        let message = format!("no grouping allowed for \"{}\" operation", sign.text());
        return Err(node.error(text, message));
    }
    Ok(())
}

fn aggregation(text: &str, aggregate: &Aggregate) -> Result<(), ParseError> {
    expect(text, &aggregate.inner, ValueType::Vector, "aggregation expression")?;
    let wanted = match aggregate.operation {
        "count_values" => ValueType::Text,
        _ => ValueType::Scalar,
    };
    match &aggregate.parameter {
        Some(parameter) => expect(text, parameter, wanted, "aggregation parameter"),
        None => Ok(()),
    }
}

fn call(
    text: &str,
    node: &Node,
    signature: &Signature,
    arguments: &[Node],
) -> Result<(), ParseError> {
    let (known, got) = (signature.arguments.len(), arguments.len());
    let (least, most) = match signature.more {
        More::None => (known, known),
        More::Optional(count) => (known - 1, known - 1 + count),
        More::Any => (known - 1, usize::MAX),
    };
    let wanted = match signature.more {
        More::None if got != known => Some(format!("{known}")),
        _ if got < least => Some(format!("at least {least}")),
        _ if got > most => Some(format!("at most {most}")),
        _ => None,
    };
    let name = quoted(signature.name);
    if let Some(wanted) = wanted {
        let message = format!("expected {wanted} argument(s) in call to {name}, got {got}");
        return Err(node.error(text, message));
    }
    let last = signature.arguments.last();
    for (position, argument) in arguments.iter().enumerate() {
        if let Some(&wanted) = signature.arguments.get(position).or(last) {
            expect(text, argument, wanted, &format!("call to function {name}"))?;
        }
    }
    Ok(())
}

fn expect(text: &str, node: &Node, wanted: ValueType, context: &str) -> Result<(), ParseError> {
    types(text, node)?;
    let got = node.value_type();
    if got == wanted {
        return Ok(());
    }
    Err(node.error(text, format!("expected type {wanted} in {context}, got {got}")))
}
