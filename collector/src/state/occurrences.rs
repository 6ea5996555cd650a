//! What the collector itself saw happen: hosts that fell silent and came back, losses that were
//! declared, its own starts. It is listed together with what hosts tell.
//!
//! A host whose connection flaps, or whose records go wrong one after another, must not bury the rest:
//! of one kind, so many are written an hour; those beyond it are counted at the last one.

use rusqlite::{OptionalExtension, Row, Transaction, params, params_from_iter};
use serde::{Deserialize, Serialize};
use upkeep_model::{Gap, HostId, Lane, StreamKey};

use super::page::EventFilter;
use super::{State, StateError, column};

/// The host is empty where it is the collector itself. `details` is an [`Occurrence`] as JSON.
pub(super) const SCHEMA: &str = "
CREATE TABLE occurrences (
    id       BIGINT PRIMARY KEY,
    host     TEXT NOT NULL,
    at_ms    BIGINT NOT NULL,
    kind     TEXT NOT NULL,
    details  TEXT NOT NULL,
    repeated BIGINT NOT NULL,
    last_ms  BIGINT NOT NULL
);
CREATE INDEX occurrences_at ON occurrences (at_ms, id);
CREATE INDEX occurrences_of_host ON occurrences (host, at_ms, id);
";

/// So many of one kind are written of one host in [`AN_HOUR_MS`]; further ones are counted at the last.
const MOST_AN_HOUR: u32 = 12;
const AN_HOUR_MS: i64 = 3_600_000;

/// Of each host, and of the collector, so many are kept, the newest.
const KEPT_PER_HOST: u32 = 10_000;

/// How often, counted in events of all hosts, it is looked whether a host has more.
const SWEEP_EVERY: i64 = 256;

/// Something that the collector saw happen. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occurrence {
    /// Nothing comes from a host any more.
    HostLost {
        /// When something last came.
        since_ms: i64,
    },
    /// A host that was lost is heard again.
    HostBack {
        /// When something had last come before.
        since_ms: i64,
        /// How many observations it has still to deliver of the time between.
        backlog_records: u64,
    },
    /// What a host observed while it was away has arrived.
    BacklogDelivered {
        /// The time of the first observation.
        from_ms: i64,
        /// The time of the last.
        to_ms: i64,
        /// How many there were.
        records: u64,
    },
    /// Records of a host are lost.
    GapDeclared {
        /// The lane that lost them.
        lane: String,
        /// The life of the buffer that they were in.
        epoch: String,
        /// The first of them; 0 where they had no numbers.
        first: u64,
        /// The last of them.
        last: u64,
        /// The time of the first, where known.
        from_ms: Option<i64>,
        /// The time of the last, where known.
        to_ms: Option<i64>,
        /// Why.
        reason: String,
    },
    /// A host has a buffer of another life than before: the former one was put aside.
    BufferReplaced {
        /// The life of the former one.
        before: String,
        /// The life of this one.
        after: String,
    },
    /// A host's clock is so wrong that its times are corrected.
    ClockCorrected {
        /// How far it is ahead of the collector's.
        offset_ms: i64,
    },
    /// A host's clock that was wrong is right again.
    ClockRight {
        /// How far it is ahead of the collector's.
        offset_ms: i64,
    },
    /// A record cannot be understood and was set aside.
    RecordSetAside {
        /// Its lane.
        lane: String,
        /// Its number.
        sequence: u64,
        /// Why it is not understood.
        reason: String,
    },
    /// The collector was started.
    CollectorStarted {
        /// Its version.
        version: String,
        /// How its run before this one ended; `None` if this is the first.
        ended: Option<Ending>,
        /// Since when it was away.
        away_since_ms: Option<i64>,
    },
    /// The collector was stopped in order.
    CollectorStopped {
        /// What made it stop.
        reason: String,
    },
}

/// How a run of the collector ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// In order.
    Clean,
    /// It was killed, crashed, or the power went.
    Unclean,
}

/// The kinds of occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OccurrenceKind {
    /// See [`Occurrence::HostLost`].
    HostLost,
    /// See [`Occurrence::HostBack`].
    HostBack,
    /// See [`Occurrence::BacklogDelivered`].
    BacklogDelivered,
    /// See [`Occurrence::GapDeclared`].
    GapDeclared,
    /// See [`Occurrence::BufferReplaced`].
    BufferReplaced,
    /// See [`Occurrence::ClockCorrected`].
    ClockCorrected,
    /// See [`Occurrence::ClockRight`].
    ClockRight,
    /// See [`Occurrence::RecordSetAside`].
    RecordSetAside,
    /// See [`Occurrence::CollectorStarted`].
    CollectorStarted,
    /// See [`Occurrence::CollectorStopped`].
    CollectorStopped,
}

impl OccurrenceKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::HostLost,
        Self::HostBack,
        Self::BacklogDelivered,
        Self::GapDeclared,
        Self::BufferReplaced,
        Self::ClockCorrected,
        Self::ClockRight,
        Self::RecordSetAside,
        Self::CollectorStarted,
        Self::CollectorStopped,
    ];

    /// The word for it, as in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostLost => "host_lost",
            Self::HostBack => "host_back",
            Self::BacklogDelivered => "backlog_delivered",
            Self::GapDeclared => "gap_declared",
            Self::BufferReplaced => "buffer_replaced",
            Self::ClockCorrected => "clock_corrected",
            Self::ClockRight => "clock_right",
            Self::RecordSetAside => "record_set_aside",
            Self::CollectorStarted => "collector_started",
            Self::CollectorStopped => "collector_stopped",
        }
    }
}

impl Occurrence {
    /// What kind it is.
    pub fn kind(&self) -> OccurrenceKind {
        match self {
            Self::HostLost { .. } => OccurrenceKind::HostLost,
            Self::HostBack { .. } => OccurrenceKind::HostBack,
            Self::BacklogDelivered { .. } => OccurrenceKind::BacklogDelivered,
            Self::GapDeclared { .. } => OccurrenceKind::GapDeclared,
            Self::BufferReplaced { .. } => OccurrenceKind::BufferReplaced,
            Self::ClockCorrected { .. } => OccurrenceKind::ClockCorrected,
            Self::ClockRight { .. } => OccurrenceKind::ClockRight,
            Self::RecordSetAside { .. } => OccurrenceKind::RecordSetAside,
            Self::CollectorStarted { .. } => OccurrenceKind::CollectorStarted,
            Self::CollectorStopped { .. } => OccurrenceKind::CollectorStopped,
        }
    }
}

/// An occurrence as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenOccurrence {
    /// Its place among all events, in the order in which they came.
    pub id: i64,
    /// The host that it is about, with the name that the fleet knows it by; `None` for the collector.
    pub host: Option<(HostId, String)>,
    /// When it was seen, by the collector's clock.
    pub at_ms: i64,
    /// What was seen.
    pub occurrence: Occurrence,
    /// How many more of this kind came soon after it and are only counted.
    pub repeated: u64,
    /// When the last of them came.
    pub last_ms: i64,
}

/// Which occurrences are asked for.
pub type OccurrenceFilter = EventFilter<OccurrenceKind>;

impl State {
    /// Occurrences, the newest first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn occurrences(
        &self,
        filter: &OccurrenceFilter,
        limit: u32,
    ) -> Result<Vec<SeenOccurrence>, StateError> {
        let (sql, values) = filter.select("occurrences", OccurrenceKind::as_str, limit);
        self.read("reading what happened", |transaction| {
            transaction.prepare_cached(&sql)?.query_map(params_from_iter(values), seen)?.collect()
        })
    }
}

/// The number of the next event, whichever table it goes to: the listing orders by it.
pub(super) fn next_id(transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
    let sql = "SELECT 1 + MAX((SELECT COALESCE(MAX(id), 0) FROM changes),
        (SELECT COALESCE(MAX(id), 0) FROM occurrences))";
    transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

/// Notes an occurrence; `None` is the collector itself. Beyond [`MOST_AN_HOUR`] of a kind it is counted
/// at the last of them.
pub(super) fn note(
    transaction: &Transaction<'_>,
    host: Option<HostId>,
    occurrence: &Occurrence,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let (host, kind) = (key_of(host), occurrence.kind().as_str());
    let sql = "SELECT COUNT(*), COALESCE(MAX(id), 0) FROM occurrences
        WHERE host = ?1 AND kind = ?2 AND at_ms > ?3";
    let (lately, newest): (u32, i64) = transaction
        .prepare_cached(sql)?
        .query_row(params![host, kind, now_ms.saturating_sub(AN_HOUR_MS)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if lately >= MOST_AN_HOUR {
        let sql = "UPDATE occurrences SET repeated = repeated + 1, last_ms = ?1 WHERE id = ?2";
        transaction.prepare_cached(sql)?.execute(params![now_ms, newest])?;
        return Ok(());
    }
    let id = next_id(transaction)?;
    let sql = "INSERT INTO occurrences (id, host, at_ms, kind, details, repeated, last_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, 0, ?3)";
    let details = column::to_json(occurrence)?;
    transaction.prepare_cached(sql)?.execute(params![id, host, now_ms, kind, details])?;
    if id % SWEEP_EVERY == 0 {
        sweep(transaction, &host, KEPT_PER_HOST)?;
    }
    Ok(())
}

/// Notes that records are lost. What follows on a loss that was noted for the same reason is the same
/// loss and lengthens it.
pub(super) fn note_gap(
    transaction: &Transaction<'_>,
    stream: StreamKey,
    gap: &Gap,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let sql = "SELECT id, details FROM occurrences WHERE host = ?1 AND kind = ?2
        ORDER BY id DESC LIMIT 1";
    let kind = OccurrenceKind::GapDeclared.as_str();
    let newest = transaction
        .prepare_cached(sql)?
        .query_row(params![stream.host.to_string(), kind], |row| {
            Ok((row.get::<_, i64>("id")?, column::json(row, "details")?))
        })
        .optional()?;
    let found = Occurrence::GapDeclared {
        lane: gap.lane.to_string(),
        epoch: stream.epoch.to_string(),
        first: gap.first,
        last: gap.last,
        from_ms: gap.from_ms,
        to_ms: gap.to_ms,
        reason: gap.reason.clone(),
    };
    match newest.and_then(|(id, before)| Some((id, joined(before, &found)?))) {
        Some((id, whole)) => {
            let sql = "UPDATE occurrences SET details = ?1, last_ms = ?2 WHERE id = ?3";
            let details = column::to_json(&whole)?;
            transaction.prepare_cached(sql)?.execute(params![details, now_ms, id])?;
            Ok(())
        }
        None => note(transaction, Some(stream.host), &found, now_ms),
    }
}

/// Notes that a record was set aside.
pub(super) fn note_set_aside(
    transaction: &Transaction<'_>,
    host: HostId,
    (lane, sequence): (Lane, u64),
    reason: &str,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let (lane, reason) = (lane.to_string(), reason.to_owned());
    note(transaction, Some(host), &Occurrence::RecordSetAside { lane, sequence, reason }, now_ms)
}

/// Two losses as one, if the second follows on the first, or is the first grown longer.
fn joined(before: Occurrence, found: &Occurrence) -> Option<Occurrence> {
    let Occurrence::GapDeclared { lane, epoch, first, last, from_ms, to_ms: _, reason } = before
    else {
        return None;
    };
    let Occurrence::GapDeclared {
        lane: same_lane,
        epoch: same_epoch,
        first: next,
        last: new_last,
        to_ms,
        reason: same_reason,
        ..
    } = found
    else {
        return None;
    };
    let is_same = lane == *same_lane && epoch == *same_epoch && reason == *same_reason;
    let follows = first > 0 && (*next == last.saturating_add(1) || *next == first);
    (is_same && follows).then(|| Occurrence::GapDeclared {
        lane,
        epoch,
        first,
        last: last.max(*new_last),
        from_ms,
        to_ms: *to_ms,
        reason,
    })
}

/// Forgets the oldest occurrences of a host that has more than are kept.
fn sweep(transaction: &Transaction<'_>, host: &str, kept: u32) -> rusqlite::Result<()> {
    let sql = "DELETE FROM occurrences WHERE host = ?1 AND id <= (SELECT id FROM occurrences
        WHERE host = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    transaction.prepare_cached(sql)?.execute(params![host, kept])?;
    Ok(())
}

fn key_of(host: Option<HostId>) -> String {
    host.map(|host| host.to_string()).unwrap_or_default()
}

fn seen(row: &Row<'_>) -> rusqlite::Result<SeenOccurrence> {
    let instance: Option<String> = row.get("instance")?;
    let host = instance.map(|name| Ok::<_, rusqlite::Error>((column::host(row, "host")?, name)));
    Ok(SeenOccurrence {
        id: row.get("id")?,
        host: host.transpose()?,
        at_ms: row.get("at_ms")?,
        occurrence: column::json(row, "details")?,
        repeated: column::unsigned(row, "repeated")?,
        last_ms: row.get("last_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{enrolled_host, temporary};
    use upkeep_model::Epoch;

    fn lost(since_ms: i64) -> Occurrence {
        Occurrence::HostLost { since_ms }
    }

    fn tell(state: &State, host: Option<HostId>, occurrence: &Occurrence, now_ms: i64) {
        state.write("telling", |transaction| note(transaction, host, occurrence, now_ms)).unwrap();
    }

    fn all(state: &State) -> Vec<SeenOccurrence> {
        let mut found = state.occurrences(&OccurrenceFilter::default(), 1_000).unwrap();
        found.reverse();
        found
    }

    #[test]
    fn what_comes_too_often_is_counted_at_the_last() {
        let (_folder, state) = temporary();
        let (flapping, calm) = (enrolled_host(&state, 1, "a"), enrolled_host(&state, 2, "b"));
        for minute in 0..90 {
            tell(&state, Some(flapping), &lost(minute), minute * 60_000);
        }
        tell(&state, Some(calm), &lost(0), 0);
        let seen = all(&state);
        let of = |host| seen.iter().filter(move |one| one.host.as_ref().unwrap().0 == host);
        let noted: Vec<_> = of(flapping).map(|one| (one.at_ms / 60_000, one.repeated)).collect();
        // Twelve at once, then as many as leave the hour.
        assert_eq!(noted.len(), 12 + 30 / 5 * 2);
        let counted: u64 = noted.iter().map(|(_, repeated)| repeated + 1).sum();
        assert_eq!((counted, of(calm).count()), (90, 1));
    }

    #[test]
    fn one_loss_is_told_once_however_it_is_declared() {
        let (_folder, state) = temporary();
        let host = enrolled_host(&state, 1, "a");
        let stream = StreamKey { host, epoch: Epoch([1; 16]) };
        let other = StreamKey { host, epoch: Epoch([2; 16]) };
        let declare = |stream, first, last, reason: &str| {
            let (from_ms, to_ms) = (Some(first as i64 * 10), Some(last as i64 * 10));
            let reason = reason.to_owned();
            let gap = Gap { lane: Lane::Samples, first, last, from_ms, to_ms, reason };
            let noting = |transaction: &Transaction<'_>| note_gap(transaction, stream, &gap, 5);
            state.write("telling", noting).unwrap();
        };
        declare(stream, 1, 4, "full");
        declare(stream, 5, 9, "full");
        declare(stream, 5, 9, "other");
        declare(stream, 10, 12, "full");
        declare(other, 13, 13, "full");
        declare(stream, 0, 0, "gone");
        declare(stream, 0, 0, "gone");
        let found: Vec<_> = all(&state)
            .into_iter()
            .map(|one| match one.occurrence {
                Occurrence::GapDeclared { first, last, to_ms, .. } => (first, last, to_ms.unwrap()),
                other => panic!("{other:?}"),
            })
            .collect();
        let expect = [(1, 9, 90), (5, 9, 90), (10, 12, 120), (13, 13, 130), (0, 0, 0), (0, 0, 0)];
        assert_eq!(found, expect);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_collector_is_no_host() {
        let (_folder, state) = temporary();
        let host = enrolled_host(&state, 1, "a");
        for number in 1..=5 {
            tell(&state, None, &lost(number), number * AN_HOUR_MS);
        }
        tell(&state, Some(host), &lost(9), 9);
        state.write("sweeping", |transaction| sweep(transaction, "", 2)).unwrap();
        let left: Vec<_> = all(&state).into_iter().map(|one| one.occurrence).collect();
        assert_eq!(left, [lost(9), lost(4), lost(5)]);
        let filter = OccurrenceFilter { host: Some(host), ..OccurrenceFilter::default() };
        let of_host = state.occurrences(&filter, 9).unwrap();
        assert_eq!(of_host[0].host, Some((host, "a".to_owned())));
        assert_eq!(of_host.len(), 1);
    }
}
