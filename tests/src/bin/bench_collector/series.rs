//! The series of a host as node_exporter names them, and how each moves: 157 of 300 stand still, 19 move
//! rarely, 82 count, and 42 go up and down.

use upkeep_model::{MetricKind, Series};

/// Series of a host.
pub(super) const SERIES: usize = 300;

/// How a series moves from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    /// It stays what it is.
    Constant(f64),
    /// Once in some sixty steps it becomes another of a few whole numbers.
    Rare { least: f64, kinds: u32 },
    /// Counts up by about so much a step, in units of one over `scale`.
    Counter { begin: f64, a_step: f64, scale: f64 },
    /// Walks around a middle, in units of one over `scale`.
    Gauge { middle: f64, swing: f64, scale: f64 },
}

/// A series and how it moves.
pub(super) struct Moving {
    pub(super) series: Series,
    pub(super) shape: Shape,
}

/// All series of a host, in the order of their numbers.
pub(super) fn all() -> Vec<Moving> {
    let mut all = Vec::with_capacity(SERIES);
    counters(&mut all);
    gauges(&mut all);
    rare(&mut all);
    constants(&mut all);
    all
}

fn put(all: &mut Vec<Moving>, name: &str, labels: &[(&str, &str)], shape: Shape) {
    let kind = match shape {
        Shape::Counter { .. } => MetricKind::Counter,
        _ => MetricKind::Gauge,
    };
    all.push(Moving {
        series: Series::new(kind, name, "As node_exporter tells it.", labels),
        shape,
    });
}

/// 32 of processors, 16 of networks, 20 of disks, 14 of the kernel.
fn counters(all: &mut Vec<Moving>) {
    let modes = [
        ("idle", 9.2),
        ("user", 0.45),
        ("system", 0.2),
        ("iowait", 0.06),
        ("softirq", 0.03),
        ("steal", 0.01),
        ("nice", 0.0),
        ("irq", 0.0),
    ];
    for cpu in ["0", "1", "2", "3"] {
        for (mode, a_step) in modes {
            let shape = Shape::Counter { begin: a_step * 400_000.0, a_step, scale: 100.0 };
            put(all, "node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)], shape);
        }
    }
    let whole = |begin, a_step| Shape::Counter { begin, a_step, scale: 1.0 };
    for (device, rate) in [("eth0", 1.0), ("eth1", 0.1), ("docker0", 0.02), ("lo", 0.3)] {
        for (direction, share) in [("receive", 1.0), ("transmit", 0.6)] {
            let labels = [("device", device)];
            let bytes = 2_500_000.0 * rate * share;
            let name = |what| format!("node_network_{direction}_{what}_total");
            put(all, &name("bytes"), &labels, whole(bytes * 90_000.0, bytes));
            put(all, &name("packets"), &labels, whole(bytes * 120.0, bytes / 750.0));
        }
    }
    for (device, rate) in [("sda", 1.0), ("sdb", 0.3), ("nvme0n1", 2.0), ("dm-0", 1.0)] {
        let labels = [("device", device)];
        for (what, a_step) in [
            ("reads_completed_total", 12.0),
            ("read_bytes_total", 196_608.0),
            ("writes_completed_total", 85.0),
            ("written_bytes_total", 1_392_640.0),
        ] {
            put(
                all,
                &format!("node_disk_{what}"),
                &labels,
                whole(a_step * 50_000.0, a_step * rate),
            );
        }
        let time = Shape::Counter { begin: 40_000.0, a_step: 0.4 * rate, scale: 1000.0 };
        put(all, "node_disk_io_time_seconds_total", &labels, time);
    }
    for (name, a_step) in [
        ("node_context_switches_total", 31_000.0),
        ("node_intr_total", 19_000.0),
        ("node_forks_total", 37.0),
        ("node_vmstat_pgfault", 9_700.0),
        ("node_vmstat_pgmajfault", 0.1),
        ("node_vmstat_pgpgin", 190.0),
        ("node_vmstat_pgpgout", 1_450.0),
        ("node_netstat_Tcp_InSegs", 4_100.0),
        ("node_netstat_Tcp_OutSegs", 5_300.0),
        ("node_netstat_Tcp_RetransSegs", 2.5),
        ("node_netstat_Tcp_PassiveOpens", 24.0),
        ("node_netstat_Udp_InDatagrams", 61.0),
        ("node_netstat_IpExt_InOctets", 3_100_000.0),
        ("node_netstat_IpExt_OutOctets", 2_000_000.0),
    ] {
        put(all, name, &[], whole(a_step * 70_000.0, a_step));
    }
}

/// 3 loads, 16 of memory, 4 of file systems, 8 temperatures, 11 of the kernel.
fn gauges(all: &mut Vec<Moving>) {
    let gauge = |middle, swing, scale| Shape::Gauge { middle, swing, scale };
    for (name, middle, swing) in
        [("node_load1", 0.9, 0.12), ("node_load5", 0.8, 0.04), ("node_load15", 0.7, 0.02)]
    {
        put(all, name, &[], gauge(middle, swing, 100.0));
    }
    // A page is 4 KiB, so the scale is less than one.
    for (index, what) in [
        "MemFree",
        "MemAvailable",
        "Buffers",
        "Cached",
        "Active",
        "Inactive",
        "Active_anon",
        "Inactive_anon",
        "Active_file",
        "Inactive_file",
        "Dirty",
        "Writeback",
        "AnonPages",
        "Mapped",
        "Slab",
        "PageTables",
    ]
    .into_iter()
    .enumerate()
    {
        let middle = 8e9 / (index + 1) as f64;
        put(
            all,
            &format!("node_memory_{what}_bytes"),
            &[],
            gauge(middle, middle / 900.0, 1.0 / 4096.0),
        );
    }
    for mountpoint in ["/", "/boot", "/home", "/var"] {
        let labels = [("device", "/dev/sda1"), ("fstype", "ext4"), ("mountpoint", mountpoint)];
        put(all, "node_filesystem_avail_bytes", &labels, gauge(4e10, 90_000.0, 1.0 / 4096.0));
    }
    for sensor in ["temp1", "temp2", "temp3", "temp4", "temp5", "temp6", "temp7", "temp8"] {
        let labels = [("chip", "platform_coretemp_0"), ("sensor", sensor)];
        put(all, "node_hwmon_temp_celsius", &labels, gauge(47.0, 0.7, 8.0));
    }
    for (name, middle, swing, scale) in [
        ("node_procs_running", 2.0, 0.8, 1.0),
        ("node_procs_blocked", 0.3, 0.4, 1.0),
        ("node_sockstat_TCP_inuse", 140.0, 3.0, 1.0),
        ("node_sockstat_TCP_tw", 60.0, 6.0, 1.0),
        ("node_sockstat_TCP_alloc", 180.0, 3.0, 1.0),
        ("node_sockstat_sockets_used", 410.0, 3.0, 1.0),
        ("node_filefd_allocated", 2_900.0, 20.0, 1.0),
        ("node_entropy_available_bits", 250.0, 3.0, 1.0),
        ("node_nf_conntrack_entries", 900.0, 20.0, 1.0),
        ("node_scrape_collector_duration_seconds", 0.021, 0.003, 1000.0),
        ("node_timex_offset_seconds", 0.000_012, 0.000_006, 1e9),
    ] {
        put(all, name, &[], gauge(middle, swing, scale));
    }
}

fn rare(all: &mut Vec<Moving>) {
    for number in 0..19 {
        let unit = format!("unit{number}.service");
        let shape = Shape::Rare { least: f64::from(number % 4) * 10.0, kinds: 3 };
        put(all, "node_systemd_unit_tasks_current", &[("name", &unit)], shape);
    }
}

fn constants(all: &mut Vec<Moving>) {
    put(all, "node_boot_time_seconds", &[], Shape::Constant(1_767_000_123.0));
    put(all, "node_memory_MemTotal_bytes", &[], Shape::Constant(16_732_217_344.0));
    for number in 0..60 {
        let unit = format!("unit{number}.service");
        let (active, labels) =
            (f64::from(number % 7 != 3), [("name", unit.as_str()), ("state", "active")]);
        put(all, "node_systemd_unit_state", &labels, Shape::Constant(active));
    }
    for device in ["eth0", "eth1", "docker0", "lo"] {
        for (what, value) in [
            ("mtu_bytes", 1500.0),
            ("up", 1.0),
            ("carrier", 1.0),
            ("flags", 4099.0),
            ("speed_bytes", 125_000_000.0),
            ("receive_drop_total", 0.0),
            ("receive_errs_total", 0.0),
            ("transmit_drop_total", 3.0),
            ("transmit_errs_total", 0.0),
            ("transmit_queue_length", 1000.0),
        ] {
            put(
                all,
                &format!("node_network_{what}"),
                &[("device", device)],
                Shape::Constant(value),
            );
        }
    }
    for mountpoint in ["/", "/boot", "/home", "/var"] {
        let labels = [("device", "/dev/sda1"), ("fstype", "ext4"), ("mountpoint", mountpoint)];
        for (what, value) in [
            ("size_bytes", 64_424_509_440.0),
            ("files", 3_932_160.0),
            ("readonly", 0.0),
            ("device_error", 0.0),
        ] {
            put(all, &format!("node_filesystem_{what}"), &labels, Shape::Constant(value));
        }
    }
    let mut number = 0;
    while all.len() < SERIES {
        let collector = format!("collector{number}");
        put(
            all,
            "node_scrape_collector_success",
            &[("collector", &collector)],
            Shape::Constant(1.0),
        );
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_are_as_many_of_each_kind_as_the_peers_were_measured_with() {
        let all = all();
        let count = |is: fn(&Shape) -> bool| all.iter().filter(|one| is(&one.shape)).count();
        assert_eq!(count(|shape| matches!(shape, Shape::Constant(_))), 157);
        assert_eq!(count(|shape| matches!(shape, Shape::Rare { .. })), 19);
        assert_eq!(count(|shape| matches!(shape, Shape::Counter { .. })), 82);
        assert_eq!(count(|shape| matches!(shape, Shape::Gauge { .. })), 42);
        let labels: BTreeSet<_> = all.iter().map(|one| one.series.labels.clone()).collect();
        assert_eq!(labels.len(), SERIES);
    }
}
