//! Disks of every kind and state, as smartctl tells of them.

use serde_json::{Value, json};

use super::disk::Disk;
use super::field::Notes;
use super::parse::{label, parse};
use super::verdict::{Health, verdict};
use crate::helper::SmartOutput;

/// A disk that smartctl was asked about.
fn output(device: &str, kind: &str, exit: i32, document: &Value) -> SmartOutput {
    SmartOutput {
        device: device.to_owned(),
        kind: kind.to_owned(),
        exit: Some(exit),
        stdout: document.to_string(),
        ..SmartOutput::default()
    }
}

/// A turning disk with nothing wrong, but for the attributes given: number, name, whether it
/// foretells failure, raw value, when it failed.
fn ata(attributes: &[(u8, &str, bool, u64, &str)]) -> Value {
    let table: Vec<Value> = attributes
        .iter()
        .map(|(id, name, prefailure, raw, failed)| {
            json!({
                "id": id, "name": name, "value": 90, "worst": 80, "thresh": 10,
                "when_failed": failed, "flags": {"string": "PO--CK ", "prefailure": prefailure},
                "raw": {"value": raw, "string": raw.to_string()},
            })
        })
        .collect();
    json!({
        "device": {"name": "/dev/sda", "type": "sat", "protocol": "ATA"},
        "smart_status": {"passed": true},
        "smart_support": {"available": true, "enabled": true},
        "rotation_rate": 7200,
        "ata_smart_attributes": {"table": table},
    })
}

/// A solid-state disk with the given health page.
fn nvme(passed: bool, log: &Value) -> Value {
    json!({
        "device": {"name": "/dev/nvme0", "type": "nvme", "protocol": "NVMe"},
        "smart_status": {"passed": passed},
        "nvme_smart_health_information_log": log,
    })
}

/// A SCSI disk with the given defects and uncorrected errors.
fn scsi(defects: u64, read: u64, write: u64) -> Value {
    json!({
        "device": {"name": "/dev/sda", "type": "scsi", "protocol": "SCSI"},
        "smart_status": {"passed": true},
        "scsi_grown_defect_list": defects,
        "scsi_error_counter_log": {
            "read": {"total_uncorrected_errors": read, "gigabytes_processed": "1.5"},
            "write": {"total_uncorrected_errors": write, "gigabytes_processed": "0.000"},
        },
    })
}

/// A document with more in it.
fn with(mut document: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

/// A case: the exit status, the document, the verdict, and the findings with theirs.
type Case = (i32, Value, Health, &'static [(&'static str, Health)]);

use Health::{Failing, Fine, OldAge, PreFailing, Unknown};

fn ata_cases() -> Vec<Case> {
    let realloc = |raw, failed| (5, "Reallocated_Sector_Ct", true, raw, failed);
    let log = |value: u8, words: &str| {
        let failed = json!({"status": {"value": value, "string": words}});
        let broken_off = json!({"status": {"value": 25, "string": "Aborted by host"}});
        json!({"ata_smart_self_test_log": {"standard": {
            "table": [broken_off, failed], "count": 2, "error_count_total": 1,
        }}})
    };
    vec![
        (0, ata(&[realloc(0, "")]), Fine, &[]),
        (0, ata(&[realloc(3, "")]), OldAge, &[("reallocated_sectors", OldAge)]),
        (0, ata(&[realloc(16, "")]), PreFailing, &[("reallocated_sectors", PreFailing)]),
        (0, ata(&[(5, "Throttle_Statistic", true, 99, "")]), Fine, &[]),
        (
            24,
            ata(&[realloc(2000, "now")]),
            Failing,
            &[("attribute_below_threshold", Failing), ("reallocated_sectors", PreFailing)],
        ),
        (
            32,
            ata(&[realloc(0, "past")]),
            PreFailing,
            &[("attribute_was_below_threshold", PreFailing)],
        ),
        (
            32,
            ata(&[(190, "Airflow_Temperature_Cel", false, 40, "past")]),
            OldAge,
            &[("attribute_was_below_threshold", OldAge)],
        ),
        (
            0,
            ata(&[(9, "Power_On_Hours", false, 90_000, "now")]),
            OldAge,
            &[("attribute_below_threshold", OldAge)],
        ),
        (
            0,
            ata(&[(184, "End-to-End_Error", false, 1, "now")]),
            Failing,
            &[("attribute_below_threshold", Failing)],
        ),
        (
            0,
            ata(&[(10, "Spin_Retry_Count", true, 1, "")]),
            PreFailing,
            &[("spin_retries", PreFailing)],
        ),
        (
            0,
            ata(&[(187, "Reported_Uncorrect", false, 1, "")]),
            PreFailing,
            &[("reported_uncorrectable_errors", PreFailing)],
        ),
        (0, ata(&[(188, "Command_Timeout", false, 12, "")]), Fine, &[("command_timeouts", Fine)]),
        (
            0,
            ata(&[(188, "Command_Timeout", false, 0x0001_0002_0007, "")]),
            Fine,
            &[("command_timeouts", Fine)],
        ),
        (
            0,
            ata(&[(188, "Command_Timeout", false, 0x0001_0002_0080, "")]),
            PreFailing,
            &[("command_timeouts", PreFailing)],
        ),
        (
            0,
            ata(&[(197, "Current_Pending_Sector", false, 1, "")]),
            PreFailing,
            &[("pending_sectors", PreFailing)],
        ),
        (0, ata(&[(197, "Not_In_Use", false, 1, "")]), Fine, &[]),
        (
            0,
            ata(&[(198, "Offline_Uncorrectable", false, 2, "")]),
            PreFailing,
            &[("uncorrectable_sectors", PreFailing)],
        ),
        (0, with(ata(&[]), &log(0, "Completed without error")), Fine, &[]),
        (
            0,
            with(ata(&[]), &log(0x75, "Completed: read failure")),
            PreFailing,
            &[("self_test", PreFailing)],
        ),
        (128, ata(&[]), PreFailing, &[("self_test", PreFailing)]),
        (64, ata(&[]), OldAge, &[("error_log", OldAge)]),
        (
            0,
            with(ata(&[]), &json!({"ata_smart_error_log": {"summary": {"count": 4}}})),
            OldAge,
            &[("error_log", OldAge)],
        ),
        (8, ata(&[]), Failing, &[("self_assessment", Failing)]),
        (16, ata(&[]), Failing, &[("attribute_below_threshold", Failing)]),
        (32, ata(&[]), PreFailing, &[("attribute_was_below_threshold", PreFailing)]),
        (
            0,
            with(ata(&[]), &json!({"smart_status": {"passed": false}})),
            Failing,
            &[("self_assessment", Failing)],
        ),
    ]
}

fn solid_state_cases() -> Vec<Case> {
    let page = |warning: u8, spare: u8, used: u16, errors: u32| {
        json!({
            "critical_warning": warning, "available_spare": spare, "available_spare_threshold": 10,
            "percentage_used": used, "media_errors": errors, "num_err_log_entries": 14,
        })
    };
    let wear = |value: u8| {
        let mut document = ata(&[(233, "Media_Wearout_Indicator", false, 0, "")]);
        document["ata_smart_attributes"]["table"][0]["value"] = json!(value);
        document
    };
    vec![
        (0, nvme(true, &page(0, 100, 3, 0)), Fine, &[]),
        (0, nvme(true, &page(0, 10, 79, 0)), Fine, &[]),
        (0, nvme(true, &page(0, 9, 3, 0)), Failing, &[("available_spare", Failing)]),
        (0, nvme(true, &page(0, 100, 80, 0)), OldAge, &[("endurance_used", OldAge)]),
        (0, nvme(true, &page(0, 100, 100, 0)), PreFailing, &[("endurance_used", PreFailing)]),
        (0, nvme(true, &page(0, 100, 3, 1)), PreFailing, &[("media_errors", PreFailing)]),
        (8, nvme(false, &page(0b10, 100, 3, 0)), PreFailing, &[("critical_warning", PreFailing)]),
        (
            8,
            nvme(false, &page(0b1, 4, 3, 0)),
            Failing,
            &[("critical_warning", Failing), ("available_spare", Failing)],
        ),
        (8, nvme(false, &page(0b1000, 100, 3, 0)), Failing, &[("critical_warning", Failing)]),
        (8, nvme(false, &page(64, 100, 3, 0)), PreFailing, &[("critical_warning", PreFailing)]),
        (8, nvme(false, &page(0, 100, 3, 0)), Failing, &[("self_assessment", Failing)]),
        (0, wear(21), Fine, &[]),
        (0, wear(20), OldAge, &[("life_left", OldAge)]),
        (0, wear(1), PreFailing, &[("life_left", PreFailing)]),
    ]
}

fn scsi_cases() -> Vec<Case> {
    let test = |result: u8| {
        let test = json!({"result": {"value": result, "string": "Completed, segment failed"}});
        with(scsi(0, 0, 0), &json!({"scsi_self_test_0": test}))
    };
    let unnamed = json!({"device": {"name": "/dev/sda", "type": "scsi"}});
    vec![
        (0, scsi(0, 0, 0), Fine, &[]),
        // Older versions name the way only, not the protocol.
        (0, with(scsi(16, 0, 0), &unnamed), PreFailing, &[("grown_defects", PreFailing)]),
        (0, scsi(15, 0, 0), OldAge, &[("grown_defects", OldAge)]),
        (0, scsi(16, 0, 0), PreFailing, &[("grown_defects", PreFailing)]),
        (0, scsi(0, 1, 0), PreFailing, &[("uncorrected_read_errors", PreFailing)]),
        (0, scsi(0, 0, 1), PreFailing, &[("uncorrected_write_errors", PreFailing)]),
        (0, test(4), PreFailing, &[("self_test", PreFailing)]),
        (0, test(15), Fine, &[]),
        (
            0,
            with(scsi(0, 0, 0), &json!({"scsi_percentage_used_endurance_indicator": 101})),
            PreFailing,
            &[("endurance_used", PreFailing)],
        ),
    ]
}

fn unreadable_cases() -> Vec<Case> {
    let said = |text: &str| json!({"smartctl": {"messages": [{"string": text}]}});
    let device = json!({"device": {"name": "/dev/sda", "protocol": "ATA"}});
    vec![
        (
            1,
            said("/dev/sdb: Unknown USB bridge [0x0bc2:0x2322 (0x100)]"),
            Unknown,
            &[("unreadable", Unknown)],
        ),
        (1, said("/dev/vda: Unable to detect device type"), Unknown, &[("unreadable", Unknown)]),
        (
            2,
            with(device.clone(), &said("open failed: EACCES")),
            Unknown,
            &[("unreadable", Unknown)],
        ),
        (
            2,
            with(device.clone(), &said("Device is in STANDBY mode, exit(2)")),
            Unknown,
            &[("unreadable", Unknown)],
        ),
        (4, device.clone(), Unknown, &[("unreadable", Unknown)]),
        (4, ata(&[]), Unknown, &[("unreadable", Unknown)]),
        (4, ata(&[(9, "Power_On_Hours", false, 5, "")]), Fine, &[]),
        (0, device, Unknown, &[("unreadable", Unknown)]),
        (
            0,
            with(ata(&[]), &json!({"smart_support": {"available": true, "enabled": false}})),
            Unknown,
            &[("unreadable", Unknown)],
        ),
        // What is known to be bad is not made unknown by what is not known.
        (
            12,
            json!({"device": {"protocol": "ATA"}}),
            Failing,
            &[("self_assessment", Failing), ("unreadable", Unknown)],
        ),
    ]
}

#[test]
fn disks_are_judged_by_what_speaks_against_them() {
    let cases = [ata_cases(), solid_state_cases(), scsi_cases(), unreadable_cases()];
    for (exit, document, health, findings) in cases.into_iter().flatten() {
        let mut notes = Notes::default();
        let verdict = verdict(&parse(&output("/dev/sda", "", exit, &document), &mut notes));
        let seen: Vec<_> =
            verdict.findings.iter().map(|found| (found.name, found.health)).collect();
        assert_eq!(seen, findings, "exit {exit}: {document}: {verdict:?}");
        assert_eq!(verdict.health, health, "exit {exit}: {document}");
        assert!(verdict.findings.iter().all(|found| !found.words.is_empty()));
        assert_eq!(notes, Notes::default(), "{document}");
    }
}

#[test]
fn a_disk_that_sleeps_is_told_from_one_that_cannot_be_opened() {
    let check = |messages: Value, is_asleep: bool| {
        let document = json!({"device": {"name": "/dev/sda"}, "smartctl": {"messages": messages}});
        let disk = parse(&output("/dev/sda", "sat", 2, &document), &mut Notes::default());
        assert_eq!(disk.is_asleep, is_asleep, "{document}");
    };
    check(json!([{"string": "Device is in STANDBY mode, exit(2)"}]), true);
    check(json!([{"string": "/dev/sda: Device is in STANDBY (OS) mode, exit(2)"}]), true);
    check(json!([]), true);
    check(json!([{"string": "Smartctl open device: /dev/sda failed: No such device"}]), false);
}

#[test]
fn what_cannot_be_read_is_left_out_and_named() {
    let document = json!({
        "device": {"name": "/dev/sda", "protocol": 7},
        "smart_status": {"passed": "yes"},
        "power_on_time": {"hours": "12"},
        "temperature": {"current": 31, "lifetime_max": null, "odd": []},
        "ata_smart_attributes": {"table": [
            {"id": 300, "name": "Odd"},
            {"id": 5, "name": "Reallocated_Sector_Ct", "raw": {"value": "9", "string": 9}},
            {"id": 5, "name": "Reallocated_Sector_Ct", "raw": {"value": "9", "string": 9}},
        ]},
        "smartctl": {"exit_status": 256},
    });
    let mut notes = Notes::default();
    let disk = parse(&output("/dev/sda", "sat", 0, &document), &mut notes);
    assert_eq!(disk.temperatures, [("current".to_owned(), 31.0)]);
    assert_eq!((disk.passed, disk.power_on_seconds), (None, None));
    assert_eq!(disk.attributes.len(), 1);
    assert_eq!(disk.attributes[0].raw, None);
    let mut faults = crate::probe::Faults::default();
    notes.tell(&mut faults);
    let error = faults.into_result().unwrap_err();
    assert_eq!(error.count(), 11, "{error}");
    let first = "smartctl /dev/sda/device/protocol: is not text";
    assert!(error.to_string().starts_with(first), "{error}");
}

#[test]
fn what_is_no_count_never_passes_for_none() {
    let check = |document: &Value, counts: fn(&Disk) -> Vec<Option<f64>>| {
        let mut notes = Notes::default();
        let disk = parse(&output("/dev/sda", "", 0, document), &mut notes);
        assert!(counts(&disk).iter().all(Option::is_none), "{document}: {disk:?}");
        assert_ne!(notes, Notes::default(), "{document}");
    };
    for wrong in [json!(-1), json!(0.5), json!("0")] {
        let log = json!({"critical_warning": wrong, "media_errors": wrong});
        check(&nvme(true, &log), |disk| {
            let nvme = disk.nvme.as_ref().unwrap();
            vec![nvme.critical_warning, nvme.media_errors]
        });
        let more = json!({"scsi_grown_defect_list": wrong});
        check(&with(scsi(0, 0, 0), &more), |disk| vec![disk.scsi.as_ref().unwrap().grown_defects]);
    }
}

#[test]
fn what_is_no_json_leaves_a_disk_of_which_nothing_is_known() {
    for text in ["", "{", "smartctl 6.6", "[1]", "{\"a\":1e999}"] {
        let mut notes = Notes::default();
        let given = SmartOutput { stdout: text.into(), ..output("/dev/sda", "", 0, &json!({})) };
        let verdict = verdict(&parse(&given, &mut notes));
        assert_eq!(verdict.health, Unknown, "{text}");
        assert_ne!(notes, Notes::default(), "{text}");
    }
    // A line that older versions let slip before the document does no harm.
    let text = format!("  Pending defect count:0{}", ata(&[]));
    let given = SmartOutput { stdout: text, ..output("/dev/sda", "", 0, &json!({})) };
    assert_eq!(parse(&given, &mut Notes::default()).passed, Some(true));
}

#[test]
fn disks_are_named_as_smartctl_exporter_names_them() {
    let check = |name: &str, kind: &str, expect: &str| assert_eq!(label(name, kind), expect);
    check("/dev/sda", "sat", "sda");
    check("/dev/nvme0", "nvme", "nvme0");
    check("/dev/bus/0", "megaraid,1", "bus_0_megaraid_1");
    check("/dev/bus/0", "sat+megaraid,1", "bus_0_megaraid_1");
    check("/dev/disk/by-id/ata-CT500MX_AB", "sat", "ata-CT500MX_AB");
    check("/dev/cciss/c0d0", "cciss,0", "cciss_c0d0_cciss_0");
    check("/dev/sdb", "aacraid,1,0,4", "sdb_aacraid_1_0_4");
}
