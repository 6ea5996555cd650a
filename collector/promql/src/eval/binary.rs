//! Binary operators: arithmetic and comparison, with scalars on either side.

use super::{ABSENT, Column, EvalError, Evaluated, Evaluator, Grid, is_present};
use crate::expression::{Arithmetic, Binary, Comparison, Operator, ValueType};

impl Operator {
    /// The value for two operands, or `None` if a comparison filters them out.
    pub(crate) fn apply(self, left: f64, right: f64) -> Option<f64> {
        match self {
            Self::Arithmetic(arithmetic) => Some(arithmetic.apply(left, right)),
            Self::Comparison { comparison, returns_bool } => {
                let holds = comparison.holds(left, right);
                match returns_bool {
                    true => Some(f64::from(u8::from(holds))),
                    false => holds.then_some(left),
                }
            }
            // Sets are about which series there are, and never come here.
            Self::Set(_) => None,
        }
    }

    /// Whether the result is something else than what the metric's name says.
    pub(crate) fn changes_meaning(self) -> bool {
        match self {
            Self::Arithmetic(_) => true,
            Self::Comparison { returns_bool, .. } => returns_bool,
            Self::Set(_) => false,
        }
    }
}

impl Arithmetic {
    fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Modulo => left % right,
            Self::Power => left.powf(right),
            Self::Atan2 => left.atan2(right),
        }
    }
}

impl Comparison {
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::Less => left < right,
            Self::GreaterOrEqual => left >= right,
            Self::LessOrEqual => left <= right,
        }
    }
}

impl Evaluator<'_> {
    pub(super) fn binary(&mut self, binary: &Binary, grid: Grid) -> Result<Evaluated, EvalError> {
        match (binary.left.value_type(), binary.right.value_type()) {
            (ValueType::Scalar, ValueType::Scalar) => self.scalars(binary, grid),
            (ValueType::Vector, ValueType::Scalar) => {
                let columns = self.vector(&binary.left, grid)?;
                let scalars = self.scalar(&binary.right, grid)?;
                Ok(with_scalars(binary.operator, columns, &scalars, false))
            }
            (ValueType::Scalar, ValueType::Vector) => {
                let scalars = self.scalar(&binary.left, grid)?;
                let columns = self.vector(&binary.right, grid)?;
                Ok(with_scalars(binary.operator, columns, &scalars, true))
            }
            _ => {
                let left = self.vector(&binary.left, grid)?;
                let right = self.vector(&binary.right, grid)?;
                let joined = match binary.operator {
                    Operator::Set(operator) => {
                        self.combine(operator, &binary.matching.labels, left, right)?
                    }
                    operator => self.join(operator, &binary.matching, left, right, grid)?,
                };
                Ok(Evaluated::Vector(joined))
            }
        }
    }

    fn scalars(&mut self, binary: &Binary, grid: Grid) -> Result<Evaluated, EvalError> {
        let mut left = self.scalar(&binary.left, grid)?;
        let right = self.scalar(&binary.right, grid)?;
        for (left, right) in left.iter_mut().zip(right) {
            *left = binary.operator.apply(*left, right).unwrap_or(f64::NAN);
        }
        Ok(Evaluated::Scalar(left))
    }
}

fn with_scalars(
    operator: Operator,
    mut columns: Vec<Column>,
    scalars: &[f64],
    scalar_first: bool,
) -> Evaluated {
    for column in &mut columns {
        column.drops_name |= operator.changes_meaning();
        for (value, &scalar) in column.values.iter_mut().zip(scalars) {
            if is_present(*value) {
                *value = against_scalar(operator, *value, scalar, scalar_first);
            }
        }
    }
    columns.retain(Column::has_values);
    Evaluated::Vector(columns)
}

/// A comparison that filters keeps the vector's value, whichever side the scalar is on.
fn against_scalar(operator: Operator, value: f64, scalar: f64, scalar_first: bool) -> f64 {
    let (left, right) = if scalar_first { (scalar, value) } else { (value, scalar) };
    match operator.apply(left, right) {
        Some(result) if operator.changes_meaning() => result,
        Some(_) => value,
        None => ABSENT,
    }
}
