//! What changed on the hosts: the markers on their graphs, and what happened before something
//! broke.
//!
//! A change that is told twice, because an agent was ended between telling it and remembering that
//! it did, has the same identity both times and is kept once.

use rusqlite::{Row, Transaction, params, params_from_iter};
use upkeep_model::{Change, ChangeKind, HostId};

use super::page::EventFilter;
use super::{State, StateError, column, occurrences};

pub(super) const SCHEMA: &str = "
CREATE TABLE changes (
    id           BIGINT PRIMARY KEY,
    host         TEXT NOT NULL REFERENCES hosts (id),
    change       TEXT NOT NULL,
    at_ms        BIGINT NOT NULL,
    received_at  BIGINT NOT NULL,
    kind         TEXT NOT NULL,
    subject      TEXT NOT NULL,
    before_state TEXT NOT NULL,
    after_state  TEXT NOT NULL,
    UNIQUE (host, change)
);
CREATE INDEX changes_at ON changes (at_ms, id);
CREATE INDEX changes_of_host ON changes (host, at_ms, id);
";

/// Of each host so many changes are kept, the newest: years of an ordinary host, and a bound on
/// what one that has gone mad can take.
const KEPT_PER_HOST: u32 = 50_000;

/// How often, counted in changes of all hosts, it is looked whether a host has more.
const SWEEP_EVERY: i64 = 256;

/// One change of one host. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenChange {
    /// Its place among all events, in the order in which they came.
    pub id: i64,
    /// Whose change it is.
    pub host: HostId,
    /// The name that the fleet knows the host by.
    pub instance: String,
    /// When it was seen, by the host's clock as far as that can be believed.
    pub at_ms: i64,
    /// When it came, by the collector's clock.
    pub received_at_ms: i64,
    /// What changed.
    pub change: Change,
}

/// Which changes are asked for.
pub type ChangeFilter = EventFilter<ChangeKind>;

impl State {
    /// Changes, the newest first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn changes(
        &self,
        filter: &ChangeFilter,
        limit: u32,
    ) -> Result<Vec<SeenChange>, StateError> {
        let (sql, values) = filter.select("changes", ChangeKind::as_str, limit);
        self.read("reading changes", |transaction| {
            transaction
                .prepare_cached(&sql)?
                .query_map(params_from_iter(values), seen_change)?
                .collect()
        })
    }
}

/// Keeps a change, unless it is kept already.
pub(super) fn apply(
    transaction: &Transaction<'_>,
    host: HostId,
    change: &Change,
    at_ms: i64,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO changes (id, host, change, at_ms, received_at, kind, subject,
            before_state, after_state)
        VALUES (?9, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
        ON CONFLICT (host, change) DO NOTHING RETURNING id";
    let id = occurrences::next_id(transaction)?;
    let mut insert = transaction.prepare_cached(sql)?;
    let mut rows = insert.query(params![
        host.to_string(),
        change.id,
        at_ms,
        now_ms,
        change.kind.as_str(),
        change.subject,
        change.before,
        change.after,
        id
    ])?;
    let id: Option<i64> = rows.next()?.map(|row| row.get(0)).transpose()?;
    if id.is_some_and(|id| id % SWEEP_EVERY == 0) {
        sweep(transaction, host, KEPT_PER_HOST)?;
    }
    Ok(())
}

/// Forgets the oldest changes of a host that has more than are kept.
fn sweep(transaction: &Transaction<'_>, host: HostId, kept: u32) -> rusqlite::Result<()> {
    let sql = "DELETE FROM changes WHERE host = ?1 AND id <= (SELECT id FROM changes
        WHERE host = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    transaction.prepare_cached(sql)?.execute(params![host.to_string(), kept])?;
    Ok(())
}

fn seen_change(row: &Row<'_>) -> rusqlite::Result<SeenChange> {
    Ok(SeenChange {
        id: row.get("id")?,
        host: column::host(row, "host")?,
        instance: row.get("instance")?,
        at_ms: row.get("at_ms")?,
        received_at_ms: row.get("received_at")?,
        change: Change {
            id: row.get("change")?,
            kind: column::change_kind(row, "kind")?,
            subject: row.get("subject")?,
            before: row.get("before_state")?,
            after: row.get("after_state")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{EventCursor, enrolled_host, temporary};

    fn change(id: &str, kind: ChangeKind) -> Change {
        let (before, after) = ("1".to_owned(), "2".to_owned());
        Change { id: id.to_owned(), kind, subject: "bash".to_owned(), before, after }
    }

    fn tell(state: &State, host: HostId, id: &str, kind: ChangeKind, at_ms: i64) {
        let change = change(id, kind);
        state
            .write("telling", |transaction| apply(transaction, host, &change, at_ms, at_ms + 1))
            .unwrap();
    }

    fn ids(state: &State, filter: &ChangeFilter, limit: u32) -> Vec<String> {
        let changes = state.changes(filter, limit).unwrap();
        changes.into_iter().map(|found| found.change.id).collect()
    }

    #[test]
    fn changes_are_found_by_host_kind_and_time_the_newest_first() {
        let (_folder, state) = temporary();
        let (web, database) =
            (enrolled_host(&state, 1, "web1"), enrolled_host(&state, 2, "database"));
        tell(&state, web, "a", ChangeKind::Boot, 10);
        tell(&state, web, "b", ChangeKind::PackageUpdated, 30);
        tell(&state, database, "a", ChangeKind::Kernel, 20);
        tell(&state, database, "c", ChangeKind::Boot, 30);
        let check = |filter: ChangeFilter, expect: &[&str]| {
            assert_eq!(ids(&state, &filter, 10), expect, "{filter:?}");
        };
        let all = ChangeFilter::default;
        check(all(), &["c", "b", "a", "a"]);
        check(ChangeFilter { host: Some(web), ..all() }, &["b", "a"]);
        check(ChangeFilter { kinds: vec![ChangeKind::Boot], ..all() }, &["c", "a"]);
        let kinds = vec![ChangeKind::Kernel, ChangeKind::PackageUpdated];
        check(ChangeFilter { kinds, host: Some(database), ..all() }, &["a"]);
        check(ChangeFilter { from_ms: Some(20), to_ms: Some(29), ..all() }, &["a"]);
        let after = Some(EventCursor { at_ms: 30, id: 4 });
        check(ChangeFilter { after, ..all() }, &["b", "a", "a"]);
        assert_eq!(ids(&state, &all(), 1), ["c"]);
        let first = state.changes(&all(), 1).unwrap().remove(0);
        assert_eq!(
            (first.instance.as_str(), first.at_ms, first.received_at_ms),
            ("database", 30, 31)
        );
        assert_eq!(first.change, change("c", ChangeKind::Boot));
    }

    #[test]
    fn a_change_that_is_told_twice_is_kept_once() {
        let (_folder, state) = temporary();
        let host = enrolled_host(&state, 1, "web1");
        tell(&state, host, "a", ChangeKind::Boot, 10);
        tell(&state, host, "a", ChangeKind::Boot, 15);
        let kept = state.changes(&ChangeFilter::default(), 10).unwrap();
        assert_eq!(kept.iter().map(|change| change.at_ms).collect::<Vec<_>>(), [10]);
    }

    #[test]
    fn what_is_kept_of_a_host_is_bounded() {
        let (_folder, state) = temporary();
        let (mad, calm) = (enrolled_host(&state, 1, "mad"), enrolled_host(&state, 2, "calm"));
        tell(&state, calm, "only", ChangeKind::Boot, 0);
        for number in 1..=5 {
            tell(&state, mad, &number.to_string(), ChangeKind::Boot, number);
        }
        state.write("sweeping", |transaction| sweep(transaction, mad, 2)).unwrap();
        assert_eq!(ids(&state, &ChangeFilter::default(), 9), ["5", "4", "only"]);
    }
}
