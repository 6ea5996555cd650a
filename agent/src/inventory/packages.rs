//! Installed packages: what came, went and changed, as changes for people and as differences by
//! which the collector keeps its list.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::{debug, warn};
use upkeep_model::{
    Change, ChangeKind, Event, EventKind, InstalledPackage, PackageInventory, state_hash,
};

use super::changes::believable;
use super::configuration::milliseconds;
use super::memory::{self, MemoryError, Telling, Told};
use crate::host::{Host, Stamp};
use crate::package::{DATABASES, Database};

/// How the files of what was told are called, in the state folder; the manager is in between. They
/// are as long as the list of packages, so each is read only when it is needed.
const FILE: (&str, &str) = ("packages-", ".json");

/// So many packages go into one event: about 150 KB, so that an event fits into a batch, and however
/// many packages a host has, none is too long to be delivered.
const PACKAGES_AT_ONCE: usize = 2000;

/// What was told of one manager's packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    packages: Vec<InstalledPackage>,
}

/// What the collector holds, as it said at the beginning of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldPackages {
    /// The buffer that the connection is of.
    pub epoch: [u8; 16],
    /// The last event that the collector had committed then.
    pub committed: u64,
    /// The hash of the state of each manager's packages.
    pub hashes: HashMap<String, String>,
}

/// What is to be told of one manager's packages, and what is to be remembered then.
#[derive(Debug)]
pub struct PackageNews {
    /// The changes, and the list or the difference to it.
    pub events: Vec<Event>,
    manager: &'static str,
    stamps: Vec<Stamp>,
    hash: String,
    /// `None` if what was told before is only told again.
    told: Option<Told<Seen>>,
}

/// Watches the packages of a host.
pub struct PackageWatch {
    folder: PathBuf,
    /// What was seen last, without the packages themselves.
    last: HashMap<&'static str, Last>,
}

#[derive(Debug, PartialEq, Eq)]
struct Last {
    stamps: Vec<Stamp>,
    hash: String,
}

impl PackageWatch {
    /// A watch that remembers in a folder.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), last: HashMap::new() }
    }

    /// Looks at every database whose files changed since the last look; it may start a program.
    /// What cannot be read is logged and looked at again. `is_held` says whether the collector has
    /// the state of this hash, or will have it once everything is delivered.
    pub fn look(
        &self,
        host: &Host,
        now_ms: i64,
        is_held: impl Fn(&str, &str) -> bool,
    ) -> Vec<PackageNews> {
        let news = DATABASES.iter().filter_map(|database| {
            let stamps = database.stamps(host);
            if stamps.is_empty() {
                return None;
            }
            let last = self.last.get(database.manager);
            if last.is_some_and(|last| last.stamps == stamps) {
                return self.again(database, last?, now_ms, &is_held);
            }
            let packages = database.installed(host).inspect_err(|error| {
                warn!(manager = database.manager, "installed packages are not known: {error}");
            });
            self.compare(database, stamps, packages.ok()?, now_ms, &is_held)
                .inspect_err(|error| warn!("installed packages cannot be compared: {error}"))
                .ok()
        });
        news.collect()
    }

    /// Writes down which changes are about to be told, so that they are told even if the packages are
    /// as before when the agent comes back. To be called before they are.
    pub fn announce(&self, news: &PackageNews) {
        let told = news.told.clone();
        if let Some(telling) = told.and_then(|told| Telling::of(&news.events, told))
            && let Err(error) = memory::announce(&self.path(news.manager), &telling)
        {
            warn!("which packages are being told cannot be written down: {error}");
        }
    }

    /// Remembers what was told, so that it is not told again.
    pub fn remember(&mut self, news: PackageNews) {
        if let Some(told) = &news.told
            && let Err(error) = memory::store(&self.path(news.manager), told)
        {
            // It is found again at the next look, and told under the same names.
            warn!("which packages were told cannot be remembered yet: {error}");
            return;
        }
        self.last.insert(news.manager, Last { stamps: news.stamps, hash: news.hash });
    }

    fn path(&self, manager: &str) -> PathBuf {
        let (before, after) = FILE;
        self.folder.join(format!("{before}{manager}{after}"))
    }

    /// Everything again, if the collector lacks it.
    fn again(
        &self,
        database: &Database,
        last: &Last,
        now_ms: i64,
        is_held: &impl Fn(&str, &str) -> bool,
    ) -> Option<PackageNews> {
        if is_held(database.manager, &last.hash) {
            return None;
        }
        let told = memory::load::<Seen>(&self.path(database.manager));
        let told = told.inspect_err(|error| warn!("{error}")).ok()??;
        debug!(manager = database.manager, "the collector lacks the installed packages");
        Some(PackageNews {
            events: inventories(database.manager, None, &told.state.packages, now_ms),
            manager: database.manager,
            stamps: last.stamps.clone(),
            hash: last.hash.clone(),
            told: None,
        })
    }

    fn compare(
        &self,
        database: &Database,
        stamps: Vec<Stamp>,
        packages: Vec<InstalledPackage>,
        now_ms: i64,
        is_held: &impl Fn(&str, &str) -> bool,
    ) -> Result<PackageNews, MemoryError> {
        let manager = database.manager;
        let told = memory::load::<Seen>(&self.path(manager))?;
        if let Some(before) = &told
            && let Some(telling) = memory::announced(&self.path(manager), before)?
        {
            return Ok(once_more(manager, before, telling));
        }
        let hash = state_hash(&packages);
        let changed_ms = stamps.iter().filter_map(|stamp| milliseconds(stamp.modified)).max();
        let news = |events, told| PackageNews { events, manager, stamps, hash, told };
        let Some(before) = told else {
            let events = inventories(manager, None, &packages, now_ms);
            return Ok(news(events, Some(Told::first(Seen { packages }, now_ms))));
        };
        let base = &before.state.packages;
        if *base == packages {
            let lacks = !is_held(manager, &state_hash(&packages));
            let events =
                if lacks { inventories(manager, None, &packages, now_ms) } else { Vec::new() };
            return Ok(news(events, None));
        }
        let at_ms = believable(changed_ms, before.at_ms, now_ms);
        let mut events = Vec::new();
        for mut change in changes(base, &packages) {
            before.name(&mut change);
            events.push(Event { at_ms, kind: EventKind::Change(change) });
        }
        events.append(&mut inventories(manager, Some(base), &packages, at_ms));
        let told = before.next(Seen { packages }, now_ms);
        Ok(news(events, Some(told)))
    }
}

/// What was being told when the agent ended. The packages themselves are looked at after that.
fn once_more(manager: &'static str, before: &Told<Seen>, telling: Telling<Seen>) -> PackageNews {
    let mut events = telling.events();
    let at_ms = events.first().map_or(telling.told.at_ms, |event| event.at_ms);
    let packages = &telling.told.state.packages;
    events.append(&mut inventories(manager, Some(&before.state.packages), packages, at_ms));
    let hash = state_hash(packages);
    PackageNews { events, manager, stamps: Vec::new(), hash, told: Some(telling.told) }
}

/// The way from one state to another, or to a whole state, in events that each fit.
fn inventories(
    manager: &str,
    base: Option<&[InstalledPackage]>,
    packages: &[InstalledPackage],
    at_ms: i64,
) -> Vec<Event> {
    let mut state: BTreeSet<&InstalledPackage> = base.unwrap_or_default().iter().collect();
    let goal: BTreeSet<&InstalledPackage> = packages.iter().collect();
    let removed: Vec<_> = state.difference(&goal).copied().collect();
    let installed: Vec<_> = goal.difference(&state).copied().collect();
    let mut steps: Vec<(&[&InstalledPackage], &[&InstalledPackage])> = Vec::new();
    steps.extend(removed.chunks(PACKAGES_AT_ONCE).map(|some| (some, [].as_slice())));
    steps.extend(installed.chunks(PACKAGES_AT_ONCE).map(|some| ([].as_slice(), some)));
    // What fits into one event is one step: an update is not first a removal.
    if removed.len() + installed.len() <= PACKAGES_AT_ONCE {
        steps = vec![(&removed, &installed)];
    }
    let mut hash = base.map(state_hash);
    let mut events = Vec::with_capacity(steps.len());
    for (removed, installed) in steps {
        for package in removed {
            state.remove(*package);
        }
        state.extend(installed);
        let reached = state_hash(state.iter().copied());
        let owned = |some: &[&InstalledPackage]| some.iter().map(|&one| one.clone()).collect();
        let inventory = PackageInventory {
            manager: manager.to_owned(),
            base: hash.replace(reached.clone()),
            hash: reached,
            installed: owned(installed),
            removed: owned(removed),
        };
        events.push(Event { at_ms, kind: EventKind::Packages(inventory) });
    }
    events
}

/// What came, went and changed. Where several versions of a package stand beside each other, as
/// kernels do, those that went are taken for the forerunners of those that came.
fn changes(before: &[InstalledPackage], after: &[InstalledPackage]) -> Vec<Change> {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), after.iter().collect());
    let mut moved: BTreeMap<(&str, &str), Versions<'_>> = BTreeMap::new();
    for package in old.difference(&new) {
        moved.entry(key(package)).or_default().gone.push(&package.version);
    }
    for package in new.difference(&old) {
        moved.entry(key(package)).or_default().come.push(&package.version);
    }
    let mut found = Vec::new();
    for ((name, architecture), Versions { gone, come }) in moved {
        for at in 0..gone.len().max(come.len()) {
            let (was, is) = (gone.get(at).copied(), come.get(at).copied());
            found.push(Change {
                id: String::new(),
                kind: match (was, is) {
                    (None, _) => ChangeKind::PackageInstalled,
                    (Some(_), None) => ChangeKind::PackageRemoved,
                    (Some(_), Some(_)) => ChangeKind::PackageUpdated,
                },
                subject: subject(name, architecture),
                before: was.unwrap_or_default().to_owned(),
                after: is.unwrap_or_default().to_owned(),
            });
        }
    }
    found
}

/// The versions of one package that are not as they were.
#[derive(Default)]
struct Versions<'packages> {
    gone: Vec<&'packages str>,
    come: Vec<&'packages str>,
}

fn key(package: &InstalledPackage) -> (&str, &str) {
    (&package.name, &package.architecture)
}

/// A package's name, with its architecture where that says something.
fn subject(name: &str, architecture: &str) -> String {
    match architecture {
        "" | "all" | "noarch" | "any" | "(none)" => name.to_owned(),
        architecture => format!("{name}:{architecture}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::host_with;
    use super::*;

    fn package(text: &str) -> InstalledPackage {
        let words: Vec<&str> = text.split(' ').collect();
        let [name, architecture, version] = words[..] else { panic!("{text}") };
        InstalledPackage {
            name: name.to_owned(),
            architecture: architecture.to_owned(),
            version: version.to_owned(),
        }
    }

    fn packages(texts: &[&str]) -> Vec<InstalledPackage> {
        texts.iter().map(|text| package(text)).collect()
    }

    #[test]
    fn what_came_went_and_changed_is_told() {
        let check = |before: &[&str], after: &[&str], expect: &[&str]| {
            let found: Vec<_> = changes(&packages(before), &packages(after))
                .into_iter()
                .map(|change| {
                    let Change { kind, subject, before, after, .. } = change;
                    format!("{} {subject}: {before} -> {after}", kind.as_str())
                })
                .collect();
            assert_eq!(found, expect);
        };
        check(
            &["a amd64 1", "b all 1", "d amd64 1"],
            &["a amd64 2", "c all 1", "d amd64 1"],
            &[
                "package_updated a:amd64: 1 -> 2",
                "package_removed b: 1 -> ",
                "package_installed c:  -> 1",
            ],
        );
        check(
            &["a amd64 1", "a i386 1"],
            &["a amd64 1", "a i386 2"],
            &["package_updated a:i386: 1 -> 2"],
        );
        check(
            &["kernel x86_64 5.1"],
            &["kernel x86_64 5.1", "kernel x86_64 5.2"],
            &["package_installed kernel:x86_64:  -> 5.2"],
        );
        check(
            &["kernel x86_64 5.1", "kernel x86_64 5.2"],
            &["kernel x86_64 5.2", "kernel x86_64 5.3"],
            &["package_updated kernel:x86_64: 5.1 -> 5.3"],
        );
    }

    /// Applies events as the collector does, and holds every hash on the way.
    fn apply(state: &mut BTreeSet<InstalledPackage>, events: &[Event]) {
        for event in events {
            let EventKind::Packages(inventory) = &event.kind else { continue };
            match &inventory.base {
                None => state.clear(),
                Some(base) => assert_eq!(*base, state_hash(&*state)),
            }
            for package in &inventory.removed {
                assert!(state.remove(package), "{package:?}");
            }
            state.extend(inventory.installed.iter().cloned());
            assert_eq!(inventory.hash, state_hash(&*state));
            let bytes = serde_json::to_vec(inventory).unwrap().len();
            assert!(bytes < 256 << 10, "{bytes} bytes");
        }
    }

    #[test]
    fn however_many_packages_there_are_each_event_fits() {
        let many = |from: usize, to: usize, version: &str| -> Vec<InstalledPackage> {
            let name = |number| format!("libreasonably-long-name{number}-perl");
            let mut packages: Vec<_> = (from..to)
                .map(|number| package(&format!("{} amd64 {version}", name(number))))
                .collect();
            packages.sort();
            packages
        };
        let mut state = BTreeSet::new();
        let version = "1:12.34.56+dfsg-7+deb12u8";
        let five_thousand = many(0, 5_000, version);
        let whole = inventories("dpkg", None, &five_thousand, 5);
        assert_eq!(whole.len(), 3);
        apply(&mut state, &whole);
        assert_eq!(state.len(), 5_000);
        for next in [many(100, 5_100, version), many(100, 5_100, "2"), Vec::new()] {
            let base: Vec<_> = state.iter().cloned().collect();
            apply(&mut state, &inventories("dpkg", Some(&base), &next, 5));
            assert!(state.iter().eq(&next));
        }
        apply(&mut state, &inventories("dpkg", None, &[], 5));
        assert!(state.is_empty());
    }

    const STATUS: &str = "var/lib/dpkg/status";

    fn status(packages: &[(&str, &str)]) -> String {
        let paragraph = |(name, version): &(&str, &str)| {
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: all\n\
                 Version: {version}\n\n"
            )
        };
        packages.iter().map(paragraph).collect()
    }

    fn words(news: &[PackageNews]) -> Vec<String> {
        let events = news.iter().flat_map(|news| &news.events);
        let word = |event: &Event| match &event.kind {
            EventKind::Change(change) => format!("{} {}", change.kind.as_str(), change.subject),
            EventKind::Packages(PackageInventory { base, installed, removed, .. }) => {
                let kind = if base.is_some() { "difference" } else { "whole" };
                format!("{kind} +{} -{}", installed.len(), removed.len())
            }
            other => panic!("{other:?}"),
        };
        events.map(word).collect()
    }

    #[test]
    fn the_list_is_told_whole_once_and_then_what_changed() {
        let state = tempfile::tempdir().unwrap();
        let (folder, host) = host_with(&[(STATUS, &status(&[("a", "1"), ("b", "1")]))]);
        let held = |_: &str, _: &str| true;
        let mut watch = PackageWatch::new(state.path());
        let news = watch.look(&host, 5, held);
        assert_eq!(words(&news), ["whole +2 -0"]);
        // Not remembered, so told again.
        assert_eq!(words(&watch.look(&host, 6, held)), ["whole +2 -0"]);
        news.into_iter().for_each(|news| watch.remember(news));
        assert!(watch.look(&host, 7, held).is_empty());

        fs::write(folder.path().join(STATUS), status(&[("a", "2"), ("c", "10")])).unwrap();
        let expect =
            ["package_updated a", "package_removed b", "package_installed c", "difference +2 -2"];
        let news = watch.look(&host, 8, held);
        assert_eq!(words(&news), expect);
        // A new watch, as after a kill: the same under the same names.
        let again = PackageWatch::new(state.path()).look(&host, 9, held);
        let ids = |news: &[PackageNews]| -> Vec<String> {
            let id = |event: &Event| match &event.kind {
                EventKind::Change(change) => Some(change.id.clone()),
                _ => None,
            };
            news.iter().flat_map(|news| &news.events).filter_map(id).collect()
        };
        assert_eq!(ids(&again), ids(&news));
        news.into_iter().for_each(|news| watch.remember(news));
        assert!(watch.look(&host, 10, held).is_empty());

        // Being told when the agent ends, and taken back: both are changes.
        let before = fs::read(folder.path().join(STATUS)).unwrap();
        fs::write(folder.path().join(STATUS), status(&[("a", "2")])).unwrap();
        let news = watch.look(&host, 10, held);
        assert_eq!(words(&news), ["package_removed c", "difference +0 -1"]);
        news.iter().for_each(|news| watch.announce(news));
        fs::write(folder.path().join(STATUS), before).unwrap();
        let mut watch = PackageWatch::new(state.path());
        let again = watch.look(&host, 10, held);
        assert_eq!((ids(&again), words(&again)), (ids(&news), words(&news)));
        again.into_iter().for_each(|news| watch.remember(news));
        let back = watch.look(&host, 10, held);
        assert_eq!(words(&back), ["package_installed c", "difference +1 -0"]);
        back.into_iter().for_each(|news| watch.remember(news));
        assert!(watch.look(&host, 10, held).is_empty());

        // What the collector lacks is told whole, by a watch that knows it and by a new one.
        let lacking = |manager: &str, hash: &str| {
            assert_eq!((manager, hash.len()), ("dpkg", 64));
            false
        };
        assert_eq!(words(&watch.look(&host, 11, lacking)), ["whole +2 -0"]);
        let mut watch = PackageWatch::new(state.path());
        let news = watch.look(&host, 12, lacking);
        assert_eq!(words(&news), ["whole +2 -0"]);
        news.into_iter().for_each(|news| watch.remember(news));
        assert!(watch.look(&host, 13, held).is_empty());
    }
}
