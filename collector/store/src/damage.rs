//! What was found damaged.

use std::sync::{Mutex, PoisonError};

/// So many findings are kept for [`Store::damage`](crate::Store::damage); the log has them all.
const FINDINGS_KEPT: usize = 1000;

/// Something on disk that did not pass its checksum, and what is lost by it. It is never served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// File and place in it.
    pub place: String,
    /// What is lost.
    pub lost: String,
}

#[derive(Debug, Default)]
pub(crate) struct DamageLog(Mutex<Vec<Damage>>);

impl DamageLog {
    /// Logs a finding, once.
    pub(crate) fn report(&self, place: impl Into<String>, lost: impl Into<String>) {
        let damage = Damage { place: place.into(), lost: lost.into() };
        let mut findings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if findings.contains(&damage) {
            return;
        }
        tracing::error!(place = damage.place, lost = damage.lost, "the store is damaged");
        if findings.len() < FINDINGS_KEPT {
            findings.push(damage);
        }
    }

    pub(crate) fn findings(&self) -> Vec<Damage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
