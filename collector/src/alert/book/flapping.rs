//! Flapping in the book: an alert that comes and goes counts as firing until it has stayed over.

use std::collections::BTreeMap;

use super::Book;
use crate::alert::flap::{FlapSettings, Flaps, Turn};
use crate::alert::group::HeldAlert;
use crate::ledger::News;
use crate::notify::Fingerprint;
use crate::state::FlapRecord;

impl Book {
    /// Goes by these settings, and by what alerts did before a restart; to be called before their
    /// alerts are restored.
    pub(in crate::alert) fn restore_flapping(
        &mut self,
        settings: FlapSettings,
        stored: BTreeMap<String, FlapRecord>,
    ) {
        self.flaps = Flaps::new(settings);
        self.flaps.restore(stored);
    }

    /// Forgets what calm alerts did.
    pub(in crate::alert) fn forget_flapping(&mut self, now_ms: i64) {
        self.flaps.forget(now_ms, &mut self.changes);
    }

    /// Takes how an alert stands now into account of how often it changed, and lets it count as firing
    /// for longer if that was too often.
    pub(super) fn look_for_flapping(
        &mut self,
        fingerprint: Fingerprint,
        later: &mut HeldAlert,
        now_ms: i64,
    ) {
        self.note_end(fingerprint, now_ms);
        let fires = !later.has_ended(now_ms);
        let turn = self.flaps.look(fingerprint, fires, now_ms, &mut self.changes);
        if turn == Turn::BeganToFlap {
            self.news.push(News::Flapped { alert: fingerprint });
            self.have_told_once_more(fingerprint);
        }
        later.kept_ms = self.flaps.kept_ms(fingerprint, now_ms);
    }

    /// Takes note that an alert is over of which nobody spoke any more.
    pub(super) fn note_end(&mut self, fingerprint: Fingerprint, now_ms: i64) {
        let Some(known) = self.alerts.get(&fingerprint) else { return };
        if known.held.has_ended(now_ms) {
            let ended_ms = known.held.ends_at_ms();
            self.flaps.look(fingerprint, false, ended_ms, &mut self.changes);
        }
    }

    /// Whoever believes that the alert fires is told once more, now that it flaps, and is still owed
    /// its end.
    fn have_told_once_more(&mut self, fingerprint: Fingerprint) {
        let Some(known) = self.alerts.get(&fingerprint) else { return };
        let groups = known.groups.iter().filter_map(|number| self.groups.get(number));
        let keys = groups.flat_map(|group| {
            (0..group.attempts.len()).map(|channel| group.notification_key(channel))
        });
        for key in keys.collect::<Vec<_>>() {
            let Some(record) = self.records.get_mut(&key) else { continue };
            if let Some(shown) = record.firing.take(&fingerprint.to_string()) {
                record.withheld.insert(shown);
                self.changes.tell(key, record.clone());
            }
        }
    }
}
