//! Pending updates and whether a restart is due: one file a package manager.
//!
//! A manager that is missing is left out; one that cannot answer is reported as unknown with its
//! reason. Nothing here takes a lock or refreshes a package list.

use upkeep_model::{Knowledge, Observation, UpdateReport};

use crate::host::Host;

/// Asks every package manager of the host. This starts programs and may take a minute; it blocks.
pub fn report(_host: &Host, now_ms: i64) -> UpdateReport {
    UpdateReport {
        checked_at_ms: now_ms,
        managers: Vec::new(),
        reboot: Knowledge::Unknown("not looked up yet".to_owned()),
    }
}

/// Adds the metrics of a report to an observation.
pub fn observe(_report: &UpdateReport, _out: &mut Observation) {}
