//! Silences in the book: each alert knows which of them are about it.

use uuid::Uuid;

use super::Book;
use crate::alert::silence::{Silence, Silences};

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
