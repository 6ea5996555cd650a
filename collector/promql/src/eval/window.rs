//! Windows of samples, as range functions see them.

use upkeep_model::SeriesSamples;

use super::Grid;
use super::selector::Placement;

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
pub(super) struct Bounds {
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
    pub(super) fn bounds(&self, times: &[i64], grid: Grid) -> impl Iterator<Item = Bounds> {
        let (mut low, mut high) = (0, 0);
        grid.moments().map(move |moment_ms| {
            let through_ms = self.placement.at(moment_ms);
            advance(times, &mut low, through_ms.saturating_sub(self.range_ms));
            advance(times, &mut high, through_ms);
            Bounds { moment_ms, low, high }
        })
    }

    pub(super) fn window<'a>(
        &self,
        series: &'a SeriesSamples,
        bounds: Bounds,
        falls: bool,
    ) -> Window<'a> {
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
