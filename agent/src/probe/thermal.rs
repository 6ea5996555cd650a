//! Temperatures and what cools: `/sys/class/thermal`.

use upkeep_model::Observation;

use super::device::Device;
use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FOLDER: &str = "class/thermal";

/// Thermal zones and cooling devices.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThermalProbe;

impl Probe for ThermalProbe {
    fn name(&self) -> &'static str {
        "thermal_zone"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        for entry in host.list_if_present(Tree::Sys, FOLDER)? {
            let device = Device::new(host, format!("{FOLDER}/{}", entry.name));
            if let Some(zone) = entry.name.strip_prefix("thermal_zone") {
                observe_zone(device, zone, &mut faults, out);
            } else if let Some(name) = entry.name.strip_prefix("cooling_device") {
                observe_cooling(device, name, &mut faults, out);
            }
        }
        faults.into_result()
    }
}

fn observe_zone(mut device: Device<'_>, zone: &str, faults: &mut Faults, out: &mut Observation) {
    let Some(kind) = device.text("type", faults) else { return };
    let Some(thousandths) = device.number("temp", faults) else { return };
    let labels = [("zone", zone), ("type", kind.as_str())];
    let help = "The temperature of a zone in degrees Celsius.";
    out.gauge("node_thermal_zone_temp", help, &labels, thousandths / 1000.0);
}

fn observe_cooling(mut device: Device<'_>, name: &str, faults: &mut Faults, out: &mut Observation) {
    let Some(kind) = device.text("type", faults) else { return };
    let labels = [("name", name), ("type", kind.as_str())];
    if let Some(value) = device.number("cur_state", faults) {
        let help = "How hard a device cools now.";
        out.gauge("node_cooling_device_cur_state", help, &labels, value);
    }
    if let Some(value) = device.number("max_state", faults) {
        let help = "How hard a device can cool.";
        out.gauge("node_cooling_device_max_state", help, &labels, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn zones_without_a_temperature_are_left_out() {
        let (_folder, host) = host_with(&[
            ("sys/class/thermal/thermal_zone0/type", b"cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone0/temp", b"-5500\n"),
            ("sys/class/thermal/thermal_zone1/type", b"board\n"),
            ("sys/class/thermal/thermal_zone2/type", b"odd\n"),
            ("sys/class/thermal/thermal_zone2/temp", b"warm\n"),
        ]);
        let mut out = Observation::at(0);
        let error = ThermalProbe.observe(&host, &mut out).unwrap_err().to_string();
        assert_eq!(page_of(&out), ["node_thermal_zone_temp{type=\"cpu-thermal\",zone=\"0\"} -5.5"]);
        assert_eq!(error, "class/thermal/thermal_zone2, line 1, temp: \"warm\" is not a number");
    }
}
