//! The functions of the language: one entry in [`FUNCTIONS`] each.

mod absent;
mod calendar;
mod convert;
mod extrapolate;
mod histogram;
mod label;
mod map;
mod over_time;
mod regression;
mod sort;

use super::accumulate::{Count, Deviation, Largest, Mean, One, Smallest, Sum, Variance};
use super::window::Window;
use super::{ABSENT, Column, EvalError, Evaluated, Evaluator, Grid};
use crate::expression::ValueType::{self, Matrix, Scalar, Vector};
use crate::expression::{Call, Expression};
use calendar::CivilTime;

/// A function and how it is evaluated. The parser knows which arguments it takes.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) returns: ValueType,
    /// Whether its value depends on the time of the evaluation even where its arguments do not.
    pub(crate) uses_time: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Each value by itself.
    Map(fn(f64) -> f64),
    /// Each value by itself, with scalars at that step; the value may vanish.
    MapWith(fn(f64, &[f64]) -> Option<f64>),
    /// Each value as a time in seconds; the time of the evaluation where there is no argument.
    Calendar(fn(&CivilTime) -> f64),
    /// The window of each series at each step, with scalars at that step.
    Window { apply: fn(&Window<'_>, &[f64]) -> Option<f64>, keeps_name: bool },
    /// All columns at once.
    Whole(fn(&mut Evaluator<'_>, &Call, Grid) -> Result<Evaluated, EvalError>),
}

const fn map(name: &'static str, apply: fn(f64) -> f64) -> Function {
    let kind = Kind::Map(apply);
    Function { name, returns: Vector, uses_time: false, kind }
}

const fn map_with(name: &'static str, apply: fn(f64, &[f64]) -> Option<f64>) -> Function {
    let kind = Kind::MapWith(apply);
    Function { name, returns: Vector, uses_time: false, kind }
}

const fn calendar(name: &'static str, apply: fn(&CivilTime) -> f64) -> Function {
    let kind = Kind::Calendar(apply);
    Function { name, returns: Vector, uses_time: false, kind }
}

const fn window(name: &'static str, apply: fn(&Window<'_>, &[f64]) -> Option<f64>) -> Function {
    let kind = Kind::Window { apply, keeps_name: false };
    Function { name, returns: Vector, uses_time: false, kind }
}

const fn choice(name: &'static str, apply: fn(&Window<'_>, &[f64]) -> Option<f64>) -> Function {
    let kind = Kind::Window { apply, keeps_name: true };
    Function { name, returns: Vector, uses_time: false, kind }
}

const fn whole(
    name: &'static str,
    returns: ValueType,
    apply: fn(&mut Evaluator<'_>, &Call, Grid) -> Result<Evaluated, EvalError>,
) -> Function {
    Function { name, returns, uses_time: false, kind: Kind::Whole(apply) }
}

const fn with_time(function: Function) -> Function {
    Function { uses_time: true, ..function }
}

/// All functions, by name.
static FUNCTIONS: &[Function] = &[
    map("abs", f64::abs),
    whole("absent", Vector, absent::absent),
    whole("absent_over_time", Vector, absent::absent_over_time),
    map("acos", f64::acos),
    map("acosh", f64::acosh),
    map("asin", f64::asin),
    map("asinh", f64::asinh),
    map("atan", f64::atan),
    map("atanh", f64::atanh),
    window("avg_over_time", over_time::fold::<Mean>),
    map("ceil", f64::ceil),
    window("changes", over_time::changes),
    map_with("clamp", map::clamp),
    map_with("clamp_max", map::clamp_max),
    map_with("clamp_min", map::clamp_min),
    map("cos", f64::cos),
    map("cosh", f64::cosh),
    window("count_over_time", over_time::fold::<Count>),
    calendar("day_of_month", CivilTime::day_of_month),
    calendar("day_of_week", CivilTime::day_of_week),
    calendar("day_of_year", CivilTime::day_of_year),
    calendar("days_in_month", CivilTime::days_in_month),
    map("deg", f64::to_degrees),
    window("delta", extrapolate::delta),
    window("deriv", regression::deriv),
    map("exp", f64::exp),
    choice("first_over_time", over_time::first),
    map("floor", f64::floor),
    whole("histogram_fraction", Vector, histogram::fraction),
    whole("histogram_quantile", Vector, histogram::quantile),
    calendar("hour", CivilTime::hour),
    window("idelta", over_time::idelta),
    whole("increase", Vector, extrapolate::increase),
    window("irate", over_time::irate),
    whole("label_join", Vector, label::join),
    whole("label_replace", Vector, label::replace),
    choice("last_over_time", over_time::last),
    map("ln", f64::ln),
    map("log10", f64::log10),
    map("log2", f64::log2),
    window("max_over_time", over_time::fold::<Largest>),
    window("min_over_time", over_time::fold::<Smallest>),
    calendar("minute", CivilTime::minute),
    calendar("month", CivilTime::month),
    whole("pi", Scalar, convert::pi),
    with_time(window("predict_linear", regression::predict_linear)),
    window("present_over_time", over_time::fold::<One>),
    whole("quantile_over_time", Vector, over_time::quantile),
    map("rad", f64::to_radians),
    whole("rate", Vector, extrapolate::rate),
    window("resets", over_time::resets),
    map_with("round", map::round),
    whole("scalar", Scalar, convert::scalar),
    map("sgn", map::sgn),
    map("sin", f64::sin),
    map("sinh", f64::sinh),
    whole("sort", Vector, sort::ascending),
    whole("sort_desc", Vector, sort::descending),
    map("sqrt", f64::sqrt),
    window("stddev_over_time", over_time::fold::<Deviation>),
    window("stdvar_over_time", over_time::fold::<Variance>),
    window("sum_over_time", over_time::fold::<Sum>),
    map("tan", f64::tan),
    map("tanh", f64::tanh),
    with_time(whole("time", Scalar, convert::time)),
    with_time(whole("timestamp", Vector, convert::timestamp)),
    whole("vector", Vector, convert::vector),
    calendar("year", CivilTime::year),
];

/// The function of that name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    let at = FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok()?;
    FUNCTIONS.get(at)
}

impl Function {
    pub(super) fn evaluate(
        &self,
        evaluator: &mut Evaluator<'_>,
        call: &Call,
        grid: Grid,
    ) -> Result<Evaluated, EvalError> {
        let columns = match self.kind {
            Kind::Whole(apply) => return apply(evaluator, call, grid),
            Kind::Map(apply) => {
                let mut columns = vector_argument(evaluator, call, grid)?;
                for column in &mut columns {
                    column.drops_name = true;
                    column.map(apply);
                }
                columns
            }
            Kind::MapWith(apply) => map::with_scalars(evaluator, call, grid, apply)?,
            Kind::Calendar(apply) => calendar::evaluate(evaluator, call, grid, apply)?,
            Kind::Window { apply, keeps_name } => {
                let mut columns = over_windows(evaluator, call, grid, apply)?;
                columns.iter_mut().for_each(|column| column.drops_name |= !keeps_name);
                columns
            }
        };
        Ok(Evaluated::Vector(columns))
    }
}

/// The columns of the first argument.
fn vector_argument(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Vec<Column>, EvalError> {
    match call.arguments.first() {
        Some(argument) => evaluator.vector(argument, grid),
        None => Ok(Vec::new()),
    }
}

/// The arguments that are scalars, in order.
fn scalar_arguments(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Vec<Vec<f64>>, EvalError> {
    call.arguments
        .iter()
        .filter(|argument| argument.value_type() == Scalar)
        .map(|argument| evaluator.scalar(argument, grid))
        .collect()
}

/// The argument that is a range.
fn range_argument(call: &Call) -> Option<&Expression> {
    call.arguments.iter().find(|argument| argument.value_type() == Matrix)
}

fn over_windows(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
    apply: impl Fn(&Window<'_>, &[f64]) -> Option<f64> + Sync,
) -> Result<Vec<Column>, EvalError> {
    let parameters = scalar_arguments(evaluator, call, grid)?;
    let Some(range) = range_argument(call) else { return Ok(Vec::new()) };
    let windows = evaluator.windows(range, Some(call.function.name), grid)?;
    evaluator.roll(&windows, grid, &parameters, apply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_by_its_name() {
        for function in FUNCTIONS {
            assert!(find(function.name).is_some(), "{} is out of order", function.name);
        }
        assert!(find("nonsense").is_none());
    }
}
