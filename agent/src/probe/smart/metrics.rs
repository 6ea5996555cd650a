//! A disk as metrics, under the names and labels of smartctl_exporter.
//!
//! That exporter writes 0 for some of what a disk does not tell: its size, its block sizes, its
//! own verdict. Here such a series is absent, so that nothing is taken for measured that is not.

use upkeep_model::Observation;

use super::disk::{Attribute, Disk, Identity, Nvme, Program, Scsi, ScsiErrors};

/// What smartctl_exporter says of a model or family that is not told.
const UNKNOWN: &str = "unknown";

/// Adds a disk's values.
pub(super) fn observe(disk: &Disk, out: &mut Observation) {
    let device = disk.label.as_str();
    if let Some(exit) = disk.exit {
        let help = "Exit status of smartctl on device";
        out.gauge(
            "smartctl_device_smartctl_exit_status",
            help,
            &[("device", device)],
            f64::from(exit),
        );
    }
    observe_identity(device, &disk.identity, out);
    observe_size(disk, out);
    observe_state(disk, out);
    observe_logs(disk, out);
    observe_attributes(device, &disk.attributes, out);
    observe_statistics(disk, out);
    if let Some(nvme) = &disk.nvme {
        observe_nvme(device, nvme, out);
    }
    if let Some(scsi) = &disk.scsi {
        observe_scsi(device, scsi, out);
    }
}

/// Adds the program that read the disks.
pub(super) fn observe_program(program: &Program, out: &mut Observation) {
    if program.version.is_empty() {
        return;
    }
    let labels = [
        ("json_format_version", program.format.as_str()),
        ("smartctl_version", &program.version),
        ("svn_revision", &program.revision),
        ("build_info", &program.build),
    ];
    out.gauge("smartctl_version", "smartctl version", &labels, 1.0);
}

fn observe_identity<'identity>(device: &str, identity: &'identity Identity, out: &mut Observation) {
    let or_unknown = |text: &'identity str| if text.is_empty() { UNKNOWN } else { text };
    let labels = [
        ("device", device),
        ("interface", &identity.interface),
        ("protocol", &identity.protocol),
        ("model_family", or_unknown(&identity.family)),
        ("model_name", or_unknown(&identity.model)),
        ("serial_number", &identity.serial),
        ("ata_additional_product_id", or_unknown(&identity.additional_product)),
        ("firmware_version", &identity.firmware),
        ("ata_version", &identity.ata_version),
        ("sata_version", &identity.sata_version),
        ("form_factor", &identity.form_factor),
        ("scsi_vendor", &identity.scsi_vendor),
        ("scsi_product", &identity.scsi_product),
        ("scsi_revision", &identity.scsi_revision),
        ("scsi_version", &identity.scsi_version),
    ];
    out.gauge("smartctl_device", "Device info", &labels, 1.0);
}

/// Adds a value of the whole disk, if it is told.
fn gauge(device: &str, name: &str, help: &str, value: Option<f64>, out: &mut Observation) {
    if let Some(value) = value {
        out.gauge(name, help, &[("device", device)], value);
    }
}

/// Adds a count of the whole disk, if it is told.
fn counter(device: &str, name: &str, help: &str, value: Option<f64>, out: &mut Observation) {
    if let Some(value) = value {
        out.counter(name, help, &[("device", device)], value);
    }
}

fn observe_size(disk: &Disk, out: &mut Observation) {
    let (device, size) = (disk.label.as_str(), &disk.size);
    let name = "smartctl_device_capacity_blocks";
    gauge(device, name, "Device capacity in blocks", size.blocks, out);
    let name = "smartctl_device_capacity_bytes";
    gauge(device, name, "Device capacity in bytes", size.bytes, out);
    let name = "smartctl_device_nvme_capacity_bytes";
    gauge(device, name, "NVMe device total capacity bytes", size.nvme_bytes, out);
    for (kind, bytes) in [("logical", size.logical_block), ("physical", size.physical_block)] {
        if let Some(bytes) = bytes {
            let labels = [("device", device), ("blocks_type", kind)];
            out.gauge("smartctl_device_block_size", "Device block size", &labels, bytes);
        }
    }
    for (kind, speed) in &disk.speeds {
        let help = "Device interface speed, bits per second";
        let labels = [("device", device), ("speed_type", kind)];
        out.gauge("smartctl_device_interface_speed", help, &labels, *speed);
    }
    let turns = disk.rotation_rate.filter(|&rate| rate > 0.0);
    gauge(device, "smartctl_device_rotation_rate", "Device rotation rate", turns, out);
}

fn observe_state(disk: &Disk, out: &mut Observation) {
    let device = disk.label.as_str();
    let passed = disk.passed.map(|passed| f64::from(u8::from(passed)));
    gauge(device, "smartctl_device_smart_status", "General smart status", passed, out);
    let help = "Device power on seconds";
    counter(device, "smartctl_device_power_on_seconds", help, disk.power_on_seconds, out);
    let help = "Device power cycle count";
    counter(device, "smartctl_device_power_cycle_count", help, disk.power_cycles, out);
    let help = "Device state (0=active, 1=standby, 2=sleep, 3=dst, 4=offline, 5=sct)";
    gauge(device, "smartctl_device_state", help, disk.state, out);
    for (kind, degrees) in &disk.temperatures {
        let help = "Device temperature celsius";
        let labels = [("device", device), ("temperature_type", kind)];
        out.gauge("smartctl_device_temperature", help, &labels, *degrees);
    }
    for (work, seconds) in &disk.recovery_seconds {
        let help = "Device SMART Error Recovery Control Seconds";
        out.gauge(
            "smartctl_device_erc_seconds",
            help,
            &[("device", device), ("op_type", work)],
            *seconds,
        );
    }
}

fn observe_logs(disk: &Disk, out: &mut Observation) {
    let device = disk.label.as_str();
    for (kind, count) in &disk.error_logs {
        let help = "Device SMART error log count";
        let labels = [("device", device), ("error_log_type", kind)];
        out.gauge("smartctl_device_error_log_count", help, &labels, *count);
    }
    for log in &disk.self_tests {
        let labels = [("device", device), ("self_test_log_type", log.kind.as_str())];
        if let Some(count) = log.count {
            let help = "Device SMART self test log count";
            out.gauge("smartctl_device_self_test_log_count", help, &labels, count);
        }
        if let Some(errors) = log.errors {
            let help = "Device SMART self test log error count";
            out.gauge("smartctl_device_self_test_log_error_count", help, &labels, errors);
        }
    }
}

fn observe_attributes(device: &str, attributes: &[Attribute], out: &mut Observation) {
    for attribute in attributes {
        for (kind, value) in [
            ("value", attribute.value),
            ("worst", attribute.worst),
            ("thresh", attribute.threshold),
            ("raw", attribute.raw),
        ] {
            let Some(value) = value else { continue };
            let labels = [
                ("device", device),
                ("attribute_name", attribute.name.as_str()),
                ("attribute_flags_short", &attribute.flags_short),
                ("attribute_flags_long", &attribute.flags_long),
                ("attribute_value_type", kind),
                ("attribute_id", &attribute.id_text),
            ];
            out.gauge("smartctl_device_attribute", "Device attributes", &labels, value);
        }
    }
}

fn observe_statistics(disk: &Disk, out: &mut Observation) {
    for statistic in &disk.statistics {
        let labels = [
            ("device", disk.label.as_str()),
            ("statistic_table", &statistic.table),
            ("statistic_name", &statistic.name),
            ("statistic_flags_short", &statistic.flags_short),
            ("statistic_flags_long", &statistic.flags_long),
        ];
        out.gauge("smartctl_device_statistics", "Device statistics", &labels, statistic.value);
    }
}

fn observe_nvme(device: &str, nvme: &Nvme, out: &mut Observation) {
    for (name, help, value) in [
        ("smartctl_device_percentage_used", "Device write percentage used", nvme.percentage_used),
        (
            "smartctl_device_available_spare",
            "Normalized percentage (0 to 100%) of the remaining spare capacity available",
            nvme.available_spare,
        ),
        (
            "smartctl_device_available_spare_threshold",
            "Percentage of spare capacity below which the device warns",
            nvme.spare_threshold,
        ),
        (
            "smartctl_device_critical_warning",
            "Critical warnings for the state of the controller, one a bit",
            nvme.critical_warning,
        ),
        (
            "smartctl_device_media_errors",
            "Occurrences of an unrecovered data integrity error",
            nvme.media_errors,
        ),
        (
            "smartctl_device_num_err_log_entries",
            "Error information log entries over the life of the controller",
            nvme.error_log_entries,
        ),
    ] {
        counter(device, name, help, value, out);
    }
    observe_bytes(device, nvme.bytes_read, nvme.bytes_written, out);
}

fn observe_bytes(device: &str, read: Option<f64>, written: Option<f64>, out: &mut Observation) {
    counter(device, "smartctl_device_bytes_read", "Bytes read by the host", read, out);
    counter(device, "smartctl_device_bytes_written", "Bytes written by the host", written, out);
}

fn observe_scsi(device: &str, scsi: &Scsi, out: &mut Observation) {
    let name = "smartctl_scsi_grown_defect_list";
    gauge(device, name, "Device SCSI grown defect list counter", scsi.grown_defects, out);
    let name = "smartctl_scsi_percentage_used_endurance_indicator";
    gauge(device, name, "Device SCSI endurance used in percent", scsi.endurance_used, out);
    for ScsiErrors { work, corrected_by_rereads, corrected_fast, corrected_delayed, uncorrected } in
        &scsi.errors
    {
        for (name, help, value) in [
            (
                "errors_corrected_by_rereads_rewrites",
                "Errors corrected by rereads or rewrites",
                *corrected_by_rereads,
            ),
            ("errors_corrected_by_eccfast", "Errors corrected by ECC at once", *corrected_fast),
            (
                "errors_corrected_by_eccdelayed",
                "Errors corrected by ECC with a delay",
                *corrected_delayed,
            ),
            ("total_uncorrected_errors", "Errors that were not corrected", *uncorrected),
        ] {
            gauge(device, &format!("smartctl_{work}_{name}"), help, value, out);
        }
    }
    observe_bytes(device, scsi.bytes_read, scsi.bytes_written, out);
}
