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
mod reboot_hint;
mod refresh;
mod remembered;
mod repository;
mod rpm;
mod rpm_table;
mod services;
mod support;
mod version;
mod zypper;
mod zypper_patch;
mod zypper_table;

use upkeep_model::{Knowledge, ManagerReport, PackageUpdate, Refresh, RestartReason, UpdateReport};

use self::advisory::Explained;
use self::needrestart::Needrestart;
use self::remembered::Remembered;
use crate::helper;
use crate::host::Host;
use crate::systemd;

pub use self::metrics::{METRICS, observe};
pub use self::refresh::{Refreshed, refresh};

/// Asks one package manager at a moment; `None` if the host does not have it.
type Manager = fn(&Host, i64, &mut Memory) -> Option<ManagerReport>;

/// What is kept from one look to the next, so that nothing is asked again while nothing has changed.
#[derive(Debug, Default)]
pub struct Memory {
    apt: Remembered<apt::Answer>,
    // At most one of dnf 5, dnf 4 and yum looks after a host.
    dnf: Remembered<Explained>,
    zypper: Remembered<Explained>,
    pacman: Remembered<Vec<PackageUpdate>>,
    apk: Remembered<Vec<PackageUpdate>>,
    restarts: Remembered<Vec<RestartReason>>,
}

/// Every package manager that is known.
const MANAGERS: [Manager; 6] =
    [apt::report, dnf5::report, dnf::report, zypper::report, pacman::report, apk::report];

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
    let mut managers: Vec<ManagerReport> =
        MANAGERS.iter().filter_map(|ask| ask(host, now_ms, memory)).collect();
    note_failed_services(host, &mut managers);
    UpdateReport {
        checked_at_ms: now_ms,
        managers,
        reboot: reboot::report(host, &needrestart, certain, |host| {
            reboot_hint::ask(host, now_ms, &mut memory.restarts)
        }),
        services,
        support: support::report(host),
    }
}

/// Where systemd tells that the last start of a service failed which refreshes lists, refreshing
/// fails, however fresh they still are.
fn note_failed_services(host: &Host, managers: &mut [ManagerReport]) {
    if !systemd::runs(host) {
        return;
    }
    // Where systemd cannot be asked, the age of the lists tells the same some days later.
    let failed = systemd::failed_units(host).unwrap_or_default();
    for report in managers {
        if let Some(service) = freshness::failed_service(&report.manager, &failed) {
            report.refresh = Knowledge::Known(Refresh::Fails(format!("{service} failed")));
        }
    }
}
