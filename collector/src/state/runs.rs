//! When the collector itself ran: what it cannot know of its hosts while it does not.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::occurrences::{Ending, Occurrence, note};
use super::{State, StateError};

pub(super) const SCHEMA: &str = "
CREATE TABLE runs (
    id         BIGINT PRIMARY KEY,
    started_at BIGINT NOT NULL,
    alive_at   BIGINT NOT NULL,
    ended_at   BIGINT
);
";

/// So many runs are kept, the newest.
const KEPT: i64 = 1_000;

/// A stretch of time in which no collector ran, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Since when; the beginning of all time before the first run.
    pub from_ms: i64,
    /// Until when.
    pub to_ms: i64,
}

/// One run.
#[derive(Clone, Copy, Debug)]
struct Run {
    started_ms: i64,
    alive_ms: i64,
    ended_ms: Option<i64>,
}

impl Run {
    /// The last moment at which it is known to have run.
    fn until_ms(self) -> i64 {
        self.ended_ms.unwrap_or(self.alive_ms)
    }
}

impl State {
    /// Notes that the collector of that start runs. The first time it tells how the run before ended, and
    /// gives that; if it could not be written then, the next time does.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_alive(
        &self,
        started_ms: i64,
        now_ms: i64,
    ) -> Result<Option<Occurrence>, StateError> {
        self.write("noting that the collector runs", |transaction| {
            let former = newest(transaction)?;
            let told = if former.is_some_and(|run| run.started_ms == started_ms) {
                None
            } else {
                Some(begin(transaction, former, started_ms)?)
            };
            let sql = "UPDATE runs SET alive_at = ?1 WHERE id = (SELECT MAX(id) FROM runs)";
            transaction.prepare_cached(sql)?.execute([now_ms])?;
            Ok(told)
        })
    }

    /// Notes that the collector of that start was stopped in order.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn end_run(&self, started_ms: i64, reason: &str, now_ms: i64) -> Result<(), StateError> {
        self.write("noting the end", |transaction| {
            let stopped = Occurrence::CollectorStopped { reason: reason.to_owned() };
            note(transaction, None, &stopped, now_ms)?;
            let sql = "UPDATE runs SET ended_at = ?1
                WHERE id = (SELECT MAX(id) FROM runs) AND started_at = ?2";
            transaction.execute(sql, [now_ms, started_ms])?;
            Ok(())
        })
    }

    /// When no collector ran, ascending, as far as that touches a stretch of time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn outages(&self, from_ms: i64, to_ms: i64) -> Result<Vec<Outage>, StateError> {
        let runs: Vec<Run> = self.read("reading when the collector ran", |transaction| {
            let sql = "SELECT * FROM runs ORDER BY id";
            transaction.prepare_cached(sql)?.query_map(params![], run)?.collect()
        })?;
        let mut until_ms = i64::MIN;
        let mut outages = Vec::new();
        for run in runs {
            outages.push(Outage { from_ms: until_ms, to_ms: run.started_ms });
            until_ms = run.until_ms().max(run.started_ms);
        }
        outages.retain(|one| one.from_ms < one.to_ms && one.from_ms < to_ms && one.to_ms > from_ms);
        Ok(outages)
    }
}

/// Tells of a start and how the run before it ended.
fn begin(
    transaction: &Transaction<'_>,
    former: Option<Run>,
    started_ms: i64,
) -> rusqlite::Result<Occurrence> {
    let ending = |run: Run| match run.ended_ms {
        Some(_) => Ending::Clean,
        None => Ending::Unclean,
    };
    let started = Occurrence::CollectorStarted {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ended: former.map(ending),
        away_since_ms: former.map(Run::until_ms),
    };
    note(transaction, None, &started, started_ms)?;
    let sql = "INSERT INTO runs (id, started_at, alive_at)
        SELECT COALESCE(MAX(id), 0) + 1, ?1, ?1 FROM runs";
    transaction.execute(sql, [started_ms])?;
    let sql = "DELETE FROM runs WHERE id <= (SELECT MAX(id) FROM runs) - ?1";
    transaction.execute(sql, [KEPT])?;
    Ok(started)
}

fn newest(transaction: &Transaction<'_>) -> rusqlite::Result<Option<Run>> {
    let sql = "SELECT * FROM runs ORDER BY id DESC LIMIT 1";
    transaction.query_row(sql, [], run).optional()
}

fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        started_ms: row.get("started_at")?,
        alive_ms: row.get("alive_at")?,
        ended_ms: row.get("ended_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::temporary;

    #[test]
    fn a_start_tells_how_the_run_before_it_ended() {
        let (_folder, state) = temporary();
        let check = |started_ms: i64, expect: Option<(Ending, i64)>| {
            let told = state.note_alive(started_ms, started_ms).unwrap();
            let Some(Occurrence::CollectorStarted { ended, away_since_ms, .. }) = told else {
                panic!("no start: {told:?}");
            };
            assert_eq!(ended.zip(away_since_ms), expect, "{started_ms}");
        };
        check(100, None);
        assert_eq!(state.note_alive(100, 150).unwrap(), None);
        check(200, Some((Ending::Unclean, 150)));
        assert_eq!(state.note_alive(200, 250).unwrap(), None);
        state.end_run(200, "SIGTERM", 260).unwrap();
        check(300, Some((Ending::Clean, 260)));
        // A start that could not be noted does not end the run before it.
        state.end_run(305, "SIGTERM", 306).unwrap();
        check(310, Some((Ending::Unclean, 300)));
        let outage = |from_ms, to_ms| Outage { from_ms, to_ms };
        let all = [outage(i64::MIN, 100), outage(150, 200), outage(260, 300), outage(300, 310)];
        assert_eq!(state.outages(0, 1_000).unwrap(), all);
        assert_eq!(state.outages(160, 280).unwrap(), all[1..3]);
        assert_eq!(state.outages(200, 260).unwrap(), []);
    }
}
