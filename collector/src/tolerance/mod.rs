//! Tolerance: a control chart for every signal of every host, without anything to tune.
//!
//! Every five minutes each [`Signal`] is asked for all hosts at once. A [`Chart`] judges the value by
//! what is usual there, and learns of it: at first by an exponentially weighted mean, after three weeks
//! by the hour of the week (module `baseline`). [`watch()`] reads, has charts judge, writes their lines
//! and marks as series and keeps what they learned; a [`ChartBoard`] shows them. Nobody is told of a
//! mark but by a rule over those series.

mod baseline;
mod board;
mod broken;
mod chart;
mod noise;
mod number;
mod series;
mod sheet;
mod signal;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;
mod watch;

pub use baseline::{Phase, STEP_MS};
pub use board::{ChartBoard, ChartStatus};
pub use broken::ChartRule;
pub use chart::{Chart, ChartLimits, Judged, Learned};
pub use series::{BROKEN, CENTER, LOWER_LIMIT, RULE, SIGNAL, UPPER_LIMIT, VALUE};
pub use signal::{SHIPPED, Signal, SignalFault, SignalText, chosen};
pub use watch::{Covers, Hosts, Maintenance, Parts, ToleranceError, watch};
