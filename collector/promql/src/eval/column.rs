//! A series as a column of values.

use std::collections::{HashMap, HashSet};

use upkeep_model::{Labels, METRIC_NAME, is_stale, stale_marker};

use super::EvalError;

/// What a column holds at a step without a value. Selectors never yield a staleness marker and
/// arithmetic never makes one, so its bits are free for this.
pub(crate) const ABSENT: f64 = stale_marker();

/// Whether a column has a value at a step.
pub(crate) fn is_present(value: f64) -> bool {
    !is_stale(value)
}

/// One series over a grid.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) labels: Labels,
    /// Whether the metric name is to be dropped once the whole expression is evaluated.
    pub(crate) drops_name: bool,
    /// One value a step.
    pub(crate) values: Vec<f64>,
}

impl Column {
    pub(crate) fn new(labels: Labels, values: Vec<f64>) -> Self {
        Self { labels, drops_name: false, values }
    }

    pub(crate) fn has_values(&self) -> bool {
        self.values.iter().any(|&value| is_present(value))
    }

    /// Replaces each value that is there.
    pub(crate) fn map(&mut self, mut change: impl FnMut(f64) -> f64) {
        for value in self.values.iter_mut().filter(|value| is_present(**value)) {
            *value = change(*value);
        }
    }

    /// Takes over the values of another column. Returns false if both have one at some step.
    fn absorb(&mut self, other: &Self) -> bool {
        self.drops_name |= other.drops_name;
        for (mine, &theirs) in self.values.iter_mut().zip(&other.values) {
            match (is_present(*mine), is_present(theirs)) {
                (true, true) => return false,
                (false, true) => *mine = theirs,
                (_, false) => {}
            }
        }
        true
    }
}

/// Joins columns with the same labels into one, as long as they never have a value at the same
/// step.
///
/// # Errors
/// The given error, where two of them do.
pub(crate) fn merge_same_labels(
    columns: Vec<Column>,
    conflict: impl Fn() -> EvalError,
) -> Result<Vec<Column>, EvalError> {
    let mut seen = HashSet::with_capacity(columns.len());
    if columns.iter().all(|column| seen.insert(&column.labels)) {
        return Ok(columns);
    }
    let mut positions: HashMap<Labels, usize> = HashMap::with_capacity(columns.len());
    let mut merged: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns {
        let known = positions.get(&column.labels).and_then(|&at| merged.get_mut(at));
        if let Some(first) = known {
            if !first.absorb(&column) {
                return Err(conflict());
            }
        } else {
            positions.insert(column.labels.clone(), merged.len());
            merged.push(column);
        }
    }
    Ok(merged)
}

/// Drops the metric names that functions have marked, at the end of an evaluation.
///
/// # Errors
/// When two series are the same without their names.
pub(crate) fn drop_names(mut columns: Vec<Column>) -> Result<Vec<Column>, EvalError> {
    columns.retain(Column::has_values);
    // Every node takes care that its columns differ, names included.
    if !columns.iter().any(|column| column.drops_name) {
        return Ok(columns);
    }
    for column in columns.iter_mut().filter(|column| column.drops_name) {
        column.labels.remove(METRIC_NAME);
    }
    merge_same_labels(columns, || EvalError::SameLabels)
}
