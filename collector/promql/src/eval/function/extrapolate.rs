//! `rate`, `increase` and `delta`: the change over a window, extended to its borders.

use upkeep_model::METRIC_NAME;

use super::{Call, Column, EvalError, Evaluated, Evaluator, Grid, over_windows};
use crate::eval::selector::seconds;
use crate::eval::window::Window;
use crate::position::Position;
use crate::quote::quoted;

/// How names of counters end.
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

pub(super) fn rate(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    counter(evaluator, call, grid, |window| {
        let change = change(window, true)?;
        Some(change.sampled * (change.factor / seconds(window.through_ms - window.after_ms)))
    })
}

pub(super) fn increase(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    counter(evaluator, call, grid, |window| change(window, true).map(Change::extended))
}

pub(super) fn delta(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    change(window, false).map(Change::extended)
}

/// The change between the samples of a window, and the factor that extends it to its borders.
struct Change {
    sampled: f64,
    factor: f64,
}

impl Change {
    fn extended(self) -> f64 {
        self.sampled * self.factor
    }
}

fn counter(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
    apply: fn(&Window<'_>) -> Option<f64>,
) -> Result<Evaluated, EvalError> {
    let mut columns = over_windows(evaluator, call, grid, |window, _| apply(window))?;
    for column in &mut columns {
        note_gauge(evaluator, column, call.place_of(0));
        column.drops_name = true;
    }
    Ok(Evaluated::Vector(columns))
}

fn note_gauge(evaluator: &mut Evaluator<'_>, column: &Column, place: Position) {
    let Some(name) = column.labels.get(METRIC_NAME) else { return };
    if !COUNTER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        let message = format!(
            "metric might not be a counter, name does not end in {}: {}",
            COUNTER_SUFFIXES.join("/"),
            quoted(name)
        );
        evaluator.annotations.inform(place, message);
    }
}

/// The change from the first to the last sample, extended to the borders of the window: all the
/// way where a sample is about as near to the border as the samples are to each other, otherwise
/// by half their distance. A counter is not extended to before where it would have been zero.
fn change(window: &Window<'_>, is_counter: bool) -> Option<Change> {
    let (&first_ms, &last_ms) = (window.times.first()?, window.times.last()?);
    let (&first, &last) = (window.values.first()?, window.values.last()?);
    if window.values.len() < 2 || last_ms == first_ms {
        return None;
    }
    let change = last - first;
    let resets = is_counter && window.falls;
    let change = if resets { with_resets(change, window.values) } else { change };
    let sampled = seconds(last_ms - first_ms);
    let distance = sampled / (window.values.len() - 1) as f64;
    let mut before = within_reach(seconds(first_ms - window.after_ms), distance);
    let after = within_reach(seconds(window.through_ms - last_ms), distance);
    if is_counter && change > 0.0 && first >= 0.0 {
        before = before.min(sampled * (first / change));
    }
    Some(Change { sampled: change, factor: (sampled + before + after) / sampled })
}

/// A counter that is lower than before has started again from zero.
fn with_resets(change: f64, values: &[f64]) -> f64 {
    let pairs = values.iter().zip(values.iter().skip(1));
    pairs.filter(|(before, after)| after < before).fold(change, |sum, (before, _)| sum + before)
}

fn within_reach(to_border: f64, distance: f64) -> f64 {
    if to_border >= distance * 1.1 { distance / 2.0 } else { to_border }
}
