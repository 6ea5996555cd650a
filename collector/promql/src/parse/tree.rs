//! An expression as a tree of plain values, in the form in which Prometheus shows it to other programs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use promql_parser::label::{Labels, Matchers};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    self, AtModifier, BinModifier, LabelModifier, Offset, VectorMatchCardinality,
};
use serde::Serialize;
use upkeep_model::METRIC_NAME;

/// The tree of an expression; it is for writing it down.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Tree(Node);

impl Tree {
    pub(super) fn of(expression: &parser::Expr) -> Self {
        Self(node(expression))
    }
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Node {
    Aggregation {
        op: String,
        expr: Box<Node>,
        param: Option<Box<Node>>,
        grouping: Vec<String>,
        without: bool,
    },
    BinaryExpr {
        op: String,
        lhs: Box<Node>,
        rhs: Box<Node>,
        matching: Option<Matching>,
        bool: bool,
    },
    Call {
        func: Function,
        args: Vec<Node>,
    },
    MatrixSelector {
        range: i64,
        #[serde(flatten)]
        selector: Selector,
    },
    NumberLiteral {
        val: String,
    },
    ParenExpr {
        expr: Box<Node>,
    },
    StringLiteral {
        val: String,
    },
    Subquery {
        expr: Box<Node>,
        range: i64,
        step: i64,
        #[serde(flatten)]
        shift: Shift,
    },
    UnaryExpr {
        op: &'static str,
        expr: Box<Node>,
    },
    VectorSelector(Selector),
    /// What the parser has for others to extend it, and never gives.
    Extension {},
}

#[derive(Debug, Serialize)]
struct Selector {
    name: String,
    matchers: Vec<Matcher>,
    #[serde(flatten)]
    shift: Shift,
    anchored: bool,
    smoothed: bool,
}

#[derive(Debug, Serialize)]
struct Matcher {
    name: String,
    value: String,
    #[serde(rename = "type")]
    operator: String,
}

/// Milliseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shift {
    offset: i64,
    timestamp: Option<i64>,
    start_or_end: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Matching {
    card: &'static str,
    labels: Vec<String>,
    on: bool,
    include: Vec<String>,
    fill_values: FillValues,
}

/// There are none, since they are experimental.
#[derive(Debug, Default, Serialize)]
struct FillValues {
    lhs: Option<f64>,
    rhs: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Function {
    name: &'static str,
    arg_types: Vec<String>,
    variadic: i32,
    return_type: String,
}

fn node(expression: &parser::Expr) -> Node {
    let inner = |expression: &parser::Expr| Box::new(node(expression));
    match expression {
        parser::Expr::Aggregate(aggregate) => Node::Aggregation {
            op: aggregate.op.to_string(),
            expr: inner(&aggregate.expr),
            param: aggregate.param.as_deref().map(inner),
            grouping: aggregate.modifier.as_ref().map(list).unwrap_or_default(),
            without: matches!(aggregate.modifier, Some(LabelModifier::Exclude(_))),
        },
        parser::Expr::Binary(binary) => Node::BinaryExpr {
            op: binary.op.to_string(),
            lhs: inner(&binary.lhs),
            rhs: inner(&binary.rhs),
            matching: matching(binary),
            bool: binary.return_bool(),
        },
        parser::Expr::Call(call) => Node::Call {
            func: Function {
                name: call.func.name,
                arg_types: call.func.arg_types.iter().map(ValueType::to_string).collect(),
                variadic: call.func.variadic,
                return_type: call.func.return_type.to_string(),
            },
            args: call.args.args.iter().map(|argument| node(argument)).collect(),
        },
        parser::Expr::MatrixSelector(matrix) => {
            Node::MatrixSelector { range: ms(matrix.range), selector: selector(&matrix.vs) }
        }
        parser::Expr::NumberLiteral(number) => Node::NumberLiteral { val: text(number.val) },
        parser::Expr::Paren(paren) => Node::ParenExpr { expr: inner(&paren.expr) },
        parser::Expr::StringLiteral(string) => Node::StringLiteral { val: string.val.clone() },
        parser::Expr::Subquery(subquery) => Node::Subquery {
            expr: inner(&subquery.expr),
            range: ms(subquery.range),
            step: subquery.step.map_or(0, ms),
            shift: shift(subquery.offset.as_ref(), subquery.at.as_ref()),
        },
        parser::Expr::Unary(unary) => Node::UnaryExpr { op: "-", expr: inner(&unary.expr) },
        parser::Expr::VectorSelector(vector) => Node::VectorSelector(selector(vector)),
        parser::Expr::Extension(_) => Node::Extension {},
    }
}

/// Two vectors are matched, even where nothing is said of it.
fn matching(binary: &parser::BinaryExpr) -> Option<Matching> {
    let is_vector = |side: &parser::Expr| side.value_type() == ValueType::Vector;
    if !is_vector(&binary.lhs) || !is_vector(&binary.rhs) {
        return None;
    }
    let BinModifier { card, matching, .. } = binary.modifier.clone().unwrap_or_default();
    let is_set = ["and", "or", "unless"].contains(&binary.op.to_string().as_str());
    let card_name = match card {
        _ if is_set => "many-to-many",
        VectorMatchCardinality::OneToOne => "one-to-one",
        VectorMatchCardinality::ManyToOne(_) => "many-to-one",
        VectorMatchCardinality::OneToMany(_) => "one-to-many",
        VectorMatchCardinality::ManyToMany => "many-to-many",
    };
    Some(Matching {
        card: card_name,
        labels: matching.as_ref().map(list).unwrap_or_default(),
        on: matches!(matching, Some(LabelModifier::Include(_))),
        include: card.labels().map(|labels| labels.labels.clone()).unwrap_or_default(),
        fill_values: FillValues::default(),
    })
}

fn list(modifier: &LabelModifier) -> Vec<String> {
    let Labels { labels } = modifier.labels();
    labels.clone()
}

fn selector(vector: &parser::VectorSelector) -> Selector {
    let Matchers { matchers, .. } = &vector.matchers;
    let name = vector.name.clone().unwrap_or_default();
    let by_name = vector.name.iter().map(|name| Matcher {
        name: METRIC_NAME.to_owned(),
        value: name.clone(),
        operator: "=".to_owned(),
    });
    let matchers = matchers.iter().map(|matcher| Matcher {
        name: matcher.name.clone(),
        value: matcher.value.clone(),
        operator: matcher.op.to_string(),
    });
    Selector {
        name,
        matchers: matchers.chain(by_name).collect(),
        shift: shift(vector.offset.as_ref(), vector.at.as_ref()),
        anchored: false,
        smoothed: false,
    }
}

fn shift(offset: Option<&Offset>, at: Option<&AtModifier>) -> Shift {
    let offset = match offset {
        None => 0,
        Some(Offset::Pos(length)) => ms(*length),
        Some(Offset::Neg(length)) => -ms(*length),
    };
    let (timestamp, start_or_end) = match at {
        None => (None, None),
        Some(AtModifier::Start) => (None, Some("start")),
        Some(AtModifier::End) => (None, Some("end")),
        Some(AtModifier::At(time)) => (Some(unix_ms(*time)), None),
    };
    Shift { offset, timestamp, start_or_end }
}

fn ms(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

fn unix_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => ms(after),
        Err(before) => -ms(before.duration()),
    }
}

/// As many digits as it takes, and no exponent.
fn text(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::parse_tree;

    fn check(text: &str, expect: Value) {
        let tree = serde_json::to_value(parse_tree(text).unwrap()).unwrap();
        assert_eq!(tree, expect, "{text}");
    }

    fn selector(name: &str, matchers: Value) -> Value {
        json!({"type": "vectorSelector", "name": name, "matchers": matchers, "offset": 0,
            "timestamp": null, "startOrEnd": null, "anchored": false, "smoothed": false})
    }

    fn named(name: &str) -> Value {
        json!({"name": "__name__", "value": name, "type": "="})
    }

    #[test]
    fn leaves_are_told_whole() {
        check("1e3", json!({"type": "numberLiteral", "val": "1000"}));
        check("inf", json!({"type": "numberLiteral", "val": "+Inf"}));
        check("\"a\"", json!({"type": "stringLiteral", "val": "a"}));
        let job = json!({"name": "job", "value": "a.*", "type": "=~"});
        check("up{job=~\"a.*\"}", selector("up", json!([job, named("up")])));
        let mut shifted = selector("up", json!([named("up")]));
        shifted["offset"] = json!(-300_000);
        shifted["timestamp"] = json!(5_000);
        check("up @ 5 offset -5m", shifted.clone());
        shifted["type"] = json!("matrixSelector");
        shifted["range"] = json!(60_000);
        shifted["timestamp"] = json!(null);
        shifted["startOrEnd"] = json!("end");
        check("up[1m] @ end() offset -5m", shifted);
    }

    #[test]
    fn branches_hold_theirs() {
        let a = || selector("a", json!([named("a")]));
        let b = || selector("b", json!([named("b")]));
        let none = json!({"lhs": null, "rhs": null});
        let card = |card: &str, on: bool, labels: Value, include: Value| {
            json!({"card": card, "labels": labels, "on": on, "include": include,
                "fillValues": none})
        };
        let binary = |op: &str, right: Value, matching: Value| {
            json!({"type": "binaryExpr", "op": op, "lhs": a(), "rhs": right,
                "matching": matching, "bool": false})
        };
        check("a + b", binary("+", b(), card("one-to-one", false, json!([]), json!([]))));
        check(
            "a unless b",
            binary("unless", b(), card("many-to-many", false, json!([]), json!([]))),
        );
        let left = card("many-to-one", true, json!(["x"]), json!(["y"]));
        check("a * on (x) group_left (y) b", binary("*", b(), left));
        check("a * 2", binary("*", json!({"type": "numberLiteral", "val": "2"}), json!(null)));
        let sum = json!({"type": "aggregation", "op": "sum", "expr": a(), "param": null,
            "grouping": ["x"], "without": true});
        check("sum without (x) (a)", sum);
        let paren = json!({"type": "parenExpr", "expr": a()});
        let unary = json!({"type": "unaryExpr", "op": "-", "expr": paren});
        check("-(a)", unary);
        let func = json!({"name": "abs", "argTypes": ["vector"], "variadic": 0,
            "returnType": "vector"});
        check("abs(a)", json!({"type": "call", "func": func, "args": [a()]}));
        check(
            "a[1h:30s]",
            json!({"type": "subquery", "expr": a(), "range": 3_600_000, "step": 30_000,
                "offset": 0, "timestamp": null, "startOrEnd": null}),
        );
    }
}
