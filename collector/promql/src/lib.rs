//! PromQL with Prometheus 3 semantics, without I/O.
//!
//! [`parse`] checks an expression and its types; the [`Query`] it returns is evaluated at one
//! moment or over a range against any [`Source`] of samples. A range is evaluated in one pass:
//! a series is a column of values, one a step, and each node of the expression works on whole
//! columns. Which series and which stretch of time are needed goes down to the source with each
//! [`Selection`].
//!
//! Ranges and the lookback are open on the left: at `t`, `x[5m]` is what lies in `(t-5m, t]`.
//! Metric names that a function drops are dropped at the end of the evaluation, so that
//! `label_replace` and `by (__name__)` still see them on the way.

mod answer;
mod eval;
mod expression;
mod locality;
mod notation;
mod number;
mod parse;
mod position;
mod query;
mod quote;
mod source;

pub use answer::{Answer, Point, Row, Value};
pub use eval::{EvalError, Limits};
pub use notation::{NotationError, Step, parse_labels, parse_steps};
pub use number::{ValueText, format_value};
pub use parse::{ParseError, format, parse, parse_selector, parse_tree};
pub use position::Position;
pub use query::Query;
pub use source::{Hint, Selection, Source, SourceError};
