//! Pending updates of Alpine and its kin: apk, against the indexes as they were last downloaded.
//!
//! It is kept from the network, and takes no lock for reading. Alpine's list of vulnerabilities is
//! not part of what it downloads, so what an update is for is not known.

use std::cmp::Ordering;
use std::collections::HashMap;

use upkeep_model::{Knowledge, ManagerReport, PackageUpdate, Stay};

use super::answer::{ask, shortened};
use super::freshness::{self, List, OWN_TIMER, Refreshers};
use super::remembered::{self, Input};
use super::{Memory, advisory, version};
use crate::host::{Host, Output, Tree};
use crate::package;

const NAME: &str = "apk";

/// Packages for which the indexes have a newer version.
const UPGRADES: [&str; 5] = ["apk", "--no-network", "version", "-l", "<"];

/// Asks where versions come from, with the names of packages behind it.
const POLICY: [&str; 3] = ["apk", "--no-network", "policy"];

/// What the administrator wants to be installed, with versions where they matter.
const WORLD: &str = "etc/apk/world";

/// The repositories, one a line.
const REPOSITORIES: &str = "etc/apk/repositories";
const MORE_REPOSITORIES: &str = "etc/apk/repositories.d";

/// Where indexes are kept: the first is there only if the administrator chose a place.
const CACHES: [&str; 2] = ["etc/apk/cache", "var/cache/apk"];
const INDEX: &str = "APKINDEX.";

/// What its answers depend on, beside the installed packages.
const INPUTS: [Input; 2] = [Input::folder("etc/apk", 2), Input::folder("var/cache/apk", 1)];

/// The distribution refreshes nothing by itself.
const REFRESHERS: Refreshers = Refreshers { timers: &[OWN_TIMER], jobs: &[] };

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Asks apk; `None` if the host does not have it.
pub(super) fn report(host: &Host, now_ms: i64, memory: &mut Memory) -> Option<ManagerReport> {
    if !host.has_program(NAME) {
        return None;
    }
    let mut report = ManagerReport { manager: NAME.to_owned(), ..ManagerReport::default() };
    let repositories = repositories(host);
    let lists = lists(host, repositories);
    report.lists_refreshed_at_ms = freshness::oldest_ms(&lists);
    report.refresh = freshness::judge(host, REFRESHERS, &lists, now_ms);
    let installed = package::apk::FILES.map(Input::file);
    let state = remembered::look(host, installed.into_iter().chain(INPUTS));
    report.updates = match memory.apk.or_ask(now_ms, state, || updates(host, repositories)) {
        Ok(updates) => {
            report.without_advisories = advisory::missing_origins(&updates, false, |_| false);
            Knowledge::Known(updates)
        }
        Err(reason) => Knowledge::Unknown(reason),
    };
    Some(report)
}

/// How many repositories there are.
fn repositories(host: &Host) -> usize {
    let more = host.list(Tree::Root, MORE_REPOSITORIES).unwrap_or_default();
    let more = more.iter().map(|entry| format!("{MORE_REPOSITORIES}/{}", entry.name));
    let files = std::iter::once(REPOSITORIES.to_owned()).chain(more);
    let texts = files.filter_map(|file| host.read(Tree::Root, &file).ok());
    let is_repository = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    texts.map(|text| text.lines().filter(is_repository).count()).sum()
}

/// The indexes in use. Those of an earlier release stay behind and are older: so many are in use as
/// there are repositories.
fn lists(host: &Host, repositories: usize) -> Vec<List> {
    let Some(folder) = CACHES.into_iter().find(|folder| host.exists(Tree::Root, folder)) else {
        return Vec::new();
    };
    let entries = host.list(Tree::Root, folder).unwrap_or_default();
    let indexes = entries.into_iter().filter(|entry| entry.name.starts_with(INDEX));
    let mut lists: Vec<List> = indexes
        .filter_map(|entry| {
            let refreshed_at_ms =
                freshness::modified_ms(host, &format!("{folder}/{}", entry.name))?;
            Some(List { name: entry.name, refreshed_at_ms, fresh_for_ms: Some(DAY_MS) })
        })
        .collect();
    lists.sort_by_key(|list| std::cmp::Reverse(list.refreshed_at_ms));
    lists.truncate(repositories);
    lists
}

fn updates(host: &Host, repositories: usize) -> Result<Vec<PackageUpdate>, String> {
    let output = ask(host, &UPGRADES, &[0])?;
    if let Some(complaint) = complaint(&output) {
        return Err(complaint);
    }
    let upgrades: Vec<(&str, &str, &str)> =
        output.stdout.lines().filter_map(parse_upgrade).collect();
    if upgrades.is_empty() {
        let none = "no repository is configured";
        return if repositories == 0 { Err(none.to_owned()) } else { Ok(Vec::new()) };
    }
    let installed = package::apk::installed(host).map_err(|error| error.to_string())?;
    let architectures: HashMap<&str, &str> = installed
        .iter()
        .map(|package| (package.name.as_str(), package.architecture.as_str()))
        .collect();
    let names: Vec<&str> = upgrades.iter().map(|(name, ..)| *name).collect();
    // Without this answer it is not known where updates come from; what is pending still is.
    let policy = ask(host, &[POLICY.as_slice(), &names].concat(), &[0]);
    let policy = policy.map(|output| output.stdout).unwrap_or_default();
    let origins = parse_policy(&policy);
    let world = host.read_if_present(Tree::Root, WORLD).ok().flatten();
    let wishes: Vec<Wish<'_>> =
        world.iter().flat_map(|text| text.split_ascii_whitespace()).map(Wish::parse).collect();
    let update = |(name, installed, offered): (&str, &str, &str)| PackageUpdate {
        package: name.to_owned(),
        architecture: architectures.get(name).copied().unwrap_or_default().to_owned(),
        installed: installed.to_owned(),
        offered: offered.to_owned(),
        origin: origins.get(&(name, offered)).cloned().unwrap_or_default(),
        stays: wishes
            .iter()
            .any(|wish| wish.name == name && !wish.allows(offered))
            .then_some(Stay::Pinned),
        ..PackageUpdate::default()
    };
    Ok(upgrades.into_iter().map(update).collect())
}

/// Why the answer cannot be trusted: apk goes on without indexes that it lacks or cannot read, and
/// then ends as if there were nothing to upgrade.
fn complaint(output: &Output) -> Option<String> {
    let about_index = |line: &&str| line.contains("://") || line.contains("APKINDEX");
    let warnings = output.stderr.lines().chain(output.stdout.lines());
    let warning = warnings.filter_map(|line| line.strip_prefix("WARNING: ")).find(about_index)?;
    Some(format!("{NAME}: {}; run `apk update`", shortened(warning)))
}

/// Reads a line such as `busybox-1.36.1-r2   < 1.36.1-r5`.
fn parse_upgrade(line: &str) -> Option<(&str, &str, &str)> {
    let (package, offered) = line.split_once(" < ")?;
    let (name, installed) = split_name(package.trim())?;
    Some((name, installed, offered.split_ascii_whitespace().next()?))
}

/// Parts `busybox-1.36.1-r2` into name and version.
fn split_name(package: &str) -> Option<(&str, &str)> {
    let (rest, _release) = package.rsplit_once("-r")?;
    let (name, _) = rest.rsplit_once('-')?;
    let version = package.get(name.len() + 1..)?;
    (!name.is_empty() && version.starts_with(|letter: char| letter.is_ascii_digit()))
        .then_some((name, version))
}

/// Reads blocks of `NAME policy:`, in which each version is followed by where it comes from: the
/// address of a repository, of which the end is enough and holds no password.
fn parse_policy(text: &str) -> HashMap<(&str, &str), String> {
    let mut origins = HashMap::new();
    let (mut package, mut version) = ("", "");
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        let words = line.trim();
        match depth {
            0 => package = words.strip_suffix(" policy:").unwrap_or_default(),
            1..=2 => version = words.strip_suffix(':').unwrap_or_default(),
            _ => {
                let place = words.split_ascii_whitespace().last().unwrap_or_default();
                if place != "lib/apk/db/installed" {
                    let mut parts: Vec<&str> =
                        place.rsplit('/').filter(|part| !part.is_empty()).take(2).collect();
                    parts.reverse();
                    origins.entry((package, version)).or_insert_with(|| parts.join("/"));
                }
            }
        }
    }
    origins
}

/// A package that the administrator wants, with the versions that are right.
#[derive(Debug, PartialEq, Eq)]
struct Wish<'text> {
    name: &'text str,
    comparison: &'text str,
    version: &'text str,
}

impl<'text> Wish<'text> {
    /// Reads a word such as `nginx=1.24.0-r15`, `python3~3.11`, `linux<7` or `bash@edge`.
    fn parse(word: &'text str) -> Self {
        let is_comparison = |letter: char| matches!(letter, '=' | '<' | '>' | '~');
        let word = word.split('@').next().unwrap_or_default();
        let at = word.find(is_comparison).unwrap_or(word.len());
        let (name, rest) = word.split_at_checked(at).unwrap_or((word, ""));
        let version = rest.trim_start_matches(is_comparison);
        let comparison = rest.get(..rest.len() - version.len()).unwrap_or_default();
        Self { name, comparison, version }
    }

    fn allows(&self, offered: &str) -> bool {
        let order = compare(offered, self.version);
        match self.comparison {
            "=" => offered == self.version,
            "<" => order.is_lt(),
            "<=" => order.is_le(),
            comparison if comparison.contains('~') => {
                let rest = offered.strip_prefix(self.version);
                rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
            }
            _ => true,
        }
    }
}

/// Compares two versions of Alpine, which puts `_alpha`, `_beta`, `_pre` and `_rc` before the release.
/// Debian does so with what follows a `~`, and is like it in the rest.
fn compare(one: &str, other: &str) -> Ordering {
    const BEFORE: [&str; 4] = ["alpha", "beta", "pre", "rc"];
    let in_debians = |version: &str| {
        let mut version = version.to_owned();
        for word in BEFORE {
            version = version.replace(&format!("_{word}"), &format!("~{word}"));
        }
        version
    };
    version::compare(&in_debians(one), &in_debians(other))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::host::tests::host_with;

    #[test]
    fn the_youngest_indexes_are_in_use_as_many_as_repositories() {
        let folder = CACHES[0];
        let files = ["old", "new", "older"].map(|name| format!("{folder}/{INDEX}{name}.tar.gz"));
        let other = format!("{folder}/installed");
        let paths = files.iter().chain([&other]).map(|path| (path.as_str(), &b""[..]));
        let (root, host) = host_with(&paths.collect::<Vec<_>>());
        for (file, days) in files.iter().zip([30, 90, 20]) {
            let file = std::fs::File::options().append(true).open(root.path().join(file)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(days * 24 * 3600)).unwrap();
        }
        let check = |repositories: usize, expect: &[i64]| {
            let days = lists(&host, repositories);
            let days: Vec<_> = days.iter().map(|list| list.refreshed_at_ms / DAY_MS).collect();
            assert_eq!(days, expect, "{repositories} repositories");
        };
        check(0, &[]);
        check(1, &[90]);
        check(2, &[90, 30]);
        check(5, &[90, 30, 20]);
    }

    #[test]
    fn a_line_is_an_upgrade() {
        let check = |line: &str, expect: Option<(&str, &str, &str)>| {
            assert_eq!(parse_upgrade(line), expect, "{line}");
        };
        check("Installed:                                Available:", None);
        check(
            "busybox-1.36.1-r2                       < 1.36.1-r5 ",
            Some(("busybox", "1.36.1-r2", "1.36.1-r5")),
        );
        check(
            "py3-pip-run-23.3.1_rc1-r0               < 24.0-r1 @edge",
            Some(("py3-pip-run", "23.3.1_rc1-r0", "24.0-r1")),
        );
        check("ca-certificates-20240226-r0             = 20240226-r0", None);
        check("lib-x                                   < 2", None);
    }

    #[test]
    fn origins_are_the_ends_of_addresses() {
        let text = "busybox policy:\n  1.36.1-r2:\n    lib/apk/db/installed\n  1.36.1-r5:\n\
            \x20   https://me:secret@dl.example.org/alpine/v3.19/main\n\
            nginx policy:\n  1.26.0-r0:\n    @edge https://dl.example.org/alpine/edge/main/\n";
        let origins = parse_policy(text);
        assert_eq!(origins[&("busybox", "1.36.1-r5")], "v3.19/main");
        assert_eq!(origins[&("nginx", "1.26.0-r0")], "edge/main");
        assert_eq!(origins.len(), 2);
    }

    #[test]
    fn a_wish_allows_versions() {
        let check = |word: &str, name: &str, offered: &str, expect: bool| {
            let wish = Wish::parse(word);
            assert_eq!((wish.name, wish.allows(offered)), (name, expect), "{word} {offered}");
        };
        check("busybox", "busybox", "2-r0", true);
        check("nginx=1.24.0-r15", "nginx", "1.24.0-r16", false);
        check("nginx=1.24.0-r15", "nginx", "1.24.0-r15", true);
        check("python3~3.11", "python3", "3.11.8-r0", true);
        check("python3~3.1", "python3", "3.11.8-r0", false);
        check("python3=~3.11", "python3", "3.12.0-r0", false);
        check("linux-lts<6.7", "linux-lts", "6.10.1-r0", false);
        check("linux-lts<6.7", "linux-lts", "6.6.9-r0", true);
        check("bash@edge", "bash", "5-r0", true);
        check("go<1.24_rc1", "go", "1.24_beta2-r0", true);
        check("go<1.24_rc1", "go", "1.24-r0", false);
        check("go<1.24", "go", "1.24_rc1-r0", true);
        check("openssh<9.6_p1-r1", "openssh", "9.6_p1-r0", true);
        check("so>1", "so", "2-r0", true);
    }

    #[test]
    fn an_answer_without_indexes_is_none() {
        let check = |stderr: &str, expect: Option<&str>| {
            let output = Output { exit: Some(0), stdout: String::new(), stderr: stderr.to_owned() };
            assert_eq!(complaint(&output).as_deref(), expect);
        };
        check("", None);
        check(
            "WARNING: opening from cache https://dl.example.org/v3.19/main: No such file or directory\n",
            Some(
                "apk: opening from cache https://dl.example.org/v3.19/main: \
                 No such file or directory; run `apk update`",
            ),
        );
        check("WARNING: this apk-tools is OLD!\n", None);
    }
}
