//! Forgetting: alerts that are over and of which everybody was told, and groups without alerts.

use std::collections::BTreeSet;

use super::{Attempt, Book};
use crate::alert::group::{Decision, Reason};
use crate::notify::Fingerprint;
use crate::state::NotificationKey;

impl Book {
    /// Forgets the resolved alerts of a group of which no channel has anything more to hear. One
    /// that is muted stays as long as a channel that was told of it is owed its end.
    pub(super) fn sweep(&mut self, number: u64, now_ms: i64) {
        let Some(group) = self.groups.get(&number) else { return };
        if !group.has_flushed || group.attempts.iter().any(|attempt| *attempt != Attempt::Idle) {
            return;
        }
        let standing = self.standing(group, now_ms);
        let is_settled = (0..group.attempts.len()).all(|channel| {
            matches!(
                self.decision(group, channel, &standing, now_ms),
                Decision::Rest | Decision::Tell(Reason::Repeat)
            )
        });
        let is_owed = |fingerprint: &str| {
            (0..group.attempts.len()).any(|channel| self.awaits_end(group, channel, fingerprint))
        };
        let is_over = |fingerprint: &Fingerprint| {
            let known = self.alerts.get(fingerprint);
            if known.is_some_and(|known| !known.held.is_resolved(now_ms)) {
                return false;
            }
            let shown = fingerprint.to_string();
            if standing.muted.contains(&shown) { !is_owed(&shown) } else { is_settled }
        };
        let over: BTreeSet<_> = group.alerts.iter().copied().filter(is_over).collect();
        if over.is_empty() {
            return;
        }
        let keys: Vec<_> =
            (0..group.attempts.len()).map(|channel| group.notification_key(channel)).collect();
        if let Some(group) = self.groups.get_mut(&number) {
            group.alerts.retain(|fingerprint| !over.contains(fingerprint));
        }
        self.forget_told(&keys, &over.iter().map(Fingerprint::to_string).collect());
        for fingerprint in over {
            self.leave(fingerprint, number, now_ms);
        }
        self.end_if_empty(number, keys);
    }

    /// An alert that was told, is over and fires again later is news.
    fn forget_told(&mut self, keys: &[NotificationKey], over: &BTreeSet<String>) {
        for key in keys {
            let Some(record) = self.records.get_mut(key) else { continue };
            if !record.firing.is_disjoint(over) || !record.withheld.is_disjoint(over) {
                record.firing.retain(|fingerprint| !over.contains(fingerprint));
                record.withheld.retain(|fingerprint| !over.contains(fingerprint));
                self.changes.tell(key.clone(), record.clone());
            }
        }
    }

    /// Takes an alert out of a group; one that is in none any more is forgotten.
    fn leave(&mut self, fingerprint: Fingerprint, number: u64, now_ms: i64) {
        let Some(known) = self.alerts.get_mut(&fingerprint) else { return };
        known.leave(number);
        if !known.groups.is_empty() {
            return;
        }
        self.note_end(fingerprint, now_ms);
        if let Some(known) = self.alerts.remove(&fingerprint) {
            self.inhibition.leave(fingerprint, &known.held.alert.labels);
            self.note_forgotten(fingerprint, &known);
            self.end_acknowledgement(fingerprint);
            self.changes.remove(&fingerprint.to_string());
        }
    }

    fn end_if_empty(&mut self, number: u64, keys: Vec<NotificationKey>) {
        if self.groups.get(&number).is_none_or(|group| !group.alerts.is_empty()) {
            return;
        }
        if let Some(group) = self.groups.remove(&number) {
            self.agenda.remove(&(group.agenda_ms, number));
            self.numbers.remove(&(group.receiver, group.key));
        }
        for key in keys {
            if self.records.remove(&key).is_some() {
                self.changes.end(key);
            }
        }
    }
}
