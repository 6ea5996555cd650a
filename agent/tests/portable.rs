//! Holds what other systems are told by against Linux' own files, here where both can be asked.
#![cfg(target_os = "linux")]
#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use upkeep_agent::host::{Host, HostPaths};
use upkeep_agent::probe::{
    CpuProbe, DiskProbe, FilesystemProbe, HwmonProbe, LoadProbe, MemoryProbe, NetworkProbe,
    PortableDiskProbe, PortableProbe, Probe, StatProbe,
};
use upkeep_model::{METRIC_NAME, Observation};

/// Series without what only one side knows of them, and their values.
type Page = BTreeMap<(String, Vec<String>), f64>;

/// What a probe says, with only those labels that are named.
fn page(probe: &dyn Probe, labels: &[&str]) -> Page {
    let mut out = Observation::at(0);
    // Some file systems of a container refuse to be asked, which both sides see alike.
    let _partial = probe.observe(&Host::new(HostPaths::default()), &mut out);
    let mut page = Page::new();
    for (series, value) in out.iter() {
        let kept = series.labels.iter().filter(|(name, _)| labels.contains(name));
        let kept = kept.map(|(name, value)| format!("{name}={value}")).collect();
        let name = series.labels.metric_name().unwrap_or(METRIC_NAME).to_owned();
        page.insert((name, kept), value);
    }
    page
}

/// Every metric of `names` that the portable side tells must be told by the other one too, with
/// values before and after between which its own lies, give or take a part of it.
fn check(names: &[&str], part: f64, [before, told, after]: [&Page; 3]) {
    for name in names {
        let of_name: Vec<_> = told.iter().filter(|((metric, _), _)| metric == name).collect();
        assert!(!of_name.is_empty(), "{name} is not told");
        for (series, value) in of_name {
            let (Some(before), Some(after)) = (before.get(series), after.get(series)) else {
                panic!("{series:?} is not known to Linux, but to have {value}");
            };
            let (low, high) = (before.min(*after), before.max(*after));
            let room = part * high.abs();
            assert!(
                (low - room..=high + room).contains(value),
                "{series:?} is {value}, and {before} before, {after} after"
            );
        }
    }
}

#[test]
fn memory_and_load_are_those_of_the_kernel() {
    let own = || {
        let mut page = page(&MemoryProbe, &[]);
        page.append(&mut self::page(&LoadProbe, &[]));
        page.append(&mut self::page(&StatProbe::default(), &[]));
        page
    };
    let (before, told, after) = (own(), page(&PortableProbe::default(), &[]), own());
    let exact = ["node_memory_MemTotal_bytes", "node_memory_SwapTotal_bytes", "node_load1"];
    check(&exact, 1e-9, [&before, &told, &after]);
    check(&["node_load5", "node_load15"], 1e-9, [&before, &told, &after]);
    check(&["node_boot_time_seconds"], 1e-8, [&before, &told, &after]);
    let moving = ["node_memory_MemFree_bytes", "node_memory_MemAvailable_bytes"];
    check(&moving, 0.1, [&before, &told, &after]);
}

#[test]
fn network_counters_are_those_of_the_kernel() {
    let own = || page(&NetworkProbe, &["device"]);
    let (before, told, after) = (own(), page(&PortableProbe::default(), &["device"]), own());
    let names = [
        "node_network_receive_bytes_total",
        "node_network_receive_packets_total",
        "node_network_receive_errs_total",
        "node_network_transmit_bytes_total",
        "node_network_transmit_packets_total",
        "node_network_transmit_errs_total",
    ];
    check(&names, 0.0, [&before, &told, &after]);
    let devices = |page: &Page| page.keys().filter(|(name, _)| name == names[0]).count();
    assert_eq!(devices(&told), devices(&after), "other devices");
}

#[test]
fn file_systems_and_disks_are_those_of_the_kernel() {
    let labels = ["device", "mountpoint"];
    let own = || {
        let mut page = page(&FilesystemProbe::default(), &labels);
        page.append(&mut self::page(&DiskProbe, &["device"]));
        page
    };
    let (before, told, after) = (own(), page(&PortableDiskProbe, &labels), own());
    // Both leave out some, and not the same ones; what holds the root is in both.
    let of_root = |((_, labels), _): &(&(String, Vec<String>), &f64)| {
        labels.iter().any(|label| label == "mountpoint=/")
    };
    let told: Page =
        told.iter().filter(of_root).map(|(series, value)| (series.clone(), *value)).collect();
    check(&["node_filesystem_size_bytes"], 1e-9, [&before, &told, &after]);
    check(&["node_filesystem_avail_bytes"], 0.1, [&before, &told, &after]);
    check(&["node_filesystem_readonly"], 0.0, [&before, &told, &after]);
}

#[test]
fn disks_are_read_and_written_as_the_kernel_counts() {
    let own = || page(&DiskProbe, &["device"]);
    let (before, told, after) = (own(), page(&PortableDiskProbe, &["device"]), own());
    let known = |(series, _): &(&(String, Vec<String>), &f64)| before.contains_key(*series);
    let told: Page =
        told.iter().filter(known).map(|(series, value)| (series.clone(), *value)).collect();
    if told.keys().all(|(name, _)| name != "node_disk_read_bytes_total") {
        eprintln!("SKIPPED: no file system of this machine lies on a whole disk");
        return;
    }
    let names = ["node_disk_read_bytes_total", "node_disk_written_bytes_total"];
    check(&names, 0.0, [&before, &told, &after]);
}

#[test]
fn temperatures_are_those_of_the_sensors() {
    let warmest = |page: &Page| {
        let temperatures = page.iter().filter(|((name, _), _)| name == "node_hwmon_temp_celsius");
        temperatures.map(|(_, value)| *value).reduce(f64::max)
    };
    let own = warmest(&page(&HwmonProbe::default(), &["chip", "sensor"]));
    let told = warmest(&page(&PortableProbe::default(), &["chip", "sensor"]));
    match (own, told) {
        (Some(own), Some(told)) => assert!((own - told).abs() < 10.0, "{told}, not {own}"),
        (None, _) => eprintln!("SKIPPED: this machine has no sensors"),
        (Some(_), None) => panic!("no temperature is told"),
    }
}

#[test]
fn processors_are_busy_as_the_kernel_counts() {
    let probe = PortableProbe::default();
    let labels = ["cpu", "mode"];
    let sum = |page: &Page, modes: &[&str]| -> f64 {
        let of_modes = page.iter().filter(|((name, labels), _)| {
            name == "node_cpu_seconds_total"
                && modes.iter().any(|mode| labels.contains(&format!("mode={mode}")))
        });
        of_modes.map(|(_, value)| value).sum()
    };
    let processors = |page: &Page| {
        let is_idle = |(name, labels): &&(String, Vec<String>)| {
            name == "node_cpu_seconds_total" && labels.iter().any(|label| label == "mode=idle")
        };
        page.keys().filter(is_idle).count()
    };
    let work = ["user", "nice", "system", "irq", "softirq", "steal"];
    let mut seen = Vec::new();
    // The two do not look at the very same moments, so that a burst of work may part them once.
    for _ in 0..5 {
        let (first, before) = (page(&probe, &labels), page(&CpuProbe::default(), &labels));
        std::thread::sleep(Duration::from_secs(2));
        let (told, after) = (page(&probe, &labels), page(&CpuProbe::default(), &labels));
        assert_eq!(processors(&told), processors(&after), "other processors");
        // Waiting for disks is no work.
        let share = |from: &Page, to: &Page, work: &[&str], rest: &[&str]| {
            let grown = |modes: &[&str]| sum(to, modes) - sum(from, modes);
            grown(work) / (grown(work) + grown(rest))
        };
        let own = share(&before, &after, &work, &["idle", "iowait"]);
        let busy = share(&first, &told, &["busy"], &["idle"]);
        if (busy - own).abs() < 0.25 {
            return;
        }
        seen.push((busy, own));
    }
    panic!("busy and what the kernel counts: {seen:?}");
}
