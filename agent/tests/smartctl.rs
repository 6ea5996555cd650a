//! Holds what the agent says about disks against what smartctl said of more than a hundred real ones.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use upkeep_agent::exposition;
use upkeep_agent::host::Host;
use upkeep_agent::probe::{Probe, SmartProbe, smart};
use upkeep_model::Observation;

const MINUTE: Duration = Duration::from_secs(60);

/// The recordings of real disks, by file name; none where the data is absent.
fn disks() -> BTreeMap<String, Value> {
    let data = std::env::var_os("UPKEEP_CONFORMANCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
        PathBuf::from,
    );
    let data = data.join("smartctl");
    let Ok(folder) = std::fs::read_dir(&data) else {
        eprintln!("SKIPPED: {} is not there", data.display());
        return BTreeMap::new();
    };
    let paths = folder.map(|entry| entry.unwrap().path());
    let documents = paths.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
    let disks: BTreeMap<String, Value> = documents
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap())
        })
        .collect();
    assert!(disks.len() >= 20, "only {} disks in {}", disks.len(), data.display());
    disks
}

/// A host with disks: what smartctl says of each, with its exit status.
fn host_with(disks: &[(&Value, i32)]) -> (tempfile::TempDir, Host) {
    let folder = tempfile::tempdir().unwrap();
    let devices: Vec<_> = disks.iter().map(|(disk, _)| disk["device"].clone()).collect();
    let scan = serde_json::json!({ "devices": devices }).to_string();
    let mut lines = vec![recorded(&["smartctl", "--scan-open", "--json"], 0, &scan)];
    for (disk, exit) in disks {
        let device = &disk["device"];
        let kind = format!("--device={}", device["type"].as_str().unwrap());
        let name = device["name"].as_str().unwrap();
        let argv = ["smartctl", "--json", "--all", "--nocheck=standby", &kind, name];
        lines.push(recorded(&argv, *exit, &disk.to_string()));
    }
    std::fs::write(folder.path().join("commands.jsonl"), lines.join("\n")).unwrap();
    let host = Host::replay(folder.path()).unwrap();
    (folder, host)
}

fn recorded(argv: &[&str], exit: i32, stdout: &str) -> String {
    serde_json::json!({"argv": argv, "exit": exit, "stdout": stdout}).to_string()
}

fn exit_of(disk: &Value) -> i32 {
    disk["smartctl"]["exit_status"].as_i64().unwrap().try_into().unwrap()
}

/// The series that the probe gives, by their name with labels.
fn series(host: &Host) -> BTreeMap<String, f64> {
    let mut out = Observation::at(1_800_000_000_000);
    let probe = SmartProbe::new(smart::Settings { interval: 10 * MINUTE, patience: MINUTE });
    probe.observe(host, &mut out).unwrap();
    let mut page = Vec::new();
    exposition::write(&out, &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
    let series: BTreeMap<String, f64> = lines
        .iter()
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect();
    assert_eq!(series.len(), lines.len(), "a series comes twice");
    series
}

/// Where a value stands in smartctl's document, the metric with its labels beside the device, and
/// what the value is multiplied with.
const VALUES: [(&str, &str, &str, f64); 14] = [
    ("/smartctl/exit_status", "device_smartctl_exit_status", "", 1.0),
    ("/user_capacity/blocks", "device_capacity_blocks", "", 1.0),
    ("/user_capacity/bytes", "device_capacity_bytes", "", 1.0),
    ("/nvme_total_capacity", "device_nvme_capacity_bytes", "", 1.0),
    ("/logical_block_size", "device_block_size", "blocks_type=\"logical\",", 1.0),
    ("/physical_block_size", "device_block_size", "blocks_type=\"physical\",", 1.0),
    ("/power_cycle_count", "device_power_cycle_count", "", 1.0),
    (
        "/scsi_start_stop_cycle_counter/accumulated_start_stop_cycles",
        "device_power_cycle_count",
        "",
        1.0,
    ),
    ("/rotation_rate", "device_rotation_rate", "", 1.0),
    ("/temperature/current", "device_temperature", ",temperature_type=\"current\"", 1.0),
    ("/temperature/drive_trip", "device_temperature", ",temperature_type=\"drive_trip\"", 1.0),
    (
        "/ata_smart_error_log/summary/count",
        "device_error_log_count",
        ",error_log_type=\"summary\"",
        1.0,
    ),
    ("/nvme_smart_health_information_log/data_units_read", "device_bytes_read", "", 512_000.0),
    ("/scsi_grown_defect_list", "scsi_grown_defect_list", "", 1.0),
];

/// The values of an NVMe disk's health page that come out under their own names.
const NVME_VALUES: [&str; 6] = [
    "percentage_used",
    "available_spare",
    "available_spare_threshold",
    "critical_warning",
    "media_errors",
    "num_err_log_entries",
];

/// The error counters of SCSI disks that come out under their own names.
const SCSI_VALUES: [&str; 4] = [
    "errors_corrected_by_rereads_rewrites",
    "errors_corrected_by_eccfast",
    "errors_corrected_by_eccdelayed",
    "total_uncorrected_errors",
];

/// The series that a document must give, beside the agent's own and those of identity and version.
fn expected(disk: &Value, device: &str) -> BTreeMap<String, f64> {
    let number = |pointer: &str| disk.pointer(pointer).and_then(Value::as_f64);
    let labelled = |name: &str, labels: &str| {
        // Labels stand sorted: those before `device` end in a comma, those after begin with one.
        let (before, after) = if labels.starts_with(',') { ("", labels) } else { (labels, "") };
        format!("smartctl_{name}{{{before}device=\"{device}\"{after}}}")
    };
    let mut expected = BTreeMap::new();
    for (pointer, name, labels, factor) in VALUES {
        // A disk that does not turn has no rate, and one that does not count what it moves says 0.
        let is_told = |value: &f64| *value > 0.0 || !name.contains("rate") && factor == 1.0;
        if let Some(value) = number(pointer).filter(is_told) {
            expected.insert(labelled(name, labels), value * factor);
        }
    }
    for name in NVME_VALUES {
        if let Some(value) = number(&format!("/nvme_smart_health_information_log/{name}")) {
            expected.insert(labelled(&format!("device_{name}"), ""), value);
        }
    }
    let written = number("/nvme_smart_health_information_log/data_units_written");
    if let Some(units) = written.filter(|&units| units > 0.0) {
        expected.insert(labelled("device_bytes_written", ""), units * 512_000.0);
    }
    for (work, name) in ["read", "write", "verify"]
        .iter()
        .flat_map(|work| SCSI_VALUES.iter().map(move |name| (work, name)))
    {
        if let Some(value) = number(&format!("/scsi_error_counter_log/{work}/{name}")) {
            expected.insert(labelled(&format!("{work}_{name}"), ""), value);
        }
    }
    if let Some(passed) = disk["smart_status"]["passed"].as_bool() {
        expected.insert(labelled("device_smart_status", ""), f64::from(u8::from(passed)));
    }
    if let Some(hours) = number("/power_on_time/hours") {
        let minutes = number("/power_on_time/minutes").unwrap_or_default();
        let seconds = hours * 3600.0 + minutes * 60.0;
        expected.insert(labelled("device_power_on_seconds", ""), seconds);
    }
    for kind in ["max", "current"] {
        let part = |name: &str| number(&format!("/interface_speed/{kind}/{name}"));
        if let (Some(units), Some(bits)) = (part("units_per_second"), part("bits_per_unit")) {
            let labels = format!(",speed_type=\"{kind}\"");
            expected.insert(labelled("device_interface_speed", &labels), units * bits);
        }
    }
    for work in ["read", "write"] {
        let pointer = format!("/scsi_error_counter_log/{work}/gigabytes_processed");
        if let Some(text) = disk.pointer(&pointer).and_then(Value::as_str) {
            let name = if work == "read" { "device_bytes_read" } else { "device_bytes_written" };
            expected.insert(labelled(name, ""), text.parse::<f64>().unwrap() * 1e9);
        }
    }
    expected
}

/// The series of an attribute's four values.
fn expected_attribute(row: &Value, device: &str) -> BTreeMap<String, f64> {
    let text = |value: &Value| value.as_str().unwrap().trim().to_owned();
    let names =
        ["prefailure", "updated_online", "performance", "error_rate", "event_count", "auto_keep"];
    let set = names.into_iter().filter(|name| row["flags"][name] == true);
    let long = set.collect::<Vec<_>>().join(",");
    let short = text(&row["flags"]["string"]);
    let (id, name) = (row["id"].as_u64().unwrap(), text(&row["name"]));
    let kinds =
        [("value", "/value"), ("worst", "/worst"), ("thresh", "/thresh"), ("raw", "/raw/value")];
    let one = |(kind, pointer): (&str, &str)| {
        let series = format!(
            "smartctl_device_attribute{{attribute_flags_long=\"{long}\",\
             attribute_flags_short=\"{short}\",attribute_id=\"{id}\",attribute_name=\"{name}\",\
             attribute_value_type=\"{kind}\",device=\"{device}\"}}"
        );
        (series, row.pointer(pointer).unwrap().as_f64().unwrap())
    };
    kinds.into_iter().map(one).collect()
}

#[test]
fn what_real_disks_tell_comes_out_and_nothing_else() {
    for (name, disk) in disks() {
        let (_folder, host) = host_with(&[(&disk, exit_of(&disk))]);
        let device = disk["device"]["name"].as_str().unwrap().strip_prefix("/dev/").unwrap();
        let mut expected = expected(&disk, device);
        for row in disk["ata_smart_attributes"]["table"].as_array().into_iter().flatten() {
            expected.extend(expected_attribute(row, device));
        }
        let all = series(&host);
        let of =
            |prefix: &str| all.iter().filter(move |(name, _)| name.starts_with(prefix)).count();
        assert_eq!(all["smartctl_devices"], 1.0, "{name}");
        assert_eq!((of("smartctl_device{"), of("smartctl_version{")), (1, 1), "{name}");
        assert_eq!(of("upkeep_disk_health{"), 5, "{name}");
        let seen: BTreeMap<String, f64> = all
            .into_iter()
            .filter(|(series, _)| series.starts_with("smartctl_") && series.contains("device=\""))
            .filter(|(series, _)| !series.starts_with("smartctl_device{"))
            .collect();
        assert_eq!(seen, expected, "{name}");
    }
}

/// The disks among them of which an administrator would want to know something, with the worst that
/// is found. The data calls them all healthy, for they passed their own test.
const TELLING: [(&str, &str, &str); 8] = [
    ("MB0500EBNCR_13", "pre_failing", "errors that it could not correct and reported: 1"),
    (
        "SEAGATE_ST373453LC_26",
        "pre_failing",
        "sectors that became defective and were replaced: 260",
    ),
    ("ST3500418AS_11", "old_age", "sectors that became defective and were replaced: 1"),
    ("ST3500418AS_12", "pre_failing", "sectors that became defective and were replaced: 304"),
    (
        "sat-Intel_S3520_Series_SSDs-INTEL_SSDSC2BB016T7-sdc",
        "old_age",
        "sectors that became defective and were replaced: 1",
    ),
    (
        "sat-Phison_Driven_SSDs-KINGSTON_SKC400S371T-sda",
        "old_age",
        "sectors that became defective and were replaced: 1",
    ),
    (
        "sat-Seagate_Constellation_ES.3-ST3000NM0033-9ZM178-sdc",
        "old_age",
        "sectors that became defective and were replaced: 1",
    ),
    // A few timeouts are noted, and are no reason to think ill of it.
    (
        "sat-Seagate_Exos_X16-ST16000NM001G-2KK103-sda",
        "fine",
        "commands that took too long, be it by the disk or its cable: 12",
    ),
];

#[test]
fn real_disks_are_judged_as_an_administrator_would() {
    for (name, disk) in disks() {
        let (_folder, host) = host_with(&[(&disk, exit_of(&disk))]);
        let judged = smart::look(&host).unwrap();
        let telling = TELLING.iter().find(|(telling, ..)| *telling == name);
        let health = telling.map_or("fine", |(_, health, _)| health);
        assert_eq!(judged.len(), 1, "{name}");
        assert_eq!(judged[0].health, health, "{name}: {judged:?}");
        if let Some((.., reason)) = telling {
            assert_eq!(judged[0].reasons[0], *reason, "{name}");
        }
    }
}

#[test]
fn a_failing_status_makes_a_sound_disk_a_failing_one() {
    for (name, disk) in disks() {
        let (_folder, host) = host_with(&[(&disk, exit_of(&disk) | 8)]);
        assert_eq!(smart::look(&host).unwrap()[0].health, "failing", "{name}");
        let series = series(&host);
        let is_in = |(name, value): (&String, &f64)| {
            (name.starts_with("upkeep_disk_health{") && *value == 1.0).then(|| name.clone())
        };
        let states: Vec<String> = series.iter().filter_map(is_in).collect();
        assert_eq!(states.len(), 1, "{name}");
        assert!(states[0].contains("state=\"failing\""), "{name}: {states:?}");
    }
}

#[test]
fn a_host_that_cannot_ask_its_disks_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("root")).unwrap();
    let host = Host::replay(folder.path()).unwrap();
    let series = series(&host);
    assert_eq!(series.len(), 1, "{series:?}");
    let (name, value) = series.iter().next().unwrap();
    assert!(name.starts_with("upkeep_disks_readable{reason=\"") && *value == 0.0, "{series:?}");
    assert!(name.contains("smartctl"), "{name}");
    assert!(smart::look(&host).is_err());
}
