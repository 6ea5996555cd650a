//! Functions of one value at a time.

use super::{ABSENT, Column, EvalError, Evaluator, Grid, scalar_arguments, vector_argument};
use crate::eval::is_present;
use crate::eval::roll::MAX_PARAMETERS;
use crate::expression::Call;

pub(super) fn with_scalars(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
    apply: fn(f64, &[f64]) -> Option<f64>,
) -> Result<Vec<Column>, EvalError> {
    let mut columns = vector_argument(evaluator, call, grid)?;
    let parameters = scalar_arguments(evaluator, call, grid)?;
    for column in &mut columns {
        column.drops_name = true;
        for (step, value) in column.values.iter_mut().enumerate() {
            if !is_present(*value) {
                continue;
            }
            let mut current = [f64::NAN; MAX_PARAMETERS];
            for (slot, parameter) in current.iter_mut().zip(&parameters) {
                *slot = parameter.get(step).copied().unwrap_or(f64::NAN);
            }
            let given = current.get(..parameters.len()).unwrap_or(&current);
            *value = apply(*value, given).unwrap_or(ABSENT);
        }
    }
    columns.retain(Column::has_values);
    Ok(columns)
}

/// Nothing is left where the bounds are the wrong way round.
pub(super) fn clamp(value: f64, bounds: &[f64]) -> Option<f64> {
    let &[low, high] = bounds else { return None };
    (high >= low || low.is_nan() || high.is_nan()).then(|| larger(low, smaller(high, value)))
}

pub(super) fn clamp_min(value: f64, bounds: &[f64]) -> Option<f64> {
    bounds.first().map(|&low| larger(low, value))
}

pub(super) fn clamp_max(value: f64, bounds: &[f64]) -> Option<f64> {
    bounds.first().map(|&high| smaller(high, value))
}

/// Unlike `f64::max`, NaN wins.
fn larger(one: f64, other: f64) -> f64 {
    if one.is_nan() || other.is_nan() { f64::NAN } else { one.max(other) }
}

fn smaller(one: f64, other: f64) -> f64 {
    if one.is_nan() || other.is_nan() { f64::NAN } else { one.min(other) }
}

/// To the nearest multiple, which is 1 if none is given; halves go up. Dividing by the inverse
/// keeps decimal fractions such as 0.1 exact.
pub(super) fn round(value: f64, nearest: &[f64]) -> Option<f64> {
    let inverse = 1.0 / nearest.first().copied().unwrap_or(1.0);
    Some((value * inverse + 0.5).floor() / inverse)
}

pub(super) fn sgn(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}
