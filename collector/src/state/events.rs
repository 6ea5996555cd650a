//! The events lane: what a batch says is committed together with the mark that it was taken, so
//! that a batch sent again changes nothing.
//!
//! A record that cannot be decoded is set aside with the reason, declared as a gap, and counts as taken;
//! the lane goes on. A record that does not follow on the mark is a hole and refused, unless it declares the
//! records between as lost.

use std::ops::RangeInclusive;

use rusqlite::{OptionalExtension, Transaction, params};
use upkeep_model::{Event, EventKind, Gap, HostFacts, HostId, Lane, StreamKey};

use super::gaps::{Quarantined, declare, declare_unnumbered, quarantine};
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

/// One record of the events lane, decoded as far as it can be.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    /// Its place in the lane.
    pub sequence: u64,
    /// What it says, or why that cannot be told.
    pub event: Result<Event, Quarantined>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedEvents {
    /// Everything up to here is committed.
    pub through: u64,
    /// The records of the samples lane that the batch declared lost.
    pub lost_samples: Vec<RangeInclusive<u64>>,
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
            let mut lost_samples = Vec::new();
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
                    && gap.first > 0
                {
                    lost_samples.push(gap.first..=gap.last);
                }
                committed = record.sequence;
            }
            set_mark(transaction, stream, committed).map_err(failed)?;
            Ok(CommittedEvents { through: committed, lost_samples })
        })
    }

    /// Declares records lost that the host cannot send any more. Of the events lane, the mark goes
    /// past them. A gap without numbers is told apart by the time at which it is declared.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn declare_gap(&self, stream: StreamKey, gap: &Gap, now_ms: i64) -> Result<(), StateError> {
        self.write("declaring a gap", |transaction| {
            if gap.first == 0 {
                let by_time = now_ms.unsigned_abs();
                return declare_unnumbered(transaction, stream, by_time, gap, now_ms);
            }
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
        // What never had numbers in this epoch is told apart by the event that declares it.
        EventKind::Gap(gap) if gap.first == 0 => {
            declare_unnumbered(transaction, stream, record.sequence, gap, now_ms)
        }
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
        assert_eq!(committed, CommittedEvents { through: 5, lost_samples: vec![] });

        let committed = state.commit_events(stream, &[lost(6, Lane::Samples, 7, 9)], 11).unwrap();
        assert_eq!(committed.lost_samples, [7..=9]);
        assert_eq!(state.lost_samples(stream).unwrap(), [7..=9]);
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
        assert_eq!(state.lost_samples(stream).unwrap(), [2..=9]);
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
        state.commit_events(stream, &[broken(4), broken(5), facts(6, "d"), broken(7)], 11).unwrap();
        let mut gaps = state.gaps(stream.host, 10).unwrap();
        gaps.sort_by_key(|one| one.gap.first);
        let ranges: Vec<_> = gaps.iter().map(|one| (one.gap.first, one.gap.last)).collect();
        assert_eq!(ranges, [(2, 2), (4, 5), (7, 7)]);
    }

    #[test]
    fn losses_without_numbers_are_told_apart() {
        let (_folder, state, stream) = enrolled();
        let unnumbered = [lost(1, Lane::Samples, 0, 0), lost(2, Lane::Samples, 0, 0)];
        let committed = state.commit_events(stream, &unnumbered, 10).unwrap();
        assert_eq!(committed.lost_samples, vec![]);
        let gaps = state.gaps(stream.host, 10).unwrap();
        let ranges: Vec<_> = gaps.iter().map(|one| (one.gap.first, one.gap.last)).collect();
        assert_eq!(ranges, [(0, 0), (0, 0)]);
        assert_eq!(state.lost_samples(stream).unwrap(), vec![]);
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
