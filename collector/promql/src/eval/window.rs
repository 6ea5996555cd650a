//! Windows of samples, as range functions see them.

use std::sync::Arc;

use upkeep_model::SeriesSamples;

use super::selector::Placement;
use super::{ABSENT, Column, EvalError, Evaluator, Grid};

/// The samples of a range selector, and how the window moves over them.
pub(crate) struct Windows {
    pub(crate) series: Vec<Held>,
    pub(crate) range_ms: i64,
    pub(crate) placement: Placement,
}

/// The samples of one series, without staleness markers.
pub(crate) struct Held {
    pub(crate) samples: SeriesSamples,
    /// Whether its metric name is to be dropped.
    pub(crate) drops_name: bool,
    /// How many samples it counts as in the budget.
    pub(crate) charged: usize,
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
    /// Whether any value of the series is lower than the one before it.
    pub(crate) falls: bool,
}

/// Where a window lies: its step, and its first sample and the one after its last.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    moment_ms: i64,
    low: usize,
    high: usize,
}

impl Windows {
    /// The window of each step.
    pub(crate) fn of<'a>(
        &'a self,
        series: &'a SeriesSamples,
        grid: Grid,
    ) -> impl Iterator<Item = Window<'a>> {
        let bounds = self.bounds(&series.timestamps, grid);
        bounds.map(move |bounds| self.window(series, bounds, true))
    }

    /// Both ends of a window only move forward, so one pass finds them all.
    fn bounds(&self, times: &[i64], grid: Grid) -> impl Iterator<Item = Bounds> {
        let (mut low, mut high) = (0, 0);
        grid.moments().map(move |moment_ms| {
            let through_ms = self.placement.at(moment_ms);
            advance(times, &mut low, through_ms.saturating_sub(self.range_ms));
            advance(times, &mut high, through_ms);
            Bounds { moment_ms, low, high }
        })
    }

    fn window<'a>(&self, series: &'a SeriesSamples, bounds: Bounds, falls: bool) -> Window<'a> {
        let Bounds { moment_ms, low, high } = bounds;
        let through_ms = self.placement.at(moment_ms);
        Window {
            times: series.timestamps.get(low..high).unwrap_or_default(),
            values: series.values.get(low..high).unwrap_or_default(),
            after_ms: through_ms.saturating_sub(self.range_ms),
            through_ms,
            moment_ms,
            falls,
        }
    }
}

/// Moves an index forward to the first time after `limit`.
fn advance(times: &[i64], index: &mut usize, limit: i64) {
    while times.get(*index).is_some_and(|&time| time <= limit) {
        *index += 1;
    }
}

/// The bounds of the windows over the timestamps that were looked at last. Series that are measured
/// together share their timestamps, and so their windows.
#[derive(Default)]
struct LastBounds {
    timestamps: Option<Arc<[i64]>>,
    bounds: Vec<Bounds>,
}

impl LastBounds {
    fn of(&mut self, windows: &Windows, timestamps: &Arc<[i64]>, grid: Grid) -> &[Bounds] {
        let is_same = self.timestamps.as_ref().is_some_and(|last| Arc::ptr_eq(last, timestamps));
        if !is_same {
            self.bounds.clear();
            self.bounds.extend(windows.bounds(timestamps, grid));
            self.timestamps = Some(Arc::clone(timestamps));
        }
        &self.bounds
    }
}

/// Most parameters of a range function beside the range.
pub(crate) const MAX_PARAMETERS: usize = 2;

impl Evaluator<'_> {
    /// Applies a function to the window of every series at every step. The parameters are columns
    /// of scalars, whose values at the step the function gets.
    pub(crate) fn roll(
        &mut self,
        windows: &Windows,
        grid: Grid,
        parameters: &[Vec<f64>],
        mut apply: impl FnMut(&Window<'_>, &[f64]) -> Option<f64>,
    ) -> Result<Vec<Column>, EvalError> {
        let mut columns = Vec::with_capacity(windows.series.len());
        let mut last = LastBounds::default();
        for Held { samples, drops_name, charged } in &windows.series {
            self.budget.charge(grid.steps())?;
            let pairs = samples.values.iter().zip(samples.values.iter().skip(1));
            let falls = pairs.fold(false, |falls, (before, after)| falls | (after < before));
            let bounds = last.of(windows, &samples.timestamps, grid);
            let mut values = Vec::with_capacity(grid.steps());
            for (step, &bounds) in bounds.iter().enumerate() {
                let window = windows.window(samples, bounds, falls);
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
            self.budget.release(*charged);
        }
        self.budget.drop_empty(&mut columns);
        Ok(columns)
    }
}
