//! What changed about a host itself: its boot, its kernel, its configuration, the agent, and units
//! that failed. Packages have a file of their own, since there are many.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;
use upkeep_model::{Change, ChangeKind, Event, EventKind, HostFacts};

use super::configuration::{ConfigurationWatch, are_comparable};
use super::failed_units::{self, FailedUnit};
use super::memory::{self, MemoryError, Telling, Told};
use crate::host::Host;

/// The file of what was told, in the state folder.
const FILE: &str = "changes.json";

/// What is compared. What could not be read is as it was told last: not to know is no change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    boot_id: String,
    kernel: String,
    agent_version: String,
    /// The patterns by which the files were found.
    patterns: Vec<String>,
    /// The fingerprint of each file, by its path.
    files: BTreeMap<String, String>,
    /// The units that failed, and when in microseconds since 1970, by their names; `None` before
    /// systemd was first asked.
    failed_units: Option<BTreeMap<String, u64>>,
}

/// Changes that are to be told, and what is to be remembered then.
#[derive(Debug)]
pub struct Changes {
    /// The changes in the order in which they happened, as far as that is known.
    pub events: Vec<Event>,
    told: Told<Seen>,
}

/// Watches a host.
pub struct ChangeWatch {
    path: PathBuf,
    patterns: Vec<String>,
    configuration: ConfigurationWatch,
    told: Option<Told<Seen>>,
    /// Whether the file says what is held here.
    is_stored: bool,
    /// What is being told, until it is known to be.
    telling: Option<Telling<Seen>>,
}

impl ChangeWatch {
    /// A watch that remembers in a folder, and looks at the files that the patterns match.
    ///
    /// # Errors
    /// When what was told before cannot be read.
    pub fn open(folder: &Path, patterns: &[String]) -> Result<Self, MemoryError> {
        let path = folder.join(FILE);
        let told = memory::load(&path)?;
        let telling = match &told {
            Some(told) => memory::announced(&path, told)?,
            None => None,
        };
        Ok(Self {
            path,
            patterns: patterns.to_vec(),
            configuration: ConfigurationWatch::default(),
            is_stored: told.is_some(),
            told,
            telling,
        })
    }

    /// Looks at the host; `None` if it is as it was told. The first look of all is what later ones
    /// are compared with, and has no changes. What was being told comes first, again.
    pub fn look(&mut self, host: &Host, facts: &HostFacts, now_ms: i64) -> Option<Changes> {
        if let Some(telling) = &self.telling {
            return Some(Changes { events: telling.events(), told: telling.told.clone() });
        }
        let failed = failed_units::look(host);
        let files = self.configuration.look(host, &self.patterns);
        let before = self.told.as_ref().map(|told| told.state.clone()).unwrap_or_default();
        let since = |unit: &FailedUnit| (unit.name.clone(), unit.since_us);
        let seen = Seen {
            boot_id: known(&facts.boot_id, &before.boot_id),
            kernel: known(&facts.kernel, &before.kernel),
            agent_version: facts.agent_version.clone(),
            patterns: self.patterns.clone(),
            files,
            failed_units: match &failed {
                Some(units) => Some(units.iter().map(since).collect()),
                None => before.failed_units.clone(),
            },
        };
        let Some(told) = &self.told else {
            return Some(Changes { events: Vec::new(), told: Told::first(seen, now_ms) });
        };
        if seen == before {
            return None;
        }
        let mut found = differences(&before, &seen, &failed.unwrap_or_default());
        for (change, at_ms) in &mut found {
            told.name(change);
            match change.kind {
                ChangeKind::Boot => *at_ms = facts.boot_time_ms,
                ChangeKind::Configuration => {
                    *at_ms = self.configuration.modified_ms(&change.subject);
                }
                _ => {}
            }
        }
        let events = found.into_iter().map(|(change, at_ms)| {
            let at_ms = believable(at_ms, told.at_ms, now_ms);
            Event { at_ms, kind: EventKind::Change(change) }
        });
        let mut events: Vec<Event> = events.collect();
        events.sort_by_key(|event| event.at_ms);
        Some(Changes { events, told: told.next(seen, now_ms) })
    }

    /// Writes down which changes are about to be told, so that they are told even if the host is as
    /// before when the agent comes back. To be called before they are.
    pub fn announce(&mut self, changes: &Changes) {
        if self.telling.is_some() {
            return;
        }
        self.telling = Telling::of(&changes.events, changes.told.clone());
        if let Some(telling) = &self.telling
            && let Err(error) = memory::announce(&self.path, telling)
        {
            warn!("which changes are being told cannot be written down: {error}");
        }
    }

    /// Remembers that changes were told, so that they are not found again.
    pub fn remember(&mut self, changes: Changes) {
        self.telling = None;
        self.told = Some(changes.told);
        self.is_stored = false;
        self.store();
    }

    /// Writes what could not be written before.
    pub fn store(&mut self) {
        let Some(told) = self.told.as_ref().filter(|_| !self.is_stored) else { return };
        match memory::store(&self.path, told) {
            Ok(()) => self.is_stored = true,
            Err(error) => warn!("which changes were told cannot be remembered yet: {error}"),
        }
    }
}

/// When something happened, if the host's word for it can be true: after what was told last, and
/// not in the future. A file may have been put in place with an old date.
pub(super) fn believable(at_ms: Option<i64>, after_ms: i64, now_ms: i64) -> i64 {
    at_ms.filter(|at_ms| (after_ms..=now_ms).contains(at_ms)).unwrap_or(now_ms)
}

fn known(now: &str, before: &str) -> String {
    if now.is_empty() { before.to_owned() } else { now.to_owned() }
}

/// What is not as it was, with the time where it is known already.
fn differences(before: &Seen, after: &Seen, failed: &[FailedUnit]) -> Vec<(Change, Option<i64>)> {
    let mut found = Vec::new();
    let mut add = |kind, subject: &str, before: &str, after: &str, at_ms| {
        let (subject, before, after) = (subject.to_owned(), before.to_owned(), after.to_owned());
        found.push((Change { id: String::new(), kind, subject, before, after }, at_ms));
    };
    for (kind, before, after) in [
        (ChangeKind::Boot, &before.boot_id, &after.boot_id),
        (ChangeKind::Kernel, &before.kernel, &after.kernel),
        (ChangeKind::AgentVersion, &before.agent_version, &after.agent_version),
    ] {
        // What could not be read when the watch began is no change when it can.
        if before != after && !before.is_empty() {
            add(kind, "", before, after, None);
        }
    }
    for (path, before, after) in changed_files(before, after) {
        add(ChangeKind::Configuration, path, before, after, None);
    }
    let Some(known) = &before.failed_units else { return found };
    for unit in failed.iter().filter(|unit| known.get(&unit.name) != Some(&unit.since_us)) {
        let before = if known.contains_key(&unit.name) { "failed" } else { "" };
        let at_ms = i64::try_from(unit.since_us / 1000).ok();
        add(ChangeKind::UnitFailed, &unit.name, before, &unit.how(), at_ms);
    }
    found
}

/// The files with another fingerprint. Where other files are watched than before, those that are
/// watched newly or no longer have not changed for that.
fn changed_files<'seen>(
    before: &'seen Seen,
    after: &'seen Seen,
) -> impl Iterator<Item = (&'seen str, &'seen str, &'seen str)> {
    let are_the_same = before.patterns == after.patterns;
    let gone = before.files.keys().filter(|path| !after.files.contains_key(*path));
    after.files.keys().chain(gone).filter_map(move |path| {
        let (was, is) = (before.files.get(path), after.files.get(path));
        let is_change = match (was, is) {
            (Some(was), Some(is)) => was != is && are_comparable(was, is),
            _ => are_the_same,
        };
        let text = |fingerprint: Option<&'seen String>| {
            fingerprint.map(String::as_str).unwrap_or_default()
        };
        is_change.then(|| (path.as_str(), text(was), text(is)))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::host_with;
    use super::*;

    fn seen() -> Seen {
        Seen {
            boot_id: "b1".to_owned(),
            kernel: "6.1".to_owned(),
            agent_version: "1".to_owned(),
            patterns: vec!["/etc/*".to_owned()],
            files: BTreeMap::from([("/etc/a".to_owned(), "sha256:1".to_owned())]),
            failed_units: Some(BTreeMap::from([("a.service".to_owned(), 5)])),
        }
    }

    #[test]
    fn what_differs_is_a_change() {
        let check = |change: fn(&mut Seen), failed: &[(&str, u64, &str)], expect: &[&str]| {
            let (before, mut after) = (seen(), seen());
            change(&mut after);
            let failed: Vec<_> = failed
                .iter()
                .map(|(name, since_us, result)| FailedUnit {
                    name: (*name).to_owned(),
                    since_us: *since_us,
                    result: (*result).to_owned(),
                })
                .collect();
            let found: Vec<_> = differences(&before, &after, &failed)
                .into_iter()
                .map(|(Change { kind, subject, before, after, .. }, at_ms)| {
                    format!("{} {subject}: {before} -> {after} {at_ms:?}", kind.as_str())
                })
                .collect();
            assert_eq!(found, expect);
        };
        check(|_| {}, &[], &[]);
        check(
            |after| {
                after.kernel = "6.2".to_owned();
                after.boot_id = "b2".to_owned();
                after.agent_version = "2".to_owned();
            },
            &[],
            &["boot : b1 -> b2 None", "kernel : 6.1 -> 6.2 None", "agent_version : 1 -> 2 None"],
        );
        check(
            |after| after.files = BTreeMap::from([("/etc/b".to_owned(), "sha256:2".to_owned())]),
            &[],
            &["configuration /etc/b:  -> sha256:2 None", "configuration /etc/a: sha256:1 ->  None"],
        );
        check(|after| drop(after.files.insert("/etc/a".into(), "unread:1:2".into())), &[], &[]);
        check(
            |after| {
                after.patterns.push("/etc/b".to_owned());
                after.files.insert("/etc/b".to_owned(), "sha256:2".to_owned());
            },
            &[],
            &[],
        );
        check(
            |_| {},
            &[("a.service", 5, "signal"), ("b.service", 7_000, "exit-code")],
            &["unit_failed b.service:  -> failed: exit-code Some(7)"],
        );
        check(
            |_| {},
            &[("a.service", 9_000, "")],
            &["unit_failed a.service: failed -> failed Some(9)"],
        );
    }

    #[test]
    fn the_first_look_tells_nothing_and_each_change_is_told_under_a_name_of_its_own() {
        let state = tempfile::tempdir().unwrap();
        let (folder, host) = host_with(&[("etc/hosts", "a")]);
        let patterns = ["/etc/hosts".to_owned()];
        let facts = HostFacts {
            boot_id: "b1".to_owned(),
            kernel: "6.1".to_owned(),
            ..HostFacts::default()
        };
        let open = || ChangeWatch::open(state.path(), &patterns).unwrap();
        let ids = |changes: &Changes| -> Vec<String> {
            let id = |event: &Event| match &event.kind {
                EventKind::Change(change) => change.id.clone(),
                other => panic!("{other:?}"),
            };
            changes.events.iter().map(id).collect()
        };
        let mut watch = open();
        let first = watch.look(&host, &facts, 5).unwrap();
        assert!(first.events.is_empty());
        watch.remember(first);
        assert!(watch.look(&host, &facts, 6).is_none());

        // Told and not remembered, as when the agent is killed: the same name again.
        fs::write(folder.path().join("etc/hosts"), "b").unwrap();
        let told = ids(&open().look(&host, &facts, 7).unwrap());
        let mut watch = open();
        let again = watch.look(&host, &facts, 8).unwrap();
        assert_eq!(ids(&again), told);
        assert_eq!(again.events[0].at_ms, 8, "the file's date is in the future of this clock");
        watch.remember(again);
        assert!(open().look(&host, &facts, 9).is_none());

        // Being told when the agent ends, and taken back: both are changes.
        fs::write(folder.path().join("etc/hosts"), "c").unwrap();
        let mut watch = open();
        let changes = watch.look(&host, &facts, 10).unwrap();
        watch.announce(&changes);
        let told_there = changes.events;
        fs::write(folder.path().join("etc/hosts"), "b").unwrap();
        let mut watch = open();
        let changes = watch.look(&host, &facts, 11).unwrap();
        assert_eq!(changes.events, told_there);
        watch.announce(&changes);
        watch.remember(changes);
        let back = watch.look(&host, &facts, 12).unwrap();
        assert_eq!(back.events.len(), 1);
        assert_ne!(back.events, told_there);
        watch.announce(&back);
        watch.remember(back);
        assert!(open().look(&host, &facts, 13).is_none());

        // There and back: each time another name.
        let mut names = told;
        for content in ["a", "b", "a"] {
            fs::write(folder.path().join("etc/hosts"), content).unwrap();
            let changes = watch.look(&host, &facts, 10).unwrap();
            names.append(&mut ids(&changes));
            watch.remember(changes);
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 4);
    }

    #[test]
    fn a_boot_is_told_at_its_time_and_what_cannot_be_read_is_no_change() {
        let state = tempfile::tempdir().unwrap();
        let (_folder, host) = host_with(&[]);
        let mut watch = ChangeWatch::open(state.path(), &[]).unwrap();
        let facts = HostFacts {
            boot_id: "b1".to_owned(),
            kernel: "6.1".to_owned(),
            ..HostFacts::default()
        };
        let first = watch.look(&host, &facts, 1_000).unwrap();
        watch.remember(first);
        let unread = HostFacts { boot_id: String::new(), ..facts.clone() };
        assert!(watch.look(&host, &unread, 2_000).is_none());
        let booted = HostFacts {
            boot_id: "b2".to_owned(),
            kernel: "6.2".to_owned(),
            boot_time_ms: Some(2_500),
            ..facts
        };
        let changes = watch.look(&host, &booted, 3_000).unwrap();
        let at_ms: Vec<_> = changes.events.iter().map(|event| event.at_ms).collect();
        assert_eq!(at_ms, [2_500, 3_000]);
    }
}
