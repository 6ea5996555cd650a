//! Set operators: `and`, `or`, `unless`.

use super::column::merge_same_labels;
use super::matching::{Groups, presence};
use super::{ABSENT, Column, EvalError, Evaluator};
use crate::expression::{LabelChoice, SetOperator};

impl Evaluator<'_> {
    pub(super) fn combine(
        &mut self,
        operator: SetOperator,
        choice: &LabelChoice,
        mut left: Vec<Column>,
        mut right: Vec<Column>,
    ) -> Result<Vec<Column>, EvalError> {
        match operator {
            SetOperator::And => keep_where(choice, &mut left, &right, true),
            SetOperator::Unless => keep_where(choice, &mut left, &right, false),
            SetOperator::Or => {
                keep_where(choice, &mut right, &left, false);
                left.append(&mut right);
            }
        }
        if operator != SetOperator::Or {
            self.budget.release_columns(&right);
        }
        self.budget.drop_empty(&mut left);
        merge_same_labels(left, || EvalError::SameLabels)
    }
}

/// Keeps the values at steps where the others have a match, or where they have none.
fn keep_where(choice: &LabelChoice, columns: &mut [Column], others: &[Column], matched: bool) {
    let groups = Groups::new(choice, others);
    let steps = others.first().map_or(0, |column| column.values.len());
    let present: Vec<Vec<bool>> =
        groups.columns(others).map(|members| presence(members, steps)).collect();
    for column in columns {
        let group = groups.find(&column.labels).and_then(|group| present.get(group));
        match group {
            None if matched => column.values.fill(ABSENT),
            None => {}
            Some(present) => {
                for (value, &present) in column.values.iter_mut().zip(present) {
                    if present != matched {
                        *value = ABSENT;
                    }
                }
            }
        }
    }
}
