//! An expression with every selector pinned to one moment, which must then have the same value at
//! any other. It is written anew from the tree that the API gives.

use serde_json::Value;
use upkeep_promql::parse_tree;

/// Functions whose value depends on the moment of the evaluation in spite of `@`.
const USE_TIME: [&str; 11] = [
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "time",
    "timestamp",
    "year",
];

/// The expression pinned, or `None` where its value depends on the moment nevertheless.
pub(crate) fn at(text: &str, moment_ms: i64) -> Option<String> {
    written(&parse_tree(text).ok()?, Some(moment_ms))
}

/// A node as text; what is within a pinned subquery is not pinned itself, but may not use the time
/// either.
fn written(node: &Value, pin: Option<i64>) -> Option<String> {
    let text = |field: &str| node[field].as_str().unwrap_or_default();
    let child = |field: &str| written(&node[field], pin);
    Some(match text("type") {
        "numberLiteral" => text("val").to_owned(),
        "stringLiteral" => format!("{:?}", text("val")),
        "parenExpr" => format!("({})", child("expr")?),
        "unaryExpr" => format!("{}{}", text("op"), child("expr")?),
        "vectorSelector" => format!("{}{}", braces(node), time(node, pin)),
        "matrixSelector" => {
            format!("{}[{}ms]{}", braces(node), node["range"], time(node, pin))
        }
        "subquery" => {
            let step = match node["step"].as_i64() {
                Some(0) | None => String::new(),
                Some(step_ms) => format!("{step_ms}ms"),
            };
            let inner = written(&node["expr"], None)?;
            format!("{inner}[{}ms:{step}]{}", node["range"], time(node, pin))
        }
        "binaryExpr" => {
            let returns_bool = if node["bool"] == true { "bool" } else { "" };
            let (left, right) = (child("lhs")?, child("rhs")?);
            let matching = matching(&node["matching"]);
            format!("{left} {} {returns_bool} {matching} {right}", text("op"))
        }
        "aggregation" => {
            let by = if node["without"] == true { "without" } else { "by" };
            let parameter = match &node["param"] {
                Value::Null => String::new(),
                _ => format!("{}, ", child("param")?),
            };
            let names = names(&node["grouping"]);
            format!("{} {by} ({names}) ({parameter}{})", text("op"), child("expr")?)
        }
        "call" => {
            let name = node.pointer("/func/name")?.as_str()?;
            if USE_TIME.contains(&name) {
                return None;
            }
            let arguments = node["args"].as_array()?.iter();
            let arguments: Option<Vec<String>> = arguments.map(|one| written(one, pin)).collect();
            format!("{name}({})", arguments?.join(", "))
        }
        // No expression is written so: the eval fails, and says of what kind the node is.
        other => format!("a node of type {other}"),
    })
}

fn braces(node: &Value) -> String {
    let matchers = node["matchers"].as_array().into_iter().flatten();
    let matcher = |one: &Value| {
        format!("{}{}{}", one["name"], one["type"].as_str().unwrap_or_default(), one["value"])
    };
    format!("{{{}}}", matchers.map(matcher).collect::<Vec<_>>().join(","))
}

fn time(node: &Value, pin: Option<i64>) -> String {
    let own = node["timestamp"].as_i64();
    let anchor = match (node["startOrEnd"].as_str(), own.or(pin)) {
        (Some(border), _) => format!(" @ {border}()"),
        (None, Some(at_ms)) => format!(" @ {}", at_ms as f64 / 1000.0),
        (None, None) => String::new(),
    };
    match node["offset"].as_i64() {
        Some(0) | None => anchor,
        Some(offset_ms) if offset_ms < 0 => format!("{anchor} offset -{}ms", -offset_ms),
        Some(offset_ms) => format!("{anchor} offset {offset_ms}ms"),
    }
}

fn names(list: &Value) -> String {
    let names: Vec<String> = list.as_array().into_iter().flatten().map(Value::to_string).collect();
    names.join(",")
}

fn matching(matching: &Value) -> String {
    if matching.is_null() {
        return String::new();
    }
    let word = if matching["on"] == true { "on" } else { "ignoring" };
    let group = match matching["card"].as_str() {
        Some("many-to-one") => format!("group_left ({})", names(&matching["include"])),
        Some("one-to-many") => format!("group_right ({})", names(&matching["include"])),
        _ => String::new(),
    };
    format!("{word} ({}) {group}", names(&matching["labels"]))
}
