//! A report as metrics.
//!
//! | metric | labels | meaning |
//! |---|---|---|
//! | `apt_upgrades_pending` | `origin`, `arch` | upgrades that apt would install; 0 without labels if none |
//! | `apt_upgrades_held` | | upgrades that are held, kept back or phased |
//! | `apt_package_cache_timestamp_seconds` | | when apt's lists were last refreshed |
//! | `node_reboot_required` | | 1 if a restart is due; absent while that is unknown |
//! | `upkeep_updates_pending` | `manager`, `security` | upgrades that a manager would install; `true`, `false`, or `unknown` where their origin publishes no advisories |
//! | `upkeep_updates_known` | `manager` | 0 if the manager could not answer |
//! | `upkeep_updates_checked_timestamp_seconds` | | when it was found out |
//!
//! The names without `upkeep_` are those of the widespread scripts for node_exporter's textfiles.
//! What is not known has no series, so that nothing can be taken for "up to date".

use std::collections::BTreeMap;

use upkeep_model::{ManagerReport, Observation, PackageUpdate, UpdateReport};

/// Adds the metrics of a report to an observation.
pub fn observe(report: &UpdateReport, out: &mut Observation) {
    for manager in &report.managers {
        observe_manager(manager, out);
        if manager.manager == "apt" {
            observe_apt(manager, out);
        }
    }
    if let Some(reboot) = report.reboot.known() {
        let help = "1 if a restart of the host is due.";
        out.gauge("node_reboot_required", help, &[], flag(reboot.required()));
    }
    out.gauge(
        "upkeep_updates_checked_timestamp_seconds",
        "When pending updates were looked up, in seconds since 1970.",
        &[],
        seconds(report.checked_at_ms),
    );
}

fn observe_manager(report: &ManagerReport, out: &mut Observation) {
    let manager = report.manager.as_str();
    let known = report.updates.known();
    let help = "1 if the package manager could tell what is pending.";
    out.gauge("upkeep_updates_known", help, &[("manager", manager)], flag(known.is_some()));
    let Some(updates) = known else { return };
    let kinds = [(Some(true), "true"), (Some(false), "false"), (None, "unknown")];
    let everything_is_told = report.without_advisories.is_empty();
    for (security, label) in kinds {
        let of_kind = updates
            .iter()
            .filter(|update| is_pending(update) && report.is_security(update) == security)
            .count();
        // Next to updates of which nothing says what they are for, no zero is certain.
        if of_kind > 0 || (everything_is_told && security.is_some()) {
            let help = "Upgrades that a package manager would install.";
            let labels = [("manager", manager), ("security", label)];
            out.gauge("upkeep_updates_pending", help, &labels, count(of_kind));
        }
    }
}

fn observe_apt(report: &ManagerReport, out: &mut Observation) {
    if let Some(refreshed) = report.lists_refreshed_at_ms {
        let help = "When the package lists were last refreshed, in seconds since 1970.";
        out.gauge("apt_package_cache_timestamp_seconds", help, &[], seconds(refreshed));
    }
    let Some(updates) = report.updates.known() else { return };
    let mut pending: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for update in updates.iter().filter(|update| is_pending(update)) {
        // The scripts join several origins without a blank.
        let origin = update.origin.replace(", ", ",");
        *pending.entry((origin, &update.architecture)).or_default() += 1;
    }
    let help = "Upgrades that apt would install, by where they come from.";
    if pending.is_empty() {
        out.gauge("apt_upgrades_pending", help, &[], 0.0);
    }
    for ((origin, arch), number) in pending {
        let labels = [("origin", origin.as_str()), ("arch", arch)];
        out.gauge("apt_upgrades_pending", help, &labels, count(number));
    }
    let held = updates.iter().filter(|update| update.stays.is_some()).count();
    let help = "Upgrades that are held, kept back or phased.";
    out.gauge("apt_upgrades_held", help, &[], count(held));
}

/// Whether an update is an upgrade that would be installed. Packages that come new with it are
/// part of other packages' upgrades.
fn is_pending(update: &PackageUpdate) -> bool {
    update.stays.is_none() && !update.installed.is_empty()
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

#[expect(clippy::cast_precision_loss, reason = "nobody has so many packages")]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "exact until the year 287396")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition;
    use upkeep_model::{Knowledge, RebootReport, RestartReason, Stay};

    fn update(origin: &str, installed: &str, security: bool, held: bool) -> PackageUpdate {
        PackageUpdate {
            architecture: "amd64".to_owned(),
            origin: origin.to_owned(),
            installed: installed.to_owned(),
            security,
            stays: held.then_some(Stay::KeptBack),
            ..PackageUpdate::default()
        }
    }

    fn check(
        updates: Knowledge<Vec<PackageUpdate>>,
        reboot: Knowledge<RebootReport>,
        expect: &[&str],
    ) {
        let manager = ManagerReport {
            manager: "apt".to_owned(),
            lists_refreshed_at_ms: Some(1_500),
            updates,
            ..ManagerReport::default()
        };
        check_report(manager, reboot, expect);
    }

    fn check_report(manager: ManagerReport, reboot: Knowledge<RebootReport>, expect: &[&str]) {
        let report = UpdateReport {
            checked_at_ms: 2_000,
            managers: vec![manager],
            reboot,
            ..UpdateReport::default()
        };
        let mut out = Observation::at(0);
        observe(&report, &mut out);
        let mut page = Vec::new();
        exposition::write(&out, &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        let seen: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(seen, expect);
    }

    #[test]
    fn what_is_known_is_counted() {
        let updates = vec![
            update("Debian:12/stable, Debian-Security:12/stable-security", "1", true, false),
            update("Debian:12/stable", "1", false, false),
            update("Debian:12/stable", "1", false, false),
            update("Debian:12/stable", "", false, false),
            update("", "1", true, true),
        ];
        let reason = RestartReason { reason: "kernel".to_owned(), packages: Vec::new() };
        check(
            Knowledge::Known(updates),
            Knowledge::Known(RebootReport { reasons: vec![reason] }),
            &[
                "apt_package_cache_timestamp_seconds 1.5",
                "apt_upgrades_held 1",
                "apt_upgrades_pending{arch=\"amd64\",origin=\"Debian:12/stable\"} 2",
                "apt_upgrades_pending{arch=\"amd64\",origin=\"Debian:12/stable,Debian-Security:12/stable-security\"} 1",
                "node_reboot_required 1",
                "upkeep_updates_checked_timestamp_seconds 2",
                "upkeep_updates_known{manager=\"apt\"} 1",
                "upkeep_updates_pending{manager=\"apt\",security=\"true\"} 1",
                "upkeep_updates_pending{manager=\"apt\",security=\"false\"} 2",
            ],
        );
    }

    #[test]
    fn what_is_unknown_has_no_series() {
        check(
            Knowledge::Unknown("locked".to_owned()),
            Knowledge::Unknown("no kernel".to_owned()),
            &[
                "apt_package_cache_timestamp_seconds 1.5",
                "upkeep_updates_checked_timestamp_seconds 2",
                "upkeep_updates_known{manager=\"apt\"} 0",
            ],
        );
    }

    #[test]
    fn nothing_pending_is_a_zero() {
        check(
            Knowledge::Known(Vec::new()),
            Knowledge::Known(RebootReport::default()),
            &[
                "apt_package_cache_timestamp_seconds 1.5",
                "apt_upgrades_held 0",
                "apt_upgrades_pending 0",
                "node_reboot_required 0",
                "upkeep_updates_checked_timestamp_seconds 2",
                "upkeep_updates_known{manager=\"apt\"} 1",
                "upkeep_updates_pending{manager=\"apt\",security=\"true\"} 0",
                "upkeep_updates_pending{manager=\"apt\",security=\"false\"} 0",
            ],
        );
    }

    #[test]
    fn updates_of_origins_without_advisories_are_neither() {
        let check = |updates: Vec<PackageUpdate>, expect: &[&str]| {
            let manager = ManagerReport {
                manager: "dnf".to_owned(),
                updates: Knowledge::Known(updates),
                without_advisories: vec!["core".to_owned(), "vendor".to_owned()],
                ..ManagerReport::default()
            };
            let frame = [
                "upkeep_updates_checked_timestamp_seconds 2",
                "upkeep_updates_known{manager=\"dnf\"} 1",
            ];
            let unknown = Knowledge::Unknown("no kernel".to_owned());
            check_report(manager, unknown, &[&frame, expect].concat());
        };
        check(
            vec![update("core", "1", false, false)],
            &["upkeep_updates_pending{manager=\"dnf\",security=\"unknown\"} 1"],
        );
        check(
            vec![
                update("core", "1", true, false),
                update("base", "1", false, false),
                update("base", "1", false, false),
                update("vendor", "1", false, false),
                update("vendor", "1", false, true),
            ],
            &[
                "upkeep_updates_pending{manager=\"dnf\",security=\"true\"} 1",
                "upkeep_updates_pending{manager=\"dnf\",security=\"false\"} 2",
                "upkeep_updates_pending{manager=\"dnf\",security=\"unknown\"} 1",
            ],
        );
    }
}
