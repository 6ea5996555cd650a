//! The health of disks, as they tell it themselves: `smartctl`, under smartctl_exporter's names.
//!
//! What takes more privileges than the agent has is read by its helper, which starts smartctl. That
//! takes seconds and must not be done often, so it has a rhythm of its own; each tick repeats what
//! was read last, with its age. A disk that sleeps is not woken, and keeps its values.
//!
//! | metric | labels | meaning |
//! |---|---|---|
//! | `smartctl_…` | | as smartctl_exporter has them |
//! | `upkeep_disk_health` | `device`, `state` | 1 for the state that a disk is in, 0 for the others |
//! | `upkeep_disk_finding` | `device`, `finding`, `state` | what speaks against it: the count or value |
//! | `upkeep_disk_asleep` | `device` | 1 if the disk slept and was not asked |
//! | `upkeep_disk_reading_age_seconds` | `device` | how old its values are |
//! | `upkeep_disks_readable` | `reason` | 0 if disks cannot be asked on this host, with the reason |

mod attribute;
mod disk;
mod field;
mod metrics;
mod parse;
mod reading;
#[cfg(test)]
mod tests;
mod verdict;

use std::time::Duration;

use upkeep_model::Observation;

pub use self::reading::{DiskHealth, Unread, look};
use self::reading::{KnownDisk, Readings};
pub use self::verdict::{Finding, Health, Verdict};
use super::{Faults, Probe, ProbeError};
use crate::host::Host;

/// When disks are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The time between readings.
    pub interval: Duration,
    /// How long an observation waits for the very first answer.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(600), patience: Duration::ZERO }
    }
}

/// The health of disks.
#[derive(Debug, Default)]
pub struct SmartProbe {
    readings: Readings,
}

impl SmartProbe {
    /// A probe with its own rhythm.
    pub fn new(settings: Settings) -> Self {
        Self { readings: Readings::new(settings) }
    }
}

impl Probe for SmartProbe {
    fn name(&self) -> &'static str {
        "smartctl"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let known = self.readings.at(host, out.timestamp_ms);
        let Some(known) = known else {
            readable(0.0, "they have not answered yet", out);
            return Ok(());
        };
        match &known.unread {
            None => readable(1.0, "", out),
            Some(Unread::Unavailable(reason)) => readable(0.0, reason, out),
            Some(Unread::Failed(_)) => {}
        }
        if known.unread.is_none() {
            let help = "Number of devices configured or dynamically discovered";
            out.gauge("smartctl_devices", help, &[], known.disks.len() as f64);
        }
        if let Some(first) = known.disks.iter().find(|known| !known.disk.program.version.is_empty())
        {
            metrics::observe_program(&first.disk.program, out);
        }
        for disk in &known.disks {
            observe_disk(disk, out);
        }
        let mut faults = Faults::default();
        known.notes.tell(&mut faults);
        if let Some(Unread::Failed(reason)) = &known.unread {
            faults.note(ProbeError::System(reason.clone()));
        }
        faults.into_result()
    }
}

fn readable(value: f64, reason: &str, out: &mut Observation) {
    let help = "Whether disks can be asked for their health on this host.";
    out.gauge("upkeep_disks_readable", help, &[("reason", reason)], value);
}

fn observe_disk(known: &KnownDisk, out: &mut Observation) {
    metrics::observe(&known.disk, out);
    let device = ("device", known.disk.label.as_str());
    for health in Health::ALL {
        let help = "1 for the state of health that a disk is in.";
        let is_in = known.verdict.health == health;
        let labels = [device, ("state", health.name())];
        out.gauge("upkeep_disk_health", help, &labels, f64::from(u8::from(is_in)));
    }
    let mut told = Vec::with_capacity(known.verdict.findings.len());
    for Finding { name, health, value, .. } in &known.verdict.findings {
        // The worst comes first; what is found twice is told once.
        if told.contains(name) {
            continue;
        }
        told.push(*name);
        let help = "What speaks against a disk: what was counted or measured.";
        let labels = [device, ("finding", *name), ("state", health.name())];
        out.gauge("upkeep_disk_finding", help, &labels, *value);
    }
    let asleep = f64::from(u8::from(known.is_asleep));
    out.gauge("upkeep_disk_asleep", "1 if the disk slept and was not asked.", &[device], asleep);
    let help = "How long ago the disk's values were read.";
    let age_ms = out.timestamp_ms.saturating_sub(known.read_at_ms).max(0);
    out.gauge("upkeep_disk_reading_age_seconds", help, &[device], age_ms as f64 / 1000.0);
}
