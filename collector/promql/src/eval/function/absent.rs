//! `absent` and `absent_over_time`.

use upkeep_model::{Labels, METRIC_NAME, MatchOperator, Matcher};

use super::{
    ABSENT, Call, Column, EvalError, Evaluated, Evaluator, Grid, over_windows, vector_argument,
};
use crate::eval::matching::presence;
use crate::expression::Expression;

pub(super) fn absent(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    let columns = vector_argument(evaluator, call, grid)?;
    evaluator.budget.release_columns(&columns);
    Ok(where_absent(call, &columns, grid))
}

pub(super) fn absent_over_time(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    let columns = over_windows(evaluator, call, grid, |_, _| Some(1.0))?;
    evaluator.budget.release_columns(&columns);
    Ok(where_absent(call, &columns, grid))
}

fn where_absent(call: &Call, columns: &[Column], grid: Grid) -> Evaluated {
    let present = presence(columns, grid.steps());
    let values = present.iter().map(|&present| if present { ABSENT } else { 1.0 }).collect();
    let labels = match call.arguments.first() {
        Some(Expression::Selector(selector)) => known_labels(&selector.matchers),
        Some(Expression::Range(range)) => known_labels(&range.selector.matchers),
        _ => Labels::default(),
    };
    let mut columns = vec![Column::new(labels, values)];
    columns.retain(Column::has_values);
    Evaluated::Vector(columns)
}

/// What the matchers say for certain about the series that is missing: a label with one condition,
/// which is equality.
fn known_labels(matchers: &[Matcher]) -> Labels {
    let conditions = |name: &str| matchers.iter().filter(|other| other.name() == name).count();
    let certain = matchers.iter().filter(|matcher| {
        matcher.operator() == MatchOperator::Equal
            && matcher.name() != METRIC_NAME
            && conditions(matcher.name()) == 1
    });
    Labels::new(certain.map(|matcher| (matcher.name(), matcher.value())))
}
