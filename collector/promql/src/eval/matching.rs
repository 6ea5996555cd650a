//! Vector matching: which series of two vectors belong together.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use upkeep_model::{Labels, METRIC_NAME};

use super::column::merge_same_labels;
use super::{ABSENT, Column, EvalError, Evaluator, Grid, is_present};
use crate::expression::{Cardinality, LabelChoice, Matching, Operator};

impl LabelChoice {
    /// The labels that are left of a series.
    pub(crate) fn of(&self, labels: &Labels) -> Labels {
        let mut chosen = labels.clone();
        chosen.retain(|name| self.has(name));
        chosen
    }

    fn chosen<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = (&'a str, &'a str)> {
        labels.iter().filter(|(name, _)| self.has(name))
    }

    /// `AllBut` leaves the metric name out as well.
    fn has(&self, name: &str) -> bool {
        match self {
            Self::Only(names) => names.iter().any(|one| one == name),
            Self::AllBut(names) => name != METRIC_NAME && !names.iter().any(|one| one == name),
        }
    }
}

/// Columns by the labels they are matched on. The labels are compared where they stand, so that
/// none are copied for a series.
pub(super) struct Groups<'a> {
    choice: &'a LabelChoice,
    hasher: RandomState,
    /// Groups by the hash of their labels.
    positions: HashMap<u64, Vec<usize>>,
    /// The labels of each group's first column.
    firsts: Vec<Labels>,
    /// Indices of columns, in the order of the groups' first columns.
    members: Vec<Vec<usize>>,
}

impl<'a> Groups<'a> {
    pub(super) fn new(choice: &'a LabelChoice, columns: &[Column]) -> Self {
        let mut groups = Self {
            choice,
            hasher: RandomState::new(),
            positions: HashMap::new(),
            firsts: Vec::new(),
            members: Vec::new(),
        };
        for (index, column) in columns.iter().enumerate() {
            let hash = groups.hash(&column.labels);
            match groups.with_hash(hash, &column.labels) {
                Some(at) => groups.members.get_mut(at).into_iter().for_each(|all| all.push(index)),
                None => {
                    groups.positions.entry(hash).or_default().push(groups.members.len());
                    groups.firsts.push(column.labels.clone());
                    groups.members.push(vec![index]);
                }
            }
        }
        groups
    }

    fn hash(&self, labels: &Labels) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        self.choice.chosen(labels).for_each(|pair| pair.hash(&mut hasher));
        hasher.finish()
    }

    fn with_hash(&self, hash: u64, labels: &Labels) -> Option<usize> {
        let candidates = self.positions.get(&hash)?.iter().copied();
        candidates.into_iter().find(|&at| {
            self.firsts
                .get(at)
                .is_some_and(|first| self.choice.chosen(first).eq(self.choice.chosen(labels)))
        })
    }

    /// The number of the group of a series, if it has one.
    pub(super) fn find(&self, labels: &Labels) -> Option<usize> {
        self.with_hash(self.hash(labels), labels)
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn members(&self, group: usize) -> &[usize] {
        self.members.get(group).map(Vec::as_slice).unwrap_or_default()
    }

    /// The columns of each group.
    pub(super) fn columns<'c>(
        &'c self,
        columns: &'c [Column],
    ) -> impl Iterator<Item = Vec<&'c Column>> {
        self.members
            .iter()
            .map(|members| members.iter().filter_map(|&index| columns.get(index)).collect())
    }
}

/// At which steps any of the columns has a value.
pub(super) fn presence<'a>(
    columns: impl IntoIterator<Item = &'a Column>,
    steps: usize,
) -> Vec<bool> {
    let mut present = vec![false; steps];
    for column in columns {
        for (flag, &value) in present.iter_mut().zip(&column.values) {
            *flag |= is_present(value);
        }
    }
    present
}

impl Evaluator<'_> {
    /// Applies an operator to the pairs of series that match.
    pub(super) fn join(
        &mut self,
        operator: Operator,
        matching: &Matching,
        left: Vec<Column>,
        right: Vec<Column>,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let groups = Groups::new(&matching.labels, &one);
        check_one_side(&groups, &one, &many, matching, grid)?;
        let group_of: Vec<Option<usize>> =
            many.iter().map(|column| groups.find(&column.labels)).collect();
        if matching.cardinality == Cardinality::OneToOne {
            check_many_side(&groups, &one, &many, &group_of, grid)?;
        }
        let mut joined = Vec::with_capacity(many.len());
        for (column, group) in many.iter().zip(&group_of) {
            for &index in group.map(|group| groups.members(group)).unwrap_or_default() {
                let Some(partner) = one.get(index) else { continue };
                self.budget.charge(grid.steps())?;
                let values = pair(operator, &column.values, &partner.values, swapped);
                let labels = result_labels(operator, matching, &column.labels, &partner.labels);
                let drops_name = column.drops_name || operator.changes_meaning();
                joined.push(Column { labels, drops_name, values });
            }
        }
        self.budget.release_columns(&many);
        self.budget.release_columns(&one);
        self.budget.drop_empty(&mut joined);
        merge_same_labels(joined, || match matching.cardinality {
            Cardinality::OneToOne => EvalError::SameLabels,
            Cardinality::ManyToOne | Cardinality::OneToMany => EvalError::GroupingNotUnique,
        })
    }
}

fn pair(operator: Operator, many: &[f64], one: &[f64], swapped: bool) -> Vec<f64> {
    let apply = |(&many, &one): (&f64, &f64)| {
        if !is_present(many) || !is_present(one) {
            return ABSENT;
        }
        let (left, right) = if swapped { (one, many) } else { (many, one) };
        operator.apply(left, right).unwrap_or(ABSENT)
    };
    many.iter().zip(one).map(apply).collect()
}

fn result_labels(operator: Operator, matching: &Matching, many: &Labels, one: &Labels) -> Labels {
    let mut labels = many.clone();
    if matches!(operator, Operator::Arithmetic(_)) {
        labels.remove(METRIC_NAME);
    }
    if matching.cardinality == Cardinality::OneToOne {
        match &matching.labels {
            LabelChoice::Only(names) => labels.retain(|name| names.iter().any(|one| one == name)),
            LabelChoice::AllBut(names) => names.iter().for_each(|name| labels.remove(name)),
        }
    }
    for name in &matching.include {
        labels.set(name, one.get(name).unwrap_or_default());
    }
    labels
}

/// The one side must have at most one series of a group at any step at which the many side has
/// anything at all.
fn check_one_side(
    groups: &Groups<'_>,
    one: &[Column],
    many: &[Column],
    matching: &Matching,
    grid: Grid,
) -> Result<(), EvalError> {
    let mut others = None;
    for members in groups.columns(one).filter(|members| members.len() > 1) {
        let others = others.get_or_insert_with(|| presence(many, grid.steps()));
        let mut holder: Vec<Option<&Column>> = vec![None; grid.steps()];
        for column in members {
            let steps = holder.iter_mut().zip(others.iter()).zip(&column.values);
            for ((holder, &other), &value) in steps {
                match holder {
                    _ if !is_present(value) || !other => {}
                    Some(first) => return Err(many_to_many(matching, first, column)),
                    None => *holder = Some(column),
                }
            }
        }
    }
    Ok(())
}

fn many_to_many(matching: &Matching, first: &Column, second: &Column) -> EvalError {
    EvalError::ManyToMany {
        group: in_braces(&matching.labels.of(&first.labels)),
        side: if matching.cardinality == Cardinality::OneToMany { "left" } else { "right" },
        first: in_braces(&first.labels),
        second: in_braces(&second.labels),
    }
}

/// A label set with the metric name as one label among the others.
fn in_braces(labels: &Labels) -> String {
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// One-to-one matching must find at most one series of the many side for each of the one side.
fn check_many_side(
    groups: &Groups<'_>,
    one: &[Column],
    many: &[Column],
    group_of: &[Option<usize>],
    grid: Grid,
) -> Result<(), EvalError> {
    let mut matched: HashMap<usize, Vec<&Column>> = HashMap::new();
    for (column, group) in many.iter().zip(group_of) {
        if let Some(group) = group {
            matched.entry(*group).or_default().push(column);
        }
    }
    for (group, columns) in matched.into_iter().filter(|(_, columns)| columns.len() > 1) {
        let partners = groups.members(group).iter().filter_map(|&index| one.get(index));
        let mut free = presence(partners, grid.steps());
        let mut taken = vec![false; grid.steps()];
        for column in columns {
            for ((free, taken), &value) in free.iter_mut().zip(&mut taken).zip(&column.values) {
                if is_present(value) && *free {
                    if *taken {
                        return Err(EvalError::ManyToOne);
                    }
                    *taken = true;
                }
            }
        }
    }
    Ok(())
}
