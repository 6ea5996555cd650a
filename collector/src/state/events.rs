//! The events lane: what a batch says is committed together with the mark that it was taken, so
//! that a batch sent again changes nothing.
//!
//! A record that cannot be decoded is set aside with the reason and counts as taken; the lane goes
//! on. A record that does not follow on the mark is a hole and refused, unless it declares the
//! records between as lost.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use upkeep_model::{Event, EventKind, Gap, HostFacts, HostId, Lane, StreamKey};

use super::{State, StateError, changes, column, packages, processes, updates};

pub(super) const SCHEMA: &str = "
CREATE TABLE event_marks (
    host      TEXT NOT NULL REFERENCES hosts (id),
    epoch     TEXT NOT NULL,
    committed BIGINT NOT NULL,
    PRIMARY KEY (host, epoch)
);
CREATE TABLE gaps (
    host         TEXT NOT NULL REFERENCES hosts (id),
    epoch        TEXT NOT NULL,
    lane         TEXT NOT NULL,
    first_record BIGINT NOT NULL,
    last_record  BIGINT NOT NULL,
    from_ms      BIGINT,
    to_ms        BIGINT,
    reason       TEXT NOT NULL,
    declared_at  BIGINT NOT NULL,
    PRIMARY KEY (host, epoch, lane, first_record)
);
CREATE TABLE quarantine (
    host     TEXT NOT NULL REFERENCES hosts (id),
    epoch    TEXT NOT NULL,
    lane     TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    at_ms    BIGINT NOT NULL,
    reason   TEXT NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (host, epoch, lane, sequence)
);
";

/// Of the records of a host that were set aside so many are kept, the newest: enough to find out
/// what is wrong with it, and no way for it to fill the disk.
const KEPT_ASIDE_PER_HOST: u32 = 100;

/// So much of a record that was set aside is kept.
const KEPT_ASIDE_BYTES: usize = 4096;

/// One record of the events lane, decoded as far as it can be.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    /// Its place in the lane.
    pub sequence: u64,
    /// What it says, or why that cannot be told.
    pub event: Result<Event, Quarantined>,
}

/// A record that cannot be taken as what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Why.
    pub reason: String,
    /// The record as it came.
    pub body: Vec<u8>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedEvents {
    /// Everything up to here is committed.
    pub through: u64,
    /// The gaps that the batch declared in the samples lane, each by its last record.
    pub lost_samples_through: Option<u64>,
}

/// Records that were declared lost. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredGap {
    /// Whose records they were.
    pub stream: StreamKey,
    /// Which they were, and why.
    pub gap: Gap,
    /// When the collector was told, by its clock.
    pub declared_at_ms: i64,
}

impl State {
    /// Commits records of the events lane and their mark in one transaction. Records at or below
    /// the mark are skipped.
    ///
    /// # Errors
    /// When there is a hole, or the database cannot be written; then nothing was committed.
    pub fn commit_events(
        &self,
        stream: StreamKey,
        records: &[EventRecord],
        now_ms: i64,
    ) -> Result<CommittedEvents, StateError> {
        let action = "committing events";
        let failed = |source| StateError::Statement { action, source };
        self.transact(action, |transaction| {
            let mut committed = mark(transaction, stream).map_err(failed)?;
            let mut lost_samples_through = None;
            for record in records {
                if record.sequence <= committed {
                    continue;
                }
                if !follows(record, committed) {
                    return Err(StateError::Hole { committed, got: record.sequence });
                }
                apply(transaction, stream, record, now_ms).map_err(failed)?;
                if let Ok(Event { kind: EventKind::Gap(gap), .. }) = &record.event
                    && gap.lane == Lane::Samples
                {
                    lost_samples_through = lost_samples_through.max(Some(gap.last));
                }
                committed = record.sequence;
            }
            set_mark(transaction, stream, committed).map_err(failed)?;
            Ok(CommittedEvents { through: committed, lost_samples_through })
        })
    }

    /// Declares records lost that the host cannot send any more. Of the events lane, the mark goes
    /// past them.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn declare_gap(&self, stream: StreamKey, gap: &Gap, now_ms: i64) -> Result<(), StateError> {
        self.write("declaring a gap", |transaction| {
            declare(transaction, stream, gap, now_ms)?;
            if gap.lane == Lane::Events && gap.last > mark(transaction, stream)? {
                set_mark(transaction, stream, gap.last)?;
            }
            Ok(())
        })
    }

    /// How far the events lane of a stream is committed; 0 if nothing came of it yet.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn event_mark(&self, stream: StreamKey) -> Result<u64, StateError> {
        self.read("reading a mark", |transaction| mark(transaction, stream))
    }

    /// The last record of the samples lane that was ever declared lost on a stream.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn lost_samples_through(&self, stream: StreamKey) -> Result<Option<u64>, StateError> {
        self.read("reading the gaps of a stream", |transaction| {
            let sql = "SELECT MAX(last_record) FROM gaps
                WHERE host = ?1 AND epoch = ?2 AND lane = ?3";
            let samples = Lane::Samples.to_string();
            let key = params![stream.host.to_string(), stream.epoch.to_string(), samples];
            let last: Option<i64> = transaction.query_row(sql, key, |row| row.get(0))?;
            Ok(last.and_then(|last| u64::try_from(last).ok()))
        })
    }

    /// The gaps of a host, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn gaps(&self, host: HostId, limit: u32) -> Result<Vec<DeclaredGap>, StateError> {
        self.read("reading the gaps of a host", |transaction| {
            let sql = "SELECT * FROM gaps WHERE host = ?1
                ORDER BY declared_at DESC, last_record DESC LIMIT ?2";
            let mut statement = transaction.prepare_cached(sql)?;
            statement.query_map(params![host.to_string(), limit], gap)?.collect()
        })
    }

    /// Sets a record of the samples lane aside that the store could not decode.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_aside(
        &self,
        stream: StreamKey,
        lane: Lane,
        sequence: u64,
        record: &Quarantined,
        now_ms: i64,
    ) -> Result<(), StateError> {
        self.write("setting a record aside", |transaction| {
            quarantine(transaction, stream, lane, sequence, record, now_ms)
        })
    }

    /// The records of a host that were set aside: lane, sequence number and reason.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn quarantined(&self, host: HostId) -> Result<Vec<(Lane, u64, String)>, StateError> {
        self.read("reading what was set aside", |transaction| {
            let sql = "SELECT * FROM quarantine WHERE host = ?1 ORDER BY at_ms, sequence";
            let row = |row: &Row<'_>| {
                let sequence = column::unsigned(row, "sequence")?;
                Ok((column::lane(row, "lane")?, sequence, row.get("reason")?))
            };
            transaction.prepare_cached(sql)?.query_map([host.to_string()], row)?.collect()
        })
    }
}

/// Whether a record is the next one, or declares all those between as lost.
fn follows(record: &EventRecord, committed: u64) -> bool {
    let next = committed.saturating_add(1);
    let declared = match &record.event {
        Ok(Event { kind: EventKind::Gap(gap), .. }) if gap.lane == Lane::Events => {
            gap.first <= next && gap.last.saturating_add(1) >= record.sequence
        }
        _ => false,
    };
    record.sequence == next || declared
}

fn apply(
    transaction: &Transaction<'_>,
    stream: StreamKey,
    record: &EventRecord,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let host = stream.host;
    let event = match &record.event {
        Ok(event) => event,
        Err(broken) => {
            return quarantine(transaction, stream, Lane::Events, record.sequence, broken, now_ms);
        }
    };
    match &event.kind {
        EventKind::Facts(facts) => set_facts(transaction, host, facts),
        EventKind::Updates(report) => updates::apply(transaction, host, report, now_ms),
        EventKind::Change(change) => changes::apply(transaction, host, change, event.at_ms, now_ms),
        EventKind::Packages(inventory) => packages::apply(transaction, host, inventory, now_ms),
        EventKind::Processes(report) => processes::apply(transaction, host, report),
        EventKind::Gap(gap) => declare(transaction, stream, gap, now_ms),
    }
}

/// The host name among the facts is a label; the name that the fleet knows it by stays.
fn set_facts(
    transaction: &Transaction<'_>,
    host: HostId,
    facts: &HostFacts,
) -> rusqlite::Result<()> {
    let sql = "UPDATE hosts SET facts = ?1, hostname = ?2 WHERE id = ?3";
    let text = column::to_json(facts)?;
    transaction.prepare_cached(sql)?.execute(params![text, facts.hostname, host.to_string()])?;
    Ok(())
}

fn declare(
    transaction: &Transaction<'_>,
    stream: StreamKey,
    gap: &Gap,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO gaps (host, epoch, lane, first_record, last_record, from_ms, to_ms,
        reason, declared_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT (host, epoch, lane, first_record) DO UPDATE
        SET last_record = excluded.last_record, to_ms = excluded.to_ms, reason = excluded.reason";
    transaction.prepare_cached(sql)?.execute(params![
        stream.host.to_string(),
        stream.epoch.to_string(),
        gap.lane.to_string(),
        column::big(gap.first),
        column::big(gap.last),
        gap.from_ms,
        gap.to_ms,
        gap.reason,
        now_ms
    ])?;
    Ok(())
}

fn quarantine(
    transaction: &Transaction<'_>,
    stream: StreamKey,
    lane: Lane,
    sequence: u64,
    record: &Quarantined,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let kept = record.body.get(..KEPT_ASIDE_BYTES).unwrap_or(&record.body);
    let sql = "INSERT INTO quarantine (host, epoch, lane, sequence, at_ms, reason, body)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
    let host = stream.host.to_string();
    transaction.execute(
        sql,
        params![
            host,
            stream.epoch.to_string(),
            lane.to_string(),
            column::big(sequence),
            now_ms,
            record.reason,
            data_encoding::HEXLOWER.encode(kept)
        ],
    )?;
    let sql = "DELETE FROM quarantine WHERE host = ?1 AND at_ms < (
        SELECT MIN(at_ms) FROM
        (SELECT at_ms FROM quarantine WHERE host = ?1 ORDER BY at_ms DESC LIMIT ?2) AS newest)";
    transaction.execute(sql, params![host, KEPT_ASIDE_PER_HOST])?;
    Ok(())
}

fn mark(transaction: &Transaction<'_>, stream: StreamKey) -> rusqlite::Result<u64> {
    let sql = "SELECT committed FROM event_marks WHERE host = ?1 AND epoch = ?2";
    let key = params![stream.host.to_string(), stream.epoch.to_string()];
    let mark = transaction
        .prepare_cached(sql)?
        .query_row(key, |row| column::unsigned(row, "committed"))
        .optional()?;
    Ok(mark.unwrap_or(0))
}

fn set_mark(
    transaction: &Transaction<'_>,
    stream: StreamKey,
    committed: u64,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO event_marks (host, epoch, committed) VALUES (?1, ?2, ?3)
        ON CONFLICT (host, epoch) DO UPDATE SET committed = excluded.committed";
    let (host, epoch) = (stream.host.to_string(), stream.epoch.to_string());
    transaction.prepare_cached(sql)?.execute(params![host, epoch, column::big(committed)])?;
    Ok(())
}

fn gap(row: &Row<'_>) -> rusqlite::Result<DeclaredGap> {
    Ok(DeclaredGap {
        stream: StreamKey { host: column::host(row, "host")?, epoch: column::epoch(row, "epoch")? },
        gap: Gap {
            lane: column::lane(row, "lane")?,
            first: column::unsigned(row, "first_record")?,
            last: column::unsigned(row, "last_record")?,
            from_ms: row.get("from_ms")?,
            to_ms: row.get("to_ms")?,
            reason: row.get("reason")?,
        },
        declared_at_ms: row.get("declared_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{hosts, temporary};
    use upkeep_model::Epoch;
    use uuid::Uuid;

    fn enrolled() -> (tempfile::TempDir, State, StreamKey) {
        let (folder, state) = temporary();
        let host = HostId(Uuid::from_u128(1));
        state
            .write("test", |transaction| hosts::insert(transaction, host, "web1", "0.1.0", 1))
            .unwrap();
        (folder, state, StreamKey { host, epoch: Epoch([3; 16]) })
    }

    fn taken(sequence: u64, kind: EventKind) -> EventRecord {
        EventRecord { sequence, event: Ok(Event { at_ms: 5, kind }) }
    }

    fn facts(sequence: u64, kernel: &str) -> EventRecord {
        let facts = HostFacts { kernel: kernel.into(), ..HostFacts::default() };
        taken(sequence, EventKind::Facts(Box::new(facts)))
    }

    fn lost(sequence: u64, lane: Lane, first: u64, last: u64) -> EventRecord {
        let reason = "the disk was full".to_owned();
        let gap = Gap { lane, first, last, from_ms: None, to_ms: Some(5), reason };
        taken(sequence, EventKind::Gap(gap))
    }

    fn broken(sequence: u64) -> EventRecord {
        let record = Quarantined { reason: "no event".into(), body: vec![0xff; 9000] };
        EventRecord { sequence, event: Err(record) }
    }

    #[test]
    fn a_batch_sent_again_changes_nothing() {
        let (_folder, state, stream) = enrolled();
        let committed = state.commit_events(stream, &[facts(1, "a"), facts(2, "b")], 10).unwrap();
        assert_eq!(committed.through, 2);
        let again = state.commit_events(stream, &[facts(1, "c"), facts(2, "d")], 11).unwrap();
        assert_eq!(again.through, 2);
        let host = state.host(stream.host).unwrap().unwrap();
        assert_eq!(host.facts.unwrap().kernel, "b");
        let other = StreamKey { epoch: Epoch([4; 16]), ..stream };
        assert_eq!(state.event_mark(other).unwrap(), 0);
    }

    #[test]
    fn a_hole_is_refused_whole() {
        let (_folder, state, stream) = enrolled();
        let error = state.commit_events(stream, &[facts(1, "a"), facts(3, "c")], 10).unwrap_err();
        assert!(matches!(error, StateError::Hole { committed: 1, got: 3 }), "{error}");
        assert_eq!(state.event_mark(stream).unwrap(), 0);
        assert_eq!(state.host(stream.host).unwrap().unwrap().facts, None);
    }

    #[test]
    fn a_declared_gap_closes_the_hole_it_names_and_no_other() {
        let (_folder, state, stream) = enrolled();
        state.commit_events(stream, &[facts(1, "a")], 10).unwrap();
        let too_small = state.commit_events(stream, &[lost(5, Lane::Events, 3, 4)], 10);
        assert!(matches!(too_small, Err(StateError::Hole { committed: 1, got: 5 })));
        let other_lane = state.commit_events(stream, &[lost(5, Lane::Samples, 1, 9)], 10);
        assert!(matches!(other_lane, Err(StateError::Hole { committed: 1, got: 5 })));
        let committed = state.commit_events(stream, &[lost(5, Lane::Events, 2, 4)], 10).unwrap();
        assert_eq!(committed, CommittedEvents { through: 5, lost_samples_through: None });

        let committed = state.commit_events(stream, &[lost(6, Lane::Samples, 7, 9)], 11).unwrap();
        assert_eq!(committed.lost_samples_through, Some(9));
        assert_eq!(state.lost_samples_through(stream).unwrap(), Some(9));
        let gaps = state.gaps(stream.host, 10).unwrap();
        assert_eq!((gaps.len(), gaps[0].gap.lane, gaps[0].gap.last), (2, Lane::Samples, 9));
    }

    #[test]
    fn a_gap_that_the_collector_declares_moves_the_mark_of_its_own_lane() {
        let (_folder, state, stream) = enrolled();
        state.commit_events(stream, &[facts(1, "a")], 10).unwrap();
        for lane in Lane::ALL {
            let gap =
                Gap { lane, first: 2, last: 9, from_ms: None, to_ms: None, reason: "".into() };
            state.declare_gap(stream, &gap, 11).unwrap();
        }
        assert_eq!(state.event_mark(stream).unwrap(), 9);
        assert_eq!(state.lost_samples_through(stream).unwrap(), Some(9));
        assert_eq!(state.commit_events(stream, &[facts(10, "b")], 12).unwrap().through, 10);
    }

    #[test]
    fn what_cannot_be_decoded_is_set_aside_and_the_lane_goes_on() {
        let (_folder, state, stream) = enrolled();
        let batch = [facts(1, "a"), broken(2), facts(3, "c")];
        assert_eq!(state.commit_events(stream, &batch, 10).unwrap().through, 3);
        assert_eq!(state.host(stream.host).unwrap().unwrap().facts.unwrap().kernel, "c");
        let aside = state.quarantined(stream.host).unwrap();
        assert_eq!(aside, [(Lane::Events, 2, "no event".to_owned())]);
    }

    #[test]
    fn what_is_set_aside_is_bounded() {
        let (_folder, state, stream) = enrolled();
        for sequence in 1..=150 {
            let at_ms = i64::try_from(sequence).unwrap();
            state.commit_events(stream, &[broken(sequence)], at_ms).unwrap();
        }
        let aside = state.quarantined(stream.host).unwrap();
        assert_eq!((aside.len(), aside[0].1), (100, 51));
    }
}
