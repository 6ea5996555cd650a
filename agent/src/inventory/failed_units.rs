//! Units of systemd that failed, since when, and why.

use tracing::debug;

use crate::host::{Host, HostError};
use crate::systemd::{self, Property};

/// A unit that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FailedUnit {
    pub(super) name: String,
    /// Since when, in microseconds since 1970.
    pub(super) since_us: u64,
    /// How, in systemd's word: `exit-code`, `oom-kill`, `timeout`; may be empty.
    pub(super) result: String,
}

impl FailedUnit {
    /// How the unit is, for people.
    pub(super) fn how(&self) -> String {
        match self.result.as_str() {
            "" => "failed".to_owned(),
            result => format!("failed: {result}"),
        }
    }
}

/// Asks systemd; `None` where it does not run the host or does not answer.
pub(super) fn look(host: &Host) -> Option<Vec<FailedUnit>> {
    if !systemd::runs(host) {
        return None;
    }
    // The probe of systemd tells that it does not answer.
    ask(host).inspect_err(|error| debug!("which units failed is not known: {error}")).ok()
}

fn ask(host: &Host) -> Result<Vec<FailedUnit>, HostError> {
    let units = systemd::failed_units(host)?;
    let mut wanted = Vec::with_capacity(2 * units.len());
    for unit in &units {
        let path = unit.path.as_str();
        wanted.push(Property { path, interface: "Unit", name: "StateChangeTimestamp" });
        wanted.push(Property { path, interface: interface_of(&unit.name), name: "Result" });
    }
    let mut values = systemd::properties(host, &wanted)?.into_iter();
    let failed = units.into_iter().map(|unit| FailedUnit {
        name: unit.name,
        since_us: systemd::number(values.next().flatten()).unwrap_or_default(),
        result: systemd::text(values.next().flatten()).unwrap_or_default(),
    });
    Ok(failed.collect())
}

/// The interface that is called after a unit's type.
fn interface_of(unit: &str) -> &'static str {
    match unit.rsplit_once('.') {
        Some((_, "mount")) => "Mount",
        Some((_, "socket")) => "Socket",
        Some((_, "timer")) => "Timer",
        Some((_, "swap")) => "Swap",
        Some((_, "path")) => "Path",
        Some((_, "scope")) => "Scope",
        Some((_, "automount")) => "Automount",
        _ => "Service",
    }
}
