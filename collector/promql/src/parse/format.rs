//! A tree as text again, in the one form that Prometheus gives it.

use upkeep_model::{MatchOperator, Matcher};

use super::number::format_duration;
use super::tree::{Aggregate, Binary, Group, Modifier, Node, NodeKind, Selector, Subquery, Time};
use crate::expression::Anchor;
use crate::number::format_plain;
use crate::quote::quoted;

/// Longest expression that stays on one line, in bytes.
const MAX_LINE: usize = 100;

/// The text with long expressions on several lines.
pub(super) fn pretty(node: &Node, level: usize) -> String {
    let line = one_line(node);
    let indent = "  ".repeat(level);
    if line.len() <= MAX_LINE {
        return match node.kind {
            NodeKind::Subquery(_) => line,
            _ => format!("{indent}{line}"),
        };
    }
    match &node.kind {
        NodeKind::Aggregate(aggregate) => {
            let head = aggregate_head(aggregate);
            let parameter = aggregate.parameter.as_ref();
            let parameter = parameter
                .map(|parameter| format!("{},\n", pretty(parameter, level + 1)))
                .unwrap_or_default();
            let inner = pretty(&aggregate.inner, level + 1);
            format!("{indent}{head}(\n{parameter}{inner}\n{indent})")
        }
        NodeKind::Binary(binary) => {
            let left = pretty(&binary.left, level + 1);
            let right = pretty(&binary.right, level + 1);
            format!("{left}\n{indent}{}\n{right}", operator(binary))
        }
        NodeKind::Call { signature, arguments } => {
            let arguments: Vec<String> =
                arguments.iter().map(|argument| pretty(argument, level + 1)).collect();
            format!("{indent}{}(\n{}\n{indent})", signature.name, arguments.join(",\n"))
        }
        NodeKind::Paren(inner) => {
            format!("{indent}(\n{}\n{indent})", pretty(inner, level + 1))
        }
        NodeKind::Subquery(subquery) => {
            format!("{}{}", pretty(&subquery.inner, level), subquery_suffix(subquery))
        }
        NodeKind::Unary { sign, operand } => {
            format!("{indent}{}{}", sign.text(), pretty(operand, level).trim())
        }
        NodeKind::Number { .. }
        | NodeKind::Text(_)
        | NodeKind::Selector(_)
        | NodeKind::Range { .. } => format!("{indent}{line}"),
    }
}

/// The text on one line.
pub(super) fn one_line(node: &Node) -> String {
    match &node.kind {
        NodeKind::Number { value, is_duration: true } => signed_duration(*value * 1000.0),
        NodeKind::Number { value, .. } => format_plain(*value),
        NodeKind::Text(text) => quoted(text),
        NodeKind::Paren(inner) => format!("({})", one_line(inner)),
        NodeKind::Selector(selector) => {
            format!("{}{}", series(selector), time(selector.time))
        }
        NodeKind::Range { selector, range_ms } => {
            let range = format_duration(*range_ms);
            format!("{}[{range}]{}", series(selector), time(selector.time))
        }
        NodeKind::Subquery(subquery) => {
            format!("{}{}", one_line(&subquery.inner), subquery_suffix(subquery))
        }
        NodeKind::Unary { sign, operand } => format!("{}{}", sign.text(), one_line(operand)),
        NodeKind::Binary(binary) => {
            let (left, right) = (one_line(&binary.left), one_line(&binary.right));
            format!("{left} {} {right}", operator(binary))
        }
        NodeKind::Aggregate(aggregate) => {
            let head = aggregate_head(aggregate);
            let parameter = aggregate.parameter.as_ref();
            let parameter =
                parameter.map(|node| format!("{}, ", one_line(node))).unwrap_or_default();
            format!("{head}({parameter}{})", one_line(&aggregate.inner))
        }
        NodeKind::Call { signature, arguments } => {
            let arguments: Vec<String> = arguments.iter().map(one_line).collect();
            format!("{}({})", signature.name, arguments.join(", "))
        }
    }
}

fn signed_duration(milliseconds: f64) -> String {
    let sign = if milliseconds < 0.0 { "-" } else { "" };
    format!("{sign}{}", format_duration(milliseconds.abs().round() as i64))
}

fn series(selector: &Selector) -> String {
    let name = selector.name.as_deref().unwrap_or_default();
    if selector.matchers.is_empty() {
        return name.to_owned();
    }
    let mut matchers: Vec<String> = selector.matchers.iter().map(matcher).collect();
    matchers.sort_unstable();
    format!("{name}{{{}}}", matchers.join(","))
}

fn matcher(matcher: &Matcher) -> String {
    let name = label(matcher.name());
    format!("{name}{}{}", match_sign(matcher.operator()), quoted(matcher.value()))
}

/// How a way of matching is written.
pub(super) fn match_sign(operator: MatchOperator) -> &'static str {
    match operator {
        MatchOperator::Equal => "=",
        MatchOperator::NotEqual => "!=",
        MatchOperator::Matches => "=~",
        MatchOperator::NotMatches => "!~",
    }
}

/// A label's name, in quotes unless it is plain.
fn label(name: &str) -> String {
    let is_plain = name.chars().all(super::lexer::is_word)
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty();
    if is_plain { name.to_owned() } else { quoted(name) }
}

fn labels(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| label(name)).collect();
    names.join(", ")
}

fn time(time: Time) -> String {
    let anchor = match time.anchor {
        None => String::new(),
        Some(Anchor::At(at_ms)) => format!(" @ {:.3}", at_ms as f64 / 1000.0),
        Some(Anchor::Start) => " @ start()".to_owned(),
        Some(Anchor::End) => " @ end()".to_owned(),
    };
    match time.offset_ms {
        0 => anchor,
        offset_ms => format!("{anchor} offset {}", signed_duration(offset_ms as f64)),
    }
}

fn subquery_suffix(subquery: &Subquery) -> String {
    let step = subquery.step_ms.map(format_duration).unwrap_or_default();
    format!("[{}:{step}]{}", format_duration(subquery.range_ms), time(subquery.time))
}

fn operator(binary: &Binary) -> String {
    let Modifier { returns_bool, is_on, labels: matched, group, include } = &binary.modifier;
    let mut text = binary.sign.text().to_owned();
    if *returns_bool {
        text.push_str(" bool");
    }
    if !binary.matches_vectors() {
        return text;
    }
    if *is_on || !matched.is_empty() || group.is_some() {
        let word = if *is_on { "on" } else { "ignoring" };
        text.push_str(&format!(" {word} ({})", labels(matched)));
    }
    let word = match group {
        None => return text,
        Some(Group::Left) => "left",
        Some(Group::Right) => "right",
    };
    text.push_str(&format!(" group_{word} ({})", labels(include)));
    text
}

fn aggregate_head(aggregate: &Aggregate) -> String {
    let operation = aggregate.operation;
    let names = labels(&aggregate.grouping);
    match (aggregate.is_without, aggregate.grouping.is_empty()) {
        (true, _) => format!("{operation} without ({names}) "),
        (false, false) => format!("{operation} by ({names}) "),
        (false, true) => operation.to_owned(),
    }
}
