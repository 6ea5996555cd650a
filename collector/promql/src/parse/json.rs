//! A tree as JSON, in the shape that Prometheus' API gives it.

use serde_json::{Value, json};
use upkeep_model::{METRIC_NAME, Matcher};

use super::format::match_sign;
use super::tree::{Binary, Group, Node, NodeKind, Selector};
use crate::expression::Anchor;
use crate::number::format_plain;

pub(super) fn tree(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Number { value, .. } => {
            json!({"type": "numberLiteral", "val": format_plain(*value)})
        }
        NodeKind::Text(text) => json!({"type": "stringLiteral", "val": text}),
        NodeKind::Paren(inner) => json!({"type": "parenExpr", "expr": tree(inner)}),
        NodeKind::Selector(inner) => selector(inner, "vectorSelector", None),
        NodeKind::Range { selector: inner, range_ms } => {
            selector(inner, "matrixSelector", Some(*range_ms))
        }
        NodeKind::Subquery(subquery) => json!({
            "type": "subquery",
            "expr": tree(&subquery.inner),
            "range": subquery.range_ms,
            "offset": subquery.time.offset_ms,
            "step": subquery.step_ms.unwrap_or(0),
            "timestamp": moment(subquery.time.anchor),
            "startOrEnd": border(subquery.time.anchor),
        }),
        NodeKind::Unary { sign, operand } => {
            json!({"type": "unaryExpr", "op": sign.text(), "expr": tree(operand)})
        }
        NodeKind::Binary(inner) => binary(inner),
        NodeKind::Aggregate(aggregate) => json!({
            "type": "aggregation",
            "op": aggregate.operation,
            "expr": tree(&aggregate.inner),
            "param": aggregate.parameter.as_ref().map(tree),
            "grouping": aggregate.grouping,
            "without": aggregate.is_without,
        }),
        NodeKind::Call { signature, arguments } => {
            let types: Vec<&str> = signature.arguments.iter().map(|one| one.short()).collect();
            json!({
                "type": "call",
                "func": {
                    "name": signature.name,
                    "argTypes": types,
                    "variadic": signature.variadic(),
                    "returnType": signature.returns.short(),
                },
                "args": arguments.iter().map(tree).collect::<Vec<_>>(),
            })
        }
    }
}

fn selector(selector: &Selector, kind: &str, range_ms: Option<i64>) -> Value {
    let name = selector.name.as_deref();
    let named = name.map(|name| Matcher::equal(METRIC_NAME, name));
    let matchers: Vec<Value> = selector
        .matchers
        .iter()
        .chain(&named)
        .map(|matcher| {
            json!({
                "name": matcher.name(),
                "value": matcher.value(),
                "type": match_sign(matcher.operator()),
            })
        })
        .collect();
    let mut value = json!({
        "type": kind,
        "name": name.unwrap_or_default(),
        "offset": selector.time.offset_ms,
        "matchers": matchers,
        "timestamp": moment(selector.time.anchor),
        "startOrEnd": border(selector.time.anchor),
        "anchored": false,
        "smoothed": false,
    });
    if let (Some(range_ms), Some(fields)) = (range_ms, value.as_object_mut()) {
        fields.insert("range".to_owned(), range_ms.into());
    }
    value
}

fn moment(anchor: Option<Anchor>) -> Option<i64> {
    match anchor {
        Some(Anchor::At(at_ms)) => Some(at_ms),
        _ => None,
    }
}

fn border(anchor: Option<Anchor>) -> Option<&'static str> {
    match anchor {
        Some(Anchor::Start) => Some("start"),
        Some(Anchor::End) => Some("end"),
        _ => None,
    }
}

fn binary(binary: &Binary) -> Value {
    let modifier = &binary.modifier;
    let cardinality = match modifier.group {
        Some(Group::Left) => "many-to-one",
        Some(Group::Right) => "one-to-many",
        None if binary.sign.is_set() => "many-to-many",
        None => "one-to-one",
    };
    let matching = binary.matches_vectors().then(|| {
        json!({
            "card": cardinality,
            "labels": modifier.labels,
            "on": modifier.is_on,
            "include": modifier.include,
            "fillValues": {"lhs": null, "rhs": null},
        })
    });
    json!({
        "type": "binaryExpr",
        "op": binary.sign.text(),
        "lhs": tree(&binary.left),
        "rhs": tree(&binary.right),
        "matching": matching,
        "bool": modifier.returns_bool,
    })
}
