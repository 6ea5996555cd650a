//! Range functions over all windows of many series, by several threads where that pays.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::{Arc, LazyLock};
use std::thread;

use super::budget::Watch;
use super::window::{Bounds, Held, Window, Windows};
use super::{ABSENT, Column, EvalError, Evaluator, Grid};

/// Most parameters of a range function beside the range.
pub(crate) const MAX_PARAMETERS: usize = 2;

/// No function takes more threads than this.
const MOST_THREADS: usize = 4;

/// How many threads a function may take here. To find that out reads files of the system.
static THREADS: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS));

/// So many series are done before those that are done are no longer counted as read: enough that
/// threads pay, which take as long to start as some series do.
const BATCH: usize = 1024;

/// Fewer series are done by one thread.
const SHARED: usize = 256;

/// A function that is applied to windows.
struct Rolling<'a, F> {
    windows: &'a Windows,
    grid: Grid,
    parameters: &'a [Vec<f64>],
    apply: F,
}

impl Evaluator<'_> {
    /// Applies a function to the window of every series at every step. The parameters are columns
    /// of scalars, whose values at the step the function gets.
    pub(crate) fn roll(
        &mut self,
        windows: &Windows,
        grid: Grid,
        parameters: &[Vec<f64>],
        apply: impl Fn(&Window<'_>, &[f64]) -> Option<f64> + Sync,
    ) -> Result<Vec<Column>, EvalError> {
        let rolling = Rolling { windows, grid, parameters, apply };
        let mut columns = Vec::with_capacity(windows.series.len());
        for batch in windows.series.chunks(BATCH) {
            self.budget.charge(grid.steps().saturating_mul(batch.len()))?;
            columns.extend(rolling.all(batch, self.budget.watch())?);
            self.budget.release(batch.iter().map(|held| held.charged).sum());
        }
        self.budget.drop_empty(&mut columns);
        Ok(columns)
    }
}

impl<F: Fn(&Window<'_>, &[f64]) -> Option<f64> + Sync> Rolling<'_, F> {
    fn all(&self, batch: &[Held], watch: Watch) -> Result<Vec<Column>, EvalError> {
        let threads = if batch.len() < SHARED { 1 } else { *THREADS };
        let mut parts = batch.chunks(batch.len().div_ceil(threads).max(1));
        let own = parts.next().unwrap_or_default();
        thread::scope(|scope| {
            let spawn = |part| {
                let thread = thread::Builder::new();
                (part, thread.spawn_scoped(scope, move || self.some(part, watch)))
            };
            let others: Vec<_> = parts.map(spawn).collect();
            let mut columns = self.some(own, watch)?;
            for (part, begun) in others {
                columns.extend(match begun {
                    Ok(other) => other.join().unwrap_or_else(|panic| resume_unwind(panic)),
                    // Where no thread is to be had, this one does it all.
                    Err(_) => self.some(part, watch),
                }?);
            }
            Ok(columns)
        })
    }

    fn some(&self, series: &[Held], mut watch: Watch) -> Result<Vec<Column>, EvalError> {
        let mut columns = Vec::with_capacity(series.len());
        let mut last = LastBounds::default();
        for one in series {
            columns.push(self.column(one, &mut last, &mut watch)?);
        }
        Ok(columns)
    }

    fn column(
        &self,
        one: &Held,
        last: &mut LastBounds,
        watch: &mut Watch,
    ) -> Result<Column, EvalError> {
        let Held { samples, drops_name, .. } = one;
        let pairs = samples.values.iter().zip(samples.values.iter().skip(1));
        let falls = pairs.fold(false, |falls, (before, after)| falls | (after < before));
        let bounds = last.of(self.windows, &samples.timestamps, self.grid);
        let mut values = Vec::with_capacity(self.grid.steps());
        for (step, &bounds) in bounds.iter().enumerate() {
            let window = self.windows.window(samples, bounds, falls);
            watch.work(window.values.len())?;
            if window.values.is_empty() {
                values.push(ABSENT);
                continue;
            }
            let mut current = [f64::NAN; MAX_PARAMETERS];
            for (slot, parameter) in current.iter_mut().zip(self.parameters) {
                *slot = parameter.get(step).copied().unwrap_or(f64::NAN);
            }
            values.push((self.apply)(&window, &current).unwrap_or(ABSENT));
        }
        Ok(Column { labels: samples.labels.clone(), drops_name: *drops_name, values })
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
