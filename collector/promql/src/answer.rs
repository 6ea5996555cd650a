//! What an evaluation gives back.

use upkeep_model::Labels;

use crate::eval::{Column, Grid, is_present};

/// The value of an expression, and what its author should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The result.
    pub value: Value,
    /// What is probably wrong, each once, as Prometheus words it.
    pub warnings: Vec<String>,
    /// What may be wrong, each once, as Prometheus words it.
    pub infos: Vec<String>,
}

/// The four types of a PromQL value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One number without labels.
    Scalar {
        /// The moment of the evaluation, in milliseconds since 1970.
        at_ms: i64,
        /// The number.
        value: f64,
    },
    /// A string.
    Text {
        /// The moment of the evaluation, in milliseconds since 1970.
        at_ms: i64,
        /// The string.
        text: String,
    },
    /// One value a series, at one moment. The order is that of `sort`, `topk` and their like;
    /// otherwise it carries no meaning.
    Vector(Vec<Point>),
    /// Many values a series, ordered by labels.
    Matrix(Vec<Row>),
}

/// One series at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The series.
    pub labels: Labels,
    /// The moment of the evaluation, in milliseconds since 1970.
    pub at_ms: i64,
    /// Its value.
    pub value: f64,
}

/// One series over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The series.
    pub labels: Labels,
    points: Points,
}

#[derive(Clone, Debug, PartialEq)]
enum Points {
    /// The evaluator's column as it is, with gaps where there is no value.
    Steps {
        grid: Grid,
        values: Vec<f64>,
    },
    Listed(Vec<(i64, f64)>),
}

impl Row {
    /// A series with its points: milliseconds since 1970, ascending, and values.
    pub fn new(labels: Labels, points: Vec<(i64, f64)>) -> Self {
        Self { labels, points: Points::Listed(points) }
    }

    pub(crate) fn of_column(column: Column, grid: Grid) -> Self {
        let Column { labels, values, .. } = column;
        Self { labels, points: Points::Steps { grid, values } }
    }

    /// Milliseconds since 1970 and the value, ascending; moments without a value are left out.
    pub fn points(&self) -> impl Iterator<Item = (i64, f64)> {
        let (steps, listed) = match &self.points {
            Points::Steps { grid, values } => {
                let points = grid.moments().zip(values.iter().copied());
                (Some(points.filter(|(_, value)| is_present(*value))), None)
            }
            Points::Listed(points) => (None, Some(points.iter().copied())),
        };
        steps.into_iter().flatten().chain(listed.into_iter().flatten())
    }
}
