//! A report as metrics.
//!
//! | metric | labels | meaning |
//! |---|---|---|
//! | `apt_upgrades_pending` | `origin`, `arch` | upgrades that apt would install; 0 without labels if none |
//! | `apt_upgrades_held` | `origin`, `arch` | upgrades of packages on hold; 0 without labels if none |
//! | `apt_autoremove_pending` | | packages that nothing needs any more |
//! | `apt_package_cache_timestamp_seconds` | | when apt's lists were last refreshed |
//! | `node_reboot_required` | | 1 if a restart is due; absent while that is unknown |
//! | `upkeep_updates_pending` | `manager`, `security` | upgrades that a manager would install; `true`, `false`, or `unknown` where their origin publishes no advisories |
//! | `pacman_updates_pending` | | upgrades that pacman knows of, ignored ones too |
//! | `pacman_updates_pending_from_cache` | | 1: the lists are as they were last downloaded |
//! | `yum_upgrades_pending` | `origin` | upgrades that dnf or yum would install; 0 without labels if none |
//! | `upkeep_updates_held` | `manager`, `stay` | upgrades that a manager would not install: `held`, `pinned`, `phased`, `kept_back` |
//! | `upkeep_updates_known` | `manager` | 0 if the manager could not answer |
//! | `upkeep_updates_lists_refreshed_timestamp_seconds` | `manager` | when a manager's lists were last refreshed |
//! | `upkeep_updates_refresh_works` | `manager` | 0 if refreshing the lists fails; absent if nothing refreshes them by itself |
//! | `upkeep_updates_checked_timestamp_seconds` | | when it was found out |
//! | `upkeep_services_stale` | | services that run code which an update has replaced |
//! | `upkeep_os_support_end_timestamp_seconds` | `support` | when the distribution's `standard` updates end, and the `extended` ones if the host has them |
//!
//! The names without `upkeep_` are those of the widespread scripts for node_exporter's textfiles.
//! What is not known has no series, so that nothing can be taken for "up to date".

use std::collections::BTreeMap;

use upkeep_model::{
    Knowledge, ManagerReport, Observation, PackageUpdate, Refresh, Stay, Support, UpdateReport,
};

/// The metrics that a report gives.
pub const METRICS: [&str; 16] = [
    "apt_autoremove_pending",
    "apt_package_cache_timestamp_seconds",
    "apt_upgrades_held",
    "apt_upgrades_pending",
    "node_reboot_required",
    "pacman_updates_pending",
    "pacman_updates_pending_from_cache",
    "upkeep_os_support_end_timestamp_seconds",
    "upkeep_services_stale",
    "upkeep_updates_checked_timestamp_seconds",
    "upkeep_updates_held",
    "upkeep_updates_known",
    "upkeep_updates_lists_refreshed_timestamp_seconds",
    "upkeep_updates_pending",
    "upkeep_updates_refresh_works",
    "yum_upgrades_pending",
];

/// Adds the metrics of a report to an observation.
pub fn observe(report: &UpdateReport, out: &mut Observation) {
    for manager in &report.managers {
        observe_manager(manager, out);
        observe_lists(manager, out);
        match manager.manager.as_str() {
            "apt" => observe_apt(manager, out),
            "dnf" | "yum" => observe_yum(manager, out),
            "pacman" => observe_pacman(manager, out),
            _ => {}
        }
    }
    if let Some(reboot) = report.reboot.known() {
        let help = "1 if a restart of the host is due.";
        out.gauge("node_reboot_required", help, &[], flag(reboot.required()));
    }
    if let Some(services) = report.services.known() {
        let help = "Services that run code which an update has replaced.";
        out.gauge("upkeep_services_stale", help, &[], count(services.len()));
    }
    if let Some(support) = report.support.known() {
        observe_support(support, out);
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
    for stay in [Stay::Held, Stay::Pinned, Stay::Phased, Stay::KeptBack] {
        let staying = updates.iter().filter(|update| update.stays == Some(stay)).count();
        let help = "Upgrades that a package manager would not install.";
        let labels = [("manager", manager), ("stay", stay.as_str())];
        out.gauge("upkeep_updates_held", help, &labels, count(staying));
    }
}

fn observe_lists(report: &ManagerReport, out: &mut Observation) {
    let labels = [("manager", report.manager.as_str())];
    if let Some(refreshed) = report.lists_refreshed_at_ms {
        out.gauge(
            "upkeep_updates_lists_refreshed_timestamp_seconds",
            "When the package lists were last refreshed, in seconds since 1970.",
            &labels,
            seconds(refreshed),
        );
    }
    let works = match &report.refresh {
        Knowledge::Known(Refresh::Works) => true,
        Knowledge::Known(Refresh::Fails(_)) => false,
        Knowledge::Known(Refresh::Off) | Knowledge::Unknown(_) => return,
    };
    let help = "1 if refreshing the package lists works, 0 if it fails.";
    out.gauge("upkeep_updates_refresh_works", help, &labels, flag(works));
}

/// The longer support counts where the host has it; where it has not, it protects nobody.
fn observe_support(support: &Support, out: &mut Observation) {
    let extended = support.extended_until_ms.filter(|_| support.has_extended);
    for (kind, end) in [("standard", support.standard_until_ms), ("extended", extended)] {
        if let Some(end) = end {
            let help = "When the distribution's updates end, in seconds since 1970.";
            let name = "upkeep_os_support_end_timestamp_seconds";
            out.gauge(name, help, &[("support", kind)], seconds(end));
        }
    }
}

fn observe_yum(report: &ManagerReport, out: &mut Observation) {
    let Some(updates) = report.updates.known() else { return };
    let mut pending: BTreeMap<&str, usize> = BTreeMap::new();
    for update in updates.iter().filter(|update| is_pending(update)) {
        *pending.entry(&update.origin).or_default() += 1;
    }
    let help = "Upgrades that dnf or yum would install, by where they come from.";
    if pending.is_empty() {
        out.gauge("yum_upgrades_pending", help, &[], 0.0);
    }
    for (origin, number) in pending {
        out.gauge("yum_upgrades_pending", help, &[("origin", origin)], count(number));
    }
}

fn observe_apt(report: &ManagerReport, out: &mut Observation) {
    if let Some(refreshed) = report.lists_refreshed_at_ms {
        let help = "When the package lists were last refreshed, in seconds since 1970.";
        out.gauge("apt_package_cache_timestamp_seconds", help, &[], seconds(refreshed));
    }
    if let Some(removable) = report.removable {
        let help = "Packages that nothing needs any more.";
        out.gauge("apt_autoremove_pending", help, &[], f64::from(removable));
    }
    let Some(updates) = report.updates.known() else { return };
    let help = "Upgrades that apt would install, by where they come from.";
    let pending = updates.iter().filter(|update| is_pending(update));
    observe_by_origin("apt_upgrades_pending", help, pending, out);
    let help = "Upgrades of packages on hold, by where they come from.";
    let held = updates.iter().filter(|update| update.stays == Some(Stay::Held));
    observe_by_origin("apt_upgrades_held", help, held, out);
}

/// Counts updates by origin and architecture; where there are none, one 0 says so.
fn observe_by_origin<'updates>(
    name: &str,
    help: &str,
    updates: impl Iterator<Item = &'updates PackageUpdate>,
    out: &mut Observation,
) {
    let mut numbers: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for update in updates {
        // The scripts join several origins without a blank.
        let origin = update.origin.replace(", ", ",");
        *numbers.entry((origin, &update.architecture)).or_default() += 1;
    }
    if numbers.is_empty() {
        out.gauge(name, help, &[], 0.0);
    }
    for ((origin, arch), number) in numbers {
        out.gauge(name, help, &[("origin", origin.as_str()), ("arch", arch)], count(number));
    }
}

fn observe_pacman(report: &ManagerReport, out: &mut Observation) {
    let Some(updates) = report.updates.known() else { return };
    let upgrades = updates.iter().filter(|update| !update.installed.is_empty()).count();
    let help = "Upgrades that pacman knows of.";
    out.gauge("pacman_updates_pending", help, &[], count(upgrades));
    let help = "1 if the lists are as they were last downloaded.";
    out.gauge("pacman_updates_pending_from_cache", help, &[], 1.0);
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
    use upkeep_model::{RebootReport, RestartReason, StaleService};

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
            removable: updates.known().map(|_| 3),
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
        let name = |line: &&str| METRICS.contains(&line.split(['{', ' ']).next().unwrap());
        assert!(seen.iter().all(name), "{seen:?}");
    }

    #[test]
    fn pacman_has_the_names_of_its_script() {
        let manager = ManagerReport {
            manager: "pacman".to_owned(),
            updates: Knowledge::Known(vec![
                update("core", "1", false, false),
                update("core", "1", false, true),
                update("core", "", false, false),
            ]),
            ..ManagerReport::default()
        };
        let frame = |manager: &ManagerReport| {
            let mut out = Observation::at(0);
            observe_pacman(manager, &mut out);
            let mut page = Vec::new();
            exposition::write(&out, &mut page).unwrap();
            String::from_utf8(page).unwrap()
        };
        let page = frame(&manager);
        assert!(page.contains("\npacman_updates_pending 2\n"), "{page}");
        assert!(page.contains("\npacman_updates_pending_from_cache 1\n"), "{page}");
        let unknown = Knowledge::Unknown("locked".to_owned());
        assert_eq!(frame(&ManagerReport { updates: unknown, ..manager }), "");
    }

    #[test]
    fn what_is_known_is_counted() {
        let updates = vec![
            update("Debian:12/stable, Debian-Security:12/stable-security", "1", true, false),
            update("Debian:12/stable", "1", false, false),
            update("Debian:12/stable", "1", false, false),
            update("Debian:12/stable", "", false, false),
            update("", "1", true, true),
            PackageUpdate {
                stays: Some(Stay::Held),
                ..update("Debian:12/stable", "1", false, false)
            },
        ];
        let reason = RestartReason { reason: "kernel".to_owned(), packages: Vec::new() };
        check(
            Knowledge::Known(updates),
            Knowledge::Known(RebootReport { reasons: vec![reason] }),
            &[
                "apt_autoremove_pending 3",
                "apt_package_cache_timestamp_seconds 1.5",
                "apt_upgrades_held{arch=\"amd64\",origin=\"Debian:12/stable\"} 1",
                "apt_upgrades_pending{arch=\"amd64\",origin=\"Debian:12/stable\"} 2",
                "apt_upgrades_pending{arch=\"amd64\",origin=\"Debian:12/stable,Debian-Security:12/stable-security\"} 1",
                "node_reboot_required 1",
                "upkeep_updates_checked_timestamp_seconds 2",
                "upkeep_updates_held{manager=\"apt\",stay=\"held\"} 1",
                "upkeep_updates_held{manager=\"apt\",stay=\"kept_back\"} 1",
                "upkeep_updates_held{manager=\"apt\",stay=\"phased\"} 0",
                "upkeep_updates_held{manager=\"apt\",stay=\"pinned\"} 0",
                "upkeep_updates_known{manager=\"apt\"} 1",
                "upkeep_updates_lists_refreshed_timestamp_seconds{manager=\"apt\"} 1.5",
                "upkeep_updates_pending{manager=\"apt\",security=\"false\"} 2",
                "upkeep_updates_pending{manager=\"apt\",security=\"true\"} 1",
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
                "upkeep_updates_lists_refreshed_timestamp_seconds{manager=\"apt\"} 1.5",
            ],
        );
    }

    #[test]
    fn nothing_pending_is_a_zero() {
        check(
            Knowledge::Known(Vec::new()),
            Knowledge::Known(RebootReport::default()),
            &[
                "apt_autoremove_pending 3",
                "apt_package_cache_timestamp_seconds 1.5",
                "apt_upgrades_held 0",
                "apt_upgrades_pending 0",
                "node_reboot_required 0",
                "upkeep_updates_checked_timestamp_seconds 2",
                "upkeep_updates_held{manager=\"apt\",stay=\"held\"} 0",
                "upkeep_updates_held{manager=\"apt\",stay=\"kept_back\"} 0",
                "upkeep_updates_held{manager=\"apt\",stay=\"phased\"} 0",
                "upkeep_updates_held{manager=\"apt\",stay=\"pinned\"} 0",
                "upkeep_updates_known{manager=\"apt\"} 1",
                "upkeep_updates_lists_refreshed_timestamp_seconds{manager=\"apt\"} 1.5",
                "upkeep_updates_pending{manager=\"apt\",security=\"false\"} 0",
                "upkeep_updates_pending{manager=\"apt\",security=\"true\"} 0",
            ],
        );
    }

    #[test]
    fn updates_of_origins_without_advisories_are_neither() {
        let check = |updates: Vec<PackageUpdate>, kept_back: &str, expect: &[&str]| {
            let manager = ManagerReport {
                manager: "zypper".to_owned(),
                updates: Knowledge::Known(updates),
                without_advisories: vec!["core".to_owned(), "vendor".to_owned()],
                ..ManagerReport::default()
            };
            let frame = [
                "upkeep_updates_checked_timestamp_seconds 2",
                "upkeep_updates_held{manager=\"zypper\",stay=\"held\"} 0",
                kept_back,
                "upkeep_updates_held{manager=\"zypper\",stay=\"phased\"} 0",
                "upkeep_updates_held{manager=\"zypper\",stay=\"pinned\"} 0",
                "upkeep_updates_known{manager=\"zypper\"} 1",
            ];
            let unknown = Knowledge::Unknown("no kernel".to_owned());
            check_report(manager, unknown, &[&frame, expect].concat());
        };
        check(
            vec![update("core", "1", false, false)],
            "upkeep_updates_held{manager=\"zypper\",stay=\"kept_back\"} 0",
            &["upkeep_updates_pending{manager=\"zypper\",security=\"unknown\"} 1"],
        );
        check(
            vec![
                update("core", "1", true, false),
                update("base", "1", false, false),
                update("base", "1", false, false),
                update("vendor", "1", false, false),
                update("vendor", "1", false, true),
            ],
            "upkeep_updates_held{manager=\"zypper\",stay=\"kept_back\"} 1",
            &[
                "upkeep_updates_pending{manager=\"zypper\",security=\"false\"} 2",
                "upkeep_updates_pending{manager=\"zypper\",security=\"true\"} 1",
                "upkeep_updates_pending{manager=\"zypper\",security=\"unknown\"} 1",
            ],
        );
    }

    #[test]
    fn lists_services_and_support_are_told_where_they_are_known() {
        let check = |report: &UpdateReport, expect: &[&str]| {
            let mut out = Observation::at(0);
            observe(report, &mut out);
            let mut page = Vec::new();
            exposition::write(&out, &mut page).unwrap();
            let page = String::from_utf8(page).unwrap();
            let is_other = |line: &&str| {
                !line.starts_with('#')
                    && !line.contains("upkeep_updates_held")
                    && !line.contains("upkeep_updates_pending")
            };
            let seen: Vec<&str> = page.lines().filter(is_other).collect();
            assert_eq!(seen, expect);
        };
        let manager = |refresh: Refresh| ManagerReport {
            manager: "dnf".to_owned(),
            refresh: Knowledge::Known(refresh),
            updates: Knowledge::Known(vec![update("baseos", "1", true, false)]),
            ..ManagerReport::default()
        };
        let report = |refresh: Refresh, has_extended: bool| UpdateReport {
            managers: vec![manager(refresh)],
            services: Knowledge::Known(vec![StaleService::default()]),
            support: Knowledge::Known(Support {
                standard_until_ms: Some(5_000),
                extended_until_ms: Some(6_000),
                has_extended,
                ..Support::default()
            }),
            ..UpdateReport::default()
        };
        check(
            &report(Refresh::Works, true),
            &[
                "upkeep_os_support_end_timestamp_seconds{support=\"extended\"} 6",
                "upkeep_os_support_end_timestamp_seconds{support=\"standard\"} 5",
                "upkeep_services_stale 1",
                "upkeep_updates_checked_timestamp_seconds 0",
                "upkeep_updates_known{manager=\"dnf\"} 1",
                "upkeep_updates_refresh_works{manager=\"dnf\"} 1",
                "yum_upgrades_pending{origin=\"baseos\"} 1",
            ],
        );
        let without = [
            "upkeep_os_support_end_timestamp_seconds{support=\"standard\"} 5",
            "upkeep_services_stale 1",
            "upkeep_updates_checked_timestamp_seconds 0",
            "upkeep_updates_known{manager=\"dnf\"} 1",
        ];
        let fails = "upkeep_updates_refresh_works{manager=\"dnf\"} 0";
        let pending = "yum_upgrades_pending{origin=\"baseos\"} 1";
        let fail = || Refresh::Fails("no network".to_owned());
        check(&report(fail(), false), &[&without[..], &[fails, pending]].concat());
        check(&report(Refresh::Off, false), &[&without[..], &[pending]].concat());
    }
}
