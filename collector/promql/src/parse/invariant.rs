//! Finding what has the same value at every step.

use crate::expression::{Expression, Selector, TimeShift};

/// Wraps the largest parts of an expression that are pinned to a moment by `@`, so that each is
/// evaluated once instead of once a step.
pub(super) fn mark(expression: Expression) -> Expression {
    if is_invariant(&expression) {
        return match expression {
            // These cost nothing, or are only an argument of the call that uses them.
            Expression::Number(_) | Expression::Text(_) => expression,
            Expression::Range(_) | Expression::Subquery(_) => expression,
            other => Expression::Constant(Box::new(other)),
        };
    }
    match expression {
        Expression::Negate(inner) => Expression::Negate(Box::new(mark(*inner))),
        Expression::Binary(mut binary) => {
            binary.left = mark(binary.left);
            binary.right = mark(binary.right);
            Expression::Binary(binary)
        }
        Expression::Aggregate(mut aggregate) => {
            aggregate.expression = mark(aggregate.expression);
            aggregate.parameter = aggregate.parameter.map(mark);
            Expression::Aggregate(aggregate)
        }
        Expression::Call(mut call) if !call.function.uses_time => {
            call.arguments = call.arguments.into_iter().map(mark).collect();
            Expression::Call(call)
        }
        Expression::Subquery(mut subquery) => {
            subquery.expression = Box::new(mark(*subquery.expression));
            Expression::Subquery(subquery)
        }
        other => other,
    }
}

fn is_invariant(expression: &Expression) -> bool {
    match expression {
        Expression::Number(_) | Expression::Text(_) | Expression::Constant(_) => true,
        Expression::Selector(selector) => is_pinned(selector),
        Expression::Range(range) => is_pinned(&range.selector),
        Expression::Subquery(subquery) => has_anchor(&subquery.time),
        Expression::Negate(inner) => is_invariant(inner),
        Expression::Binary(binary) => is_invariant(&binary.left) && is_invariant(&binary.right),
        Expression::Aggregate(aggregate) => {
            is_invariant(&aggregate.expression)
                && aggregate.parameter.as_ref().is_none_or(is_invariant)
        }
        Expression::Call(call) => {
            // Without arguments it is `time()`, or one that falls back to it.
            !call.function.uses_time
                && !call.arguments.is_empty()
                && call.arguments.iter().all(is_invariant)
        }
    }
}

fn is_pinned(selector: &Selector) -> bool {
    has_anchor(&selector.time)
}

fn has_anchor(time: &TimeShift) -> bool {
    time.anchor.is_some()
}
