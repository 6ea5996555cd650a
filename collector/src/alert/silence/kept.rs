//! The silences that there are, and what changing one comes to.

use std::collections::{BTreeMap, BTreeSet};

use upkeep_model::Labels;
use uuid::Uuid;

use super::{Silence, SilenceDraft, SilenceError, SilenceState};
use crate::state::SilenceChange;

/// So many may be pending or active: every alert is held against each of them.
pub(super) const MAX_SILENCES: usize = 5_000;

/// The silences that there are, those that are over for a while among them.
#[derive(Default)]
pub(in crate::alert) struct Silences {
    by_id: BTreeMap<Uuid, Silence>,
}

impl Silences {
    /// Those that are kept, in the order of their identities.
    pub(in crate::alert) fn iter(&self) -> impl Iterator<Item = &Silence> {
        self.by_id.values()
    }

    /// What is to be stored so that what somebody wants is so; the last of it is the silence that
    /// they wanted. One that cannot be changed in place is ended, and another made of the identity
    /// `fresh`.
    pub(in crate::alert) fn put(
        &self,
        draft: &SilenceDraft,
        fresh: Uuid,
        now_ms: i64,
    ) -> Result<Vec<(Silence, SilenceChange)>, SilenceError> {
        let before =
            draft.id.map(|id| self.by_id.get(&id).ok_or(SilenceError::NotFound(id))).transpose()?;
        if let Some(before) = before {
            let changed = Silence::drafted(draft, before.record.id, now_ms)?;
            if before.can_become(&changed, now_ms) {
                return Ok(vec![(changed, SilenceChange::Set)]);
            }
        }
        let mut new = Silence::drafted(draft, fresh, now_ms)?;
        new.record.starts_at_ms = new.record.starts_at_ms.max(now_ms);
        let alive = self.iter().filter(|silence| silence.record.ends_at_ms > now_ms);
        let ended = before.filter(|before| before.state(now_ms) != SilenceState::Expired);
        if ended.is_none() && alive.count() >= MAX_SILENCES {
            return Err(SilenceError::TooMany { limit: MAX_SILENCES });
        }
        let ended = ended.map(|before| (before.ended(now_ms), SilenceChange::Expired));
        Ok(ended.into_iter().chain([(new, SilenceChange::Set)]).collect())
    }

    /// The silence as it is once it is ended.
    pub(in crate::alert) fn expire(&self, id: Uuid, now_ms: i64) -> Result<Silence, SilenceError> {
        let silence = self.by_id.get(&id).ok_or(SilenceError::NotFound(id))?;
        match silence.state(now_ms) {
            SilenceState::Expired => Err(SilenceError::AlreadyExpired(id)),
            SilenceState::Active | SilenceState::Pending => Ok(silence.ended(now_ms)),
        }
    }

    /// Those that have been over for longer than `kept_ms`.
    pub(in crate::alert) fn long_over(&self, kept_ms: i64, now_ms: i64) -> Vec<Uuid> {
        let over = |silence: &&Silence| silence.record.ends_at_ms.saturating_add(kept_ms) <= now_ms;
        self.iter().filter(over).map(|silence| silence.record.id).collect()
    }

    /// Those that match an alert and are not over.
    pub(in crate::alert) fn matching(&self, labels: &Labels, now_ms: i64) -> BTreeSet<Uuid> {
        let alive = self.iter().filter(|silence| silence.record.ends_at_ms > now_ms);
        let matching = alive.filter(|silence| silence.matches(labels));
        matching.map(|silence| silence.record.id).collect()
    }

    pub(in crate::alert) fn is_active(&self, id: &Uuid, now_ms: i64) -> bool {
        self.by_id.get(id).is_some_and(|silence| silence.state(now_ms) == SilenceState::Active)
    }

    pub(in crate::alert) fn insert(&mut self, silence: Silence) {
        self.by_id.insert(silence.record.id, silence);
    }

    pub(in crate::alert) fn remove(&mut self, id: &Uuid) {
        self.by_id.remove(id);
    }
}

impl Silence {
    /// Whether it is about alerts of these labels.
    pub(in crate::alert) fn matches(&self, labels: &Labels) -> bool {
        self.record.matchers.iter().all(|matcher| matcher.matches(labels))
    }
}
