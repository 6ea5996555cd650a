//! Actions in the book: which are to be run since people begin to be told of an alert.

use super::Book;
use super::intake::stored;
use crate::action::Order;
use crate::notify::Fingerprint;

impl Book {
    /// The actions that are to be run, once what changed is stored.
    pub(in crate::alert) fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// Orders the actions of the alerts of a group whose turn has come: of those that fire, are not
    /// muted, and had none ordered since they fire. Whether a receiver can be told does not count, nor
    /// whether there is one; whom a route escalates to does not begin anything.
    pub(super) fn order_actions(&mut self, number: u64, now_ms: i64) {
        for fingerprint in self.about_to_act(number, now_ms) {
            let Some(known) = self.alerts.get_mut(&fingerprint) else { continue };
            let Some(action) = known.held.wanted_action().map(str::to_owned) else { continue };
            known.held.has_acted = true;
            self.orders.push(Order { action, fingerprint, alert: known.held.alert.clone() });
            self.changes.store(stored(fingerprint, &known.held));
        }
    }

    fn about_to_act(&self, number: u64, now_ms: i64) -> Vec<Fingerprint> {
        let group = self.groups.get(&number).filter(|group| group.held_back_ms.is_none());
        let Some(group) = group.filter(|group| group.hours.allow(now_ms)) else {
            return Vec::new();
        };
        let wants = |fingerprint: &Fingerprint| {
            self.alerts.get(fingerprint).is_some_and(|known| {
                known.held.wanted_action().is_some()
                    && !known.held.is_resolved(now_ms)
                    && !self.is_muted_in(group, *fingerprint, known, now_ms)
            })
        };
        group.alerts.iter().copied().filter(wants).collect()
    }
}
