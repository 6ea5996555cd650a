//! Rules: read from Prometheus' rule files, evaluated on a schedule, their alerts handed on.

mod snapshot;

pub use snapshot::{
    AlertStatus, Board, GroupStatus, Health, Muted, Phase, RuleKind, RuleStatus, Snapshot,
};
