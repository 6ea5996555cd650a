//! Between scalars, vectors and times.

use std::f64::consts::PI;

use super::{Call, Column, EvalError, Evaluated, Evaluator, Grid, vector_argument};
use crate::eval::is_present;
use crate::eval::selector::seconds;
use crate::expression::Expression;

pub(super) fn pi(
    evaluator: &mut Evaluator<'_>,
    _: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    Ok(Evaluated::Scalar(evaluator.repeat(PI, grid)?))
}

pub(super) fn time(
    evaluator: &mut Evaluator<'_>,
    _: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    evaluator.budget.charge(grid.steps())?;
    Ok(Evaluated::Scalar(grid.moments().map(seconds).collect()))
}

/// The time of the sample for a plain selector, that of the evaluation for anything else.
pub(super) fn timestamp(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    let mut columns = match call.arguments.first() {
        Some(Expression::Selector(selector)) => evaluator.select_timestamps(selector, grid)?,
        _ => {
            let mut columns = vector_argument(evaluator, call, grid)?;
            for column in &mut columns {
                for (value, moment) in column.values.iter_mut().zip(grid.moments()) {
                    if is_present(*value) {
                        *value = seconds(moment);
                    }
                }
            }
            columns
        }
    };
    columns.iter_mut().for_each(|column| column.drops_name = true);
    Ok(Evaluated::Vector(columns))
}

/// The value of the only series; NaN where there is none, or more than one.
pub(super) fn scalar(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    let columns = vector_argument(evaluator, call, grid)?;
    let mut values = evaluator.repeat(f64::NAN, grid)?;
    let mut counts = vec![0_usize; grid.steps()];
    for column in &columns {
        for ((slot, count), &value) in values.iter_mut().zip(&mut counts).zip(&column.values) {
            if is_present(value) {
                *count += 1;
                *slot = if *count == 1 { value } else { f64::NAN };
            }
        }
    }
    Ok(Evaluated::Scalar(values))
}

pub(super) fn vector(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    let values = match call.arguments.first() {
        Some(argument) => evaluator.scalar(argument, grid)?,
        None => Vec::new(),
    };
    Ok(Evaluated::Vector(vec![Column::new(Default::default(), values)]))
}
