//! What is looked at once a minute, beside the ticks: facts, changes, installed packages, and the
//! heaviest processes. Nothing is sent that is as it was, but the processes.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{debug, warn};
use upkeep_model::{Event, EventKind, HostFacts, Lane};

use super::clock::now_ms;
use crate::buffer::{Draft, SharedBuffer};
use crate::host::Host;
use crate::inventory::{self, ChangeWatch, HeldPackages, PackageWatch, ProcessWatch};

/// When events that could not be written are brought again, unless the next look comes earlier.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// What is watched for changes.
#[derive(Clone, Debug)]
pub struct WatchSettings {
    /// The time between looks.
    pub interval: Duration,
    /// Where it is remembered what was told.
    pub folder: PathBuf,
    /// The files of the configuration, as patterns of absolute paths.
    pub files: Vec<String>,
    /// What the collector has of the host's packages, once it said so.
    pub held: watch::Receiver<Option<HeldPackages>>,
}

/// Looks until its sender is dropped.
pub(super) struct Minutely {
    host: Host,
    buffer: SharedBuffer,
    settings: WatchSettings,
    facts_sent: Option<HostFacts>,
    /// `None` until what was told before could be read.
    changes: Option<ChangeWatch>,
    packages: PackageWatch,
    processes: ProcessWatch,
    /// The buffer's life and the number in it of the last event about packages.
    packages_sent: Option<([u8; 16], u64)>,
}

impl Minutely {
    pub(super) fn new(host: Host, buffer: SharedBuffer, settings: WatchSettings) -> Self {
        Self {
            host,
            buffer,
            facts_sent: None,
            changes: None,
            packages: PackageWatch::new(&settings.folder),
            processes: ProcessWatch::default(),
            packages_sent: None,
            settings,
        }
    }

    pub(super) fn run(mut self, stop: &Receiver<()>) {
        loop {
            let is_told = self.look();
            let interval = self.settings.interval;
            let wait = if is_told { interval } else { interval.min(RETRY_AFTER) };
            match stop.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Looks once; gives whether everything that was found could be told.
    fn look(&mut self) -> bool {
        let facts = inventory::facts(&self.host);
        let changes = self.tell_changes(&facts);
        let facts = self.tell_facts(facts);
        let packages = self.tell_packages();
        self.tell_processes();
        changes && facts && packages
    }

    fn tell_facts(&mut self, facts: HostFacts) -> bool {
        if self.facts_sent.as_ref() == Some(&facts) {
            return true;
        }
        let kind = EventKind::Facts(Box::new(facts.clone()));
        let is_told = self.append(vec![Event { at_ms: now_ms(), kind }]);
        if is_told {
            self.facts_sent = Some(facts);
        }
        is_told
    }

    fn tell_changes(&mut self, facts: &HostFacts) -> bool {
        let mut watch = match self.changes.take() {
            Some(watch) => watch,
            None => match ChangeWatch::open(&self.settings.folder, &self.settings.files) {
                Ok(watch) => watch,
                Err(error) => {
                    warn!("changes cannot be told: {error}");
                    return false;
                }
            },
        };
        let is_told = match watch.look(&self.host, facts, now_ms()) {
            None => true,
            Some(mut changes) => {
                watch.announce(&changes);
                let is_told = self.append(std::mem::take(&mut changes.events));
                if is_told {
                    watch.remember(changes);
                }
                is_told
            }
        };
        watch.store();
        self.changes = Some(watch);
        is_told
    }

    fn tell_packages(&mut self) -> bool {
        let held = self.settings.held.borrow().clone();
        let sent = self.packages_sent;
        let is_held = |manager: &str, hash: &str| holds(held.as_ref(), sent, manager, hash);
        let mut is_told = true;
        for mut news in self.packages.look(&self.host, now_ms(), is_held) {
            self.packages.announce(&news);
            if !self.append(std::mem::take(&mut news.events)) {
                is_told = false;
                continue;
            }
            let buffer = self.buffer.lock();
            let last = buffer.lane(Lane::Events).next_sequence.saturating_sub(1);
            self.packages_sent = Some((buffer.epoch().0, last));
            drop(buffer);
            self.packages.remember(news);
        }
        is_told
    }

    /// Tells the heaviest processes, of which only the newest count: while events wait for the
    /// collector, no more are put behind them, so that they do not fill the buffer of a host that
    /// is cut off.
    fn tell_processes(&mut self) {
        let report = match self.processes.look(&self.host, now_ms(), Instant::now()) {
            Ok(report) => report,
            Err(error) => return debug!("the heaviest processes are not known: {error}"),
        };
        let Some(report) = report else { return };
        if self.buffer.lock().statistics().events == 0 {
            // The next report takes the place of one that cannot be written.
            let _told = self
                .append(vec![Event { at_ms: report.at_ms, kind: EventKind::Processes(report) }]);
        }
    }

    /// Makes events durable, all or none.
    fn append(&self, events: Vec<Event>) -> bool {
        if events.is_empty() {
            return true;
        }
        let drafts: Vec<Draft> = events.into_iter().map(Draft::Event).collect();
        match self.buffer.append(&drafts) {
            Ok(()) => {
                debug!(events = drafts.len(), "events are durable");
                true
            }
            Err(error) => {
                warn!("events cannot be buffered yet: {error}");
                false
            }
        }
    }
}

/// Whether the collector has the packages' state of a hash, or will have it once everything that
/// was sent has arrived. Before it has said what it holds, nothing is known to be missing.
fn holds(
    held: Option<&HeldPackages>,
    sent: Option<([u8; 16], u64)>,
    manager: &str,
    hash: &str,
) -> bool {
    let Some(held) = held else { return true };
    let is_on_its_way =
        sent.is_some_and(|(epoch, sequence)| epoch == held.epoch && sequence > held.committed);
    is_on_its_way || held.hashes.get(manager).is_some_and(|known| known == hash)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn packages_are_missing_only_if_nothing_is_on_its_way() {
        let held = HeldPackages {
            epoch: [1; 16],
            committed: 5,
            hashes: HashMap::from([("dpkg".to_owned(), "h1".to_owned())]),
        };
        let check = |sent, manager: &str, hash: &str, expect: bool| {
            assert_eq!(
                holds(Some(&held), sent, manager, hash),
                expect,
                "{sent:?} {manager} {hash}"
            );
        };
        check(None, "dpkg", "h1", true);
        check(None, "dpkg", "h2", false);
        check(None, "rpm", "h1", false);
        check(Some(([1; 16], 5)), "dpkg", "h2", false);
        check(Some(([1; 16], 6)), "dpkg", "h2", true);
        check(Some(([2; 16], 6)), "dpkg", "h2", false);
        assert!(holds(None, None, "dpkg", "h2"));
    }
}
