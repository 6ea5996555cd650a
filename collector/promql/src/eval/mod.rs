//! Evaluation over columns.
//!
//! Each node of an expression gives, for a [`Grid`] of steps, columns of one value a step. What has
//! no value at a step holds [`ABSENT`] there, so that a column is one plain vector of floats.

mod accumulate;
mod aggregate;
mod annotation;
mod binary;
mod budget;
mod column;
mod error;
pub(crate) mod function;
mod grid;
mod matching;
mod outcome;
mod rank;
mod reading;
mod roll;
mod selector;
mod set;
mod window;

pub(crate) use column::{ABSENT, Column, is_present};
pub use error::{EvalError, Limits};
pub(crate) use function::Function;
pub(crate) use grid::Grid;
pub(crate) use outcome::{instant, range};

use annotation::Annotations;
use budget::Budget;
use reading::Readings;

use crate::expression::{Expression, ValueType};
use crate::source::Source;

/// The value of a node over a grid.
#[derive(Debug)]
pub(crate) enum Evaluated {
    /// One value a step, none absent.
    Scalar(Vec<f64>),
    Vector(Vec<Column>),
    Text(String),
}

/// One evaluation: what it reads from, what it may use, and what it has noticed.
pub(crate) struct Evaluator<'a> {
    source: &'a dyn Source,
    lookback_ms: i64,
    /// The whole query's grid, which `@ start()` and `@ end()` name.
    query: Grid,
    is_instant: bool,
    pub(crate) budget: Budget,
    pub(crate) annotations: Annotations,
    readings: Readings,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(
        source: &'a dyn Source,
        limits: &Limits,
        expression: &Expression,
        query: Grid,
        is_instant: bool,
    ) -> Self {
        Self {
            source,
            readings: Readings::new(expression, limits.lookback_ms),
            lookback_ms: limits.lookback_ms,
            query,
            is_instant,
            budget: Budget::new(limits),
            annotations: Annotations::default(),
        }
    }

    /// Whether the query asks for one moment, so that the order of its result is kept.
    pub(crate) fn is_instant(&self) -> bool {
        self.is_instant
    }

    pub(crate) fn evaluate(
        &mut self,
        expression: &Expression,
        grid: Grid,
    ) -> Result<Evaluated, EvalError> {
        match expression {
            Expression::Number(value) => Ok(Evaluated::Scalar(self.repeat(*value, grid)?)),
            Expression::Text(text) => Ok(Evaluated::Text(text.clone())),
            Expression::Selector(selector) => {
                Ok(Evaluated::Vector(self.select_instant(selector, grid)?))
            }
            Expression::Range(_) | Expression::Subquery(_) => Err(EvalError::WrongType {
                wanted: ValueType::Vector.to_string(),
                got: ValueType::Matrix.to_string(),
            }),
            Expression::Negate(inner) => self.negate(inner, grid),
            Expression::Binary(binary) => self.binary(binary, grid),
            Expression::Aggregate(aggregate) => {
                Ok(Evaluated::Vector(self.aggregate(aggregate, grid)?))
            }
            Expression::Call(call) => call.function.evaluate(self, call, grid),
            Expression::Constant(inner) => self.constant(inner, grid),
        }
    }

    /// Evaluates what is known to be an instant vector.
    pub(crate) fn vector(
        &mut self,
        expression: &Expression,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        match self.evaluate(expression, grid)? {
            Evaluated::Vector(columns) => Ok(columns),
            _ => Err(wrong_type(ValueType::Vector, expression)),
        }
    }

    /// Evaluates what is known to be a scalar.
    pub(crate) fn scalar(
        &mut self,
        expression: &Expression,
        grid: Grid,
    ) -> Result<Vec<f64>, EvalError> {
        match self.evaluate(expression, grid)? {
            Evaluated::Scalar(values) => Ok(values),
            _ => Err(wrong_type(ValueType::Scalar, expression)),
        }
    }

    /// Evaluates what is known to be a string.
    pub(crate) fn text(
        &mut self,
        expression: &Expression,
        grid: Grid,
    ) -> Result<String, EvalError> {
        match self.evaluate(expression, grid)? {
            Evaluated::Text(text) => Ok(text),
            _ => Err(wrong_type(ValueType::Text, expression)),
        }
    }

    /// A column with the same value at every step.
    pub(crate) fn repeat(&mut self, value: f64, grid: Grid) -> Result<Vec<f64>, EvalError> {
        self.budget.charge(grid.steps())?;
        Ok(vec![value; grid.steps()])
    }

    fn negate(&mut self, inner: &Expression, grid: Grid) -> Result<Evaluated, EvalError> {
        match self.evaluate(inner, grid)? {
            Evaluated::Scalar(mut values) => {
                values.iter_mut().for_each(|value| *value = -*value);
                Ok(Evaluated::Scalar(values))
            }
            Evaluated::Vector(mut columns) => {
                for column in &mut columns {
                    column.drops_name = true;
                    column.map(|value| -value);
                }
                Ok(Evaluated::Vector(columns))
            }
            Evaluated::Text(_) => Err(wrong_type(ValueType::Vector, inner)),
        }
    }

    fn constant(&mut self, inner: &Expression, grid: Grid) -> Result<Evaluated, EvalError> {
        Ok(match self.evaluate(inner, grid.first_step())? {
            Evaluated::Scalar(values) => {
                let value = values.first().copied().unwrap_or(f64::NAN);
                Evaluated::Scalar(self.repeat(value, grid)?)
            }
            Evaluated::Vector(mut columns) => {
                for column in &mut columns {
                    let value = column.values.first().copied().unwrap_or(ABSENT);
                    column.values = self.repeat(value, grid)?;
                }
                Evaluated::Vector(columns)
            }
            text @ Evaluated::Text(_) => text,
        })
    }
}

fn wrong_type(wanted: ValueType, expression: &Expression) -> EvalError {
    EvalError::WrongType { wanted: wanted.to_string(), got: expression.value_type().to_string() }
}
