//! Reads what `smartctl --json` prints about one disk.

use std::collections::HashSet;

use serde_json::Value;

use super::disk::{
    Attribute, Disk, Failed, Identity, Nvme, Program, Scsi, ScsiErrors, SelfTestLog, Size,
    Statistic,
};
use super::field::{Fields, Notes};
use crate::helper::SmartOutput;

const ATTRIBUTE_FLAGS: [&str; 6] =
    ["prefailure", "updated_online", "performance", "error_rate", "event_count", "auto_keep"];

const STATISTIC_FLAGS: [&str; 4] =
    ["valid", "normalized", "supports_dsn", "monitored_condition_met"];

/// Each disk maker counts here what it likes, under names that come twice.
const VENDOR_STATISTICS: &str = "Vendor Specific Statistics";

/// An NVMe disk counts what it moved in thousands of 512 bytes, whatever its block size is.
const NVME_DATA_UNIT_BYTES: f64 = 512_000.0;

/// The bit of the exit status by which smartctl says that it was asked wrongly.
const USAGE: u8 = 1 << 0;

/// The bit of the exit status by which smartctl says that it could not open the disk, or that the
/// disk sleeps.
const NOT_OPENED: u8 = 1 << 1;

/// Reads what smartctl printed about a disk. What is no JSON at all leaves a disk of which nothing is
/// known but its name.
pub(super) fn parse(output: &SmartOutput, notes: &mut Notes) -> Disk {
    let about = format!("smartctl {}", output.device);
    if let Some(fault) = &output.fault {
        return unread(output, fault);
    }
    // Up to version 7.2 a line of plain text could slip before the document.
    let text = output.stdout.as_str();
    let document = text.find('{').and_then(|begin| text.get(begin..)).unwrap_or_default();
    match serde_json::from_str::<Value>(document) {
        Ok(value) => read(output, &mut Fields::new(&value, &about, notes)),
        Err(error) => {
            let fault = format!("this is not JSON: {error}");
            notes.add(about, fault.clone());
            unread(output, &fault)
        }
    }
}

/// A disk of which there is no answer.
fn unread(output: &SmartOutput, fault: &str) -> Disk {
    let exit = output.exit.and_then(|exit| u8::try_from(exit).ok());
    Disk {
        label: label(&output.device, &output.kind),
        identity: Identity {
            interface: output.kind.clone(),
            protocol: output.protocol.clone(),
            ..Identity::default()
        },
        // Without what it printed, only its own complaints count of the status.
        exit: exit.filter(|exit| exit & (USAGE | NOT_OPENED) != 0),
        complaints: vec![fault.to_owned()],
        ..Disk::default()
    }
}

fn read(output: &SmartOutput, fields: &mut Fields<'_, '_>) -> Disk {
    let identity = identity(output, fields);
    let exit = exit(output.exit, fields);
    let complaints = complaints(fields);
    let protocol = identity.protocol.as_str();
    let interface = identity.interface.as_str();
    let nvme = (protocol == "NVMe" || interface == "nvme").then(|| nvme(fields)).flatten();
    let scsi = (protocol == "SCSI" || interface == "scsi").then(|| scsi(fields)).flatten();
    let endurance_used = fields
        .number("/endurance_used/current_percent")
        .or(nvme.as_ref().and_then(|nvme| nvme.percentage_used))
        .or(scsi.as_ref().and_then(|scsi| scsi.endurance_used));
    Disk {
        label: label(&output.device, &output.kind),
        program: program(fields),
        is_asleep: is_asleep(exit, &complaints, fields),
        exit,
        complaints,
        is_monitored: fields.flag("/smart_support/enabled"),
        passed: fields.flag("/smart_status/passed"),
        size: size(fields),
        speeds: speeds(fields),
        attributes: attributes(fields),
        power_on_seconds: power_on_seconds(fields),
        rotation_rate: fields.number("/rotation_rate"),
        temperatures: fields
            .members("/temperature", |name, fields| Some((name.to_owned(), fields.number("")?))),
        power_cycles: fields.number("/power_cycle_count").or_else(|| {
            fields.number("/scsi_start_stop_cycle_counter/accumulated_start_stop_cycles")
        }),
        state: transport_state(fields),
        statistics: statistics(fields),
        error_logs: fields.members("/ata_smart_error_log", |name, fields| {
            Some((name.to_owned(), fields.number("/count")?))
        }),
        self_tests: fields.members("/ata_smart_self_test_log", |name, fields| {
            let (count, errors) = (fields.number("/count"), fields.number("/error_count_total"));
            (count.is_some() || errors.is_some()).then(|| SelfTestLog {
                kind: name.to_owned(),
                count,
                errors,
            })
        }),
        failed_self_test: failed_self_test(fields),
        recovery_seconds: fields.members("/ata_sct_erc", |name, fields| {
            Some((name.to_owned(), fields.number("/deciseconds")? / 10.0))
        }),
        endurance_used,
        identity,
        nvme,
        scsi,
    }
}

/// The name of a disk in labels, as smartctl_exporter forms it. The type matters where many disks
/// are behind one device.
pub(super) fn label(name: &str, kind: &str) -> String {
    let short = name.strip_prefix("/dev/").unwrap_or(name);
    let short = ["disk/by-id/", "disk/by-path/"]
        .iter()
        .find_map(|folder| short.strip_prefix(folder))
        .unwrap_or(short);
    // A SATA disk behind a controller is `sat+megaraid,3`.
    let kind = kind.rsplit_once('+').map_or(kind, |(_, inner)| inner);
    let place = if kind.contains(',') { format!("{short}_{kind}") } else { short.to_owned() };
    place.replace(['/', ','], "_")
}

fn identity(output: &SmartOutput, fields: &mut Fields<'_, '_>) -> Identity {
    let mut interface = fields.text("/device/type");
    if interface.is_empty() {
        output.kind.clone_into(&mut interface);
    }
    let mut protocol = fields.text("/device/protocol");
    if protocol.is_empty() {
        output.protocol.clone_into(&mut protocol);
    }
    let mut model = fields.text("/model_name");
    if model.is_empty() {
        model = fields.text("/scsi_model_name");
    }
    Identity {
        interface,
        protocol,
        family: fields.text("/model_family"),
        model,
        serial: fields.text("/serial_number"),
        additional_product: fields.text("/ata_additional_product_id"),
        firmware: fields.text("/firmware_version"),
        ata_version: fields.text("/ata_version/string"),
        sata_version: fields.text("/sata_version/string"),
        form_factor: fields.text("/form_factor/name"),
        scsi_vendor: fields.text("/scsi_vendor"),
        scsi_product: fields.text("/scsi_product"),
        scsi_revision: fields.text("/scsi_revision"),
        scsi_version: fields.text("/scsi_version"),
    }
}

fn program(fields: &mut Fields<'_, '_>) -> Program {
    let mut dotted = |pointer: &str| {
        let parts = fields.rows(pointer, |field| Some(field.number("")));
        // A version with a part missing would be another one.
        let parts: Option<Vec<String>> =
            parts.into_iter().map(|part| part.map(|number| number.to_string())).collect();
        parts.unwrap_or_default().join(".")
    };
    Program {
        version: dotted("/smartctl/version"),
        format: dotted("/json_format_version"),
        revision: fields.text("/smartctl/svn_revision"),
        build: fields.text("/smartctl/build_info"),
    }
}

/// The exit status as the program ended, with what it wrote down of it: a bit that either has is
/// set.
fn exit(ended: Option<i32>, fields: &mut Fields<'_, '_>) -> Option<u8> {
    const STATUS: &str = "/smartctl/exit_status";
    let written = fields.number(STATUS).and_then(|status| {
        let is_status = (0.0..=255.0).contains(&status) && status.fract() == 0.0;
        if !is_status {
            fields.note(STATUS, "is not from 0 to 255");
        }
        is_status.then_some(status as u8)
    });
    let ended = ended.and_then(|exit| u8::try_from(exit).ok());
    Some(ended? | written.unwrap_or_default())
}

fn complaints(fields: &mut Fields<'_, '_>) -> Vec<String> {
    let texts = fields.rows("/smartctl/messages", |message| {
        let is_said = message.has("/string");
        is_said.then(|| message.text("/string"))
    });
    texts.into_iter().filter(|text| !text.is_empty()).collect()
}

/// A disk that sleeps is not woken: smartctl then says so, and ends as if it could not open it.
/// Older versions say nothing, but they never fail to open a disk without a word.
fn is_asleep(exit: Option<u8>, complaints: &[String], fields: &Fields<'_, '_>) -> bool {
    let says_so = |text: &String| text.contains("Device is in ") && text.contains(" mode, exit(");
    complaints.iter().any(says_so)
        || exit == Some(NOT_OPENED) && complaints.is_empty() && fields.has("/device/name")
}

fn size(fields: &mut Fields<'_, '_>) -> Size {
    Size {
        blocks: fields.number("/user_capacity/blocks"),
        bytes: fields.number("/user_capacity/bytes"),
        nvme_bytes: fields.number("/nvme_total_capacity"),
        logical_block: fields.number("/logical_block_size"),
        physical_block: fields.number("/physical_block_size"),
    }
}

fn speeds(fields: &mut Fields<'_, '_>) -> Vec<(&'static str, f64)> {
    let mut speed = |kind: &'static str| {
        let mut number = |name: &str| fields.number(&format!("/interface_speed/{kind}/{name}"));
        Some((kind, number("units_per_second")? * number("bits_per_unit")?))
    };
    [speed("max"), speed("current")].into_iter().flatten().collect()
}

fn attributes(fields: &mut Fields<'_, '_>) -> Vec<Attribute> {
    const TABLE: &str = "/ata_smart_attributes/table";
    let mut attributes = fields.rows(TABLE, |row| {
        let id = row.number("/id")?;
        if id.fract() != 0.0 || !(1.0..=255.0).contains(&id) {
            row.note("/id", "is not from 1 to 255");
            return None;
        }
        Some(Attribute {
            id: id as u8,
            id_text: id.to_string(),
            name: row.text("/name"),
            flags_short: row.text("/flags/string"),
            flags_long: flags(row, &ATTRIBUTE_FLAGS),
            is_prefailure: row.flag("/flags/prefailure").unwrap_or_default(),
            value: row.count("/value"),
            worst: row.count("/worst"),
            threshold: row.count("/thresh"),
            raw: row.count("/raw/value"),
            raw_text: row.text("/raw/string"),
            failed: match row.text("/when_failed").as_str() {
                "now" => Failed::Now,
                "past" => Failed::Past,
                _ => Failed::Never,
            },
        })
    });
    let rows = attributes.len();
    let mut seen = HashSet::new();
    attributes.retain(|attribute| seen.insert(attribute.id));
    if attributes.len() < rows {
        fields.note(TABLE, "has an attribute twice");
    }
    attributes
}

/// The names of the flags that are set, in the order given.
fn flags(row: &mut Fields<'_, '_>, names: &[&str]) -> String {
    let is_set = |name: &&&str| row.flag(&format!("/flags/{name}")) == Some(true);
    names.iter().filter(is_set).copied().collect::<Vec<_>>().join(",")
}

/// The state by the command transport; a number in old documents, one with words beside it in newer.
fn transport_state(fields: &mut Fields<'_, '_>) -> Option<f64> {
    const STATE: &str = "/ata_sct_status/device_state";
    let value = format!("{STATE}/value");
    if fields.has(&value) { fields.number(&value) } else { fields.number(STATE) }
}

fn power_on_seconds(fields: &mut Fields<'_, '_>) -> Option<f64> {
    const MINUTES: &str = "/power_on_time/minutes";
    let hours = fields.number("/power_on_time/hours");
    let minutes = if fields.has(MINUTES) { fields.number(MINUTES) } else { Some(0.0) };
    Some(hours? * 3600.0 + minutes? * 60.0)
}

fn statistics(fields: &mut Fields<'_, '_>) -> Vec<Statistic> {
    let pages = fields.rows("/ata_device_statistics/pages", |page| {
        let table = page.text("/name");
        let is_kept = table != VENDOR_STATISTICS;
        is_kept.then(|| {
            page.rows("/table", |row| {
                Some(Statistic {
                    table: table.clone(),
                    name: row.text("/name"),
                    flags_short: row.text("/flags/string"),
                    flags_long: flags(row, &STATISTIC_FLAGS),
                    value: row.number("/value")?,
                })
            })
        })
    });
    let counters = fields.rows("/sata_phy_event_counters/table", |row| {
        Some(Statistic {
            table: "SATA PHY Event Counters".to_owned(),
            name: row.text("/name"),
            flags_short: "V---".to_owned(),
            flags_long: "valid".to_owned(),
            value: row.number("/value")?,
        })
    });
    let mut statistics: Vec<Statistic> = pages.into_iter().flatten().chain(counters).collect();
    let rows = statistics.len();
    let mut seen = HashSet::new();
    statistics.retain(|one| seen.insert((one.table.clone(), one.name.clone())));
    if statistics.len() < rows {
        fields.note("/ata_device_statistics", "has a value twice");
    }
    statistics
}

/// What the last self-test that ended says, if it is not that all is well. Logs have the last test
/// first; one that is under way, or that the host broke off, tells nothing.
fn failed_self_test(fields: &mut Fields<'_, '_>) -> Option<String> {
    let ata = |row: &mut Fields<'_, '_>| {
        // The high half of the status is how it ended: 0 well, 1 and 2 broken off, 15 under way.
        let ending = row.number("/status/value")? as u32 >> 4;
        Some((ending, row.text("/status/string")))
    };
    let mut ended: Vec<(bool, String)> = Vec::new();
    for log in ["extended", "standard"] {
        let rows = fields.rows(&format!("/ata_smart_self_test_log/{log}/table"), ata);
        let told = rows.into_iter().find(|(ending, _)| ![1, 2, 15].contains(ending));
        ended.extend(told.map(|(ending, words)| (ending != 0, words)));
    }
    // 0 is well; 5 to 7 are a fault; the others were broken off, are under way, or are not used.
    let nvme = fields.rows("/nvme_self_test_log/table", |row| {
        let result = row.number("/self_test_result/value")?;
        Some((result as u32, row.text("/self_test_result/string")))
    });
    let told = nvme.into_iter().find(|(result, _)| [0, 5, 6, 7].contains(result));
    ended.extend(told.map(|(result, words)| (result != 0, words)));
    // The tests of a SCSI disk stand in members of their own, of which the first is the last test.
    if let Some(result) = fields.number("/scsi_self_test_0/result/value") {
        let words = fields.text("/scsi_self_test_0/result/string");
        ended.push(((3.0..=7.0).contains(&result), words));
    }
    ended.into_iter().find_map(|(is_fault, words)| is_fault.then_some(words))
}

fn nvme(fields: &mut Fields<'_, '_>) -> Option<Nvme> {
    const LOG: &str = "/nvme_smart_health_information_log";
    if !fields.has(LOG) {
        return None;
    }
    let mut number = |name: &str| fields.count(&format!("{LOG}/{name}"));
    // A disk that does not count what it moves says 0.
    let bytes =
        |units: Option<f64>| Some(units.filter(|&units| units > 0.0)? * NVME_DATA_UNIT_BYTES);
    Some(Nvme {
        critical_warning: number("critical_warning"),
        available_spare: number("available_spare"),
        spare_threshold: number("available_spare_threshold"),
        percentage_used: number("percentage_used"),
        media_errors: number("media_errors"),
        error_log_entries: number("num_err_log_entries"),
        bytes_read: bytes(number("data_units_read")),
        bytes_written: bytes(number("data_units_written")),
    })
}

fn scsi(fields: &mut Fields<'_, '_>) -> Option<Scsi> {
    const LOG: &str = "/scsi_error_counter_log";
    let errors = ["read", "write", "verify"]
        .into_iter()
        .filter(|work| fields.has(&format!("{LOG}/{work}")))
        .collect::<Vec<_>>();
    let errors = errors.into_iter().map(|work| scsi_errors(LOG, work, fields)).collect::<Vec<_>>();
    let mut bytes = |work: &str| {
        // Gigabytes here are 10^9 bytes.
        Some(fields.number_in_text(&format!("{LOG}/{work}/gigabytes_processed"))? * 1e9)
    };
    let (bytes_read, bytes_written) = (bytes("read"), bytes("write"));
    let grown_defects = fields.count("/scsi_grown_defect_list");
    let endurance_used = fields.count("/scsi_percentage_used_endurance_indicator");
    let is_told = grown_defects.is_some() || endurance_used.is_some() || !errors.is_empty();
    is_told.then_some(Scsi { grown_defects, endurance_used, bytes_read, bytes_written, errors })
}

fn scsi_errors(log: &str, work: &'static str, fields: &mut Fields<'_, '_>) -> ScsiErrors {
    let mut number = |name: &str| fields.count(&format!("{log}/{work}/{name}"));
    ScsiErrors {
        work,
        corrected_by_rereads: number("errors_corrected_by_rereads_rewrites"),
        corrected_fast: number("errors_corrected_by_eccfast"),
        corrected_delayed: number("errors_corrected_by_eccdelayed"),
        uncorrected: number("total_uncorrected_errors"),
    }
}
