//! What hosts, agents and the collector show when a rule must see them, and when it must not.

use super::NOW;

/// How a series goes over the six hours before.
#[derive(Clone, Copy)]
pub(super) enum Course {
    /// In a straight line from one value to another.
    Line(f64, f64),
    /// From one value to another at once, three minutes ago.
    Step(f64, f64),
}

use Course::{Line, Step};

pub(super) fn flat(value: f64) -> Course {
    Line(value, value)
}

const FILESYSTEM: &str = "instance='web1',device='/dev/sda1',fstype='ext4',mountpoint='/'";
const LOOP: &str = "instance='web1',device='/dev/loop1',fstype='squashfs',mountpoint='/snap/x/1'";

/// A case: the alert, whether it fires, and the series.
pub(super) type Case = (&'static str, bool, Vec<(String, Course)>);

pub(super) fn case(alert: &'static str, fires: bool, series: &[(&str, Course)]) -> Case {
    let series = series.iter().map(|(name, course)| {
        let name = name.replace("{fs}", &format!("{{{FILESYSTEM}}}"));
        let name = name.replace("{loop}", &format!("{{{LOOP}}}"));
        let name = name.replace("{web1}", "{instance='web1'}");
        (name.replace('\'', "\""), *course)
    });
    (alert, fires, series.collect())
}

/// The cases of hosts, their agents and the collector.
pub(super) fn all() -> Vec<Case> {
    [
        filesystem_cases(),
        load_cases(),
        state_cases(),
        service_cases(),
        agent_cases(),
        collector_cases(),
    ]
    .concat()
}

fn filesystem_cases() -> Vec<Case> {
    let (yes, no) = (true, false);
    let almost_full = "HostFilesystemAlmostFull";
    let (fills, soon) = ("HostFilesystemFillsUp", "HostFilesystemFillsUpSoon");
    let inodes = "HostInodesAlmostExhausted";
    let (avail, size, readonly) = (
        "node_filesystem_avail_bytes{fs}",
        "node_filesystem_size_bytes{fs}",
        "node_filesystem_readonly{fs}",
    );
    let (free, files) = ("node_filesystem_files_free{fs}", "node_filesystem_files{fs}");
    vec![
        case(almost_full, yes, &[(avail, flat(4.0)), (size, flat(100.0)), (readonly, flat(0.0))]),
        case(almost_full, no, &[(avail, flat(6.0)), (size, flat(100.0)), (readonly, flat(0.0))]),
        case(almost_full, no, &[(avail, flat(0.0)), (size, flat(100.0)), (readonly, flat(1.0))]),
        case(
            almost_full,
            no,
            &[
                ("node_filesystem_avail_bytes{loop}", flat(0.0)),
                ("node_filesystem_size_bytes{loop}", flat(100.0)),
                ("node_filesystem_readonly{loop}", flat(0.0)),
            ],
        ),
        case(fills, yes, &[(avail, Line(45.0, 30.0)), (size, flat(100.0)), (readonly, flat(0.0))]),
        case(fills, no, &[(avail, Line(30.5, 30.0)), (size, flat(100.0)), (readonly, flat(0.0))]),
        case(fills, no, &[(avail, Line(90.0, 60.0)), (size, flat(100.0)), (readonly, flat(0.0))]),
        case(soon, yes, &[(avail, Line(90.0, 15.0)), (size, flat(100.0)), (readonly, flat(0.0))]),
        case(soon, no, &[(avail, Line(20.0, 15.0)), (size, flat(100.0)), (readonly, flat(0.0))]),
        case(soon, no, &[(avail, Line(96.0, 30.0)), (size, flat(100.0)), (readonly, flat(0.0))]),
        case(inodes, yes, &[(free, flat(4.0)), (files, flat(100.0)), (readonly, flat(0.0))]),
        case(inodes, no, &[(free, flat(50.0)), (files, flat(100.0)), (readonly, flat(0.0))]),
        case(inodes, no, &[(free, flat(0.0)), (files, flat(0.0)), (readonly, flat(0.0))]),
        case("HostFilesystemReadOnly", yes, &[(readonly, flat(1.0))]),
        case("HostFilesystemReadOnly", no, &[(readonly, flat(0.0))]),
        case("HostFilesystemReadOnly", no, &[("node_filesystem_readonly{loop}", flat(1.0))]),
        case("HostFilesystemUnreadable", yes, &[("node_filesystem_device_error{fs}", flat(1.0))]),
        case("HostFilesystemUnreadable", no, &[("node_filesystem_device_error{fs}", flat(0.0))]),
    ]
}

fn load_cases() -> Vec<Case> {
    let (yes, no) = (true, false);
    let (available, total) =
        ("node_memory_MemAvailable_bytes{web1}", "node_memory_MemTotal_bytes{web1}");
    let (swap_in, swap_out) = ("node_vmstat_pswpin{web1}", "node_vmstat_pswpout{web1}");
    let idle = "node_cpu_seconds_total{instance='web1',cpu='0',mode='idle'}";
    let busy = "node_disk_io_time_seconds_total{instance='web1',device='sda'}";
    let (errors, sent_errors, packets, sent) = (
        "node_network_receive_errs_total{instance='web1',device='eth0'}",
        "node_network_transmit_errs_total{instance='web1',device='eth0'}",
        "node_network_receive_packets_total{instance='web1',device='eth0'}",
        "node_network_transmit_packets_total{instance='web1',device='eth0'}",
    );
    let network = |errors_seen: f64, packets_seen: f64| {
        [
            (errors, Line(0.0, errors_seen)),
            (sent_errors, flat(0.0)),
            (packets, Line(0.0, packets_seen)),
            (sent, Line(0.0, packets_seen)),
        ]
    };
    let (entries, limit) =
        ("node_nf_conntrack_entries{web1}", "node_nf_conntrack_entries_limit{web1}");
    let (used, most) = ("node_filefd_allocated{web1}", "node_filefd_maximum{web1}");
    vec![
        case("HostMemoryExhausted", yes, &[(available, flat(4.0)), (total, flat(100.0))]),
        case("HostMemoryExhausted", no, &[(available, flat(20.0)), (total, flat(100.0))]),
        case("HostOutOfMemoryKill", yes, &[("node_vmstat_oom_kill{web1}", Step(3.0, 4.0))]),
        case("HostOutOfMemoryKill", no, &[("node_vmstat_oom_kill{web1}", flat(3.0))]),
        case("HostSwapping", yes, &[(swap_in, Line(0.0, 1e8)), (swap_out, Line(0.0, 1e8))]),
        case("HostSwapping", no, &[(swap_in, Line(0.0, 1e8)), (swap_out, flat(0.0))]),
        case("HostLoadHigh", yes, &[("node_load5{web1}", flat(3.0)), (idle, flat(1.0))]),
        case("HostLoadHigh", no, &[("node_load5{web1}", flat(1.5)), (idle, flat(1.0))]),
        case("HostProcessorBusy", yes, &[(idle, Line(0.0, 400.0))]),
        case("HostProcessorBusy", no, &[(idle, Line(0.0, 15_000.0))]),
        case("HostDiskBusy", yes, &[(busy, Line(0.0, 21_500.0))]),
        case("HostDiskBusy", no, &[(busy, Line(0.0, 10_000.0))]),
        case("HostNetworkErrors", yes, &network(5e4, 1e6)),
        case("HostNetworkErrors", no, &network(1e3, 1e6)),
        case("HostNetworkErrors", no, &network(50.0, 100.0)),
        case(
            "HostConnectionTrackingAlmostFull",
            yes,
            &[(entries, flat(90.0)), (limit, flat(100.0))],
        ),
        case(
            "HostConnectionTrackingAlmostFull",
            no,
            &[(entries, flat(50.0)), (limit, flat(100.0))],
        ),
        case("HostFileDescriptorsAlmostExhausted", yes, &[(used, flat(90.0)), (most, flat(100.0))]),
        case("HostFileDescriptorsExhausted", yes, &[(used, flat(96.0)), (most, flat(100.0))]),
        case("HostFileDescriptorsExhausted", no, &[(used, flat(90.0)), (most, flat(100.0))]),
        case("HostFileDescriptorsAlmostExhausted", no, &[(used, flat(9.0)), (most, flat(100.0))]),
    ]
}

fn state_cases() -> Vec<Case> {
    let (yes, no) = (true, false);
    let (sync, error) = ("node_timex_sync_status{web1}", "node_timex_maxerror_seconds{web1}");
    let (boot, switches) = ("node_boot_time_seconds{web1}", "node_context_switches_total{web1}");
    let (required, active) = (
        "node_md_disks_required{instance='web1',device='md0'}",
        "node_md_disks{instance='web1',device='md0',state='active'}",
    );
    let failed = "node_md_disks{instance='web1',device='md0',state='failed'}";
    let (temperature, critical) = (
        "node_hwmon_temp_celsius{instance='web1',chip='coretemp',sensor='temp1'}",
        "node_hwmon_temp_crit_celsius{instance='web1',chip='coretemp',sensor='temp1'}",
    );
    let probe = "node_scrape_collector_success{instance='web1',collector='disk'}";
    vec![
        case("HostSilent", yes, &[("up{instance='web1',job='node'}", flat(0.0))]),
        case("HostSilent", no, &[("up{instance='web1',job='node'}", flat(1.0))]),
        case("HostClockNotSynchronised", yes, &[(sync, flat(0.0)), (error, flat(16.0))]),
        case("HostClockNotSynchronised", no, &[(sync, flat(1.0)), (error, flat(16.0))]),
        case("HostClockOff", yes, &[("node_timex_offset_seconds{web1}", flat(-0.2))]),
        case("HostClockOff", no, &[("node_timex_offset_seconds{web1}", flat(0.001))]),
        case("HostClockStepped", yes, &[(boot, Step(1e9, 1e9 + 60.0)), (switches, Line(0.0, 9.0))]),
        case("HostClockStepped", no, &[(boot, Step(1e9, 1.1e9)), (switches, Step(9.0, 1.0))]),
        case("HostClockStepped", no, &[(boot, flat(1e9)), (switches, Line(0.0, 9.0))]),
        case("HostRebooted", yes, &[(switches, Step(9.0, 1.0))]),
        case("HostRebooted", no, &[(switches, Line(0.0, 9.0))]),
        case("HostRaidDegraded", yes, &[(required, flat(2.0)), (active, flat(1.0))]),
        case("HostRaidDegraded", no, &[(required, flat(2.0)), (active, flat(2.0))]),
        case("HostRaidDiskFailed", yes, &[(failed, flat(1.0))]),
        case("HostRaidDiskFailed", no, &[(failed, flat(0.0)), (active, flat(2.0))]),
        case("HostTooHot", yes, &[(temperature, flat(101.0)), (critical, flat(100.0))]),
        case("HostTooHot", no, &[(temperature, flat(60.0)), (critical, flat(100.0))]),
        case("HostTooHot", no, &[(temperature, flat(60.0)), (critical, flat(0.0))]),
        case("HostProbeFailing", yes, &[(probe, flat(0.0))]),
        case("HostProbeFailing", no, &[(probe, flat(1.0))]),
    ]
}

fn service_cases() -> Vec<Case> {
    let (yes, no) = (true, false);
    let (free, files, readonly) = (
        "node_filesystem_files_free{fs}",
        "node_filesystem_files{fs}",
        "node_filesystem_readonly{fs}",
    );
    let inodes = |course| [(free, course), (files, flat(100.0)), (readonly, flat(0.0))];
    let faults = "node_vmstat_pgmajfault{web1}";
    let queue = "node_disk_io_time_weighted_seconds_total{instance='web1',device='sda'}";
    let (slaves, active) = (
        "node_bonding_slaves{instance='web1',master='bond0'}",
        "node_bonding_active{instance='web1',master='bond0'}",
    );
    let unit = |state: &str| {
        format!("node_systemd_unit_state{{instance='web1',name='x.service',state='{state}'}}")
    };
    let restarts = "node_systemd_service_restart_total{instance='web1',name='x.service'}";
    let error = "node_textfile_scrape_error{web1}";
    let written = "node_textfile_mtime_seconds{instance='web1',file='/x.prom'}";
    let days_ago = |days: f64| flat(NOW as f64 - days * 86_400.0);
    vec![
        case("HostInodesFillUp", yes, &inodes(Line(45.0, 30.0))),
        case("HostInodesFillUp", no, &inodes(Line(30.5, 30.0))),
        case("HostInodesFillUp", no, &inodes(Line(90.0, 60.0))),
        case("HostInodesFillUpSoon", yes, &inodes(Line(90.0, 15.0))),
        case("HostInodesFillUpSoon", no, &inodes(Line(20.0, 15.0))),
        case("HostInodesFillUpSoon", no, &inodes(Line(96.0, 30.0))),
        case("HostMajorPageFaults", yes, &[(faults, Line(0.0, 600.0 * 21_600.0))]),
        case("HostMajorPageFaults", no, &[(faults, Line(0.0, 400.0 * 21_600.0))]),
        case("HostDiskQueueLong", yes, &[(queue, Line(0.0, 11.0 * 21_600.0))]),
        case("HostDiskQueueLong", no, &[(queue, Line(0.0, 9.0 * 21_600.0))]),
        case("HostBondingDegraded", yes, &[(slaves, flat(2.0)), (active, flat(1.0))]),
        case("HostBondingDegraded", no, &[(slaves, flat(2.0)), (active, flat(2.0))]),
        case("HostServiceFailed", yes, &[(&unit("failed"), flat(1.0))]),
        case(
            "HostServiceFailed",
            no,
            &[(&unit("failed"), flat(0.0)), (&unit("active"), flat(1.0))],
        ),
        case("HostServiceRestarting", yes, &[(restarts, Step(1.0, 5.0))]),
        case("HostServiceRestarting", no, &[(restarts, Step(1.0, 2.0))]),
        case("HostTextfileUnreadable", yes, &[(error, flat(1.0))]),
        case("HostTextfileUnreadable", no, &[(error, flat(0.0))]),
        case("HostTextfileStale", yes, &[(written, days_ago(3.0))]),
        case("HostTextfileStale", no, &[(written, days_ago(1.0))]),
    ]
}

fn agent_cases() -> Vec<Case> {
    let (yes, no) = (true, false);
    let (bytes, limit, age) = (
        "upkeep_agent_buffer_bytes{web1}",
        "upkeep_agent_buffer_limit_bytes{web1}",
        "upkeep_agent_buffer_oldest_age_seconds{web1}",
    );
    let dropped = "upkeep_agent_buffer_dropped_records_total{instance='web1',lane='samples'}";
    let refused = "upkeep_agent_buffer_refused_observations_total{web1}";
    let skipped = "upkeep_agent_skipped_ticks_total{web1}";
    let memory = "process_resident_memory_bytes{instance='web1',job='node'}";
    let build = "upkeep_agent_build_info{instance='web1',job='node'}";
    let filling = "AgentBufferFilling";
    vec![
        case(filling, yes, &[(bytes, flat(60.0)), (limit, flat(100.0)), (age, flat(700.0))]),
        case(filling, no, &[(bytes, flat(60.0)), (limit, flat(100.0)), (age, flat(10.0))]),
        case(filling, no, &[(bytes, flat(10.0)), (limit, flat(100.0)), (age, flat(700.0))]),
        case("AgentLosesData", yes, &[(dropped, Step(0.0, 7.0))]),
        case("AgentLosesData", no, &[(dropped, flat(7.0))]),
        case("AgentCannotBuffer", yes, &[(refused, Step(0.0, 7.0))]),
        case("AgentCannotBuffer", no, &[(refused, flat(7.0))]),
        case("AgentSkipsTicks", yes, &[(skipped, Line(0.0, 360.0))]),
        case("AgentSkipsTicks", no, &[(skipped, Line(0.0, 12.0))]),
        case("AgentTakesMuchMemory", yes, &[(memory, flat(1e8)), (build, flat(1.0))]),
        case("AgentTakesMuchMemory", no, &[(memory, flat(2e7)), (build, flat(1.0))]),
        case("AgentTakesMuchMemory", no, &[(memory, flat(1e8))]),
        case("AgentCertificateNearItsEnd", yes, &certificate(5.9, 24.0)),
        case("AgentCertificateNearItsEnd", yes, &certificate(-1.0, 24.0)),
        case("AgentCertificateNearItsEnd", no, &certificate(6.1, 24.0)),
        case("AgentCertificateNearItsEnd", no, &certificate(48.0, 168.0)),
        case("AgentCertificateEndsSoon", yes, &certificate(2.0, 24.0)),
        case("AgentCertificateEndsSoon", no, &certificate(3.0, 24.0)),
        case("AgentCertificateEndsSoon", no, &certificate(20.0, 168.0)),
    ]
}

/// A certificate of which so many of its hours are left.
fn certificate(left: f64, life: f64) -> [(&'static str, Course); 2] {
    let end = NOW as f64 + left * 3600.0;
    [
        ("upkeep_agent_certificate_not_after_timestamp_seconds{web1}", flat(end)),
        ("upkeep_agent_certificate_not_before_timestamp_seconds{web1}", flat(end - life * 3600.0)),
    ]
}

fn collector_cases() -> Vec<Case> {
    let (yes, no) = (true, false);
    let found = "upkeep_collector_damage_found_last_day{instance='web1',part='samples'}";
    let end = "upkeep_collector_certificate_not_after_timestamp_seconds{web1}";
    let days_left = |days: f64| flat(NOW as f64 + days * 86_400.0);
    vec![
        case("CollectorDataDamaged", yes, &[(found, Step(0.0, 1.0))]),
        case("CollectorDataDamaged", yes, &[(found, flat(1.0))]),
        case("CollectorDataDamaged", no, &[(found, flat(0.0))]),
        case("CollectorCertificateNearItsEnd", yes, &[(end, days_left(20.0))]),
        case("CollectorCertificateNearItsEnd", no, &[(end, days_left(22.0))]),
        case("CollectorCertificateEndsSoon", yes, &[(end, days_left(6.0))]),
        case("CollectorCertificateEndsSoon", yes, &[(end, days_left(-1.0))]),
        case("CollectorCertificateEndsSoon", no, &[(end, days_left(8.0))]),
    ]
}
