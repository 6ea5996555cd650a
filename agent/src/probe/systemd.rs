//! systemd's units: which failed, how often services were restarted, when timers last ran.
//!
//! node_exporter's collector is off by default, since it gives five series for every unit and asks
//! systemd several times for each at every scrape. Here systemd is asked once a minute, and what is
//! on by default is only what tells something: units that failed, services that were restarted,
//! timers, and the sums. The rest comes where the probe is enabled by name.

mod choice;
mod look;

use std::sync::{Arc, Mutex, PoisonError};

use upkeep_model::Observation;

pub use self::choice::{UnitChoice, UnitPattern, UnitPatternError};
use self::look::{Look, UnitLook};
use super::{Probe, ProbeError};
use crate::host::Host;
use crate::systemd;

/// How long what systemd said holds, in milliseconds.
const HOLDS_MS: i64 = 60_000;

/// The states that every unit is in one of; some versions of systemd know a few more.
const STATES: [&str; 5] = ["active", "activating", "deactivating", "inactive", "failed"];

/// How much is said about units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SystemdDetail {
    /// What failed, what was restarted, and timers.
    #[default]
    Events,
    /// Everything about every unit of the choice.
    Units,
}

/// What systemd says about its units.
#[derive(Debug, Default)]
pub struct SystemdProbe {
    detail: SystemdDetail,
    choice: UnitChoice,
    last: Mutex<Option<Last>>,
}

/// The last answer and when it came; a failure is kept as long as an answer.
#[derive(Debug)]
struct Last {
    at_ms: i64,
    answer: Result<Arc<Look>, String>,
}

impl SystemdProbe {
    /// A probe that says so much of these units.
    pub fn new(detail: SystemdDetail, choice: UnitChoice) -> Self {
        Self { detail, choice, last: Mutex::default() }
    }

    /// What systemd said less than a minute ago, or says now.
    fn look(&self, host: &Host, now_ms: i64) -> Result<Arc<Look>, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && (0..HOLDS_MS).contains(&now_ms.saturating_sub(last.at_ms))
        {
            return last.answer.clone();
        }
        let answer = match look::look(host, self.detail, &self.choice) {
            Ok(look) => Ok(Arc::new(look)),
            Err(error) if error.is_absent() => Ok(Arc::default()),
            Err(error) => Err(error.to_string()),
        };
        *last = Some(Last { at_ms: now_ms, answer: answer.clone() });
        answer
    }
}

impl Probe for SystemdProbe {
    fn name(&self) -> &'static str {
        "systemd"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        if !systemd::runs(host) {
            return Ok(());
        }
        let look = self.look(host, out.timestamp_ms).map_err(ProbeError::System)?;
        add_manager(&look, out);
        for unit in &look.units {
            add_unit(unit, self.detail, out);
        }
        Ok(())
    }
}

fn add_manager(look: &Look, out: &mut Observation) {
    if let Some(version) = &look.version {
        let help = "The version of systemd that runs.";
        out.gauge("node_systemd_version", help, &[("version", version)], version_number(version));
    }
    if let Some(kind) = &look.virtualization {
        let kind = if kind.is_empty() { "none" } else { kind };
        let help = "What systemd found to lie between it and the machine.";
        out.gauge("node_systemd_virtualization_info", help, &[("virtualization_type", kind)], 1.0);
    }
    if let Some(state) = &look.state {
        let help = "Whether every unit is as it should be, as `systemctl is-system-running` says.";
        out.gauge("node_systemd_system_running", help, &[], flag(state == "running"));
    }
    for (state, count) in &look.counts {
        let help = "How many units are in each state.";
        out.gauge("node_systemd_units", help, &[("state", state)], f64::from(*count));
    }
}

fn add_unit(unit: &UnitLook, detail: SystemdDetail, out: &mut Observation) {
    let name = [("name", unit.name.as_str())];
    for state in STATES {
        let is_in_it = unit.active_state == state;
        let is_told = detail == SystemdDetail::Units && unit.is_included;
        if is_told || (is_in_it && state == "failed") {
            let labels = [("name", &*unit.name), ("state", state), ("type", &*unit.kind)];
            let help = "Whether a unit is in a state; the type is a service's.";
            out.gauge("node_systemd_unit_state", help, &labels, flag(is_in_it));
        }
    }
    if let Some(restarts) = unit.restarts
        && (detail == SystemdDetail::Units || restarts > 0)
    {
        let help = "How often systemd restarted a service by itself.";
        out.counter("node_systemd_service_restart_total", help, &name, restarts as f64);
    }
    let gauges = [
        (
            "node_systemd_timer_last_trigger_seconds",
            "When a timer last ran, in seconds since 1970; 0 is never.",
            unit.triggered_us.map(seconds),
        ),
        (
            "node_systemd_unit_start_time_seconds",
            "When a unit became active, in seconds since 1970; 0 where it is not.",
            unit.started_us.map(seconds),
        ),
        (
            "node_systemd_unit_tasks_current",
            "How many tasks a service has.",
            unit.tasks.map(|count| count as f64),
        ),
        (
            "node_systemd_unit_tasks_max",
            "How many tasks a service may have.",
            unit.tasks_limit.map(|count| count as f64),
        ),
        (
            "node_systemd_socket_current_connections",
            "How many connections of a socket are open.",
            unit.connections.map(|count| count as f64),
        ),
        // A gauge, as node_exporter has it.
        (
            "node_systemd_socket_refused_connections_total",
            "How many connections a socket refused.",
            unit.refused.map(|count| count as f64),
        ),
    ];
    for (metric, help, value) in gauges {
        if let Some(value) = value {
            out.gauge(metric, help, &name, value);
        }
    }
    if let Some(accepted) = unit.accepted {
        let help = "How many connections a socket accepted.";
        let metric = "node_systemd_socket_accepted_connections_total";
        out.counter(metric, help, &name, accepted as f64);
    }
}

/// The number in a version such as `252.39-1~deb12u1`: three digits or more, and those behind a dot
/// that follows them; 0 where there is none.
fn version_number(version: &str) -> f64 {
    let is_digit = |letter: char| letter.is_ascii_digit();
    let digits_of = |text: &str| text.len() - text.trim_start_matches(is_digit).len();
    let mut rest = version;
    while let Some(at) = rest.find(is_digit) {
        let (_, number) = rest.split_at(at);
        let whole = digits_of(number);
        let (_, after) = number.split_at(whole);
        if whole >= 3 {
            let fraction = after.strip_prefix('.').map_or(0, digits_of);
            let length = if fraction > 0 { whole + 1 + fraction } else { whole };
            return number.get(..length).and_then(|text| text.parse().ok()).unwrap_or_default();
        }
        rest = after;
    }
    0.0
}

fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

fn flag(is_set: bool) -> f64 {
    if is_set { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{host_with, page_of};
    use super::*;

    #[test]
    fn versions_have_a_number() {
        let check = |version: &str, expect: f64| {
            assert_eq!(version_number(version), expect, "{version}");
        };
        check("252.39-1~deb12u1", 252.39);
        check("219", 219.0);
        check("v258~rc4-2.fc43", 258.0);
        check("255.", 255.0);
        check("12.345", 345.0);
        check("next", 0.0);
    }

    #[test]
    fn without_systemd_there_is_nothing_and_no_fault() {
        let (_folder, host) = host_with(&[("proc/stat", b"")]);
        let mut out = Observation::at(5);
        SystemdProbe::default().observe(&host, &mut out).unwrap();
        assert!(page_of(&out).is_empty());
        // A host that systemd runs and that has no bus, such as a small image.
        let (_folder, host) = host_with(&[("run/systemd/system/a", b"")]);
        SystemdProbe::default().observe(&host, &mut out).unwrap();
        assert!(page_of(&out).is_empty());
    }

    #[test]
    fn what_is_usual_is_left_out_by_default() {
        let unit = |name: &str, active_state: &str, restarts| UnitLook {
            name: name.to_owned(),
            active_state: active_state.to_owned(),
            kind: "simple".to_owned(),
            is_included: true,
            restarts,
            ..UnitLook::default()
        };
        let units = [unit("a.service", "active", Some(0)), unit("b.service", "failed", Some(2))];
        let check = |detail: SystemdDetail, expect: &[&str]| {
            let mut out = Observation::at(5);
            units.iter().for_each(|unit| add_unit(unit, detail, &mut out));
            assert_eq!(page_of(&out), expect);
        };
        let failed = r#"node_systemd_unit_state{name="b.service",state="failed",type="simple"} 1"#;
        let restarted = r#"node_systemd_service_restart_total{name="b.service"} 2"#;
        check(SystemdDetail::Events, &[restarted, failed]);
        let mut out = Observation::at(5);
        units.iter().for_each(|unit| add_unit(unit, SystemdDetail::Units, &mut out));
        assert_eq!(page_of(&out).len(), 2 * STATES.len() + 2);
    }
}
