//! Another routing file: alerts go where it says, and what was told to whom stays known, so that timers
//! begin anew and nobody is told again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Book, Channels, Destination, Group};
use crate::alert::group::milliseconds;
use crate::alert::inhibit::{InhibitRule, Inhibition};
use crate::alert::route::Route;

/// What a routing file says, as far as it concerns the book.
pub(in crate::alert) struct Routes {
    pub(in crate::alert) root: Route,
    pub(in crate::alert) channels: Channels,
    pub(in crate::alert) resolve_timeout: Duration,
    pub(in crate::alert) inhibit_rules: Vec<InhibitRule>,
}

impl Book {
    /// Goes on by other routes. A group of the same receiver and key goes on, with the messages that are
    /// under way or to be tried again; of one that is no more it is forgotten what was told.
    pub(in crate::alert) fn reroute(&mut self, routes: Routes, now_ms: i64) {
        self.root = routes.root;
        self.channels = routes.channels;
        self.resolve_timeout_ms = milliseconds(routes.resolve_timeout);
        self.inhibition = Inhibition::new(routes.inhibit_rules);
        self.keep_groups(now_ms);
        let all: Vec<_> = self.alerts.keys().copied().collect();
        for fingerprint in all {
            let Some(known) = self.alerts.get_mut(&fingerprint) else { continue };
            known.groups.clear();
            let held = known.held.clone();
            self.enter(fingerprint, held, now_ms);
        }
        self.forget_records();
        let channels = &self.channels;
        self.lines.retain(|(receiver, channel), line| {
            let is_there = channels.get(receiver).is_some_and(|all| *channel < all.len());
            if !is_there {
                line.waiting.clear();
            }
            is_there || line.in_flight > 0
        });
    }

    /// Keeps of the groups, emptied, those that alerts will be put into.
    fn keep_groups(&mut self, now_ms: i64) {
        let mut wanted = BTreeMap::new();
        for known in self.alerts.values() {
            for destination in Destination::all(&self.root, &known.held.alert.labels) {
                let id = (destination.receiver.clone(), destination.key.clone());
                wanted.entry(id).or_insert(destination);
            }
        }
        self.agenda.clear();
        self.numbers.clear();
        for (number, former) in std::mem::take(&mut self.groups) {
            let id = (former.receiver.clone(), former.key.clone());
            let Some(destination) = wanted.remove(&id) else { continue };
            let channels = self.channels.get(&id.0).map_or(0, Vec::len);
            let mut group = Group::new(destination, channels, now_ms);
            for (attempt, before) in group.attempts.iter_mut().zip(former.attempts) {
                *attempt = before;
            }
            self.groups.insert(number, group);
            self.numbers.insert(id, number);
            self.schedule(number);
        }
    }
}
