//! `label_replace` and `label_join`.

use upkeep_model::{METRIC_NAME, compile_anchored};

use super::{Call, Column, EvalError, Evaluated, Evaluator, Grid, vector_argument};
use crate::eval::column::merge_same_labels;

pub(super) fn replace(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    let mut texts = text_arguments(evaluator, call, grid)?.into_iter();
    let mut next = || texts.next().unwrap_or_default();
    let (destination, replacement, source, pattern) = (next(), next(), next(), next());
    let regex = compile_anchored(&pattern).map_err(|_| EvalError::Regex(pattern.clone()))?;
    check_name(&destination, "destination", "label_replace")?;
    let mut columns = vector_argument(evaluator, call, grid)?;
    for column in &mut columns {
        let value = column.labels.get(&source).unwrap_or_default();
        if let Some(captures) = regex.captures(value) {
            let mut replaced = String::new();
            captures.expand(&replacement, &mut replaced);
            set(column, &destination, replaced);
        }
    }
    merged(columns)
}

pub(super) fn join(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    let mut texts = text_arguments(evaluator, call, grid)?.into_iter();
    let mut next = || texts.next().unwrap_or_default();
    let (destination, separator) = (next(), next());
    let sources: Vec<String> = texts.collect();
    for source in &sources {
        check_name(source, "source", "label_join")?;
    }
    check_name(&destination, "destination", "label_join")?;
    let mut columns = vector_argument(evaluator, call, grid)?;
    for column in &mut columns {
        let values: Vec<&str> =
            sources.iter().map(|name| column.labels.get(name).unwrap_or_default()).collect();
        let joined = values.join(&separator);
        set(column, &destination, joined);
    }
    merged(columns)
}

fn text_arguments(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Vec<String>, EvalError> {
    call.arguments.iter().skip(1).map(|argument| evaluator.text(argument, grid)).collect()
}

/// Any text is a label name, as long as there is any.
fn check_name(name: &str, role: &'static str, function: &'static str) -> Result<(), EvalError> {
    if name.is_empty() {
        return Err(EvalError::LabelName { role, function, name: name.to_owned() });
    }
    Ok(())
}

/// A metric name that is set here was meant, and is kept even if a function had marked it.
fn set(column: &mut Column, name: &str, value: String) {
    column.labels.set(name, value);
    if name == METRIC_NAME {
        column.drops_name = false;
    }
}

fn merged(columns: Vec<Column>) -> Result<Evaluated, EvalError> {
    Ok(Evaluated::Vector(merge_same_labels(columns, || EvalError::SameLabels)?))
}
