//! Aggregations that make one series of each group.

use std::collections::HashMap;

use upkeep_model::Labels;

use super::accumulate::{
    Accumulator, Count, Deviation, Largest, Mean, One, Smallest, Sum, Variance, quantile,
};
use super::matching::Groups;
use super::{ABSENT, Column, EvalError, Evaluator, Grid, is_present};
use crate::expression::{Aggregate, Aggregation, LabelChoice};
use crate::number::{format_in_message, format_plain};
use crate::position::Position;

impl Evaluator<'_> {
    pub(super) fn aggregate(
        &mut self,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let choice = &aggregate.grouping;
        match aggregate.operation {
            Aggregation::Sum => self.fold::<Sum>(aggregate, grid),
            Aggregation::Avg => self.fold::<Mean>(aggregate, grid),
            Aggregation::Min => self.fold::<Smallest>(aggregate, grid),
            Aggregation::Max => self.fold::<Largest>(aggregate, grid),
            Aggregation::Count => self.fold::<Count>(aggregate, grid),
            Aggregation::Group => self.fold::<One>(aggregate, grid),
            Aggregation::Stddev => self.fold::<Deviation>(aggregate, grid),
            Aggregation::Stdvar => self.fold::<Variance>(aggregate, grid),
            Aggregation::Quantile => {
                let quantiles = self.scalar_parameter(aggregate, grid)?;
                self.check_quantiles(aggregate.parameter_place, &quantiles);
                let columns = self.vector(&aggregate.expression, grid)?;
                self.quantiles(choice, &quantiles, &columns)
            }
            Aggregation::CountValues => {
                let label = match &aggregate.parameter {
                    Some(parameter) => self.text(parameter, grid)?,
                    None => String::new(),
                };
                let columns = self.vector(&aggregate.expression, grid)?;
                self.count_values(choice, &label, &columns, grid)
            }
            Aggregation::Topk | Aggregation::Bottomk | Aggregation::Limitk => {
                let counts = self.scalar_parameter(aggregate, grid)?;
                let columns = self.vector(&aggregate.expression, grid)?;
                self.rank(aggregate.operation, choice, &counts, columns)
            }
        }
    }

    fn scalar_parameter(
        &mut self,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<Vec<f64>, EvalError> {
        match &aggregate.parameter {
            Some(parameter) => self.scalar(parameter, grid),
            None => self.repeat(f64::NAN, grid),
        }
    }

    /// Warns of quantiles that are none.
    pub(crate) fn check_quantiles(&mut self, place: Position, quantiles: &[f64]) {
        for &quantile in quantiles.iter().filter(|quantile| !(0.0..=1.0).contains(*quantile)) {
            let quantile = format_in_message(quantile);
            let message = format!("quantile value should be between 0 and 1, got {quantile}");
            self.annotations.warn(place, message);
        }
    }

    fn fold<A: Accumulator + Clone>(
        &mut self,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let columns = self.vector(&aggregate.expression, grid)?;
        let groups = Groups::new(&aggregate.grouping, &columns);
        let mut results = Vec::new();
        for members in groups.columns(&columns) {
            // A state is larger than a value, and there is one a step for a while.
            let values_each = 1 + size_of::<Option<A>>() / size_of::<f64>();
            self.budget.charge(grid.steps().saturating_mul(values_each))?;
            let mut states: Vec<Option<A>> = vec![None; grid.steps()];
            for column in &members {
                self.budget.work(grid.steps())?;
                for (state, &value) in states.iter_mut().zip(&column.values) {
                    if is_present(value) {
                        state.get_or_insert_with(A::default).add(value);
                    }
                }
            }
            let values =
                states.iter().map(|state| state.as_ref().map_or(ABSENT, A::value)).collect();
            results.push(group_column(&aggregate.grouping, &members, values));
            self.budget.release(grid.steps().saturating_mul(values_each - 1));
        }
        self.budget.release_columns(&columns);
        Ok(results)
    }

    fn quantiles(
        &mut self,
        choice: &LabelChoice,
        quantiles: &[f64],
        columns: &[Column],
    ) -> Result<Vec<Column>, EvalError> {
        let groups = Groups::new(choice, columns);
        let mut results = Vec::new();
        let mut scratch = Vec::new();
        for members in groups.columns(columns) {
            self.budget.charge(quantiles.len())?;
            let mut values = Vec::with_capacity(quantiles.len());
            for (step, &wanted) in quantiles.iter().enumerate() {
                self.budget.work(members.len())?;
                scratch.clear();
                let at_step = members.iter().filter_map(|column| column.values.get(step).copied());
                scratch.extend(at_step.filter(|&value| is_present(value)));
                values.push(if scratch.is_empty() {
                    ABSENT
                } else {
                    quantile(wanted, &mut scratch)
                });
            }
            results.push(group_column(choice, &members, values));
        }
        self.budget.release_columns(columns);
        Ok(results)
    }

    fn count_values(
        &mut self,
        choice: &LabelChoice,
        label: &str,
        columns: &[Column],
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let groups = Groups::new(choice, columns);
        let mut tally = Tally::default();
        for members in groups.columns(columns) {
            let template = group_column(choice, &members, Vec::new());
            // The value's bits are the short way to its column; only a new value becomes text.
            let mut by_value: HashMap<u64, usize> = HashMap::new();
            for column in &members {
                self.budget.work(grid.steps())?;
                let present = column.values.iter().enumerate().filter(|(_, v)| is_present(**v));
                for (step, &value) in present {
                    let at = match by_value.get(&value.to_bits()) {
                        Some(&at) => at,
                        None => {
                            self.budget.charge(grid.steps())?;
                            let at = tally.column(&template, label, value, grid);
                            by_value.insert(value.to_bits(), at);
                            at
                        }
                    };
                    tally.count(at, step);
                }
            }
        }
        self.budget.release_columns(columns);
        Ok(tally.columns)
    }
}

/// How often each value occurs. The label that takes the value may replace one that groups are
/// told apart by, so columns are found by their labels.
#[derive(Default)]
struct Tally {
    columns: Vec<Column>,
    positions: HashMap<Labels, usize>,
}

impl Tally {
    /// The number of the column of a value in a group.
    fn column(&mut self, group: &Column, label: &str, value: f64, grid: Grid) -> usize {
        let labels = group.labels.clone().with(label, format_plain(value));
        let next = self.columns.len();
        let at = *self.positions.entry(labels.clone()).or_insert(next);
        if at == next {
            let values = vec![ABSENT; grid.steps()];
            self.columns.push(Column { labels, drops_name: group.drops_name, values });
        }
        at
    }

    fn count(&mut self, column: usize, step: usize) {
        let column = self.columns.get_mut(column);
        if let Some(count) = column.and_then(|column| column.values.get_mut(step)) {
            *count = if is_present(*count) { *count + 1.0 } else { 1.0 };
        }
    }
}

/// The series of a group. If a function has marked the name of any member to be dropped, the
/// group's is.
fn group_column(choice: &LabelChoice, members: &[&Column], values: Vec<f64>) -> Column {
    let labels = members.first().map(|column| choice.of(&column.labels)).unwrap_or_default();
    let drops_name = members.iter().any(|column| column.drops_name);
    Column { labels, drops_name, values }
}
