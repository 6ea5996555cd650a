//! Pending updates of Arch Linux and its kin: pacman, against the lists as they were last
//! downloaded.
//!
//! pacman takes its lock for changes only. It knows nothing of advisories, and what does
//! (`arch-audit`) downloads them, so what an update is for is not known.

use std::collections::HashMap;

use upkeep_model::{InstalledPackage, Knowledge, ManagerReport, PackageUpdate, Stay};

use super::answer::{ask, shortened};
use super::freshness::{self, List, Refreshers};
use super::remembered::{self, Input, State};
use super::{Memory, advisory};
use crate::host::{Host, Output, Tree};
use crate::package;

const NAME: &str = "pacman";

/// Packages for which the lists have a newer version.
const UPGRADES: [&str; 2] = ["pacman", "-Qu"];

/// Every package of every repository; the earlier repository is preferred.
const LISTED: [&str; 2] = ["pacman", "-Sl"];

/// What an upgrade would install; with `-p` it only prints.
const PLAN: [&str; 4] = ["pacman", "-Sup", "--print-format", "%r %n %v"];

/// It ends with 1 if there is nothing to upgrade.
const ENDS: [i32; 2] = [0, 1];

/// Where the lists are; something in it changes with every refresh, even if no list does.
const LISTS: &str = "var/lib/pacman/sync";
const INSTALLED: &str = "var/lib/pacman/local";

const SETTINGS: &str = "etc/pacman.conf";

/// What its answers depend on.
const INPUTS: [Input; 4] = [
    Input::file(INSTALLED),
    Input::folder(LISTS, 1),
    Input::file(SETTINGS),
    Input::folder("etc/pacman.d", 2),
];

/// What shows that another manager looks after the packages of the host.
const OTHER: &str = "var/lib/dpkg/status";

const NEVER_DOWNLOADED: &str = "the package lists were never downloaded; run `pacman -Syu`";

/// The distribution refreshes nothing by itself.
const REFRESHERS: Refreshers = Refreshers { timers: &[], jobs: &[] };

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Asks pacman; `None` if the host does not have it, or it looks after nothing there.
pub(super) fn report(host: &Host, now_ms: i64, memory: &mut Memory) -> Option<ManagerReport> {
    if !host.has_program(NAME) || is_foreign(host) {
        return None;
    }
    let mut report = ManagerReport { manager: NAME.to_owned(), ..ManagerReport::default() };
    let lists: Vec<List> = freshness::modified_ms(host, LISTS)
        .map(|refreshed_at_ms| List {
            name: NAME.to_owned(),
            refreshed_at_ms,
            fresh_for_ms: Some(DAY_MS),
        })
        .into_iter()
        .collect();
    report.lists_refreshed_at_ms = freshness::oldest_ms(&lists);
    report.refresh = freshness::judge(host, REFRESHERS, &lists, now_ms);
    let mut state = remembered::look(host, INPUTS);
    add_included(host, &mut state);
    report.updates = match memory.pacman.or_ask(now_ms, state, || updates(host)) {
        Ok(updates) => {
            report.without_advisories = advisory::missing_origins(&updates, false, |_| false);
            Knowledge::Known(updates)
        }
        Err(reason) => Knowledge::Unknown(reason),
    };
    Some(report)
}

/// Whether another manager looks after the packages, and pacman is there for making some.
fn is_foreign(host: &Host) -> bool {
    let installed = host.list(Tree::Root, INSTALLED).unwrap_or_default();
    // A version file is all that a database without packages holds.
    host.exists(Tree::Root, OTHER) && installed.len() <= 1
}

/// Adds the folders of files that the settings include, such as `Include = /srv/pacman/*.conf`.
fn add_included(host: &Host, state: &mut State) {
    let settings = host.read_if_present(Tree::Root, SETTINGS).ok().flatten();
    for line in settings.iter().flat_map(|text| text.lines()) {
        let Some((key, path)) = line.split_once('=') else { continue };
        if let ("Include", Some((folder, _))) = (key.trim(), path.trim().rsplit_once('/')) {
            remembered::add(host, folder.trim_start_matches('/').to_owned(), 1, state);
        }
    }
}

fn updates(host: &Host) -> Result<Vec<PackageUpdate>, String> {
    let output = ask(host, &UPGRADES, &ENDS)?;
    if let Some(complaint) = complaint(&output) {
        return Err(complaint);
    }
    let upgrades: Vec<Upgrade<'_>> = output.stdout.lines().filter_map(parse_upgrade).collect();
    if upgrades.is_empty() {
        let lists = host.list(Tree::Root, LISTS).unwrap_or_default();
        let has_lists = lists.iter().any(|entry| entry.name.ends_with(".db"));
        return if has_lists { Ok(Vec::new()) } else { Err(NEVER_DOWNLOADED.to_owned()) };
    }
    let installed = package::pacman::installed(host).map_err(|error| error.to_string())?;
    // Without these answers it is not known where updates come from; what is pending still is.
    let listed = ask(host, &LISTED, &[0]).map(|output| output.stdout).unwrap_or_default();
    let plan = ask(host, &PLAN, &[0]).map(|output| output.stdout).unwrap_or_default();
    let mut origins: HashMap<(&str, &str), &str> = HashMap::new();
    for (repository, name, version) in listed.lines().filter_map(parse_listed) {
        origins.entry((name, version)).or_insert(repository);
    }
    let mut updates: Vec<PackageUpdate> = upgrades
        .iter()
        .map(|upgrade| PackageUpdate {
            package: upgrade.name.to_owned(),
            architecture: architecture(&installed, upgrade.name),
            installed: upgrade.installed.to_owned(),
            offered: upgrade.offered.to_owned(),
            origin: origins
                .get(&(upgrade.name, upgrade.offered))
                .map(|origin| (*origin).to_owned())
                .unwrap_or_default(),
            stays: upgrade.is_ignored.then_some(Stay::Held),
            ..PackageUpdate::default()
        })
        .collect();
    let new = plan
        .lines()
        .filter_map(parse_listed)
        .filter(|(_, name, _)| !upgrades.iter().any(|upgrade| upgrade.name == *name));
    updates.extend(new.map(|(repository, name, version)| PackageUpdate {
        package: name.to_owned(),
        offered: version.to_owned(),
        origin: repository.to_owned(),
        ..PackageUpdate::default()
    }));
    Ok(updates)
}

fn architecture(installed: &[InstalledPackage], name: &str) -> String {
    let package = installed.iter().find(|package| package.name == name);
    package.map(|package| package.architecture.clone()).unwrap_or_default()
}

/// Why the answer cannot be trusted: pacman goes on without lists that it lacks or cannot read, and
/// then ends as if there were nothing to upgrade.
fn complaint(output: &Output) -> Option<String> {
    let mut lines = output.stderr.lines();
    if output.stderr.contains("database file for") {
        let missing = lines.find(|line| line.contains("database file for")).unwrap_or_default();
        return Some(shortened(missing.trim_start_matches("warning: ")));
    }
    let error = lines.find_map(|line| line.strip_prefix("error: "))?;
    Some(format!("{NAME}: {}", shortened(error)))
}

/// A package that has a newer version.
#[derive(Debug, PartialEq, Eq)]
struct Upgrade<'line> {
    name: &'line str,
    installed: &'line str,
    offered: &'line str,
    is_ignored: bool,
}

/// Reads a line such as `linux 6.6.1-1 -> 6.6.2-1 [ignored]`.
fn parse_upgrade(line: &str) -> Option<Upgrade<'_>> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    match words.as_slice() {
        [name, installed, "->", offered, marks @ ..] => Some(Upgrade {
            name,
            installed,
            offered,
            is_ignored: marks.iter().any(|mark| mark.starts_with("[ignored")),
        }),
        _ => None,
    }
}

/// Reads a line such as `core linux 6.6.2-1 [installed: 6.6.1-1]`.
fn parse_listed(line: &str) -> Option<(&str, &str, &str)> {
    let mut words = line.split_ascii_whitespace();
    Some((words.next()?, words.next()?, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_upgrade() {
        let check = |line: &str, expect: Option<(&str, &str, &str, bool)>| {
            let seen = parse_upgrade(line);
            let seen = seen.map(|one| (one.name, one.installed, one.offered, one.is_ignored));
            assert_eq!(seen, expect, "{line}");
        };
        check("engine 1:1.0-1 -> 1:1.5-1", Some(("engine", "1:1.0-1", "1:1.5-1", false)));
        check("frozen 1.0-1 -> 2.0-1 [ignored]", Some(("frozen", "1.0-1", "2.0-1", true)));
        check(":: Synchronizing package databases...", None);
        check("linux 6.6.1-1", None);
        check("", None);
    }

    #[test]
    fn an_answer_without_lists_is_none() {
        let check = |stderr: &str, expect: Option<&str>| {
            let output = Output { exit: Some(1), stdout: String::new(), stderr: stderr.to_owned() };
            assert_eq!(complaint(&output).as_deref(), expect);
        };
        check("", None);
        check(
            "warning: database file for 'core' does not exist (use '-Sy' to download)\n",
            Some("database file for 'core' does not exist (use '-Sy' to download)"),
        );
        check(
            "error: could not open file /var/lib/pacman/sync/core.db: Truncated gzip input\n",
            Some("pacman: could not open file /var/lib/pacman/sync/core.db: Truncated gzip input"),
        );
        check("warning: config file /etc/pacman.conf, line 9: directive unknown\n", None);
    }
}
