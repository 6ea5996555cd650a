//! One look at systemd's units: a question for the list, and one batch for the properties that it
//! does not hold.

use std::collections::BTreeMap;

use super::{STATES, SystemdDetail, UnitChoice};
use crate::host::{Host, HostError};
use crate::systemd::{self, Property, Unit, Value};

/// What systemd says for a number that it does not know or that has no limit.
const UNKNOWN: u64 = u64::MAX;

/// What systemd said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) version: Option<String>,
    pub(super) virtualization: Option<String>,
    pub(super) state: Option<String>,
    /// How many units are in each state.
    pub(super) counts: BTreeMap<String, u32>,
    /// Those units of which something is said.
    pub(super) units: Vec<UnitLook>,
}

/// What systemd said about one unit; `None` is what it was not asked or does not know.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UnitLook {
    pub(super) name: String,
    pub(super) active_state: String,
    /// A service's type, or a mount's file system.
    pub(super) kind: String,
    /// Whether more is told of it than that it failed.
    pub(super) is_included: bool,
    pub(super) restarts: Option<u64>,
    pub(super) triggered_us: Option<u64>,
    pub(super) started_us: Option<u64>,
    pub(super) tasks: Option<u64>,
    pub(super) tasks_limit: Option<u64>,
    pub(super) accepted: Option<u64>,
    pub(super) connections: Option<u64>,
    pub(super) refused: Option<u64>,
}

impl UnitLook {
    fn take(&mut self, property: &str, value: Option<Value>) {
        let (field, value) = match property {
            "Type" => return self.kind = systemd::text(value).unwrap_or_default(),
            "NRestarts" => (&mut self.restarts, systemd::number(value)),
            "LastTriggerUSec" => (&mut self.triggered_us, systemd::number(value)),
            "ActiveEnterTimestamp" => (&mut self.started_us, systemd::number(value)),
            "TasksCurrent" => (&mut self.tasks, known(value)),
            "TasksMax" => (&mut self.tasks_limit, known(value)),
            "NAccepted" => (&mut self.accepted, systemd::number(value)),
            "NConnections" => (&mut self.connections, systemd::number(value)),
            "NRefused" => (&mut self.refused, systemd::number(value)),
            _ => return,
        };
        *field = value;
    }
}

fn known(value: Option<Value>) -> Option<u64> {
    systemd::number(value).filter(|number| *number != UNKNOWN)
}

/// Asks systemd.
pub(super) fn look(
    host: &Host,
    detail: SystemdDetail,
    choice: &UnitChoice,
) -> Result<Look, HostError> {
    let units = systemd::units(host)?;
    let mut wanted =
        ["Version", "Virtualization", "SystemState"].map(Property::of_manager).to_vec();
    let of_manager = wanted.len();
    // Which unit each property is of, beside those of systemd itself.
    let mut owners = Vec::new();
    let mut looks: Vec<UnitLook> = units.iter().map(|unit| unit_look(unit, choice)).collect();
    for (at, (unit, look)) in units.iter().zip(&looks).enumerate() {
        for (interface, name) in properties_of(look, detail) {
            wanted.push(Property { path: &unit.path, interface, name });
            owners.push((at, name));
        }
    }
    let mut values = systemd::properties(host, &wanted)?;
    let of_units = values.split_off(of_manager.min(values.len()));
    for ((at, name), value) in owners.into_iter().zip(of_units) {
        if let Some(look) = looks.get_mut(at) {
            look.take(name, value);
        }
    }
    // A unit that is not active keeps the time at which it last was.
    for look in looks.iter_mut().filter(|look| look.active_state != "active") {
        look.started_us = look.started_us.map(|_| 0);
    }
    looks.retain(|look| is_told(look, detail) && choice.tells_of_failure(&look.name));
    let mut values = values.into_iter().map(systemd::text);
    Ok(Look {
        version: values.next().flatten(),
        virtualization: values.next().flatten(),
        state: values.next().flatten(),
        counts: counts(&units),
        units: looks,
    })
}

fn unit_look(unit: &Unit, choice: &UnitChoice) -> UnitLook {
    UnitLook {
        name: unit.name.clone(),
        active_state: unit.active_state.clone(),
        is_included: unit.load_state == "loaded" && choice.tells_of(&unit.name),
        ..UnitLook::default()
    }
}

/// Which properties are asked of a unit, with the interface that has them.
fn properties_of(unit: &UnitLook, detail: SystemdDetail) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    let is_all = detail == SystemdDetail::Units;
    let (_, kind) = unit.name.rsplit_once('.').unwrap_or_default();
    match kind {
        "service" if is_all || unit.active_state == "failed" => wanted.push(("Service", "Type")),
        "mount" if unit.active_state == "failed" => wanted.push(("Mount", "Type")),
        _ => {}
    }
    if !unit.is_included {
        return wanted;
    }
    match kind {
        "service" => wanted.push(("Service", "NRestarts")),
        "timer" => wanted.push(("Timer", "LastTriggerUSec")),
        "socket" if is_all => {
            wanted.extend(["NAccepted", "NConnections", "NRefused"].map(|name| ("Socket", name)));
        }
        _ => {}
    }
    if is_all {
        wanted.push(("Unit", "ActiveEnterTimestamp"));
        if kind == "service" {
            wanted.extend(["TasksCurrent", "TasksMax"].map(|name| ("Service", name)));
        }
    }
    wanted
}

fn is_told(look: &UnitLook, detail: SystemdDetail) -> bool {
    let by_default = look.active_state == "failed"
        || look.triggered_us.is_some()
        || look.restarts.is_some_and(|restarts| restarts > 0);
    by_default || (detail == SystemdDetail::Units && look.is_included)
}

fn counts(units: &[Unit]) -> BTreeMap<String, u32> {
    let mut counts: BTreeMap<String, u32> =
        STATES.iter().map(|state| ((*state).to_owned(), 0)).collect();
    for unit in units {
        match counts.get_mut(&unit.active_state) {
            Some(count) => *count += 1,
            None => drop(counts.insert(unit.active_state.clone(), 1)),
        }
    }
    counts
}
