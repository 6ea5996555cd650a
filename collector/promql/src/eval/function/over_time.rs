//! Functions of the samples in a window, one series at a time.

use std::sync::{Mutex, PoisonError};

use super::{Call, EvalError, Evaluated, Evaluator, Grid, over_windows};
use crate::eval::accumulate::{self, Accumulator};
use crate::eval::selector::seconds;
use crate::eval::window::Window;

pub(super) fn fold<A: Accumulator>(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    let mut accumulator = A::default();
    window.values.iter().for_each(|&value| accumulator.add(value));
    Some(accumulator.value())
}

pub(super) fn first(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    window.values.first().copied()
}

pub(super) fn last(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    window.values.last().copied()
}

/// How often the value is another one than before; NaN after NaN is the same.
pub(super) fn changes(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    Some(count_pairs(window.values, |before, after| {
        after != before && !(after.is_nan() && before.is_nan())
    }))
}

/// How often the value is lower than before.
pub(super) fn resets(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    Some(count_pairs(window.values, |before, after| after < before))
}

fn count_pairs(values: &[f64], counts: impl Fn(f64, f64) -> bool) -> f64 {
    let pairs = values.iter().zip(values.iter().skip(1));
    pairs.filter(|(before, after)| counts(**before, **after)).count() as f64
}

/// The change between the last two samples.
pub(super) fn idelta(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    let (before, after, _) = last_two(window)?;
    Some(after - before)
}

/// The change a second between the last two samples of a counter.
pub(super) fn irate(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    let (before, after, elapsed_ms) = last_two(window)?;
    // After a reset the counter has come from zero.
    let change = if after < before { after } else { after - before };
    Some(change / seconds(elapsed_ms))
}

fn last_two(window: &Window<'_>) -> Option<(f64, f64, i64)> {
    let (&[.., before, after], &[.., before_ms, after_ms]) = (window.values, window.times) else {
        return None;
    };
    let elapsed_ms = after_ms - before_ms;
    (elapsed_ms > 0).then_some((before, after, elapsed_ms))
}

pub(super) fn quantile(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    // The last step's that has any.
    let odd: Mutex<Option<(i64, f64)>> = Mutex::default();
    let mut columns = over_windows(evaluator, call, grid, |window, parameters| {
        let wanted = parameters.first().copied()?;
        if !(0.0..=1.0).contains(&wanted) {
            let mut odd = odd.lock().unwrap_or_else(PoisonError::into_inner);
            if odd.is_none_or(|(moment_ms, _)| moment_ms <= window.moment_ms) {
                *odd = Some((window.moment_ms, wanted));
            }
        }
        Some(accumulate::quantile(wanted, &mut window.values.to_vec()))
    })?;
    if let Some((_, odd)) = odd.into_inner().unwrap_or_else(PoisonError::into_inner) {
        evaluator.check_quantiles(call.place_of(0), &[odd]);
    }
    columns.iter_mut().for_each(|column| column.drops_name = true);
    Ok(Evaluated::Vector(columns))
}
