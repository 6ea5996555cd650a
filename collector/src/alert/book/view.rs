//! The book as it is shown: what fires, and why people are not told of it.

use super::{Book, Group, Known};
use crate::alert::view::{AlertFilter, AlertView, GroupView};
use crate::notify::Fingerprint;

impl Book {
    /// The alerts that fire and are wanted, in the order of their fingerprints.
    pub(in crate::alert) fn alerts(&self, filter: &AlertFilter, now_ms: i64) -> Vec<AlertView> {
        let wanted = self.alerts.iter().filter_map(|(fingerprint, known)| {
            let view = self.alert_view(*fingerprint, known, filter, now_ms)?;
            let is_wanted = match &filter.receiver {
                Some(_) => view.receivers.iter().any(|one| filter.wants_receiver(one)),
                None => true,
            };
            is_wanted.then_some(view)
        });
        wanted.collect()
    }

    /// The groups with alerts that fire and are wanted, in the order of their labels and receivers.
    pub(in crate::alert) fn groups(&self, filter: &AlertFilter, now_ms: i64) -> Vec<GroupView> {
        let wanted = self.groups.values().filter(|group| filter.wants_receiver(&group.receiver));
        let views = wanted.map(|group| self.group_view(group, filter, now_ms));
        let mut views: Vec<_> = views
            .filter(|view| !view.alerts.is_empty())
            .filter(|view| !(filter.without.muted && view.is_muted()))
            .collect();
        views.sort_by(|left, right| {
            (&left.labels, &left.receiver).cmp(&(&right.labels, &right.receiver))
        });
        views
    }

    fn group_view(&self, group: &Group, filter: &AlertFilter, now_ms: i64) -> GroupView {
        let alerts = group.alerts.iter().filter_map(|fingerprint| {
            let known = self.alerts.get(fingerprint)?;
            self.alert_view(*fingerprint, known, filter, now_ms)
        });
        let muted_by = group.hours.muted_by(now_ms).into_iter();
        GroupView {
            labels: group.labels.clone(),
            receiver: group.receiver.clone(),
            muted_by: muted_by.map(|interval| interval.name.clone()).collect(),
            alerts: alerts.collect(),
        }
    }

    fn alert_view(
        &self,
        fingerprint: Fingerprint,
        known: &Known,
        filter: &AlertFilter,
        now_ms: i64,
    ) -> Option<AlertView> {
        let held = &known.held;
        if held.is_resolved(now_ms) || !filter.wants_labels(&held.alert.labels) {
            return None;
        }
        let receivers = self.root.matching(&held.alert.labels).into_iter();
        let silences = known.silences.iter().filter(|id| self.silences.is_active(id, now_ms));
        let view = AlertView {
            alert: held.alert.clone(),
            fingerprint,
            expires_at_ms: held.counts_until_ms(),
            updated_at_ms: held.updated_at_ms,
            // Without a routing file there is a route, and nobody at its end.
            receivers: receivers
                .map(|route| route.receiver.clone())
                .filter(|receiver| self.channels.contains_key(receiver))
                .collect(),
            silenced_by: silences.copied().collect(),
            inhibited_by: self.inhibitor(known, now_ms),
            acknowledgement: self.acknowledgement(fingerprint, now_ms).cloned(),
            is_flapping: self.flaps.flapping(fingerprint, now_ms).is_some(),
        };
        filter.wants(&view).then_some(view)
    }
}

impl GroupView {
    fn is_muted(&self) -> bool {
        !self.muted_by.is_empty() || self.alerts.iter().all(AlertView::is_suppressed)
    }
}
