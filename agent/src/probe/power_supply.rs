//! Batteries, chargers and mains: `/sys/class/power_supply`.

use upkeep_model::Observation;

use super::device::Device;
use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FOLDER: &str = "class/power_supply";

/// The kernel counts millionths of volts, amperes, watts and their hours.
const PER_UNIT: f64 = 1_000_000.0;

/// The kernel counts tenths of degrees.
const PER_DEGREE: f64 = 10.0;

/// Files whose number is shown as it stands, or divided, and what it is shown as. The names are
/// node_exporter's, which names some values by their unit and others not.
const NUMBERS: [(&str, &str, f64); 49] = [
    ("authentic", "node_power_supply_authentic", 1.0),
    ("calibrate", "node_power_supply_calibrate", 1.0),
    ("capacity", "node_power_supply_capacity", 1.0),
    ("capacity_alert_max", "node_power_supply_capacity_alert_max", 1.0),
    ("capacity_alert_min", "node_power_supply_capacity_alert_min", 1.0),
    ("cycle_count", "node_power_supply_cyclecount", 1.0),
    ("online", "node_power_supply_online", 1.0),
    ("present", "node_power_supply_present", 1.0),
    ("time_to_empty_now", "node_power_supply_time_to_empty_seconds", 1.0),
    ("time_to_full_now", "node_power_supply_time_to_full_seconds", 1.0),
    ("current_boot", "node_power_supply_current_boot", PER_UNIT),
    ("current_max", "node_power_supply_current_max", PER_UNIT),
    ("current_now", "node_power_supply_current_ampere", PER_UNIT),
    ("energy_empty", "node_power_supply_energy_empty", PER_UNIT),
    ("energy_empty_design", "node_power_supply_energy_empty_design", PER_UNIT),
    ("energy_full", "node_power_supply_energy_full", PER_UNIT),
    ("energy_full_design", "node_power_supply_energy_full_design", PER_UNIT),
    ("energy_now", "node_power_supply_energy_watthour", PER_UNIT),
    ("voltage_boot", "node_power_supply_voltage_boot", PER_UNIT),
    ("voltage_max", "node_power_supply_voltage_max", PER_UNIT),
    ("voltage_max_design", "node_power_supply_voltage_max_design", PER_UNIT),
    ("voltage_min", "node_power_supply_voltage_min", PER_UNIT),
    ("voltage_min_design", "node_power_supply_voltage_min_design", PER_UNIT),
    ("voltage_now", "node_power_supply_voltage_volt", PER_UNIT),
    ("voltage_ocv", "node_power_supply_voltage_ocv", PER_UNIT),
    ("charge_control_limit", "node_power_supply_charge_control_limit", PER_UNIT),
    ("charge_control_limit_max", "node_power_supply_charge_control_limit_max", PER_UNIT),
    ("charge_counter", "node_power_supply_charge_counter", PER_UNIT),
    ("charge_empty", "node_power_supply_charge_empty", PER_UNIT),
    ("charge_empty_design", "node_power_supply_charge_empty_design", PER_UNIT),
    ("charge_full", "node_power_supply_charge_full", PER_UNIT),
    ("charge_full_design", "node_power_supply_charge_full_design", PER_UNIT),
    ("charge_now", "node_power_supply_charge_ampere", PER_UNIT),
    ("charge_term_current", "node_power_supply_charge_term_current", PER_UNIT),
    ("constant_charge_current", "node_power_supply_constant_charge_current", PER_UNIT),
    ("constant_charge_current_max", "node_power_supply_constant_charge_current_max", PER_UNIT),
    ("constant_charge_voltage", "node_power_supply_constant_charge_voltage", PER_UNIT),
    ("constant_charge_voltage_max", "node_power_supply_constant_charge_voltage_max", PER_UNIT),
    ("precharge_current", "node_power_supply_precharge_current", PER_UNIT),
    ("input_current_limit", "node_power_supply_input_current_limit", PER_UNIT),
    ("power_now", "node_power_supply_power_watt", PER_UNIT),
    ("temp", "node_power_supply_temp_celsius", PER_DEGREE),
    ("temp_alert_max", "node_power_supply_temp_alert_max_celsius", PER_DEGREE),
    ("temp_alert_min", "node_power_supply_temp_alert_min_celsius", PER_DEGREE),
    ("temp_ambient", "node_power_supply_temp_ambient_celsius", PER_DEGREE),
    ("temp_ambient_max", "node_power_supply_temp_ambient_max_celsius", PER_DEGREE),
    ("temp_ambient_min", "node_power_supply_temp_ambient_min_celsius", PER_DEGREE),
    ("temp_max", "node_power_supply_temp_max_celsius", PER_DEGREE),
    ("temp_min", "node_power_supply_temp_min_celsius", PER_DEGREE),
];

/// Files whose text becomes a label of the same name.
const TEXTS: [&str; 11] = [
    "capacity_level",
    "charge_type",
    "health",
    "manufacturer",
    "model_name",
    "serial_number",
    "status",
    "technology",
    "type",
    "usb_type",
    "scope",
];

/// What supplies the host with power: charge, voltage, temperature and state.
#[derive(Clone, Copy, Debug, Default)]
pub struct PowerSupplyProbe;

impl Probe for PowerSupplyProbe {
    fn name(&self) -> &'static str {
        "powersupplyclass"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        for entry in host.list_if_present(Tree::Sys, FOLDER)? {
            faults.check(observe_supply(&entry.name, host, out));
        }
        faults.into_result()
    }
}

/// Adds what one supply has. It is listed first, since it has few of the many files there may be.
fn observe_supply(supply: &str, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
    let mut faults = Faults::default();
    let folder = format!("{FOLDER}/{supply}");
    let files = host.list(Tree::Sys, &folder)?;
    let mut device = Device::new(host, folder);
    let mut texts = Vec::new();
    for file in &files {
        let number = NUMBERS.iter().find(|(name, ..)| *name == file.name);
        if let Some((name, metric, divisor)) = number
            && let Some(value) = device.number(name, &mut faults)
        {
            let help = "What a power supply says about itself.";
            out.gauge(metric, help, &[("power_supply", supply)], value / divisor);
        }
        let text = TEXTS.iter().find(|name| **name == file.name);
        // node_exporter leaves out what is empty here, and nowhere else.
        if let Some(name) = text
            && let Some(value) = device.text(name, &mut faults)
            && !value.is_empty()
        {
            texts.push((*name, value));
        }
    }
    let mut labels = vec![("power_supply", supply)];
    labels.extend(texts.iter().map(|(name, value)| (*name, value.as_str())));
    out.gauge("node_power_supply_info", "The make and state of a power supply.", &labels, 1.0);
    faults.into_result()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn a_supply_is_told_in_units() {
        let (_folder, host) = host_with(&[
            ("sys/class/power_supply/BAT1/capacity", b"74\n"),
            ("sys/class/power_supply/BAT1/voltage_now", b"11660000\n"),
            ("sys/class/power_supply/BAT1/temp", b"-12\n"),
            ("sys/class/power_supply/BAT1/charge_now", b"lots\n"),
            ("sys/class/power_supply/BAT1/status", b"Charging\n"),
            ("sys/class/power_supply/BAT1/model_name", b"X\xff1\n"),
            ("sys/class/power_supply/BAT1/manufacturer", b"\n"),
            ("sys/class/power_supply/BAT1/alarm", b"0\n"),
        ]);
        let mut out = Observation::at(0);
        let error = PowerSupplyProbe.observe(&host, &mut out).unwrap_err().to_string();
        assert_eq!(
            page_of(&out),
            [
                "node_power_supply_capacity{power_supply=\"BAT1\"} 74",
                "node_power_supply_info{model_name=\"X\u{fffd}1\",power_supply=\"BAT1\",\
                 status=\"Charging\"} 1",
                "node_power_supply_temp_celsius{power_supply=\"BAT1\"} -1.2",
                "node_power_supply_voltage_volt{power_supply=\"BAT1\"} 11.66",
            ]
        );
        assert_eq!(error, "class/power_supply/BAT1, line 1, charge_now: \"lots\" is not a number");
    }

    #[test]
    fn no_metric_is_named_twice() {
        let mut metrics: Vec<_> = NUMBERS.iter().map(|(_, metric, _)| metric).collect();
        metrics.sort_unstable();
        metrics.dedup();
        assert_eq!(metrics.len(), NUMBERS.len());
    }
}
