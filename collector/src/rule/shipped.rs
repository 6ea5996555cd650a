//! Every shipped rule is tried on hosts made for it: one that it must see, one that it must not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use upkeep_model::{Labels, MatchOperator, Matcher};
use upkeep_promql::{Limits, Value};

use super::file::{Group, Kind};
use super::memory::Memory;
use super::record::Recorder;
use super::template::{Ask, Context, Site};
use super::{RequireOutcome, check, load};

/// When the expressions are evaluated: a moment in 2027, in seconds since 1970.
const NOW: i64 = 1_800_000_000;

/// How a series goes over the six hours before.
#[derive(Clone, Copy)]
enum Course {
    /// In a straight line from one value to another.
    Line(f64, f64),
    /// From one value to another at once, three minutes ago.
    Step(f64, f64),
}

use Course::{Line, Step};

fn flat(value: f64) -> Course {
    Line(value, value)
}

const FILESYSTEM: &str = "instance='web1',device='/dev/sda1',fstype='ext4',mountpoint='/'";
const LOOP: &str = "instance='web1',device='/dev/loop1',fstype='squashfs',mountpoint='/snap/x/1'";

/// A case: the alert, whether it fires, and the series.
type Case = (&'static str, bool, Vec<(String, Course)>);

fn case(alert: &'static str, fires: bool, series: &[(&str, Course)]) -> Case {
    let series = series.iter().map(|(name, course)| {
        let name = name.replace("{fs}", &format!("{{{FILESYSTEM}}}"));
        let name = name.replace("{loop}", &format!("{{{LOOP}}}"));
        let name = name.replace("{web1}", "{instance='web1'}");
        (name.replace('\'', "\""), *course)
    });
    (alert, fires, series.collect())
}

fn filesystem_cases() -> Vec<Case> {
    let (yes, no) = (true, false);
    let almost_full = "HostFilesystemAlmostFull";
    let fills = "HostFilesystemFillsUp";
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
    ]
}

fn collector_cases() -> Vec<Case> {
    let (yes, no) = (true, false);
    let found = "upkeep_collector_damage_found_last_day{instance='web1',part='samples'}";
    vec![
        case("CollectorDataDamaged", yes, &[(found, Step(0.0, 1.0))]),
        case("CollectorDataDamaged", yes, &[(found, flat(1.0))]),
        case("CollectorDataDamaged", no, &[(found, flat(0.0))]),
    ]
}

fn patch_cases() -> Vec<Case> {
    let (yes, no) = (true, false);
    let now = NOW as f64;
    let pending = |security: &str| {
        format!("upkeep_updates_pending{{instance='web1',manager='apt',security='{security}'}}")
    };
    let (security, other, untold) = (pending("true"), pending("false"), pending("unknown"));
    let known = "upkeep_updates_known{instance='web1',manager='apt'}";
    let checked = "upkeep_updates_checked_timestamp_seconds{web1}";
    let of_apt = |name: &str| format!("{name}{{instance='web1',manager='apt'}}");
    let lists = of_apt("upkeep_updates_lists_refreshed_timestamp_seconds");
    let works = of_apt("upkeep_updates_refresh_works");
    let held =
        |stay: &str| format!("upkeep_updates_held{{instance='web1',manager='apt',stay='{stay}'}}");
    let (kept_back, phased) = (held("kept_back"), held("phased"));
    let until = |support: &str| {
        format!("upkeep_os_support_end_timestamp_seconds{{instance='web1',support='{support}'}}")
    };
    let (standard, extended) = (until("standard"), until("extended"));
    let services = "upkeep_services_stale{web1}";
    let day = 86_400.0;
    vec![
        case("HostRebootRequired", yes, &[("node_reboot_required{web1}", flat(1.0))]),
        case("HostRebootRequired", no, &[("node_reboot_required{web1}", flat(0.0))]),
        case("HostRebootOverdue", yes, &[("node_reboot_required{web1}", flat(1.0))]),
        case("HostRebootOverdue", no, &[("node_reboot_required{web1}", flat(0.0))]),
        case("HostServicesStale", yes, &[(services, flat(2.0))]),
        case("HostServicesStale", no, &[(services, flat(0.0))]),
        case("HostSecurityUpdatesPending", yes, &[(&security, flat(2.0)), (&other, flat(0.0))]),
        case("HostSecurityUpdatesPending", no, &[(&security, flat(0.0)), (&other, flat(9.0))]),
        case("HostSecurityUpdatesOverdue", yes, &[(&security, flat(2.0)), (&other, flat(0.0))]),
        case("HostSecurityUpdatesOverdue", no, &[(&security, flat(0.0)), (&other, flat(9.0))]),
        case("HostUpdatesPending", yes, &[(&security, flat(0.0)), (&other, flat(9.0))]),
        case("HostUpdatesPending", yes, &[(&untold, flat(3.0))]),
        case("HostUpdatesPending", no, &[(&security, flat(2.0)), (&other, flat(0.0))]),
        case("HostUpdatesHeld", yes, &[(&kept_back, flat(1.0)), (&phased, flat(0.0))]),
        case("HostUpdatesHeld", no, &[(&kept_back, flat(0.0)), (&phased, flat(3.0))]),
        case("HostUpdatesUnknown", yes, &[(known, flat(0.0))]),
        case("HostUpdatesUnknown", no, &[(known, flat(1.0))]),
        case("HostUpdatesNotLookedUp", yes, &[(checked, flat(now - 7.0 * 3600.0))]),
        case("HostUpdatesNotLookedUp", no, &[(checked, flat(now - 3600.0))]),
        case("HostPackageListsStale", yes, &[(&lists, flat(now - 8.0 * day))]),
        case("HostPackageListsStale", no, &[(&lists, flat(now - day))]),
        case("HostPackageListsNotRefreshed", yes, &[(&works, flat(0.0))]),
        case("HostPackageListsNotRefreshed", no, &[(&works, flat(1.0))]),
        case("HostOutOfSupport", yes, &[(&standard, flat(now + 10.0 * day))]),
        case("HostOutOfSupport", yes, &[(&standard, flat(now - 10.0 * day))]),
        case("HostOutOfSupport", no, &[(&standard, flat(now + 100.0 * day))]),
        case(
            "HostOutOfSupport",
            no,
            &[(&standard, flat(now - 10.0 * day)), (&extended, flat(now + 100.0 * day))],
        ),
        case("HostSupportEnds", yes, &[(&standard, flat(now + 100.0 * day))]),
        case("HostSupportEnds", no, &[(&standard, flat(now + 10.0 * day))]),
        case("HostSupportEnds", no, &[(&standard, flat(now + 300.0 * day))]),
        case(
            "HostInExtendedSupport",
            yes,
            &[(&standard, flat(now - 10.0 * day)), (&extended, flat(now + 100.0 * day))],
        ),
        case("HostInExtendedSupport", no, &[(&standard, flat(now - 10.0 * day))]),
        case(
            "HostInExtendedSupport",
            no,
            &[(&standard, flat(now + 10.0 * day)), (&extended, flat(now + 100.0 * day))],
        ),
    ]
}

fn disk_cases() -> Vec<Case> {
    let (yes, no) = (true, false);
    let health =
        |state: &str| format!("upkeep_disk_health{{instance='web1',device='sda',state='{state}'}}");
    let (failing, pre_failing) = (health("failing"), health("pre_failing"));
    let unknown = health("unknown");
    let asleep = "upkeep_disk_asleep{instance='web1',device='sda'}";
    let finding =
        "upkeep_disk_finding{instance='web1',device='sda',finding='pending_sectors',state='x'}";
    let attribute = |id: u8, name: &str, kind: &str| {
        format!(
            "smartctl_device_attribute{{instance='web1',device='sda',attribute_id='{id}',\
             attribute_name='{name}',attribute_value_type='{kind}'}}"
        )
    };
    let pending = attribute(197, "Current_Pending_Sector", "raw");
    let media = "smartctl_device_media_errors{instance='web1',device='nvme0'}";
    let grown = "smartctl_scsi_grown_defect_list{instance='web1',device='sda'}";
    let readable = "upkeep_disks_readable{instance='web1',reason='no smartctl'}";
    vec![
        case("HostDiskFailing", yes, &[(&failing, flat(1.0)), (&unknown, flat(0.0))]),
        case("HostDiskFailing", no, &[(&failing, flat(0.0)), (&pre_failing, flat(1.0))]),
        case("HostDiskPreFailing", yes, &[(&pre_failing, flat(1.0)), (finding, flat(8.0))]),
        case("HostDiskPreFailing", no, &[(&pre_failing, flat(0.0)), (&failing, flat(1.0))]),
        case("HostDiskDefectsGrow", yes, &[(&pending, Step(0.0, 8.0))]),
        case("HostDiskDefectsGrow", yes, &[(media, Step(0.0, 1.0))]),
        case("HostDiskDefectsGrow", yes, &[(grown, Step(3.0, 4.0))]),
        case("HostDiskDefectsGrow", no, &[(&pending, flat(8.0)), (media, flat(1.0))]),
        case("HostDiskDefectsGrow", no, &[(&pending, Step(8.0, 0.0))]),
        case("HostDiskDefectsGrow", no, &[(&attribute(197, "Not_In_Use", "raw"), Step(0.0, 8.0))]),
        case(
            "HostDiskDefectsGrow",
            no,
            &[(&attribute(5, "Reallocated_Sector_Ct", "value"), Step(90.0, 95.0))],
        ),
        case("HostDiskHealthUnknown", yes, &[(&unknown, flat(1.0)), (asleep, flat(0.0))]),
        case("HostDiskHealthUnknown", no, &[(&unknown, flat(1.0)), (asleep, flat(1.0))]),
        case("HostDiskHealthUnknown", no, &[(&unknown, flat(0.0)), (asleep, flat(0.0))]),
        case("HostDisksUnreadable", yes, &[(readable, flat(0.0))]),
        case("HostDisksUnreadable", no, &[(readable, flat(1.0))]),
    ]
}

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

/// The labels that a series' name and braces say.
fn series_labels(text: &str) -> Labels {
    let selectors = upkeep_promql::parse(text).unwrap().selectors();
    let is_equal = |matcher: &&Matcher| matcher.operator() == MatchOperator::Equal;
    let equal = selectors[0].iter().filter(is_equal);
    Labels::new(equal.map(|matcher| (matcher.name(), matcher.value())))
}

fn remember(series: &[(String, Course)]) -> Arc<Memory> {
    let memory = Memory::default();
    for (name, course) in series {
        let labels = series_labels(name);
        let points = (0..=360).map(|minute: i64| {
            let value = match course {
                Line(from, to) => from + (to - from) * minute as f64 / 360.0,
                Step(before, after) => *if minute <= 357 { before } else { after },
            };
            (labels.clone(), (NOW - (360 - minute) * 60) * 1000, value)
        });
        memory.record(points.collect()).unwrap();
    }
    Arc::new(memory)
}

/// How many alerts a rule raises; their texts must be filled in.
fn raised(groups: &[Group], alert: &str, memory: &Arc<Memory>) -> usize {
    let rules = groups.iter().flat_map(|group| &group.rules);
    let rule = rules.clone().find(|rule| rule.name() == alert).unwrap_or_else(|| panic!("{alert}"));
    let Kind::Alert(kind) = &rule.kind else { panic!("{alert}") };
    let instant = |query: &upkeep_promql::Query| match query
        .instant(&**memory, NOW * 1000, &Limits::default())
        .unwrap()
        .value
    {
        Value::Vector(points) => points,
        other => panic!("{alert}: {other:?}"),
    };
    let points = instant(&rule.query);
    let memory_to_ask = Arc::clone(memory);
    let ask: Ask = Arc::new(move |text| {
        let query = upkeep_promql::parse(text).map_err(|error| error.to_string())?;
        let answer = query.instant(&*memory_to_ask, NOW * 1000, &Limits::default());
        match answer.map_err(|error| error.to_string())?.value {
            Value::Vector(points) => Ok(points),
            other => Err(format!("{other:?}")),
        }
    });
    let site = Site {
        external_url: "",
        external_labels: &Labels::default(),
        ask: &ask,
        now_ms: NOW * 1000,
    };
    for point in &points {
        let context = Context::new(&point.labels, point.value, &site);
        for text in &kind.annotations {
            let filled = text.render(&context).unwrap_or_else(|error| panic!("{alert}: {error}"));
            let what = format!("{alert}, {}: {filled}", text.name());
            assert!(!filled.is_empty() && !filled.contains("{{"), "{what}");
            assert!(!filled.contains("  ") && !filled.contains("of  "), "{what}");
        }
        assert_eq!(point.labels.get("instance"), Some("web1"), "{alert} names no host");
    }
    points.len()
}

#[test]
fn every_shipped_rule_fires_when_it_must_and_only_then() {
    let groups = load(&[packaging().join("rules")], Some(&BTreeSet::new()))
        .unwrap_or_else(|faults| panic!("{faults}"));
    let (mut fired, mut rested) = (BTreeSet::new(), BTreeSet::new());
    let cases = [
        filesystem_cases(),
        load_cases(),
        state_cases(),
        service_cases(),
        agent_cases(),
        collector_cases(),
        patch_cases(),
        disk_cases(),
    ];
    for (alert, fires, series) in cases.into_iter().flatten() {
        let count = raised(&groups, alert, &remember(&series));
        let shown: Vec<_> = series.iter().map(|(name, _)| name).collect();
        assert_eq!(count, usize::from(fires), "{alert} on {shown:?}");
        if fires {
            fired.insert(alert)
        } else {
            rested.insert(alert)
        };
    }
    let shipped: BTreeSet<_> =
        groups.iter().flat_map(|group| &group.rules).map(|rule| rule.name()).collect();
    assert!(shipped.len() >= 30, "{} rules", shipped.len());
    assert_eq!(fired, shipped, "every rule is seen to fire");
    assert_eq!(rested, shipped, "every rule is seen to rest");
}

#[test]
fn every_shipped_rule_says_what_it_is_about() {
    let report = check(&[packaging().join("rules")], &RequireOutcome::default(), None);
    assert!(report.is_good() && report.advice.is_empty(), "{report:?}");
    let groups = load(&[packaging().join("rules")], Some(&BTreeSet::new())).unwrap();
    for rule in groups.iter().flat_map(|group| &group.rules) {
        let Kind::Alert(alert) = &rule.kind else { panic!("{rule:?}") };
        let severity = rule.labels.iter().find(|label| label.name() == "severity").unwrap().text();
        assert!(["critical", "warning", "info"].contains(&severity), "{}", alert.name);
        let names: Vec<_> = alert.annotations.iter().map(|text| text.name()).collect();
        assert!(names.starts_with(&["summary", "description"]), "{}: {names:?}", alert.name);
    }
}
