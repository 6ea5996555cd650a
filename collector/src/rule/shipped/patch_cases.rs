//! What hosts show of their patches and disks when a rule must see them, and when it must not.

use super::NOW;
use super::cases::Course::Step;
use super::cases::{Case, case, flat};

/// The cases of patches and disks.
pub(super) fn all() -> Vec<Case> {
    [patch_cases(), disk_cases()].concat()
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
