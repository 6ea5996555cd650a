//! Pending updates and whether a restart is due: one file a package manager.
//!
//! A manager that the host does not have is left out; one that cannot answer is reported as unknown
//! with its reason. Nothing here takes a lock or refreshes a package list, so that no command of an
//! administrator can fail for it; only [`refresh`] does, which is off until it is switched on.

mod apt;
mod apt_plan;
mod apt_policy;
mod apt_refresh;
mod dpkg_state;
mod kernel;
mod metrics;
mod microcode;
mod reboot;
mod refresh;
mod support;
mod version;

use upkeep_model::{ManagerReport, UpdateReport};

use crate::host::Host;

pub use self::metrics::observe;
pub use self::refresh::{Refreshed, refresh};

/// Asks one package manager at a moment; `None` if the host does not have it.
type Manager = fn(&Host, i64) -> Option<ManagerReport>;

/// Every package manager that is known.
const MANAGERS: [Manager; 1] = [apt::report];

/// Asks every package manager of the host. This starts programs and may take a minute; it blocks.
pub fn report(host: &Host, now_ms: i64) -> UpdateReport {
    UpdateReport {
        checked_at_ms: now_ms,
        managers: MANAGERS.iter().filter_map(|manager| manager(host, now_ms)).collect(),
        reboot: reboot::report(host),
        support: support::report(host),
        ..UpdateReport::default()
    }
}
