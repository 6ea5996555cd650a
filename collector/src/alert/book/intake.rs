//! What comes in: alerts as they are told to us, and as they were known before a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Book, Destination, Known};
use crate::alert::group::{HeldAlert, milliseconds};
use crate::notify::{Alert, Fingerprint, Origin};
use crate::state::{NotificationKey, NotificationRecord, StoredAlert};

impl Book {
    /// Takes up what was known before a restart. What was told about groups that are no more, since
    /// the routes changed, is forgotten.
    pub(in crate::alert) fn restore(
        &mut self,
        alerts: Vec<StoredAlert>,
        records: BTreeMap<NotificationKey, NotificationRecord>,
        now_ms: i64,
    ) {
        self.records = records;
        for stored in alerts {
            let alert = Alert {
                labels: stored.labels,
                annotations: stored.annotations,
                starts_at_ms: stored.starts_at_ms,
                ends_at_ms: stored.ends_at_ms,
                holds_for: stored.holds_for_ms.map(duration),
                generator_url: stored.generator_url,
                origin: if stored.is_of_rule { Origin::Rule } else { Origin::Outside },
            };
            let fingerprint = alert.fingerprint();
            let mut held = HeldAlert::spoken_of(alert, self.resolve_timeout_ms, now_ms);
            held.heard_at_ms = stored.heard_at_ms.unwrap_or(now_ms);
            held.has_acted = stored.has_acted;
            held.kept_ms = self.flaps.kept_ms(fingerprint, now_ms);
            self.enter(fingerprint, held, now_ms);
        }
        self.forget_records();
    }

    /// Forgets what was told about groups that are no more.
    pub(super) fn forget_records(&mut self) {
        let numbers = &self.numbers;
        let is_known = |key: &NotificationKey| {
            numbers.contains_key(&(key.receiver.clone(), key.group.clone()))
        };
        let gone: Vec<_> = self.records.keys().filter(|key| !is_known(key)).cloned().collect();
        for key in gone {
            self.records.remove(&key);
            self.changes.end(key);
        }
    }

    /// Takes what rules say of alerts. That one is resolved which was never known is no news.
    pub(in crate::alert) fn accept(&mut self, alerts: Vec<Alert>, now_ms: i64) {
        for alert in alerts {
            let fingerprint = alert.fingerprint();
            let mut later = HeldAlert::spoken_of(alert, self.resolve_timeout_ms, now_ms);
            if later.has_ended(now_ms) && !self.alerts.contains_key(&fingerprint) {
                continue;
            }
            self.look_for_flapping(fingerprint, &mut later, now_ms);
            let known = self.alerts.get(&fingerprint);
            if later.is_resolved(now_ms) || known.is_some_and(|one| one.held.is_resolved(now_ms)) {
                self.end_acknowledgement(fingerprint);
            }
            let held = match self.alerts.get_mut(&fingerprint) {
                None => later,
                Some(known) => {
                    let merged = known.held.merged(later);
                    if merged.alert == known.held.alert {
                        known.held = merged;
                        continue;
                    }
                    merged
                }
            };
            self.changes.store(stored(fingerprint, &held));
            self.enter(fingerprint, held, now_ms);
        }
    }

    /// Puts an alert where it belongs.
    pub(super) fn enter(&mut self, fingerprint: Fingerprint, held: HeldAlert, now_ms: i64) {
        let destinations = Destination::all(&self.root, &held.alert.labels);
        let before = self.alerts.remove(&fingerprint);
        let mut known = before.unwrap_or_else(|| Known {
            silences: self.silences.matching(&held.alert.labels, now_ms),
            groups: Vec::new(),
            is_of_others: false,
            held: held.clone(),
        });
        for destination in destinations {
            let number = self.group_number(destination, now_ms);
            let Some(group) = self.groups.get_mut(&number) else { continue };
            group.alerts.insert(fingerprint);
            known.join(number);
            let waited_ms = now_ms.saturating_sub(held.alert.starts_at_ms);
            if let Some(held_back_ms) = group.held_back_ms {
                let due_ms = held.heard_at_ms.saturating_add(held_back_ms).max(now_ms);
                group.next_flush_ms = group.next_flush_ms.min(due_ms);
            } else if !group.has_flushed && waited_ms >= milliseconds(group.timing.group_wait) {
                group.next_flush_ms = now_ms;
            }
            self.schedule(number);
        }
        self.inhibition.enter(fingerprint, &held.alert.labels);
        self.alerts.insert(fingerprint, Known { held, ..known });
    }
}

pub(super) fn stored(fingerprint: Fingerprint, held: &HeldAlert) -> StoredAlert {
    let alert = &held.alert;
    StoredAlert {
        fingerprint: fingerprint.to_string(),
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        generator_url: alert.generator_url.clone(),
        starts_at_ms: alert.starts_at_ms,
        ends_at_ms: alert.ends_at_ms,
        holds_for_ms: alert.holds_for.map(milliseconds),
        heard_at_ms: Some(held.heard_at_ms),
        is_of_rule: alert.origin == Origin::Rule,
        has_acted: held.has_acted,
    }
}

fn duration(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}
