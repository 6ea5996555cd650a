//! Silences: alerts that match are not told for a while. Pure, with the clock passed in.
//!
//! The rules are Alertmanager's. A silence that is over stays over; what cannot be changed in place,
//! such as the matchers, is changed by ending the silence and making another.

mod kept;
mod recurrence;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use thiserror::Error;
use upkeep_model::Matcher;
use uuid::Uuid;

pub(super) use kept::Silences;
pub use recurrence::{Recurrence, RecurrenceError};

use crate::state::SilenceRecord;

/// So many bytes may the texts and matchers of a silence have together.
const MAX_BYTES: usize = 64 * 1024;

/// Whether a silence holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SilenceState {
    /// It does.
    Active,
    /// It will, be it for the first time or again.
    Pending,
    /// It will not any more.
    Expired,
}

impl SilenceState {
    /// The word for it in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Expired => "expired",
        }
    }
}

/// A silence, with its recurrence understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    /// What is kept of it.
    pub record: SilenceRecord,
    recurrence: Option<Recurrence>,
}

/// What somebody wants to be silent.
#[derive(Clone, Debug, PartialEq)]
pub struct SilenceDraft {
    /// The silence that is to be changed; `None` makes one.
    pub id: Option<Uuid>,
    /// Alerts that match all of these are not told.
    pub matchers: Vec<Matcher>,
    /// From when on, in milliseconds since 1970.
    pub starts_at_ms: i64,
    /// Until when, in milliseconds since 1970.
    pub ends_at_ms: i64,
    /// Who wants it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// More texts, by name.
    pub annotations: BTreeMap<String, String>,
    /// The only times between start and end at which it holds, as JSON.
    pub recurrence: Option<String>,
}

/// Why a silence is not made, changed or ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SilenceError {
    /// There is none of that identity.
    #[error("there is no silence {0}")]
    NotFound(Uuid),
    /// It would silence everything or nothing in particular.
    #[error("at least one matcher is needed that does not match the empty string")]
    MatchesAnything,
    /// It would end before it starts.
    #[error("start time must be before end time")]
    Backwards,
    /// It would be over at once.
    #[error("end time can't be in the past")]
    Past,
    /// It is over.
    #[error("silence {0} already expired")]
    AlreadyExpired(Uuid),
    /// Its texts are too long.
    #[error("its matchers and texts have {bytes} bytes, the limit is {MAX_BYTES}")]
    TooLong {
        /// How long they are.
        bytes: usize,
    },
    /// There are too many.
    #[error("{limit} silences are pending or active, and more are not kept: let some expire")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
    /// Its recurrence cannot be used.
    #[error("recurrence: {0}")]
    Recurrence(#[from] RecurrenceError),
}

impl Silence {
    /// A silence as it was kept.
    ///
    /// # Errors
    /// When its recurrence cannot be read, such as for a zone that this machine no longer knows.
    pub fn of(record: SilenceRecord) -> Result<Self, SilenceError> {
        let recurrence = record.recurrence.as_deref().map(Recurrence::parse).transpose()?;
        Ok(Self { record, recurrence })
    }

    /// Whether it holds at a moment, in milliseconds since 1970.
    pub fn state(&self, now_ms: i64) -> SilenceState {
        if self.record.ends_at_ms <= now_ms {
            return SilenceState::Expired;
        }
        let recurs = || self.recurrence.as_ref().is_none_or(|times| times.contain(now_ms));
        if self.record.starts_at_ms <= now_ms && recurs() {
            SilenceState::Active
        } else {
            SilenceState::Pending
        }
    }

    /// What a draft comes to, at a moment.
    fn drafted(draft: &SilenceDraft, id: Uuid, now_ms: i64) -> Result<Self, SilenceError> {
        if draft.starts_at_ms >= draft.ends_at_ms {
            return Err(SilenceError::Backwards);
        }
        if draft.ends_at_ms < now_ms {
            return Err(SilenceError::Past);
        }
        if draft.matchers.iter().all(|matcher| matcher.accepts("")) {
            return Err(SilenceError::MatchesAnything);
        }
        let bytes = length(draft);
        if bytes > MAX_BYTES {
            return Err(SilenceError::TooLong { bytes });
        }
        Self::of(SilenceRecord {
            id,
            matchers: draft.matchers.clone(),
            starts_at_ms: draft.starts_at_ms,
            ends_at_ms: draft.ends_at_ms,
            updated_at_ms: now_ms,
            created_by: draft.created_by.clone(),
            comment: draft.comment.clone(),
            annotations: draft.annotations.clone(),
            recurrence: draft.recurrence.clone(),
        })
    }

    /// Whether it can become what is wanted without that what it was being lost.
    fn can_become(&self, later: &Self, now_ms: i64) -> bool {
        let (before, after) = (&self.record, &later.record);
        if before.matchers != after.matchers || now_ms >= before.ends_at_ms {
            return false;
        }
        if before.starts_at_ms <= now_ms {
            // Clients give back times by the second.
            return before.starts_at_ms / 1000 == after.starts_at_ms / 1000;
        }
        after.starts_at_ms >= now_ms
    }

    /// The same silence, over.
    fn ended(&self, now_ms: i64) -> Self {
        let mut ended = self.clone();
        ended.record.starts_at_ms = self.record.starts_at_ms.min(now_ms);
        ended.record.ends_at_ms = now_ms;
        ended.record.updated_at_ms = now_ms;
        ended
    }
}

fn length(draft: &SilenceDraft) -> usize {
    let matchers = draft.matchers.iter().map(|one| one.name().len() + one.value().len());
    let annotations = draft.annotations.iter().map(|(name, text)| name.len() + text.len());
    let texts = [&draft.created_by, &draft.comment].map(String::len);
    let recurrence = draft.recurrence.as_ref().map_or(0, String::len);
    matchers.chain(annotations).chain(texts).sum::<usize>() + recurrence
}
