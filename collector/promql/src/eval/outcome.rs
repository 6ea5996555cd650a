//! From an expression to an answer: the whole of an instant or range evaluation.

use super::column::drop_names;
use super::{Column, EvalError, Evaluated, Evaluator, Grid, Limits, is_present};
use crate::answer::{Answer, Point, Row, Value};
use crate::expression::{Expression, ValueType};
use crate::source::Source;

pub(crate) fn instant(
    expression: &Expression,
    source: &dyn Source,
    at_ms: i64,
    limits: &Limits,
) -> Result<Answer, EvalError> {
    let grid = Grid::moment(at_ms);
    let mut evaluator = Evaluator::new(source, limits, grid, true);
    let value = match expression {
        Expression::Range(_) | Expression::Subquery(_) => {
            Value::Matrix(evaluator.raw_rows(expression, grid)?)
        }
        other => match evaluator.evaluate(other, grid)? {
            Evaluated::Scalar(values) => {
                Value::Scalar { at_ms, value: values.first().copied().unwrap_or(f64::NAN) }
            }
            Evaluated::Text(text) => Value::Text { at_ms, text },
            Evaluated::Vector(columns) => Value::Vector(points(drop_names(columns)?, at_ms)),
        },
    };
    Ok(answer(value, evaluator))
}

fn points(columns: Vec<Column>, at_ms: i64) -> Vec<Point> {
    columns
        .into_iter()
        .filter_map(|column| {
            let value = column.values.first().copied().filter(|&value| is_present(value))?;
            Some(Point { labels: column.labels, at_ms, value })
        })
        .collect()
}

pub(crate) fn range(
    expression: &Expression,
    source: &dyn Source,
    (start_ms, end_ms): (i64, i64),
    step_ms: i64,
    limits: &Limits,
) -> Result<Answer, EvalError> {
    let got = expression.value_type();
    if !matches!(got, ValueType::Scalar | ValueType::Vector) {
        return Err(EvalError::RangeOfType { got: got.to_string() });
    }
    let grid = range_grid(start_ms, end_ms, step_ms, limits)?;
    let mut evaluator = Evaluator::new(source, limits, grid, false);
    let columns = match evaluator.evaluate(expression, grid)? {
        Evaluated::Scalar(values) => vec![Column::new(Default::default(), values)],
        Evaluated::Vector(columns) => drop_names(columns)?,
        Evaluated::Text(_) => return Err(EvalError::RangeOfType { got: got.to_string() }),
    };
    let mut rows: Vec<Row> =
        columns.into_iter().map(|column| Row::of_column(column, grid)).collect();
    rows.sort_by(|one, other| one.labels.cmp(&other.labels));
    Ok(answer(Value::Matrix(rows), evaluator))
}

fn range_grid(
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
    limits: &Limits,
) -> Result<Grid, EvalError> {
    if end_ms < start_ms {
        return Err(EvalError::Order);
    }
    if step_ms <= 0 {
        return Err(EvalError::Step);
    }
    let grid = Grid::span(start_ms, end_ms, step_ms);
    // The limit is one of intervals, as in Prometheus: it accepts one point more.
    if grid.steps() > limits.max_points_per_series.saturating_add(1) {
        return Err(EvalError::Resolution { limit: limits.max_points_per_series });
    }
    Ok(grid)
}

fn answer(value: Value, evaluator: Evaluator<'_>) -> Answer {
    let (warnings, infos) = evaluator.annotations.into_lists();
    Answer { value, warnings, infos }
}
