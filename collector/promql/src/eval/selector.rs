//! Selectors: from samples to columns and to the windows of range functions.

use upkeep_model::{Labels, SeriesSamples, is_stale};

use super::column::drop_names;
use super::window::{Held, Windows};
use super::{ABSENT, Column, EvalError, Evaluator, Grid, is_present};
use crate::answer::Row;
use crate::expression::{
    Anchor, Expression, RangeSelector, Selector, Subquery, TimeShift, ValueType,
};
use crate::source::Hint;

/// The step of a subquery that names none, in milliseconds.
const DEFAULT_SUBQUERY_STEP_MS: i64 = 60_000;

/// Where a selector looks when the evaluation is at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    fixed_ms: Option<i64>,
    offset_ms: i64,
}

impl Placement {
    pub(crate) fn at(self, moment_ms: i64) -> i64 {
        self.fixed_ms.unwrap_or(moment_ms).saturating_sub(self.offset_ms)
    }

    fn hint(self, function: Option<&'static str>, range_ms: i64, grid: Grid) -> Hint {
        let is_one = self.fixed_ms.is_some() || grid.steps() <= 1;
        let step_ms = if is_one { 0 } else { grid.step_ms() };
        Hint { function, range_ms, step_ms, takes_last: false }
    }

    /// The first and the last moment looked at.
    fn span(self, grid: Grid) -> (i64, i64) {
        (self.at(grid.start_ms()), self.at(grid.end_ms()))
    }
}

impl Evaluator<'_> {
    fn place(&self, time: &TimeShift) -> Placement {
        let fixed_ms = time.anchor.map(|anchor| match anchor {
            Anchor::At(at_ms) => at_ms,
            Anchor::Start => self.query.start_ms(),
            Anchor::End => self.query.end_ms(),
        });
        Placement { fixed_ms, offset_ms: time.offset_ms }
    }

    pub(crate) fn select_instant(
        &mut self,
        selector: &Selector,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        self.look_back(selector, grid, |_, value| value)
    }

    /// The time of the sample that stands for each series, in seconds.
    pub(crate) fn select_timestamps(
        &mut self,
        selector: &Selector,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        self.look_back(selector, grid, |at_ms, _| seconds(at_ms))
    }

    fn look_back(
        &mut self,
        selector: &Selector,
        grid: Grid,
        pick: impl Fn(i64, f64) -> f64,
    ) -> Result<Vec<Column>, EvalError> {
        let placement = self.place(&selector.time);
        let lookback_ms = self.lookback_ms;
        let hint = Hint { takes_last: true, ..placement.hint(None, lookback_ms, grid) };
        let series = self.read(selector, placement.span(grid), hint)?;
        let mut columns = Vec::with_capacity(series.len());
        for one in series {
            self.budget.work(one.values.len())?;
            self.budget.charge(grid.steps())?;
            let mut values = Vec::with_capacity(grid.steps());
            let mut samples = one.timestamps.iter().copied().zip(one.values.iter().copied());
            let (mut current, mut next) = (None, samples.next());
            for moment in grid.moments() {
                let at = placement.at(moment);
                while let Some((_, _)) = next.filter(|(time, _)| *time <= at) {
                    current = next;
                    next = samples.next();
                }
                let alive = current.filter(|&(time, value)| {
                    time > at.saturating_sub(lookback_ms) && !is_stale(value)
                });
                values.push(alive.map_or(ABSENT, |(time, value)| pick(time, value)));
            }
            columns.push(Column::new(one.labels, values));
            self.budget.release(one.values.len());
        }
        self.budget.drop_empty(&mut columns);
        Ok(columns)
    }

    /// The windows of a range selector or subquery, as the function gets them.
    pub(crate) fn windows(
        &mut self,
        expression: &Expression,
        function: Option<&'static str>,
        grid: Grid,
    ) -> Result<Windows, EvalError> {
        match expression {
            Expression::Range(range) => self.range_windows(range, function, grid),
            Expression::Subquery(subquery) => self.subquery_windows(subquery, grid),
            other => Err(EvalError::WrongType {
                wanted: ValueType::Matrix.to_string(),
                got: other.value_type().to_string(),
            }),
        }
    }

    fn range_windows(
        &mut self,
        range: &RangeSelector,
        function: Option<&'static str>,
        grid: Grid,
    ) -> Result<Windows, EvalError> {
        let placement = self.place(&range.selector.time);
        let hint = placement.hint(function, range.range_ms, grid);
        let series = self.read(&range.selector, placement.span(grid), hint)?;
        let held = |one: SeriesSamples| {
            let charged = one.values.len();
            Held { samples: without_markers(one), drops_name: false, charged }
        };
        let series = series.into_iter().map(held).collect();
        Ok(Windows { series, range_ms: range.range_ms, placement })
    }

    /// Evaluates the inner expression once, over all steps that any window needs. The steps stand
    /// at multiples of their width, so that they are the same for every outer step.
    fn subquery_windows(&mut self, subquery: &Subquery, grid: Grid) -> Result<Windows, EvalError> {
        let placement = self.place(&subquery.time);
        let step_ms = subquery.step_ms.unwrap_or(DEFAULT_SUBQUERY_STEP_MS);
        let (first_ms, last_ms) = placement.span(grid);
        let after_ms = first_ms.saturating_sub(subquery.range_ms);
        let start_ms = after_ms.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
        let inner = Grid::span(start_ms, last_ms, step_ms);
        // Every node below keeps at least a column of this length.
        self.budget.charge(inner.steps())?;
        self.budget.release(inner.steps());
        let columns =
            if inner.steps() == 0 { Vec::new() } else { self.vector(&subquery.expression, inner)? };
        let series = columns
            .into_iter()
            .map(|column| Held {
                drops_name: column.drops_name,
                charged: column.values.len(),
                samples: to_samples(column, inner),
            })
            .collect();
        Ok(Windows { series, range_ms: subquery.range_ms, placement })
    }

    /// The samples of a range selector or subquery that stands alone.
    pub(crate) fn raw_rows(
        &mut self,
        expression: &Expression,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let windows = self.windows(expression, None, grid)?;
        // Only the names and their uniqueness matter here, so the columns stand for the rows.
        let mut rows = Vec::new();
        let mut names = Vec::new();
        for Held { samples, drops_name, .. } in &windows.series {
            let Some(window) = windows.of(samples, grid).next() else { continue };
            if window.values.is_empty() {
                continue;
            }
            let labels: Labels = samples.labels.clone();
            names.push(Column { labels, drops_name: *drops_name, values: vec![1.0] });
            rows.push(window.times.iter().copied().zip(window.values.iter().copied()).collect());
        }
        let names = drop_names(names)?;
        let mut rows: Vec<Row> = names
            .into_iter()
            .zip(rows)
            .map(|(column, points)| Row::new(column.labels, points))
            .collect();
        rows.sort_by(|one, other| one.labels.cmp(&other.labels));
        Ok(rows)
    }
}

/// Milliseconds as seconds.
pub(crate) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn without_markers(mut series: SeriesSamples) -> SeriesSamples {
    // Without an early end the processor compares several values at once.
    if series.values.iter().fold(false, |found, &value| found | is_stale(value)) {
        let samples = series.timestamps.iter().zip(&series.values);
        let (timestamps, values): (Vec<i64>, _) =
            samples.filter(|(_, value)| !is_stale(**value)).unzip();
        series.timestamps = timestamps.into();
        series.values = values;
    }
    series
}

fn to_samples(column: Column, grid: Grid) -> SeriesSamples {
    let (timestamps, values): (Vec<i64>, _) =
        grid.moments().zip(column.values).filter(|(_, value)| is_present(*value)).unzip();
    SeriesSamples { labels: column.labels, timestamps: timestamps.into(), values }
}
