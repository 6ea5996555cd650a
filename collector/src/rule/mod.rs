//! Rules: read from Prometheus' rule files, evaluated on a schedule, their alerts handed on.

pub mod file;
mod snapshot;
pub mod template;

pub use snapshot::{
    AlertStatus, Board, GroupStatus, Health, Muted, Phase, RuleKind, RuleStatus, Snapshot,
};
