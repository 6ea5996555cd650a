//! Rules: read from Prometheus' rule files, evaluated on a schedule, their alerts handed on.
//!
//! [`load`] reads all files, or says everything that is wrong with them; [`schedule::run`] evaluates
//! each group on its interval, and some rules as samples arrive, until it is stopped; a [`Board`] shows at any time how they do, and a
//! [`Reloader`] has changed files taken up.

mod ahead;
mod alert_rule;
mod arrival;
mod check;
pub mod file;
mod group;
mod hosts;
mod memory;
mod record;
mod reload;
mod require;
pub mod schedule;
#[cfg(test)]
mod shipped;
mod snapshot;
pub mod template;
mod turn;
mod unit_test;

use std::collections::BTreeSet;
use std::time::Duration;

use upkeep_promql::Limits;

pub use alert_rule::{AlertRule, Candidate, RESOLVED_RETENTION, Reason, Transition};
pub use arrival::ArrivalMeters;
pub use check::{Report, check, load};
pub use record::{RecordError, RecordedPoint, Recorder};
pub use reload::{ReloadError, ReloadMeters, ReloadRequests, Reloaded, Reloader, reloading};
pub use require::RequireOutcome;
pub use snapshot::{
    AlertStatus, Arrival, Board, GroupStatus, Health, Muted, Phase, RuleKind, RuleStatus, Snapshot,
};
pub use unit_test::{Difference, Failure, TestReport, test};

/// What can be set about rules.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often a group is evaluated that does not say so itself.
    pub interval: Duration,
    /// Of which files only rules with `action` and `outcome`, and above the severity `info`, notify.
    pub require_outcome: RequireOutcome,
    /// The address under which people reach this server; links in messages begin with it.
    pub external_url: String,
    /// The names of the actions that rules may ask for.
    pub actions: BTreeSet<String>,
    /// How long the evaluation of one rule may take.
    pub timeout: Duration,
    /// What the evaluation of one rule may use; its deadline comes from `timeout`.
    pub limits: Limits,
    /// How long hosts have to come back after an outage of the collector before an alert from
    /// before counts as resolved merely since its series is not there.
    pub settle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            require_outcome: RequireOutcome::default(),
            external_url: String::new(),
            actions: BTreeSet::new(),
            timeout: Duration::from_mins(2),
            limits: Limits::default(),
            settle: Duration::from_mins(5),
        }
    }
}
