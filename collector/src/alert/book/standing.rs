//! How a group stands: what of it fires, is resolved or muted, and what a channel is told of that.

use super::{Book, Group, Known};
use crate::alert::group::{Decision, Standing, decide, milliseconds};
use crate::ledger::News;
use crate::notify::{Alert, Fingerprint, Notification};

/// The annotation that says of an alert that it flaps.
const FLAPPING: &str = "flapping";

impl Book {
    pub(super) fn decision(
        &self,
        group: &Group,
        channel: usize,
        standing: &Standing,
        now_ms: i64,
    ) -> Decision {
        let decision = decide(
            self.records.get(&group.notification_key(channel)),
            &standing.firing,
            &standing.resolved,
            self.sends_resolved(&group.receiver, channel),
            milliseconds(group.timing.repeat_interval),
            now_ms,
        );
        self.unless_acknowledged(decision, group, standing, now_ms)
    }

    pub(super) fn standing(&self, group: &Group, now_ms: i64) -> Standing {
        let is_open = group.hours.allow(now_ms);
        let mut standing = Standing::default();
        for fingerprint in &group.alerts {
            if let Some(known) = self.alerts.get(fingerprint) {
                let is_muted = !is_open || self.is_muted_in(group, *fingerprint, known, now_ms);
                standing.add(*fingerprint, known.held.is_resolved(now_ms), is_muted);
            }
        }
        standing
    }

    /// Whether an alert is not told in a group, the hours of its route aside.
    pub(super) fn is_muted_in(
        &self,
        group: &Group,
        fingerprint: Fingerprint,
        known: &Known,
        now_ms: i64,
    ) -> bool {
        self.is_held_back(group, fingerprint, known, now_ms) || self.is_suppressed(known, now_ms)
    }

    /// Whether an alert does not concern whom its route escalates to, not yet or since somebody takes
    /// care of it.
    fn is_held_back(
        &self,
        group: &Group,
        fingerprint: Fingerprint,
        known: &Known,
        now_ms: i64,
    ) -> bool {
        let Some(held_back_ms) = group.held_back_ms else { return false };
        if known.held.is_resolved(now_ms) {
            // Of the end of an alert that they never heard of they need not hear either.
            let shown = fingerprint.to_string();
            let mut channels = 0..group.attempts.len();
            return !channels.any(|channel| self.awaits_end(group, channel, &shown));
        }
        now_ms < known.held.heard_at_ms.saturating_add(held_back_ms)
            || self.acknowledgement(fingerprint, now_ms).is_some()
    }

    /// Whether an alert is silenced or inhibited.
    fn is_suppressed(&self, known: &Known, now_ms: i64) -> bool {
        let is_silenced = known.silences.iter().any(|id| self.silences.is_active(id, now_ms));
        is_silenced || self.inhibitor(known, now_ms).is_some()
    }

    /// The alert that keeps another from being told.
    pub(super) fn inhibitor(&self, known: &Known, now_ms: i64) -> Option<Fingerprint> {
        self.inhibition.inhibitor(&known.held.alert.labels, |source| {
            self.alerts.get(source).is_some_and(|known| !known.held.is_resolved(now_ms))
        })
    }

    /// Whether a channel was told that an alert fires, and tells when one is resolved.
    pub(super) fn awaits_end(&self, group: &Group, channel: usize, fingerprint: &str) -> bool {
        let record = self.records.get(&group.notification_key(channel));
        self.sends_resolved(&group.receiver, channel)
            && record.is_some_and(|record| {
                record.firing.contains(fingerprint) || record.withheld.contains(fingerprint)
            })
    }

    /// The message about what is not muted.
    pub(super) fn notification(
        &self,
        group: &Group,
        channel: usize,
        standing: &Standing,
        now_ms: i64,
    ) -> Notification {
        let told = group.alerts.iter().filter(|one| !standing.muted.contains(&one.to_string()));
        let mut alerts: Vec<_> =
            told.filter_map(|fingerprint| self.told_alert(*fingerprint, now_ms)).collect();
        if !self.sends_resolved(&group.receiver, channel) {
            alerts.retain(|alert| !alert.is_resolved(now_ms));
        }
        alerts.sort_by(|left, right| {
            (left.is_resolved(now_ms), left.starts_at_ms, &left.labels).cmp(&(
                right.is_resolved(now_ms),
                right.starts_at_ms,
                &right.labels,
            ))
        });
        Notification {
            receiver: group.receiver.clone(),
            subject: None,
            group_key: group.key.clone(),
            group_labels: group.labels.clone(),
            alerts,
            external_url: self.external_url.clone(),
            at_ms: now_ms,
        }
    }

    /// An alert as people are told of it.
    fn told_alert(&self, fingerprint: Fingerprint, now_ms: i64) -> Option<Alert> {
        let mut alert = self.alerts.get(&fingerprint)?.held.to_alert(now_ms);
        if let Some(words) =
            self.flaps.words(fingerprint, now_ms).filter(|_| !alert.is_resolved(now_ms))
        {
            alert.annotations.set(FLAPPING, &words);
        }
        Some(alert)
    }

    /// Reports that a message arrived.
    pub(super) fn note_told(&mut self, notification: &Notification) {
        let firing =
            notification.alerts.iter().filter(|alert| !alert.is_resolved(notification.at_ms));
        let alerts: Vec<_> = firing.map(Alert::fingerprint).collect();
        if !alerts.is_empty() {
            self.news.push(News::Notified { alerts });
        }
    }

    pub(super) fn sends_resolved(&self, receiver: &str, channel: usize) -> bool {
        let channels = self.channels.get(receiver);
        channels.and_then(|channels| channels.get(channel)).copied().unwrap_or(false)
    }
}
