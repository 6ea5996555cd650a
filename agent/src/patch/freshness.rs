//! Whether something refreshes package lists, and with which success, for managers that keep no
//! record of it: what is set up to refresh them, and how old they are.

use std::time::UNIX_EPOCH;

use upkeep_model::{Knowledge, Refresh};

use crate::host::{Host, Tree};
use crate::systemd::Unit;

/// Where systemd finds the timers that are to run.
const WANTS: [&str; 6] = [
    "etc/systemd/system/timers.target.wants",
    "etc/systemd/system/multi-user.target.wants",
    "etc/systemd/system/basic.target.wants",
    "usr/lib/systemd/system/timers.target.wants",
    "usr/lib/systemd/system/multi-user.target.wants",
    "usr/lib/systemd/system/basic.target.wants",
];

/// Where an administrator replaces or masks units.
const UNITS: &str = "etc/systemd/system";

/// Our own timer, which refreshes the lists of every manager but pacman where it is switched on.
pub(super) const OWN_TIMER: &str = "upkeep-agent-refresh.timer";

const DAY_MS: i64 = 24 * 3600 * 1000;

/// What could refresh a manager's lists by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refreshers {
    /// Timers of systemd.
    pub(super) timers: &'static [&'static str],
    /// Jobs of cron, as paths from the root.
    pub(super) jobs: &'static [&'static str],
}

/// A package list, and how old it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List {
    /// The repository that it is of.
    pub(super) name: String,
    /// When it was last refreshed, in milliseconds since 1970.
    pub(super) refreshed_at_ms: i64,
    /// How long it stays as it is where refreshing works, in milliseconds; `None` if for ever.
    pub(super) fresh_for_ms: Option<i64>,
}

/// The services that refresh each manager's lists. A timer starts them, and systemd keeps in mind
/// that the last start failed.
const SERVICES: [(&str, &[&str]); 4] = [
    ("apt", &["apt-daily.service", OWN_SERVICE]),
    ("dnf", &["dnf-makecache.service", "dnf5-makecache.service", OWN_SERVICE]),
    ("yum", &[OWN_SERVICE]),
    ("zypper", &["zypp-refresh.service", "zypper-refresh.service", OWN_SERVICE]),
];

const OWN_SERVICE: &str = "upkeep-agent-refresh.service";

/// The service that should refresh a manager's lists and is among those that failed.
pub(super) fn failed_service(manager: &str, failed: &[Unit]) -> Option<&'static str> {
    let (_, services) = SERVICES.iter().find(|(name, _)| *name == manager)?;
    services.iter().find(|service| failed.iter().any(|unit| unit.name == **service)).copied()
}

/// When something of the root file system last changed, in milliseconds since 1970.
pub(super) fn modified_ms(host: &Host, path: &str) -> Option<i64> {
    let modified = host.modified(Tree::Root, path).ok()?;
    i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// When the oldest of some lists was refreshed.
pub(super) fn oldest_ms(lists: &[List]) -> Option<i64> {
    lists.iter().map(|list| list.refreshed_at_ms).min()
}

/// Judges the lists by their age.
pub(super) fn judge(
    host: &Host,
    refreshers: Refreshers,
    lists: &[List],
    now_ms: i64,
) -> Knowledge<Refresh> {
    if !is_any_set_up(host, refreshers) {
        return Knowledge::Known(Refresh::Off);
    }
    if lists.is_empty() {
        return Knowledge::Unknown("nothing tells when the lists were last refreshed".to_owned());
    }
    // A day more than they may, since timers wait for a good moment.
    let overdue_ms = |list: &&List| {
        let age_ms = now_ms.saturating_sub(list.refreshed_at_ms);
        let fresh_for_ms = list.fresh_for_ms.unwrap_or(i64::MAX);
        (age_ms > fresh_for_ms.saturating_add(DAY_MS)).then_some(age_ms)
    };
    let worst = lists.iter().filter_map(|list| Some((overdue_ms(&list)?, &list.name))).max();
    let Some((age_ms, name)) = worst else { return Knowledge::Known(Refresh::Works) };
    let said = format!("the list of {name} was last refreshed {} days ago", age_ms / DAY_MS);
    // A host that was off for a month has old lists until its timers come round.
    if up_ms(host).is_some_and(|up| up < DAY_MS) {
        let said = format!("{said}, but the host was started less than a day ago");
        return Knowledge::Unknown(said);
    }
    Knowledge::Known(Refresh::Fails(said))
}

fn is_any_set_up(host: &Host, refreshers: Refreshers) -> bool {
    // The target of a link need not be part of a recording.
    let is_there =
        |path: &str| host.link(Tree::Root, path).is_ok() || host.exists(Tree::Root, path);
    let is_masked = |timer: &str| {
        let link = host.link(Tree::Root, &format!("{UNITS}/{timer}"));
        link.is_ok_and(|target| target.ends_with("dev/null"))
    };
    refreshers.timers.iter().any(|timer| {
        WANTS.iter().any(|wants| is_there(&format!("{wants}/{timer}"))) && !is_masked(timer)
    }) || refreshers.jobs.iter().any(|job| is_there(job))
}

/// How long the host has been up.
fn up_ms(host: &Host) -> Option<i64> {
    let text = host.read(Tree::Proc, "uptime").ok()?;
    let (seconds, _) = text.split_once('.')?;
    seconds.parse::<i64>().ok()?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_service_is_of_its_manager() {
        let failed = |names: &[&str]| -> Vec<Unit> {
            let unit = |name: &&str| Unit { name: (*name).to_owned(), ..Unit::default() };
            names.iter().map(unit).collect()
        };
        let check = |manager: &str, names: &[&str], expect: Option<&str>| {
            assert_eq!(failed_service(manager, &failed(names)), expect);
        };
        check("apt", &[], None);
        check("apt", &["nginx.service", "apt-daily.service"], Some("apt-daily.service"));
        check("apt", &["apt-daily-upgrade.service"], None);
        check("dnf", &["apt-daily.service"], None);
        check("dnf", &["upkeep-agent-refresh.service"], Some("upkeep-agent-refresh.service"));
        check("pacman", &["upkeep-agent-refresh.service"], None);
    }

    #[test]
    fn lists_are_judged_by_who_refreshes_them_and_their_age() {
        const DAYS: i64 = DAY_MS;
        let refreshers = Refreshers { timers: &["a.timer"], jobs: &["etc/cron.daily/a"] };
        let check = |files: &[&str], lists: &[(i64, Option<i64>)], up: &str, expect: &str| {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("root");
            for file in files.iter().chain(&["proc/uptime"]) {
                let path = root.join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, up).unwrap();
            }
            let lists: Vec<List> = lists
                .iter()
                .enumerate()
                .map(|(number, (days_ago, fresh_days))| List {
                    name: format!("r{number}"),
                    refreshed_at_ms: (100 - days_ago) * DAYS,
                    fresh_for_ms: fresh_days.map(|days| days * DAYS),
                })
                .collect();
            let host = Host::replay(folder.path()).unwrap();
            let seen = match judge(&host, refreshers, &lists, 100 * DAYS) {
                Knowledge::Known(Refresh::Works) => "works".to_owned(),
                Knowledge::Known(Refresh::Off) => "off".to_owned(),
                Knowledge::Known(Refresh::Fails(reason)) => format!("fails: {reason}"),
                Knowledge::Unknown(reason) => format!("unknown: {reason}"),
            };
            assert_eq!(seen, expect);
        };
        let long = "900000.00 1.0\n";
        let timer = "etc/systemd/system/timers.target.wants/a.timer";
        check(&[], &[(0, Some(2))], long, "off");
        check(&[timer], &[], long, "unknown: nothing tells when the lists were last refreshed");
        check(&[timer], &[(1, Some(2)), (3, Some(2)), (90, None)], long, "works");
        check(
            &[timer],
            &[(4, Some(2)), (9, Some(2)), (5, Some(2))],
            long,
            "fails: the list of r1 was last refreshed 9 days ago",
        );
        check(
            &["etc/cron.daily/a"],
            &[(9, Some(2))],
            "80000.00 1.0\n",
            "unknown: the list of r0 was last refreshed 9 days ago, \
             but the host was started less than a day ago",
        );
        check(&["etc/systemd/system/basic.target.wants/b.timer"], &[(0, None)], long, "off");
    }
}
