//! Pending updates and whether a restart is due: one file a package manager.
//!
//! A manager that the host does not have is left out; one that cannot answer is reported as unknown
//! with its reason. Nothing here takes a lock or refreshes a package list, so that no command of an
//! administrator can fail for it; only [`refresh`] does, which is off until it is switched on.

mod advisory;
mod answer;
mod apk;
mod apt;
mod apt_plan;
mod apt_policy;
mod apt_refresh;
mod dnf;
mod dnf5;
mod dnf_metadata;
mod dnf_report;
mod dpkg_state;
mod freshness;
mod kernel;
mod metrics;
mod microcode;
mod needrestart;
mod pacman;
mod reboot;
mod refresh;
mod repository;
mod rpm;
mod rpm_table;
mod services;
mod support;
mod version;
mod zypper;
mod zypper_patch;
mod zypper_table;

use upkeep_model::{Knowledge, ManagerReport, UpdateReport};

use self::needrestart::Needrestart;
use crate::helper;
use crate::host::Host;

pub use self::metrics::{METRICS, observe};
pub use self::refresh::{Refreshed, refresh};

/// Asks one package manager at a moment; `None` if the host does not have it.
type Manager = fn(&Host, i64, &mut Memory) -> Option<ManagerReport>;

/// What is kept from one look to the next, so that nothing is asked again while nothing has changed.
#[derive(Debug, Default)]
pub struct Memory {
    apt: Option<apt::Seen>,
}

/// Every package manager that is known.
const MANAGERS: [Manager; 6] = [
    apt::report,
    |host, now_ms, _| dnf5::report(host, now_ms),
    |host, now_ms, _| dnf::report(host, now_ms),
    |host, now_ms, _| zypper::report(host, now_ms),
    |host, now_ms, _| pacman::report(host, now_ms),
    |host, now_ms, _| apk::report(host, now_ms),
];

/// Asks every package manager of the host, and looks at what runs. This starts programs and may take
/// minutes; it blocks. A memory is of one host only.
pub fn report(host: &Host, now_ms: i64, memory: &mut Memory) -> UpdateReport {
    let restarts = helper::restarts(host);
    let said = restarts.as_ref().ok().and_then(|answer| answer.needrestart.as_ref());
    let needrestart = said.map(|output| Needrestart::parse(&output.stdout)).unwrap_or_default();
    let (services, certain) = match &restarts {
        Ok(answer) => (services::report(answer, &needrestart), services::restart_reasons(answer)),
        Err(error) => (Knowledge::Unknown(error.to_string()), Vec::new()),
    };
    UpdateReport {
        checked_at_ms: now_ms,
        managers: MANAGERS.iter().filter_map(|ask| ask(host, now_ms, memory)).collect(),
        reboot: reboot::report(host, &needrestart, certain),
        services,
        support: support::report(host),
    }
}
