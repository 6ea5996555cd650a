//! The energy that processors and memory took: `/sys/class/powercap`.

use std::collections::HashMap;
use std::time::Duration;

use upkeep_model::Observation;

use super::device::Device;
use super::{AskedOfHelper, Faults, Probe, ProbeError};
use crate::helper::{self, EnergyAnswer};
use crate::host::{Host, Tree};

const FOLDER: &str = "class/powercap";

/// The kernel counts millionths of joules.
const PER_JOULE: f64 = 1_000_000.0;

/// How often the helper is asked. Each question starts a process in a sandbox, 80 ms of a processor:
/// once a minute that would be more than all else the agent does. The counters only grow, so that
/// longer means are right.
const RHYTHM: Duration = Duration::from_secs(300);

/// Joules that each zone of the hardware's power meter has counted, as
/// `node_rapl_<zone>_joules_total`. Since Linux 5.10 only the administrator may read them; without
/// such rights the helper is asked every five minutes, and in between its last answer stands.
#[derive(Debug)]
pub struct RaplProbe {
    asked: AskedOfHelper<EnergyAnswer>,
}

impl Default for RaplProbe {
    fn default() -> Self {
        Self { asked: AskedOfHelper::new("energy", RHYTHM, helper::energy) }
    }
}

impl Probe for RaplProbe {
    fn name(&self) -> &'static str {
        "rapl"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        let zones = zones(host, &mut faults)?;
        for zone in &zones {
            let path = format!("{FOLDER}/{}/energy_uj", zone.folder);
            match host.read_if_present(Tree::Sys, &path) {
                Ok(None) => {}
                Ok(Some(text)) => {
                    if let Some(energy) = faults.number(&path, 1, "energy", Some(text.trim())) {
                        observe_zone(zone, energy, host, out);
                    }
                }
                // What is closed for one zone is closed for all.
                Err(error) if error.is_denied() => {
                    let tell = |answer: &_| observe_answer(answer, &zones, host, out);
                    faults.check(self.asked.tell(&error, host, tell));
                    break;
                }
                Err(error) => faults.note(error),
            }
        }
        faults.into_result()
    }
}

fn observe_answer(
    answer: &EnergyAnswer,
    zones: &[Zone],
    host: &Host,
    out: &mut Observation,
) -> Result<(), ProbeError> {
    let mut faults = Faults::default();
    for fault in &answer.faults {
        faults.note(ProbeError::System(fault.clone()));
    }
    for zone in zones {
        if let Some(told) = answer.zones.iter().find(|told| told.zone == zone.folder) {
            #[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
            observe_zone(zone, told.energy_uj as f64, host, out);
        }
    }
    faults.into_result()
}

fn observe_zone(zone: &Zone, microjoules: f64, host: &Host, out: &mut Observation) {
    let metric = format!("node_rapl_{}_joules_total", metric_part(&zone.name));
    let path = host.path(Tree::Sys, &format!("{FOLDER}/{}", zone.folder));
    let labels = [("index", zone.index.as_str()), ("path", &path.to_string_lossy())];
    let help = "Energy that a part of the hardware took, in joules.";
    out.counter(&metric, help, &labels, microjoules / PER_JOULE);
}

/// A part of the hardware whose energy is counted.
#[derive(Debug, PartialEq, Eq)]
struct Zone {
    folder: String,
    name: String,
    index: String,
}

/// The zones of the power meter, in the order of their folders.
fn zones(host: &Host, faults: &mut Faults) -> Result<Vec<Zone>, ProbeError> {
    let mut zones = Vec::new();
    let mut next_index = HashMap::new();
    for entry in host.list_if_present(Tree::Sys, FOLDER)? {
        let mut device = Device::new(host, format!("{FOLDER}/{}", entry.name));
        // The meter itself has a folder too, and no name.
        let Some(name) = device.text("name", faults) else { continue };
        let (name, index) = split_name(&name, &next_index);
        next_index.insert(name.clone(), index + 1);
        zones.push(Zone { folder: entry.name, name, index: index.to_string() });
    }
    Ok(zones)
}

/// A zone's name and number: `package-1` has its own, and zones that are all called `dram` are
/// counted.
fn split_name(name: &str, next_index: &HashMap<String, u64>) -> (String, u64) {
    if let Some((name, number)) = name.split_once('-')
        && let Ok(number) = number.parse()
    {
        return (name.to_owned(), number);
    }
    (name.to_owned(), next_index.get(name).copied().unwrap_or_default())
}

/// A name as part of a metric's: what may not stand in one becomes an underscore.
fn metric_part(name: &str) -> String {
    let mut part = String::with_capacity(name.len());
    for letter in name.chars() {
        let kept = if letter.is_ascii_alphanumeric() { letter } else { '_' };
        if kept != '_' || letter == '_' || !part.ends_with('_') {
            part.push(kept);
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn zones_are_numbered() {
        let (_folder, host) = host_with(&[
            ("sys/class/powercap/intel-rapl/enabled", b"1\n"),
            ("sys/class/powercap/intel-rapl:0/name", b"package-0\n"),
            ("sys/class/powercap/intel-rapl:0/energy_uj", b"1500000\n"),
            ("sys/class/powercap/intel-rapl:0:0/name", b"dram\n"),
            ("sys/class/powercap/intel-rapl:0:0/energy_uj", b"2\n"),
            ("sys/class/powercap/intel-rapl:1/name", b"package-0-die-1\n"),
            ("sys/class/powercap/intel-rapl:1/energy_uj", b"3000000\n"),
            ("sys/class/powercap/intel-rapl:1:0/name", b"dram\n"),
            ("sys/class/powercap/intel-rapl:1:0/energy_uj", b"-\n"),
            ("sys/class/powercap/dtpm/name", b"dtpm\n"),
        ]);
        let mut out = Observation::at(0);
        let error = RaplProbe::default().observe(&host, &mut out).unwrap_err().to_string();
        let place = host.path(Tree::Sys, FOLDER);
        let zone = |zone: &str| format!("{{index=\"0\",path=\"{}/{zone}\"}}", place.display());
        assert_eq!(
            page_of(&out),
            [
                format!("node_rapl_dram_joules_total{} 2e-06", zone("intel-rapl:0:0")),
                format!("node_rapl_package_0_die_1_joules_total{} 3", zone("intel-rapl:1")),
                format!("node_rapl_package_joules_total{} 1.5", zone("intel-rapl:0")),
            ]
        );
        assert_eq!(
            error,
            "class/powercap/intel-rapl:1:0/energy_uj, line 1, energy: \"-\" is not a number"
        );
        let zones = zones(&host, &mut Faults::default()).unwrap();
        let indices: Vec<_> = zones.iter().map(|zone| (&*zone.name, &*zone.index)).collect();
        assert_eq!(
            indices,
            [
                ("dtpm", "0"),
                ("package", "0"),
                ("dram", "0"),
                ("package-0-die-1", "0"),
                ("dram", "1")
            ]
        );
    }

    #[test]
    fn an_answer_of_the_helper_is_told_by_zone() {
        let (_folder, host) = host_with(&[
            ("sys/class/powercap/intel-rapl:0/name", b"package-0\n"),
            ("sys/class/powercap/intel-rapl:0/energy_uj", b"2500000\n"),
            ("sys/class/powercap/intel-rapl:1/name", b"package-1\n"),
            ("sys/class/powercap/intel-rapl:1/energy_uj", b"x\n"),
        ]);
        let answer = helper::energy(&host).unwrap();
        let zones = zones(&host, &mut Faults::default()).unwrap();
        let mut out = Observation::at(0);
        let error = observe_answer(&answer, &zones, &host, &mut out).unwrap_err().to_string();
        let path = host.path(Tree::Sys, "class/powercap/intel-rapl:0");
        let labels = format!("{{index=\"0\",path=\"{}\"}}", path.display());
        assert_eq!(page_of(&out), [format!("node_rapl_package_joules_total{labels} 2.5")]);
        assert!(error.contains("intel-rapl:1/energy_uj: \"x\" is not a number"), "{error}");
    }

    #[test]
    fn names_become_parts_of_metrics() {
        let check = |name: &str, expect: &str| assert_eq!(metric_part(name), expect, "{name}");
        check("core", "core");
        check("package-0-die-1", "package_0_die_1");
        check("a - b", "a_b");
        check("uncore_2", "uncore_2");
    }
}
