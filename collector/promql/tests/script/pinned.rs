//! An expression with every selector pinned to one moment, which must then have the same value at
//! any other.

use std::time::{Duration, UNIX_EPOCH};

use promql_parser::parser::{AtModifier, Expr, parse};

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
    let mut tree = parse(text).ok()?;
    let distance = Duration::from_millis(moment_ms.unsigned_abs());
    let moment = if moment_ms < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance };
    pin(&mut tree, &AtModifier::At(moment)).then(|| tree.to_string())
}

fn pin(node: &mut Expr, moment: &AtModifier) -> bool {
    let set = |at: &mut Option<AtModifier>| {
        at.get_or_insert(moment.clone());
        true
    };
    match node {
        Expr::VectorSelector(selector) => set(&mut selector.at),
        Expr::MatrixSelector(selector) => set(&mut selector.vs.at),
        Expr::Subquery(subquery) => set(&mut subquery.at) && only_pinned(&subquery.expr),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => true,
        Expr::Paren(paren) => pin(&mut paren.expr, moment),
        Expr::Unary(unary) => pin(&mut unary.expr, moment),
        Expr::Binary(binary) => pin(&mut binary.lhs, moment) && pin(&mut binary.rhs, moment),
        Expr::Aggregate(aggregate) => {
            let parameter = aggregate.param.as_mut().is_none_or(|node| pin(node, moment));
            parameter && pin(&mut aggregate.expr, moment)
        }
        Expr::Call(call) => {
            !USE_TIME.contains(&call.func.name)
                && call.args.args.iter_mut().all(|argument| pin(argument, moment))
        }
        Expr::Extension(_) => false,
    }
}

/// What is within a pinned subquery is not pinned itself, but may not use the time either.
fn only_pinned(node: &Expr) -> bool {
    let text = node.to_string();
    !USE_TIME.iter().any(|name| text.contains(&format!("{name}(")))
}
