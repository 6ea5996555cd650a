//! Pending updates of SUSE and openSUSE: zypper, which answers in XML.
//!
//! It is told not to refresh anything, and takes no lock for an ordinary user.

use roxmltree::{Document, Node};
use upkeep_model::{Knowledge, ManagerReport, PackageUpdate, Stay};

use super::Memory;
use super::advisory::{self, Explained};
use super::answer::{self, shortened};
use super::freshness::{self, List, OWN_TIMER, Refreshers};
use super::remembered::{self, Input};
use super::repository::{self, Repository};
use super::zypper_patch::Patches;
use super::zypper_table;
use crate::host::{Host, HostError, Output, Tree};
use crate::package::rpm;

const NAME: &str = "zypper";

/// What every question starts with.
pub(super) const XML: [&str; 4] = ["zypper", "--non-interactive", "--no-refresh", "--xmlout"];

/// What would be updated, and what could be if nothing were locked and every dependency were met.
const UPDATES: &[&str] = &["list-updates"];
const ALL_UPDATES: &[&str] = &["list-updates", "--all"];
const LOCKS: &[&str] = &["locks"];

/// What questions start with whose answer is text, for old distributions whose answers in XML lack
/// what is needed.
pub(super) const PLAIN: [&str; 3] = ["zypper", "--non-interactive", "--no-refresh"];

/// What it ends with when it succeeded, and when it asks for updates, for security updates, for a
/// restart of the host, or for a restart of itself.
pub(super) const ENDS: [i32; 5] = [0, 100, 101, 102, 103];

/// What it ends with if it passed over repositories.
const PASSED_OVER: i32 = 106;

const REPOSITORIES: [&str; 1] = ["etc/zypp/repos.d"];
const CACHE: &str = "var/cache/zypp/raw";

/// The flag that the installation of a core library or service leaves, until the host is restarted.
pub(super) const REBOOT_FLAG: &str = "run/reboot-needed";

/// What its answers depend on, beside the installed packages.
const INPUTS: [Input; 3] = [
    Input::folder("etc/zypp", 3),
    Input::folder("etc/products.d", 1),
    Input::folder("var/cache/zypp", 4),
];

/// What shows that another manager looks after the packages of the host.
const OTHER: &str = "var/lib/dpkg/status";

const DAY_MS: i64 = 24 * 3600 * 1000;

/// zypper has no timer of its own: these look for updates daily.
const REFRESHERS: Refreshers = Refreshers {
    timers: &[
        OWN_TIMER,
        "packagekit-background.timer",
        "transactional-update.timer",
        "os-update.timer",
        "zypp-refresh.timer",
        "zypper-refresh.timer",
    ],
    jobs: &[
        "etc/cron.daily/packagekit-background.cron",
        "etc/cron.daily/opensuse.org-online_update",
        "etc/cron.weekly/opensuse.org-online_update",
        "etc/cron.monthly/opensuse.org-online_update",
    ],
};

/// Asks zypper; `None` if the host does not have it, or it looks after nothing there.
pub(super) fn report(host: &Host, now_ms: i64, memory: &mut Memory) -> Option<ManagerReport> {
    if !host.has_program(NAME) || is_foreign(host) {
        return None;
    }
    let mut report = ManagerReport { manager: NAME.to_owned(), ..ManagerReport::default() };
    let repositories = match repository::enabled(host, &REPOSITORIES, Some(DAY_MS)) {
        Ok(repositories) => repositories,
        Err(error) => {
            let reason = format!("the repositories are not known: {error}");
            report.refresh = Knowledge::Unknown(reason.clone());
            report.updates = Knowledge::Unknown(reason);
            return Some(report);
        }
    };
    let lists = lists(host, &repositories);
    report.lists_refreshed_at_ms = freshness::oldest_ms(&lists);
    report.refresh = freshness::judge(host, REFRESHERS, &lists, now_ms);
    let installed = rpm::FILES.map(Input::file);
    let state = remembered::look(host, installed.into_iter().chain(INPUTS));
    report.updates = match memory.zypper.or_ask(now_ms, state, || explained(host, &repositories)) {
        Ok(Explained { updates, are_advisories_known }) => {
            report.without_advisories =
                advisory::missing_origins(&updates, are_advisories_known, |alias| {
                    publishes(host, alias)
                });
            Knowledge::Known(updates)
        }
        Err(reason) => Knowledge::Unknown(reason),
    };
    Some(report)
}

/// Whether another manager looks after the packages, and zypper is there for making images.
pub(super) fn is_foreign(host: &Host) -> bool {
    let repositories = host.list(Tree::Root, REPOSITORIES[0]).unwrap_or_default();
    host.exists(Tree::Root, OTHER) && repositories.is_empty()
}

/// The cached lists. zypper touches the index of a repository when it finds that nothing has changed.
fn lists(host: &Host, repositories: &[Repository]) -> Vec<List> {
    let list = |one: &Repository| {
        let cached = repository::cached(host, &format!("{CACHE}/{}/repodata", one.id))?;
        Some(repository::list(one, cached))
    };
    repositories.iter().filter_map(list).collect()
}

/// Whether a repository publishes advisories, as far as the cache shows.
fn publishes(host: &Host, alias: &str) -> bool {
    let cached = repository::cached(host, &format!("{CACHE}/{alias}/repodata"));
    cached.is_some_and(|cached| cached.has_advisories)
}

/// The updates with what they are for.
fn explained(host: &Host, repositories: &[Repository]) -> Result<Explained, String> {
    let mut updates = updates(host, repositories)?;
    let patches = (!updates.is_empty()).then(|| Patches::of(host)).flatten();
    if let Some(patches) = &patches {
        patches.explain(&mut updates);
    }
    Ok(Explained { updates, are_advisories_known: patches.is_some() })
}

fn updates(host: &Host, repositories: &[Repository]) -> Result<Vec<PackageUpdate>, String> {
    let mut pending = pending(host)?;
    if pending.is_empty() && repositories.is_empty() {
        return Err("no repository is switched on".to_owned());
    }
    // Without these answers it is not known what is locked; what is pending still is.
    let all = ask(host, ALL_UPDATES).and_then(|text| parse_updates(&text)).unwrap_or_default();
    let locks = ask(host, LOCKS).and_then(|text| parse_locks(&text)).unwrap_or_default();
    for mut update in all {
        let is_same = |one: &PackageUpdate| {
            one.package == update.package
                && one.architecture == update.architecture
                && one.offered == update.offered
        };
        if !pending.iter().any(is_same) {
            let is_locked = locks.iter().any(|lock| matches(lock, &update.package));
            update.stays = Some(if is_locked { Stay::Held } else { Stay::KeptBack });
            pending.push(update);
        }
    }
    Ok(pending)
}

/// What would be updated now, from the table if the answer in XML does not tell it.
fn pending(host: &Host) -> Result<Vec<PackageUpdate>, String> {
    let from_xml = ask(host, UPDATES).and_then(|text| parse_updates(&text));
    from_xml.or_else(|reason| {
        let table =
            answer::ask(host, &[PLAIN.as_slice(), UPDATES].concat(), &ENDS).map_err(|_| reason)?;
        zypper_table::updates(&table.stdout)
    })
}

/// Asks a question whose answer is XML.
pub(super) fn ask(host: &Host, question: &[&str]) -> Result<String, String> {
    let output = host
        .run(&[&XML, question].concat(), answer::DEADLINE)
        .map_err(|error: HostError| error.to_string())?;
    match output.exit {
        Some(exit) if ENDS.contains(&exit) => Ok(output.stdout),
        _ => Err(failure(&output)),
    }
}

/// Why it failed: the messages stand among the answer.
fn failure(output: &Output) -> String {
    let messages = Document::parse(&output.stdout).map(|document| {
        let messages = document
            .descendants()
            .filter(|node| node.has_tag_name("message") && node.attribute("type") == Some("error"));
        messages.filter_map(|node| node.text()).collect::<Vec<_>>().join("; ")
    });
    match messages {
        Ok(said) if !said.is_empty() => {
            let end = output.exit.map_or("a signal".to_owned(), |exit| format!("status {exit}"));
            let advice =
                if output.exit == Some(PASSED_OVER) { "; run `zypper refresh`" } else { "" };
            format!("{NAME} ended with {end}: {}{advice}", shortened(&said))
        }
        _ => answer::failure(NAME, output),
    }
}

/// Reads the answer as XML.
pub(super) fn parse(text: &str) -> Result<Document<'_>, String> {
    Document::parse(text)
        .map_err(|error| format!("{NAME}'s answer could not be read: {error}: {}", shortened(text)))
}

/// Reads updates of packages.
fn parse_updates(text: &str) -> Result<Vec<PackageUpdate>, String> {
    let document = parse(text)?;
    if !document.descendants().any(|node| node.has_tag_name("update-status")) {
        return Err(format!("{NAME} ended without a list of updates"));
    }
    let updates = document
        .descendants()
        .filter(|node| node.has_tag_name("update") && node.attribute("kind") == Some("package"));
    updates
        .map(|node| parse_update(node).ok_or_else(|| format!("{NAME} tells too little of updates")))
        .collect()
}

fn parse_update(node: Node<'_, '_>) -> Option<PackageUpdate> {
    let of = |name: &str| node.attribute(name).map(str::to_owned);
    let source = node.children().find(|child| child.has_tag_name("source"));
    Some(PackageUpdate {
        package: of("name")?,
        architecture: of("arch")?,
        // Old versions do not tell what is installed.
        installed: of("edition-old")?,
        offered: of("edition")?,
        origin: source.and_then(|source| source.attribute("alias")).unwrap_or_default().to_owned(),
        ..PackageUpdate::default()
    })
}

/// Reads the names of locked packages, which may hold `*` and `?`.
fn parse_locks(text: &str) -> Result<Vec<String>, String> {
    let document = parse(text)?;
    let names = document.descendants().filter(|node| node.has_tag_name("name"));
    Ok(names.filter_map(|node| node.text()).map(str::to_owned).collect())
}

/// Whether a name fits a pattern with `*` for any letters and `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return name.is_empty() };
    let rest = pattern.get(first.len_utf8()..).unwrap_or_default();
    let mut tails = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    match first {
        '*' => tails.any(|at| matches(rest, name.get(at..).unwrap_or_default())),
        _ => name.chars().next().is_some_and(|letter| {
            let tail = name.get(letter.len_utf8()..).unwrap_or_default();
            (first == '?' || first == letter) && matches(rest, tail)
        }),
    }
}
