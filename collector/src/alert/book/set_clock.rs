//! A clock that was set: what waits has waited as long as before, and what is over stays over.

use super::{Attempt, Book};

impl Book {
    /// Goes on by a clock that was set by so much and showed `before_ms` until then.
    pub(in crate::alert) fn clock_was_set(&mut self, by_ms: i64, before_ms: i64) {
        let shift = |at_ms: &mut i64| *at_ms = at_ms.saturating_add(by_ms);
        for known in self.alerts.values_mut() {
            let is_over = |ends_at_ms: &&mut i64| **ends_at_ms <= before_ms;
            known.held.alert.ends_at_ms.iter_mut().filter(is_over).for_each(shift);
            shift(&mut known.held.expires_at_ms);
            shift(&mut known.held.updated_at_ms);
            shift(&mut known.held.heard_at_ms);
        }
        self.flaps.clock_was_set(by_ms);
        for record in self.records.values_mut() {
            record.sent_at_ms.iter_mut().for_each(shift);
        }
        for group in self.groups.values_mut() {
            shift(&mut group.next_flush_ms);
            shift(&mut group.agenda_ms);
            for attempt in &mut group.attempts {
                if let Attempt::Pausing { until_ms, .. } = attempt {
                    shift(until_ms);
                }
            }
        }
        let places = std::mem::take(&mut self.agenda).into_iter();
        self.agenda = places.map(|(at_ms, number)| (at_ms.saturating_add(by_ms), number)).collect();
    }
}
