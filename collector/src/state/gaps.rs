//! What was lost of the lanes, and what was set aside since nobody can read it.

use std::ops::RangeInclusive;

use rusqlite::{Row, Transaction, params};
use upkeep_model::{Gap, HostId, Lane, StreamKey};

use super::{State, StateError, column, occurrences};

/// Of the records of a host that were set aside so many are kept, the newest: enough to find out
/// what is wrong with it, and no way for it to fill the disk.
const KEPT_ASIDE_PER_HOST: u32 = 100;

/// So much of a record that was set aside is kept.
const KEPT_ASIDE_BYTES: usize = 4096;

/// What the gap says of records that were set aside.
const SET_ASIDE: &str = "it cannot be decoded and was set aside";

/// A record that cannot be taken as what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Why.
    pub reason: String,
    /// The record as it came.
    pub body: Vec<u8>,
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

/// What a host lost altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossSummary {
    /// How many gaps are declared.
    pub gaps: u64,
    /// How many records they have, of those that had numbers.
    pub records: u64,
    /// When the last of them was declared, by the collector's clock.
    pub last_at_ms: Option<i64>,
}

impl State {
    /// The records of the samples lane that were ever declared lost on a stream, ascending.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn lost_samples(&self, stream: StreamKey) -> Result<Vec<RangeInclusive<u64>>, StateError> {
        self.read("reading the gaps of a stream", |transaction| {
            let sql = "SELECT first_record, last_record FROM gaps
                WHERE host = ?1 AND epoch = ?2 AND lane = ?3 AND first_record > 0
                ORDER BY first_record";
            let samples = Lane::Samples.to_string();
            let key = params![stream.host.to_string(), stream.epoch.to_string(), samples];
            let range = |row: &Row<'_>| {
                Ok(column::unsigned(row, "first_record")?..=column::unsigned(row, "last_record")?)
            };
            transaction.prepare_cached(sql)?.query_map(key, range)?.collect()
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

    /// The losses of samples of all hosts whose times touch a stretch of time, with the hosts' names, the
    /// newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn lost_between(
        &self,
        from_ms: i64,
        to_ms: i64,
        limit: u32,
    ) -> Result<Vec<(String, Gap)>, StateError> {
        self.read("reading the gaps of a time", |transaction| {
            let sql = "SELECT gaps.*, hosts.instance FROM gaps JOIN hosts ON hosts.id = gaps.host
                WHERE gaps.to_ms >= ?1 AND COALESCE(gaps.from_ms, gaps.to_ms) <= ?2
                AND gaps.lane = ?3 ORDER BY gaps.to_ms DESC LIMIT ?4";
            let values = params![from_ms, to_ms, Lane::Samples.to_string(), limit];
            let named = |row: &Row<'_>| Ok((row.get("instance")?, gap(row)?.gap));
            transaction.prepare_cached(sql)?.query_map(values, named)?.collect()
        })
    }

    /// What a host lost altogether, as far as that is declared.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn losses(&self, host: HostId) -> Result<LossSummary, StateError> {
        self.read("counting the gaps of a host", |transaction| {
            let sql = "SELECT COUNT(*) AS gaps, MAX(declared_at) AS last_at, COALESCE(SUM(
                CASE WHEN first_record > 0 THEN last_record - first_record + 1 ELSE 0 END), 0)
                AS records FROM gaps WHERE host = ?1";
            transaction.prepare_cached(sql)?.query_row([host.to_string()], |row| {
                Ok(LossSummary {
                    gaps: column::unsigned(row, "gaps")?,
                    records: column::unsigned(row, "records")?,
                    last_at_ms: row.get("last_at")?,
                })
            })
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

/// Declares records lost.
pub(super) fn declare(
    transaction: &Transaction<'_>,
    stream: StreamKey,
    gap: &Gap,
    now_ms: i64,
) -> rusqlite::Result<()> {
    declare_as(transaction, stream, column::big(gap.first), gap, now_ms)
}

/// Declares the loss of what never had numbers; it is told apart by the event that declares it.
pub(super) fn declare_unnumbered(
    transaction: &Transaction<'_>,
    stream: StreamKey,
    event: u64,
    gap: &Gap,
    now_ms: i64,
) -> rusqlite::Result<()> {
    declare_as(transaction, stream, -column::big(event), gap, now_ms)
}

/// Declares a loss and tells of it, unless the same was declared before.
fn declare_as(
    transaction: &Transaction<'_>,
    stream: StreamKey,
    first_record: i64,
    gap: &Gap,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let sql = "SELECT 1 FROM gaps WHERE host = ?1 AND epoch = ?2 AND lane = ?3
        AND first_record = ?4 AND last_record >= ?5";
    let is_known = transaction.prepare_cached(sql)?.exists(params![
        stream.host.to_string(),
        stream.epoch.to_string(),
        gap.lane.to_string(),
        first_record,
        column::big(gap.last)
    ])?;
    if !is_known {
        occurrences::note_gap(transaction, stream, gap, now_ms)?;
    }
    put_gap(transaction, stream, first_record, gap, now_ms)
}

fn put_gap(
    transaction: &Transaction<'_>,
    stream: StreamKey,
    first_record: i64,
    gap: &Gap,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO gaps (host, epoch, lane, first_record, last_record, from_ms, to_ms,
        reason, declared_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT (host, epoch, lane, first_record) DO UPDATE
        SET last_record = excluded.last_record, to_ms = excluded.to_ms, reason = excluded.reason
        WHERE excluded.last_record >= gaps.last_record";
    transaction.prepare_cached(sql)?.execute(params![
        stream.host.to_string(),
        stream.epoch.to_string(),
        gap.lane.to_string(),
        first_record,
        column::big(gap.last),
        gap.from_ms,
        gap.to_ms,
        gap.reason,
        now_ms
    ])?;
    Ok(())
}

/// Sets a record aside and declares it lost.
pub(super) fn quarantine(
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
    let kept_now = transaction.execute(
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
    if kept_now > 0 {
        let what = (lane, sequence);
        occurrences::note_set_aside(transaction, stream.host, what, &record.reason, now_ms)?;
    }
    declare_set_aside(transaction, stream, lane, sequence, now_ms)
}

/// Records that are set aside one after another are one gap.
fn declare_set_aside(
    transaction: &Transaction<'_>,
    stream: StreamKey,
    lane: Lane,
    sequence: u64,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let sql = "UPDATE gaps SET last_record = ?4
        WHERE host = ?1 AND epoch = ?2 AND lane = ?3 AND last_record = ?4 - 1 AND reason = ?5";
    let (host, epoch) = (stream.host.to_string(), stream.epoch.to_string());
    let key = params![host, epoch, lane.to_string(), column::big(sequence), SET_ASIDE];
    if transaction.prepare_cached(sql)?.execute(key)? > 0 {
        return Ok(());
    }
    let (first, last, reason) = (sequence, sequence, SET_ASIDE.to_owned());
    let gap = Gap { lane, first, last, from_ms: None, to_ms: None, reason };
    put_gap(transaction, stream, column::big(first), &gap, now_ms)
}

fn gap(row: &Row<'_>) -> rusqlite::Result<DeclaredGap> {
    Ok(DeclaredGap {
        stream: StreamKey { host: column::host(row, "host")?, epoch: column::epoch(row, "epoch")? },
        gap: Gap {
            lane: column::lane(row, "lane")?,
            first: u64::try_from(row.get::<_, i64>("first_record")?).unwrap_or_default(),
            last: column::unsigned(row, "last_record")?,
            from_ms: row.get("from_ms")?,
            to_ms: row.get("to_ms")?,
            reason: row.get("reason")?,
        },
        declared_at_ms: row.get("declared_at")?,
    })
}
