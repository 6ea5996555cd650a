//! What was lost: how it is declared, and how much there was since the buffer was opened, by lane and
//! cause.

use upkeep_model::{Event, EventKind, Gap, Lane};

/// Why records are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// They went to make room.
    Full,
    /// They could not be written.
    NotWritten,
    /// The database that they were in cannot be used any more.
    DatabaseLost,
}

impl LossCause {
    /// In words for an operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "the buffer was full",
            Self::NotWritten => "they could not be written",
            Self::DatabaseLost => "the buffer's database was lost",
        }
    }

    /// In a word for a label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::NotWritten => "not_written",
            Self::DatabaseLost => "database_lost",
        }
    }
}

/// Records of a lane that were lost for one cause, and declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Their lane.
    pub lane: Lane,
    /// Why they are lost.
    pub cause: LossCause,
    /// How many; `None` where that is not known.
    pub records: Option<u64>,
    /// How many gaps declare them.
    pub gaps: u64,
    /// When the last of them was declared, in milliseconds since 1970.
    pub last_ms: i64,
}

/// One entry for each lane and cause that there was.
#[derive(Debug, Default)]
pub(super) struct Losses(Vec<Loss>);

impl Losses {
    pub(super) fn note(&mut self, new: Loss) {
        if new.gaps == 0 {
            return;
        }
        let same = self.0.iter_mut().find(|one| (one.lane, one.cause) == (new.lane, new.cause));
        match same {
            None => self.0.push(new),
            Some(known) => {
                known.records = known.records.zip(new.records).map(|(one, other)| one + other);
                known.gaps += new.gaps;
                known.last_ms = new.last_ms;
            }
        }
    }

    pub(super) fn as_slice(&self) -> &[Loss] {
        &self.0
    }
}

/// Observations that could not be written, to be declared as soon as something can be.
pub(super) struct Refused {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) records: u64,
    pub(super) reason: String,
}

impl Refused {
    /// They never had sequence numbers, so the gap names none.
    pub(super) fn declaration(&self) -> Event {
        let reason = format!("{} observations were not written: {}", self.records, self.reason);
        unnumbered_gap(Lane::Samples, Some(self.from_ms), self.to_ms, reason)
    }
}

/// Declares the loss of records whose numbers, if they had any, are not of this epoch.
pub(super) fn unnumbered_gap(
    lane: Lane,
    from_ms: Option<i64>,
    to_ms: i64,
    reason: String,
) -> Event {
    let gap = Gap { lane, first: 0, last: 0, from_ms, to_ms: Some(to_ms), reason };
    Event { at_ms: to_ms, kind: EventKind::Gap(gap) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_counted_by_lane_and_cause() {
        let mut losses = Losses::default();
        let loss = |lane, cause, records, last_ms| Loss { lane, cause, records, gaps: 1, last_ms };
        losses.note(loss(Lane::Samples, LossCause::Full, Some(3), 10));
        losses.note(loss(Lane::Events, LossCause::Full, Some(1), 11));
        losses.note(loss(Lane::Samples, LossCause::Full, Some(4), 12));
        losses.note(loss(Lane::Samples, LossCause::DatabaseLost, None, 13));
        losses.note(Loss { gaps: 0, ..loss(Lane::Samples, LossCause::NotWritten, Some(0), 14) });
        let expect = [
            Loss { gaps: 2, ..loss(Lane::Samples, LossCause::Full, Some(7), 12) },
            loss(Lane::Events, LossCause::Full, Some(1), 11),
            loss(Lane::Samples, LossCause::DatabaseLost, None, 13),
        ];
        assert_eq!(losses.as_slice(), expect);
    }
}
