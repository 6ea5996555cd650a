//! What smartctl tells about a disk, in the units in which it is shown. `None` and empty text are
//! what the disk does not tell.

/// A disk as one reading has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Disk {
    /// Its name in labels: `sda`, `nvme0`, `bus_0_megaraid_3`.
    pub(super) label: String,
    pub(super) identity: Identity,
    /// The program that read it.
    pub(super) program: Program,
    /// The bits of smartctl's exit status; none if it did not end by itself.
    pub(super) exit: Option<u8>,
    /// It sleeps and was not woken, so that nothing else is known.
    pub(super) is_asleep: bool,
    /// What smartctl complained about, in its own words.
    pub(super) complaints: Vec<String>,
    /// Whether the disk's self-monitoring is on.
    pub(super) is_monitored: Option<bool>,
    /// The disk's own verdict.
    pub(super) passed: Option<bool>,
    pub(super) size: Size,
    /// Bits a second, by `max` and `current`.
    pub(super) speeds: Vec<(&'static str, f64)>,
    pub(super) attributes: Vec<Attribute>,
    pub(super) power_on_seconds: Option<f64>,
    /// Turns a minute; 0 for one that does not turn.
    pub(super) rotation_rate: Option<f64>,
    /// Degrees Celsius, by what they are: `current`, `drive_trip`, …
    pub(super) temperatures: Vec<(String, f64)>,
    pub(super) power_cycles: Option<f64>,
    /// The state by the SMART command transport, as a number.
    pub(super) state: Option<f64>,
    pub(super) statistics: Vec<Statistic>,
    /// Entries of the error logs, by log.
    pub(super) error_logs: Vec<(String, f64)>,
    pub(super) self_tests: Vec<SelfTestLog>,
    /// What became of the last self-test that ended, if it found a fault.
    pub(super) failed_self_test: Option<String>,
    /// Seconds after which the disk gives an error up, by `read` and `write`.
    pub(super) recovery_seconds: Vec<(String, f64)>,
    /// Percent of the rated life that is used, by whatever kind of disk; may be over 100.
    pub(super) endurance_used: Option<f64>,
    pub(super) nvme: Option<Nvme>,
    pub(super) scsi: Option<Scsi>,
}

/// Who a disk is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Identity {
    /// The device type by which it is spoken to: `sat`, `nvme`, `megaraid,3`.
    pub(super) interface: String,
    /// ATA, NVMe or SCSI.
    pub(super) protocol: String,
    pub(super) family: String,
    pub(super) model: String,
    pub(super) serial: String,
    pub(super) additional_product: String,
    pub(super) firmware: String,
    pub(super) ata_version: String,
    pub(super) sata_version: String,
    pub(super) form_factor: String,
    pub(super) scsi_vendor: String,
    pub(super) scsi_product: String,
    pub(super) scsi_revision: String,
    pub(super) scsi_version: String,
}

/// The smartctl that was asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Program {
    pub(super) version: String,
    pub(super) format: String,
    pub(super) revision: String,
    pub(super) build: String,
}

/// How large a disk is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Size {
    pub(super) blocks: Option<f64>,
    pub(super) bytes: Option<f64>,
    /// Of all namespaces of an NVMe disk.
    pub(super) nvme_bytes: Option<f64>,
    pub(super) logical_block: Option<f64>,
    pub(super) physical_block: Option<f64>,
}

/// One of an ATA disk's attributes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Attribute {
    pub(super) id: u8,
    /// The same as text, for labels.
    pub(super) id_text: String,
    pub(super) name: String,
    pub(super) flags_short: String,
    pub(super) flags_long: String,
    /// It tells of a failure that is near; the others tell of age.
    pub(super) is_prefailure: bool,
    /// From a maker's best value, mostly 100, 200 or 253, down to the threshold.
    pub(super) value: Option<f64>,
    pub(super) worst: Option<f64>,
    pub(super) threshold: Option<f64>,
    pub(super) raw: Option<f64>,
    /// The raw value as smartctl's database of disks reads it.
    pub(super) raw_text: String,
    pub(super) failed: Failed,
}

/// Whether an attribute is at or below its threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Failed {
    #[default]
    Never,
    Past,
    Now,
}

/// One of the values that ATA disks count for themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Statistic {
    pub(super) table: String,
    pub(super) name: String,
    pub(super) flags_short: String,
    pub(super) flags_long: String,
    pub(super) value: f64,
}

/// A log of self-tests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SelfTestLog {
    pub(super) kind: String,
    pub(super) count: Option<f64>,
    /// Tests that found a fault.
    pub(super) errors: Option<f64>,
}

/// The health page of an NVMe disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Nvme {
    pub(super) critical_warning: Option<f64>,
    /// Percent.
    pub(super) available_spare: Option<f64>,
    /// Percent.
    pub(super) spare_threshold: Option<f64>,
    /// Percent; may be over 100.
    pub(super) percentage_used: Option<f64>,
    pub(super) media_errors: Option<f64>,
    pub(super) error_log_entries: Option<f64>,
    pub(super) bytes_read: Option<f64>,
    pub(super) bytes_written: Option<f64>,
}

/// The error counters of a SCSI disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scsi {
    pub(super) grown_defects: Option<f64>,
    /// Percent; may be over 100.
    pub(super) endurance_used: Option<f64>,
    pub(super) bytes_read: Option<f64>,
    pub(super) bytes_written: Option<f64>,
    /// By `read`, `write` and `verify`, in this order.
    pub(super) errors: Vec<ScsiErrors>,
}

/// What went wrong in one kind of work.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ScsiErrors {
    pub(super) work: &'static str,
    pub(super) corrected_by_rereads: Option<f64>,
    pub(super) corrected_fast: Option<f64>,
    pub(super) corrected_delayed: Option<f64>,
    pub(super) uncorrected: Option<f64>,
}
