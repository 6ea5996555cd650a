//! `sort` and `sort_desc`, which matter to the answer for one moment only.

use std::cmp::Ordering;

use super::{Call, EvalError, Evaluated, Evaluator, Grid, vector_argument};

pub(super) fn ascending(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    sort(evaluator, call, grid, |one, other| one.partial_cmp(&other))
}

pub(super) fn descending(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    sort(evaluator, call, grid, |one, other| other.partial_cmp(&one))
}

/// NaN comes last in either order.
fn sort(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
    compare: fn(f64, f64) -> Option<Ordering>,
) -> Result<Evaluated, EvalError> {
    let mut columns = vector_argument(evaluator, call, grid)?;
    if evaluator.is_instant() {
        let first = |values: &[f64]| values.first().copied().unwrap_or(f64::NAN);
        columns.sort_by(|one, other| {
            let (one, other) = (first(&one.values), first(&other.values));
            compare(one, other).unwrap_or_else(|| one.is_nan().cmp(&other.is_nan()))
        });
    } else {
        evaluator.annotations.warn(
            call.place,
            "sort is ineffective for range queries since results are always ordered by labels",
        );
    }
    Ok(Evaluated::Vector(columns))
}
