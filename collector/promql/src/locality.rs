//! Whether an expression looks at the series of each value of a label by themselves.

use crate::expression::{Aggregation, Binary, Call, Expression, LabelChoice, ValueType};

/// Whether each series of the result carries the label as the series do that it is made of, and is
/// made of none with another value of it. What is not known to be so is taken not to be.
pub(crate) fn keeps_apart(expression: &Expression, label: &str) -> bool {
    expression.value_type() == ValueType::Vector && is_apart(expression, label)
}

fn is_apart(expression: &Expression, label: &str) -> bool {
    let within = |inner: &Expression| is_apart(inner, label);
    match expression {
        Expression::Number(_)
        | Expression::Text(_)
        | Expression::Selector(_)
        | Expression::Range(_) => true,
        Expression::Subquery(subquery) => within(&subquery.expression),
        Expression::Negate(inner) | Expression::Constant(inner) => within(inner),
        Expression::Binary(binary) => {
            within(&binary.left) && within(&binary.right) && matches_apart(binary, label)
        }
        Expression::Aggregate(aggregate) => {
            aggregate.operation != Aggregation::CountValues
                && keeps(&aggregate.grouping, label)
                && aggregate.parameter.iter().all(within)
                && within(&aggregate.expression)
        }
        Expression::Call(call) => gives_apart(call, label) && call.arguments.iter().all(within),
    }
}

/// Whether only series with the same value of the label meet.
fn matches_apart(binary: &Binary, label: &str) -> bool {
    let is_vector = |side: &Expression| side.value_type() == ValueType::Vector;
    if !is_vector(&binary.left) || !is_vector(&binary.right) {
        return true;
    }
    keeps(&binary.matching.labels, label)
}

fn keeps(choice: &LabelChoice, label: &str) -> bool {
    match choice {
        LabelChoice::Only(labels) => labels.iter().any(|kept| kept == label),
        LabelChoice::AllBut(labels) => labels.iter().all(|dropped| dropped != label),
    }
}

/// Whether the function leaves the label alone, and does not look at all series together.
fn gives_apart(call: &Call, label: &str) -> bool {
    match call.function.name {
        "absent" | "absent_over_time" | "scalar" | "vector" => false,
        "label_join" | "label_replace" => {
            matches!(call.arguments.get(1).map(bare), Some(Expression::Text(name)) if name != label)
        }
        // `hour()` and its like give one series of no host.
        _ => call.function.returns != ValueType::Vector || !call.arguments.is_empty(),
    }
}

fn bare(expression: &Expression) -> &Expression {
    match expression {
        Expression::Constant(inner) => bare(inner),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::parse;

    #[test]
    fn expressions_are_of_one_host_only_if_nothing_of_them_looks_at_others() {
        let check = |expression: &str, is_local: bool| {
            let query = parse(expression).unwrap();
            assert_eq!(query.keeps_apart("instance"), is_local, "{expression}");
        };
        check("up == 0", true);
        check("-up", true);
        check("node_load1 > 2 * 4", true);
        check("rate(node_cpu_seconds_total{mode=\"idle\"}[5m]) < 0.1", true);
        check("time() - node_boot_time_seconds < 600", true);
        check("timestamp(up) + pi() > 3", true);
        check("node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.1", true);
        check("predict_linear(node_filesystem_avail_bytes[1h], 4 * 3600) < 0", true);
        check("max_over_time(rate(x[1m])[1h:5m]) > 1", true);
        check("max_over_time(sum(x)[1h:5m]) > 1", false);
        check("histogram_quantile(0.9, rate(x_bucket[5m])) > 1", true);
        check("hour(x) > 5", true);
        check("sort_desc(x)", true);
        // Aggregations keep hosts apart if they keep the label.
        check("sum(x) > 1", false);
        check("sum by (job) (x) > 1", false);
        check("sum by (instance) (x) > 1", true);
        check("sum without (cpu) (x) > 1", true);
        check("sum without (cpu, instance) (x) > 1", false);
        check("topk by (instance) (3, x)", true);
        check("topk(3, x)", false);
        check("topk by (instance) (scalar(y), x)", false);
        check("quantile by (instance) (0.9, x) > 1", true);
        check("count_values by (instance) (\"value\", x)", false);
        check("sum by (instance) (sum(x))", false);
        // Both sides must meet on the label.
        check("x / y > 1", true);
        check("x / on (instance) y > 1", true);
        check("x / on (instance, device) group_left (site) y > 1", true);
        check("x / on (job) group_left () y > 1", false);
        check("x / ignoring (device) y > 1", true);
        check("x / ignoring (instance) group_left () y > 1", false);
        check("x and on (instance) y", true);
        check("x unless on () y", false);
        check("x or y", true);
        check("x and sum(y)", false);
        check("x > sum(y)", false);
        check("x > bool 1", true);
        // What gives no host, or looks at all of them.
        check("1", false);
        check("vector(1)", false);
        check("hour() > 5", false);
        check("x and on () hour() > 5", false);
        check("x > scalar(y)", false);
        check("absent(x)", false);
        check("absent_over_time(x[5m])", false);
        check("x or vector(0)", false);
        // Labels that are made.
        check("label_replace(x, \"host\", \"$1\", \"instance\", \"(.*)\")", true);
        check("label_replace(x, \"instance\", \"$1\", \"host\", \"(.*)\")", false);
        check("label_join(x, \"both\", \"-\", \"instance\", \"job\")", true);
        check("label_join(x, \"instance\", \"-\", \"job\")", false);
    }
}
