//! What was found damaged.

use std::sync::{Mutex, PoisonError};

use upkeep_model::HostId;

/// So many findings are kept for [`Store::damage`](crate::Store::damage); the log has them all.
const FINDINGS_KEPT: usize = 1000;

/// Something on disk that did not pass its checksum, and what is lost by it. It is never served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// File and place in it.
    pub place: String,
    /// What is lost.
    pub lost: String,
    /// Which samples may be missing because of it.
    pub affected: Affected,
}

/// Which samples may be missing, as far as that is known: what is not known may be any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// Whose they are.
    pub host: Option<HostId>,
    /// Their time: not before this, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Their time: not after this, in milliseconds since 1970.
    pub through_ms: Option<i64>,
}

impl Affected {
    /// Samples of one host, of any time.
    pub(crate) fn host(host: HostId) -> Self {
        Self { host: Some(host), ..Self::default() }
    }

    /// The same within a stretch of time.
    pub(crate) fn within(self, from_ms: i64, through_ms: i64) -> Self {
        Self { from_ms: Some(from_ms), through_ms: Some(through_ms), ..self }
    }
}

#[derive(Debug, Default)]
pub(crate) struct DamageLog(Mutex<Vec<Damage>>);

impl DamageLog {
    /// Logs a finding that may affect any sample, once.
    pub(crate) fn report(&self, place: impl Into<String>, lost: impl Into<String>) {
        self.report_of(Affected::default(), place, lost);
    }

    /// Logs a finding, once.
    pub(crate) fn report_of(
        &self,
        affected: Affected,
        place: impl Into<String>,
        lost: impl Into<String>,
    ) {
        let damage = Damage { place: place.into(), lost: lost.into(), affected };
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
