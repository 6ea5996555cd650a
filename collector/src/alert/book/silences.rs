//! Silences in the book: each alert knows which of them are about it.

use uuid::Uuid;

use super::Book;
use crate::alert::silence::{Silence, Silences};
use crate::ledger::News;

impl Book {
    /// The silences that there are.
    pub(in crate::alert) fn silences(&self) -> &Silences {
        &self.silences
    }

    /// Takes silences as they are now.
    pub(in crate::alert) fn take_silences(&mut self, silences: impl IntoIterator<Item = Silence>) {
        for silence in silences {
            let id = silence.record.id;
            for known in self.alerts.values_mut() {
                if silence.matches(&known.held.alert.labels) {
                    known.silences.insert(id);
                } else {
                    known.silences.remove(&id);
                }
            }
            self.silences.insert(silence);
        }
    }

    /// Reports which alerts of a group fire and are silenced at a moment at which people would be told.
    pub(super) fn note_silenced(&mut self, number: u64, now_ms: i64) {
        let Some(group) = self.groups.get(&number) else { return };
        let silenced = group.alerts.iter().copied().filter(|fingerprint| {
            self.alerts.get(fingerprint).is_some_and(|known| {
                let mut silences = known.silences.iter();
                !known.held.has_ended(now_ms)
                    && silences.any(|id| self.silences.is_active(id, now_ms))
            })
        });
        let alerts: Vec<_> = silenced.collect();
        if !alerts.is_empty() {
            self.news.push(News::Silenced { alerts });
        }
    }

    /// Forgets silences.
    pub(in crate::alert) fn forget_silences(&mut self, ids: &[Uuid]) {
        for id in ids {
            self.silences.remove(id);
            for known in self.alerts.values_mut() {
                known.silences.remove(id);
            }
        }
    }
}
