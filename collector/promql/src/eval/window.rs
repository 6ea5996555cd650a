//! Windows of samples, as range functions see them.

use upkeep_model::SeriesSamples;

use super::selector::Placement;
use super::{ABSENT, Column, EvalError, Evaluator, Grid};

/// The samples of a range selector, and how the window moves over them.
pub(crate) struct Windows {
    /// Each series without staleness markers, and whether its metric name is to be dropped.
    pub(crate) series: Vec<(SeriesSamples, bool)>,
    pub(crate) range_ms: i64,
    pub(crate) placement: Placement,
}

/// One window of one series.
pub(crate) struct Window<'a> {
    /// Milliseconds since 1970, ascending.
    pub(crate) times: &'a [i64],
    /// As many as there are times.
    pub(crate) values: &'a [f64],
    /// Where the window starts, itself not part of it.
    pub(crate) after_ms: i64,
    /// Where the window ends, itself part of it.
    pub(crate) through_ms: i64,
    /// The step of the evaluation, which `offset` and `@` move the window away from.
    pub(crate) moment_ms: i64,
}

impl Windows {
    /// The window of each step. Both ends only move forward, so one pass finds them all.
    pub(crate) fn of<'a>(
        &'a self,
        series: &'a SeriesSamples,
        grid: Grid,
    ) -> impl Iterator<Item = Window<'a>> {
        let (mut low, mut high) = (0, 0);
        grid.moments().map(move |moment_ms| {
            let through_ms = self.placement.at(moment_ms);
            let after_ms = through_ms.saturating_sub(self.range_ms);
            advance(&series.timestamps, &mut low, after_ms);
            advance(&series.timestamps, &mut high, through_ms);
            Window {
                times: series.timestamps.get(low..high).unwrap_or_default(),
                values: series.values.get(low..high).unwrap_or_default(),
                after_ms,
                through_ms,
                moment_ms,
            }
        })
    }
}

/// Moves an index forward to the first time after `limit`.
fn advance(times: &[i64], index: &mut usize, limit: i64) {
    while times.get(*index).is_some_and(|&time| time <= limit) {
        *index += 1;
    }
}

/// Most parameters of a range function beside the range.
pub(crate) const MAX_PARAMETERS: usize = 2;

impl Evaluator<'_> {
    /// Applies a function to the window of every series at every step. The parameters are columns
    /// of scalars, whose values at the step the function gets.
    pub(crate) fn roll(
        &mut self,
        windows: Windows,
        grid: Grid,
        parameters: &[Vec<f64>],
        mut apply: impl FnMut(&Window<'_>, &[f64]) -> Option<f64>,
    ) -> Result<Vec<Column>, EvalError> {
        let mut columns = Vec::with_capacity(windows.series.len());
        for (samples, drops_name) in &windows.series {
            self.budget.charge(grid.steps())?;
            let mut values = Vec::with_capacity(grid.steps());
            for (step, window) in windows.of(samples, grid).enumerate() {
                self.budget.work(window.values.len())?;
                if window.values.is_empty() {
                    values.push(ABSENT);
                    continue;
                }
                let mut current = [f64::NAN; MAX_PARAMETERS];
                for (slot, parameter) in current.iter_mut().zip(parameters) {
                    *slot = parameter.get(step).copied().unwrap_or(f64::NAN);
                }
                values.push(apply(&window, &current).unwrap_or(ABSENT));
            }
            let labels = samples.labels.clone();
            columns.push(Column { labels, drops_name: *drops_name, values });
        }
        columns.retain(Column::has_values);
        Ok(columns)
    }
}
