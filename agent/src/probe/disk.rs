//! What block devices do: `/proc/diskstats`, with what udev knows about them.

use std::collections::HashMap;

use upkeep_model::{MetricKind, Observation};

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FILE: &str = "diskstats";

/// The kernel counts sectors of this many bytes, whatever the device's own are.
const SECTOR_BYTES: f64 = 512.0;

/// The kernel counts time in milliseconds.
const SECONDS_PER_TICK: f64 = 1.0 / 1000.0;

/// One number of a device's line.
struct Column {
    metric: &'static str,
    help: &'static str,
    kind: MetricKind,
    factor: f64,
}

const fn counter(metric: &'static str, help: &'static str, factor: f64) -> Column {
    Column { metric, help, kind: MetricKind::Counter, factor }
}

/// The numbers after the device's name. Kernels before 4.18 have the first eleven of them, before
/// 5.5 the first fifteen.
const COLUMNS: [Column; 17] = [
    counter("node_disk_reads_completed_total", "Reads completed.", 1.0),
    counter("node_disk_reads_merged_total", "Reads merged into neighbouring ones.", 1.0),
    counter("node_disk_read_bytes_total", "Bytes read.", SECTOR_BYTES),
    counter("node_disk_read_time_seconds_total", "Time that all reads took.", SECONDS_PER_TICK),
    counter("node_disk_writes_completed_total", "Writes completed.", 1.0),
    counter("node_disk_writes_merged_total", "Writes merged into neighbouring ones.", 1.0),
    counter("node_disk_written_bytes_total", "Bytes written.", SECTOR_BYTES),
    counter("node_disk_write_time_seconds_total", "Time that all writes took.", SECONDS_PER_TICK),
    Column {
        metric: "node_disk_io_now",
        help: "Requests under way.",
        kind: MetricKind::Gauge,
        factor: 1.0,
    },
    counter(
        "node_disk_io_time_seconds_total",
        "Time in which any request was under way.",
        SECONDS_PER_TICK,
    ),
    counter(
        "node_disk_io_time_weighted_seconds_total",
        "Time that all requests took, those under way included.",
        SECONDS_PER_TICK,
    ),
    counter("node_disk_discards_completed_total", "Discards completed.", 1.0),
    counter("node_disk_discards_merged_total", "Discards merged into neighbouring ones.", 1.0),
    counter("node_disk_discarded_sectors_total", "Sectors discarded.", 1.0),
    counter(
        "node_disk_discard_time_seconds_total",
        "Time that all discards took.",
        SECONDS_PER_TICK,
    ),
    counter("node_disk_flush_requests_total", "Flushes completed.", 1.0),
    counter(
        "node_disk_flush_requests_time_seconds_total",
        "Time that all flushes took.",
        SECONDS_PER_TICK,
    ),
];

/// How many of them kernels have.
const KERNELS_COLUMNS: [usize; 3] = [11, 15, COLUMNS.len()];

/// What udev tells about an ATA disk as a number.
const ATA: [(&str, &str, &str); 3] = [
    ("ID_ATA_WRITE_CACHE", "node_disk_ata_write_cache", "1 for a disk with a write cache."),
    (
        "ID_ATA_WRITE_CACHE_ENABLED",
        "node_disk_ata_write_cache_enabled",
        "1 for a disk whose write cache is in use.",
    ),
    (
        "ID_ATA_ROTATION_RATE_RPM",
        "node_disk_ata_rotation_rate_rpm",
        "How fast a disk turns; 0 for one that does not.",
    ),
];

/// Block devices, without those that are made of memory, files or parts of others.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskProbe;

impl Probe for DiskProbe {
    fn name(&self) -> &'static str {
        "diskstats"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let text = host.read(Tree::Proc, FILE)?;
        let mut faults = Faults::default();
        parse(&text, &mut faults, |device| {
            let mut udev_faults = Faults::default();
            observe_numbers(device, out);
            udev_faults.check(observe_properties(device, host, out));
            udev_faults
        });
        faults.into_result()
    }
}

/// One line of the file.
#[derive(Debug, PartialEq)]
struct Device<'text> {
    major: &'text str,
    minor: &'text str,
    name: &'text str,
    numbers: Vec<Option<f64>>,
}

fn parse<'text>(
    text: &'text str,
    faults: &mut Faults,
    mut take: impl FnMut(&Device<'text>) -> Faults,
) {
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut words = line.split_ascii_whitespace();
        let (Some(major), Some(minor), Some(name)) = (words.next(), words.next(), words.next())
        else {
            faults.value(FILE, at + 1, "device", "incomplete");
            continue;
        };
        if is_left_out(name) {
            continue;
        }
        let count = words.clone().count();
        // With one too few, it is not known which number is which; later kernels may have more.
        let numbers = if KERNELS_COLUMNS.contains(&count) || count > COLUMNS.len() {
            let item = |column: &Column| format!("{name} {}", column.metric);
            let pairs = COLUMNS.iter().zip(words);
            pairs
                .map(|(column, word)| faults.number(FILE, at + 1, &item(column), Some(word)))
                .collect()
        } else {
            faults.value(FILE, at + 1, name, format!("{count} numbers"));
            Vec::new()
        };
        let found = take(&Device { major, minor, name, numbers });
        faults.append(found);
    }
}

/// Memory disks, loops, floppies, and partitions of disks: node_exporter's default choice.
fn is_left_out(name: &str) -> bool {
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    if stem.len() == name.len() {
        return false;
    }
    if ["ram", "zram", "loop", "fd"].contains(&stem) {
        return true;
    }
    let one_letter_disk = ["hd", "sd", "vd", "xvd"].iter().any(|start| {
        stem.strip_prefix(start).is_some_and(|rest| {
            rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_lowercase())
        })
    });
    one_letter_disk || is_nvme_partition_stem(stem)
}

/// Whether a name without its last digits is `nvme0n1p`.
fn is_nvme_partition_stem(stem: &str) -> bool {
    let numbers = stem.strip_prefix("nvme").and_then(|rest| rest.strip_suffix('p'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers
        .and_then(|numbers| numbers.split_once('n'))
        .is_some_and(|(controller, namespace)| is_number(controller) && is_number(namespace))
}

fn observe_numbers(device: &Device<'_>, out: &mut Observation) {
    let labels = [("device", device.name)];
    for (column, number) in COLUMNS.iter().zip(&device.numbers) {
        let Some(number) = *number else { continue };
        let value = number * column.factor;
        match column.kind {
            MetricKind::Counter => out.counter(column.metric, column.help, &labels, value),
            _ => out.gauge(column.metric, column.help, &labels, value),
        }
    }
}

/// What udev knows about a device. Where it knows nothing, the labels are empty.
fn observe_properties(
    device: &Device<'_>,
    host: &Host,
    out: &mut Observation,
) -> Result<(), ProbeError> {
    let path = format!("b{}:{}", device.major, device.minor);
    let mut faults = Faults::default();
    let text = faults.keep(host.read_if_present(Tree::UdevData, &path)).flatten();
    let known = properties(text.as_deref().unwrap_or_default());
    let property = |key: &str| known.get(key).map_or("", |&(_, value)| value);
    let rotational = rotational(device.name, host, &mut faults);
    let serial = ["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"]
        .map(property)
        .into_iter()
        .find(|serial| !serial.is_empty());
    let labels = [
        ("device", device.name),
        ("major", device.major),
        ("minor", device.minor),
        ("path", property("ID_PATH")),
        ("wwn", property("ID_WWN")),
        ("model", property("ID_MODEL")),
        ("serial", serial.unwrap_or_default()),
        ("revision", property("ID_REVISION")),
        ("rotational", rotational),
    ];
    out.gauge("node_disk_info", "The make of a block device.", &labels, 1.0);
    if !property("ID_FS_TYPE").is_empty() {
        let labels = [
            ("device", device.name),
            ("type", property("ID_FS_TYPE")),
            ("usage", property("ID_FS_USAGE")),
            ("uuid", property("ID_FS_UUID")),
            ("version", property("ID_FS_VERSION")),
        ];
        out.gauge("node_disk_filesystem_info", "What is stored on a block device.", &labels, 1.0);
    }
    if !property("DM_NAME").is_empty() {
        let labels = [
            ("device", device.name),
            ("name", property("DM_NAME")),
            ("uuid", property("DM_UUID")),
            ("vg_name", property("DM_VG_NAME")),
            ("lv_name", property("DM_LV_NAME")),
            ("lv_layer", property("DM_LV_LAYER")),
        ];
        let help = "What a mapped block device is called.";
        out.gauge("node_disk_device_mapper_info", help, &labels, 1.0);
    }
    if !property("ID_ATA").is_empty() {
        for (key, metric, help) in ATA {
            let Some(&(line, text)) = known.get(key) else { continue };
            if let Some(value) = faults.number(&path, line, key, Some(text)) {
                out.gauge(metric, help, &[("device", device.name)], value);
            }
        }
    }
    faults.into_result()
}

/// The lines `E:KEY=value` of a device's entry, with their line numbers.
fn properties(text: &str) -> HashMap<&str, (usize, &str)> {
    let numbered = text.lines().enumerate();
    numbered
        .filter_map(|(at, line)| {
            let (key, value) = line.strip_prefix("E:")?.split_once('=')?;
            Some((key, (at + 1, value)))
        })
        .collect()
}

/// `1` for a device that turns; like node_exporter, `0` also where the kernel does not say. Empty where
/// that cannot be read.
fn rotational(name: &str, host: &Host, faults: &mut Faults) -> &'static str {
    let path = format!("block/{}/queue/rotational", name.replace('/', "!"));
    let Some(text) = faults.keep(host.read_if_present(Tree::Sys, &path)) else { return "" };
    match text.as_deref().map_or("0", str::trim) {
        "0" => "0",
        "1" => "1",
        other => {
            faults.value(&path, 1, "rotational", format!("{other:?} is neither 0 nor 1"));
            ""
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_other_devices_are_left_out() {
        let check = |name: &str, expect: bool| assert_eq!(is_left_out(name), expect, "{name}");
        for name in ["ram0", "zram1", "loop12", "fd0", "sda1", "vdb2", "xvda1", "hdc9", "nvme0n1p2"]
        {
            check(name, true);
        }
        for name in ["sda", "vda", "sdaa", "sdaa1", "sr0", "nvme0n1", "nvme0c0n1", "dm-0", "md0"] {
            check(name, false);
        }
        for name in ["mmcblk0", "mmcblk0p1", "nbd0", "nvmen1p1", "loop", "sd1"] {
            check(name, false);
        }
    }

    #[test]
    fn diskstats_is_read() {
        let text = "   8       0 sda 1 2 3 x 5 6 7 8 9 10 11\n 8 1 sda1 1\n 8\n 8 16 sdb 1 2 3\n";
        let (mut faults, mut seen) = (Faults::default(), Vec::new());
        parse(text, &mut faults, |device| {
            seen.push((device.name.to_owned(), device.numbers.clone()));
            Faults::default()
        });
        let numbers = (1..=11).map(|number| (number != 4).then(|| f64::from(number))).collect();
        assert_eq!(seen, [("sda".to_owned(), numbers), ("sdb".to_owned(), Vec::new())]);
        assert_eq!(
            faults.into_result().unwrap_err().to_string(),
            "diskstats, line 1, sda node_disk_read_time_seconds_total: \"x\" is not a number; \
             diskstats, line 3, device: incomplete; diskstats, line 4, sdb: 3 numbers"
        );
    }

    #[test]
    fn only_properties_of_udev_count() {
        let known = properties("S:disk/by-id/x\nE:ID_MODEL=A=B\nE:EMPTY=\nG:systemd\n");
        assert_eq!(known.get("ID_MODEL"), Some(&(2, "A=B")));
        assert_eq!(known.len(), 2);
    }
}
