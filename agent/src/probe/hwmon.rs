//! Sensors: `/sys/class/hwmon`.

use std::collections::{BTreeMap, HashMap};

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{EntryKind, Host, HostError, Tree};

const FOLDER: &str = "class/hwmon";

/// The kinds of sensor that are shown; their files are named by kind, number and property.
const KINDS: [&str; 14] = [
    "vrm",
    "beep_enable",
    "update_interval",
    "in",
    "cpu",
    "fan",
    "pwm",
    "temp",
    "curr",
    "power",
    "energy",
    "humidity",
    "intrusion",
    "freq",
];

/// The properties that are numbers whatever the driver. Of the others, some are texts, which are passed
/// over.
const NUMBERS: [&str; 12] = [
    "alarm",
    "average",
    "cap",
    "crit",
    "crit_alarm",
    "fault",
    "highest",
    "input",
    "lowest",
    "max",
    "min",
    "target",
];

/// Temperatures, fans, voltages and whatever else the host's chips measure, as
/// `node_hwmon_<kind>_<property>_<unit>`.
#[derive(Clone, Copy, Debug)]
pub struct HwmonProbe {
    shows_chip: fn(&str) -> bool,
}

impl HwmonProbe {
    /// A probe that shows some chips only.
    pub fn new(shows_chip: fn(&str) -> bool) -> Self {
        Self { shows_chip }
    }
}

impl Default for HwmonProbe {
    fn default() -> Self {
        Self::new(|_| true)
    }
}

impl Probe for HwmonProbe {
    fn name(&self) -> &'static str {
        "hwmon"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        for Chip { folder, label, name } in chips(host, &mut faults)? {
            if !(self.shows_chip)(&label) {
                continue;
            }
            if !name.is_empty() {
                let labels = [("chip", label.as_str()), ("chip_name", &name)];
                out.gauge("node_hwmon_chip_names", "What a chip calls itself.", &labels, 1.0);
            }
            let folder = format!("{FOLDER}/{folder}");
            for (sensor, readings) in sensors(host, &folder, &mut faults) {
                observe_sensor(&label, &sensor, &readings, out, |item, text| {
                    faults.number(&folder, 1, item, Some(text));
                });
            }
        }
        faults.into_result()
    }
}

/// One chip.
struct Chip {
    /// Its folder's name, which may be another one after the next start.
    folder: String,
    /// What it is told apart by, and what stays the same over restarts as far as that is possible.
    label: String,
    /// What it calls itself; empty if it does not say.
    name: String,
}

/// The chips, each with a label of its own. Chips of one device are told apart by the names they
/// have, or where that does not help by their folders.
fn chips(host: &Host, faults: &mut Faults) -> Result<Vec<Chip>, ProbeError> {
    let mut chips = Vec::new();
    let mut labels: HashMap<String, usize> = HashMap::new();
    let mut names: HashMap<(String, String), usize> = HashMap::new();
    for entry in host.list_if_present(Tree::Sys, FOLDER)? {
        if entry.kind == EntryKind::File {
            continue;
        }
        let folder = format!("{FOLDER}/{}", entry.name);
        let name = clean(&text(host, &format!("{folder}/name"), faults));
        let label =
            device_label(host, &folder, &name, faults).unwrap_or_else(|| clean(&entry.name));
        *labels.entry(label.clone()).or_default() += 1;
        *names.entry((label.clone(), name.clone())).or_default() += 1;
        chips.push(Chip { folder: entry.name, label, name });
    }
    for chip in &mut chips {
        if labels.get(&chip.label) == Some(&1) {
            continue;
        }
        let is_told_by_name = !chip.name.is_empty()
            && names.get(&(chip.label.clone(), chip.name.clone())) == Some(&1);
        let part = if is_told_by_name { &chip.name } else { &clean(&chip.folder) };
        chip.label = format!("{}_{part}", chip.label);
    }
    Ok(chips)
}

/// The properties of one sensor, as text.
type Readings = BTreeMap<String, String>;

/// The sensors of a chip. Drivers of old have their files in the device's own folder.
fn sensors(host: &Host, folder: &str, faults: &mut Faults) -> BTreeMap<Sensor, Readings> {
    let mut sensors: BTreeMap<Sensor, Readings> = BTreeMap::new();
    for folder in [folder.to_owned(), format!("{folder}/device")] {
        let listed = faults.keep(host.list_if_present(Tree::Sys, &folder));
        for entry in listed.unwrap_or_default() {
            let Some((sensor, property)) = split_name(&entry.name) else { continue };
            let value = text(host, &format!("{folder}/{}", entry.name), faults);
            if !value.is_empty() {
                sensors.entry(sensor).or_default().insert(property.to_owned(), value);
            }
        }
    }
    sensors
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sensor {
    kind: &'static str,
    number: u32,
}

/// Parts `temp1_crit_alarm` into the sensor `temp1` and its property; `None` for other files.
fn split_name(file: &str) -> Option<(Sensor, &str)> {
    let digits_at = file.find(|letter: char| letter.is_ascii_digit()).unwrap_or(file.len());
    let (kind, rest) = file.split_at_checked(digits_at)?;
    let kind = *KINDS.iter().find(|known| **known == kind)?;
    let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (number, property) = rest.split_at_checked(digits)?;
    let number = if number.is_empty() { 0 } else { number.parse().ok()? };
    let property = if property.is_empty() { "" } else { property.strip_prefix('_')? };
    Some((Sensor { kind, number }, property))
}

/// A chip's label after its device and what that is part of, or else after its own name; `None` if
/// it has neither.
fn device_label(host: &Host, folder: &str, name: &str, faults: &mut Faults) -> Option<String> {
    let device = match host.resolve(Tree::Sys, &format!("{folder}/device")) {
        Ok(device) => device,
        Err(error) => {
            if !error.is_absent() {
                faults.note(error);
            }
            return (!name.is_empty()).then(|| name.to_owned());
        }
    };
    let part = |path: Option<&std::path::Path>| {
        let name = path.and_then(|path| path.file_name());
        name.map(|name| clean(&name.to_string_lossy())).unwrap_or_default()
    };
    let parts = [part(device.parent()), part(Some(&device))];
    let joined: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    (!joined.is_empty()).then(|| joined.join("_"))
}

/// Adds what a sensor tells; what should be a number and is none goes to `unread` with its text.
fn observe_sensor(
    chip: &str,
    sensor: &Sensor,
    readings: &Readings,
    out: &mut Observation,
    mut unread: impl FnMut(&str, &str),
) {
    let name = format!("{}{}", sensor.kind, sensor.number);
    let label = readings.get("label");
    if let Some(label) = label {
        let labels = [("chip", chip), ("sensor", &name), ("label", label)];
        out.gauge("node_hwmon_sensor_label", "What a sensor is for.", &labels, 1.0);
    }
    let is_frequency = sensor.kind == "freq";
    for (property, value) in readings.iter().filter(|(property, _)| *property != "label") {
        let number = value.parse().ok().filter(|number: &f64| number.is_finite());
        let Some(value) = number else {
            // A text that a driver means as one begins with a letter.
            let is_text = value.starts_with(|letter: char| letter.is_ascii_alphabetic());
            if NUMBERS.contains(&property.as_str()) || !is_text {
                unread(&format!("{name}_{property}"), value);
            }
            continue;
        };
        // A frequency goes by what it is the frequency of; without that it tells nothing.
        let shown_sensor = match (is_frequency && property == "input", label) {
            (true, None) => continue,
            (true, Some(label)) => &clean(label),
            (false, _) => &name,
        };
        let series = series(sensor.kind, property, readings.contains_key(""));
        let labels = [("chip", chip), ("sensor", shown_sensor)];
        let help = "What a sensor of the host's chips measures or is set to.";
        let value = match series.scale {
            Scale::Whole => value,
            Scale::Thousandth => value * 0.001,
            Scale::Millionth => value / 1_000_000.0,
            Scale::Switch => f64::from(u8::from(value == 1.0)),
        };
        if series.is_counter {
            out.counter(&series.metric, help, &labels, value);
        } else {
            out.gauge(&series.metric, help, &labels, value);
        }
    }
}

/// How a file's number becomes a value in the unit of the metric's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Whole,
    Thousandth,
    Millionth,
    /// 1 for 1, and 0 for everything else.
    Switch,
}

#[derive(Debug, PartialEq, Eq)]
struct Series {
    metric: String,
    scale: Scale,
    is_counter: bool,
}

/// The metric of a property. A property called `input` is the sensor's value and has no name of its
/// own, unless the sensor has a file without any property too.
fn series(kind: &str, property: &str, has_bare_file: bool) -> Series {
    let own = match property {
        "" => String::new(),
        "input" if !has_bare_file => String::new(),
        property => format!("_{}", clean(property)),
    };
    let (unit, scale) = unit(kind, property);
    let metric = match kind {
        "beep_enable" => "node_hwmon_beep_enabled".to_owned(),
        "vrm" => "node_hwmon_voltage_regulator_version".to_owned(),
        "update_interval" => "node_hwmon_update_interval_seconds".to_owned(),
        _ if property == "beep" => format!("node_hwmon_{kind}{own}_enabled"),
        _ => format!("node_hwmon_{kind}{own}{unit}"),
    };
    let is_counter = unit == "_joule_total";
    Series { metric, scale, is_counter }
}

fn unit(kind: &str, property: &str) -> (&'static str, Scale) {
    match (kind, property) {
        ("beep_enable", _) => ("", Scale::Switch),
        ("update_interval", _) => ("", Scale::Thousandth),
        (_, "fault" | "alarm" | "beep") => ("", Scale::Whole),
        ("in" | "cpu", _) => ("_volts", Scale::Thousandth),
        ("temp", property) if property != "type" => ("_celsius", Scale::Thousandth),
        ("curr", _) => ("_amps", Scale::Thousandth),
        ("energy", _) => ("_joule_total", Scale::Millionth),
        ("power", "accuracy") => ("", Scale::Millionth),
        ("power", "average_interval" | "average_interval_min" | "average_interval_max") => {
            ("_seconds", Scale::Thousandth)
        }
        ("power", _) => ("_watt", Scale::Millionth),
        ("humidity", _) => ("", Scale::Millionth),
        ("fan", "input" | "min" | "max" | "target") => ("_rpm", Scale::Whole),
        ("freq", "input") => ("_freq_mhz", Scale::Millionth),
        _ => ("", Scale::Whole),
    }
}

/// A text as part of a metric's name or of a chip's: lower case, everything else an underscore.
fn clean(text: &str) -> String {
    let lower = text.trim().to_lowercase();
    let is_kept = |letter: char| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || [':', '_'].contains(&letter)
    };
    let replaced: String =
        lower.chars().map(|letter| if is_kept(letter) { letter } else { '_' }).collect();
    replaced.trim_matches('_').to_owned()
}

/// An attribute's text. Sensors that are wired to nothing refuse to be read; that is no fault of
/// the host, and asking again will not help.
fn text(host: &Host, path: &str, faults: &mut Faults) -> String {
    match host.read_if_present(Tree::Sys, path) {
        Ok(text) => text.map(|text| text.trim().to_owned()).unwrap_or_default(),
        Err(HostError::Read { .. }) => String::new(),
        Err(error) => {
            faults.note(error);
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn files_are_parted_into_sensor_and_property() {
        let check = |file: &str, expect: Option<(&'static str, u32, &str)>| {
            let seen = split_name(file)
                .map(|(Sensor { kind, number }, property)| (kind, number, property));
            assert_eq!(seen, expect, "{file}");
        };
        check("temp1_crit_alarm", Some(("temp", 1, "crit_alarm")));
        check("pwm12", Some(("pwm", 12, "")));
        check("beep_enable", Some(("beep_enable", 0, "")));
        check("bogus1_input", None);
        check("name", None);
        check("temp1x", None);
        check("temp99999999999_input", None);
    }

    #[test]
    fn properties_have_their_units() {
        let check = |kind: &str, property: &str, expect: (&str, Scale)| {
            let series = series(kind, property, false);
            assert_eq!((series.metric.as_str(), series.scale), expect, "{kind} {property}");
            assert_eq!(series.is_counter, kind == "energy");
        };
        check("temp", "input", ("node_hwmon_temp_celsius", Scale::Thousandth));
        check("temp", "type", ("node_hwmon_temp_type", Scale::Whole));
        check("in", "alarm", ("node_hwmon_in_alarm", Scale::Whole));
        check("fan", "beep", ("node_hwmon_fan_beep_enabled", Scale::Whole));
        check("power", "average", ("node_hwmon_power_average_watt", Scale::Millionth));
        check(
            "power",
            "average_interval",
            ("node_hwmon_power_average_interval_seconds", Scale::Thousandth),
        );
        check("energy", "input", ("node_hwmon_energy_joule_total", Scale::Millionth));
        check("curr", "max", ("node_hwmon_curr_max_amps", Scale::Thousandth));
        check("humidity", "input", ("node_hwmon_humidity", Scale::Millionth));
        check("beep_enable", "", ("node_hwmon_beep_enabled", Scale::Switch));
        check("update_interval", "", ("node_hwmon_update_interval_seconds", Scale::Thousandth));
        assert_eq!(series("fan", "input", true).metric, "node_hwmon_fan_input_rpm");
    }

    #[test]
    fn chips_of_one_name_or_device_are_not_mixed_up() {
        let (folder, host) = host_with(&[
            ("sys/class/hwmon/hwmon0/name", b"it87\n"),
            ("sys/class/hwmon/hwmon0/temp1_input", b"1000\n"),
            ("sys/class/hwmon/hwmon1/name", b"it87\n"),
            ("sys/class/hwmon/hwmon1/temp1_input", b"2000\n"),
            ("sys/class/hwmon/hwmon2/name", b"fans\n"),
            ("sys/class/hwmon/hwmon2/fan1_input", b"30\n"),
            ("sys/class/hwmon/hwmon3/name", b"heat\n"),
            ("sys/class/hwmon/hwmon3/temp1_input", b"4000\n"),
            ("sys/class/hwmon/hwmon4/temp1_input", b"5000\n"),
            ("sys/devices/platform/board/driver", b""),
        ]);
        let sys = folder.path().join("sys");
        for chip in ["hwmon2", "hwmon3", "hwmon4"] {
            let link = sys.join("class/hwmon").join(chip).join("device");
            std::os::unix::fs::symlink(sys.join("devices/platform/board"), link).unwrap();
        }
        let mut out = Observation::at(0);
        HwmonProbe::default().observe(&host, &mut out).unwrap();
        assert_eq!(
            page_of(&out),
            [
                "node_hwmon_chip_names{chip=\"it87_hwmon0\",chip_name=\"it87\"} 1",
                "node_hwmon_chip_names{chip=\"it87_hwmon1\",chip_name=\"it87\"} 1",
                "node_hwmon_chip_names{chip=\"platform_board_fans\",chip_name=\"fans\"} 1",
                "node_hwmon_chip_names{chip=\"platform_board_heat\",chip_name=\"heat\"} 1",
                "node_hwmon_fan_rpm{chip=\"platform_board_fans\",sensor=\"fan1\"} 30",
                "node_hwmon_temp_celsius{chip=\"it87_hwmon0\",sensor=\"temp1\"} 1",
                "node_hwmon_temp_celsius{chip=\"it87_hwmon1\",sensor=\"temp1\"} 2",
                "node_hwmon_temp_celsius{chip=\"platform_board_heat\",sensor=\"temp1\"} 4",
                "node_hwmon_temp_celsius{chip=\"platform_board_hwmon4\",sensor=\"temp1\"} 5",
            ]
        );
    }
}
