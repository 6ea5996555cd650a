//! Aggregations that choose some series of each group: `topk`, `bottomk`, `limitk`.

use std::cmp::Ordering;

use super::matching::Groups;
use super::{ABSENT, Column, EvalError, Evaluator, is_present};
use crate::expression::{Aggregation, LabelChoice};
use crate::number::format_in_message;

impl Evaluator<'_> {
    /// Keeps, at each step, as many series of each group as the count at that step says. For one
    /// moment the series come out in the order of their rank.
    pub(super) fn rank(
        &mut self,
        operation: Aggregation,
        choice: &LabelChoice,
        counts: &[f64],
        mut columns: Vec<Column>,
    ) -> Result<Vec<Column>, EvalError> {
        let counts = counts.iter().map(|&count| checked(count)).collect::<Result<Vec<_>, _>>()?;
        if operation == Aggregation::Limitk {
            columns.sort_by(|one, other| one.labels.cmp(&other.labels));
        }
        self.budget.charge(columns.len().saturating_mul(counts.len()))?;
        let groups = Groups::new(choice, &columns);
        let emptied = |column: &Column| Column {
            labels: column.labels.clone(),
            drops_name: column.drops_name,
            values: vec![ABSENT; counts.len()],
        };
        let mut kept: Vec<Column> = columns.iter().map(emptied).collect();
        let mut order = Vec::new();
        let mut candidates: Vec<(usize, f64)> = Vec::new();
        for group in 0..groups.len() {
            for (step, &count) in counts.iter().enumerate() {
                self.budget.work(groups.members(group).len())?;
                candidates.clear();
                candidates.extend(at_step(&columns, groups.members(group), step));
                keep_best(operation, &mut candidates, count);
                for &(index, value) in &candidates {
                    let column = kept.get_mut(index);
                    if let Some(slot) = column.and_then(|column| column.values.get_mut(step)) {
                        *slot = value;
                    }
                    if counts.len() == 1 {
                        order.push(index);
                    }
                }
            }
        }
        if counts.len() == 1 {
            let mut ranked: Vec<Option<Column>> = kept.into_iter().map(Some).collect();
            kept = order
                .into_iter()
                .filter_map(|index| ranked.get_mut(index).and_then(Option::take))
                .collect();
        }
        self.budget.release_columns(&columns);
        self.budget.drop_empty(&mut kept);
        Ok(kept)
    }
}

fn at_step(
    columns: &[Column],
    members: &[usize],
    step: usize,
) -> impl Iterator<Item = (usize, f64)> {
    members.iter().filter_map(move |&index| {
        let value = columns.get(index)?.values.get(step).copied()?;
        is_present(value).then_some((index, value))
    })
}

/// Leaves the best candidates, the best one first.
fn keep_best(operation: Aggregation, candidates: &mut Vec<(usize, f64)>, count: usize) {
    let order = |one: &(usize, f64), other: &(usize, f64)| compare(operation, *one, *other);
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, order);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(order);
}

/// NaN comes last either way; equal values keep the order of their series.
fn compare(operation: Aggregation, one: (usize, f64), other: (usize, f64)) -> Ordering {
    let by_value = match operation {
        Aggregation::Topk => other.1.partial_cmp(&one.1),
        Aggregation::Bottomk => one.1.partial_cmp(&other.1),
        _ => Some(Ordering::Equal),
    };
    by_value.unwrap_or_else(|| one.1.is_nan().cmp(&other.1.is_nan())).then(one.0.cmp(&other.0))
}

fn checked(count: f64) -> Result<usize, EvalError> {
    if count.is_nan() {
        return Err(EvalError::Parameter("Parameter value is NaN".to_owned()));
    }
    for (beyond, word) in
        [(count >= i64::MAX as f64, "overflows"), (count <= i64::MIN as f64, "underflows")]
    {
        if beyond {
            let count = format_in_message(count);
            return Err(EvalError::Parameter(format!("Scalar value {count} {word} int64")));
        }
    }
    // A negative count saturates to none.
    Ok(count as usize)
}
