//! The schema's history. A migration that was released is never changed; what changes later is a
//! new entry at the end of the list.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::failing::Failing;
use super::{
    StateError, acknowledgements, action_runs, alerts, api_tokens, audit, changes, charts, check,
    damage, deliveries, digests, enrollments, events, flapping, hosts, lives, metadata,
    occurrences, packages, presence, processes, remote_positions, row_sum, rule_alerts, runs,
    silences, tokens, updates, usefulness,
};

/// One step of the schema.
pub(super) struct Migration {
    name: &'static str,
    sql: &'static str,
}

/// Every step in order; the version of a step is its place, counted from 1.
const MIGRATIONS: &[Migration] = &[
    Migration { name: "audit", sql: audit::SCHEMA },
    Migration { name: "hosts", sql: hosts::SCHEMA },
    Migration { name: "enrollment tokens", sql: tokens::SCHEMA },
    Migration { name: "enrollments", sql: enrollments::SCHEMA },
    Migration { name: "API tokens", sql: api_tokens::SCHEMA },
    Migration { name: "updates", sql: updates::SCHEMA },
    Migration { name: "events", sql: events::SCHEMA },
    Migration { name: "alerts of rules", sql: rule_alerts::SCHEMA },
    Migration { name: "alerts and notifications", sql: alerts::SCHEMA },
    Migration { name: "changes", sql: changes::SCHEMA },
    Migration { name: "packages", sql: packages::SCHEMA },
    Migration { name: "processes", sql: processes::SCHEMA },
    Migration { name: "why an update stays", sql: updates::SCHEMA_STAYS },
    Migration { name: "clocks of hosts", sql: hosts::SCHEMA_CLOCK },
    Migration { name: "what the collector saw happen", sql: occurrences::SCHEMA },
    Migration { name: "runs of the collector", sql: runs::SCHEMA },
    Migration { name: "hosts that are lost", sql: presence::SCHEMA },
    Migration { name: "damage", sql: damage::SCHEMA },
    Migration { name: "checksums of rows", sql: check::SCHEMA },
    Migration { name: "lives of buffers", sql: lives::SCHEMA },
    Migration { name: "what metrics are", sql: metadata::SCHEMA },
    Migration { name: "positions of remote write", sql: remote_positions::SCHEMA },
    Migration { name: "order of lives", sql: lives::SCHEMA_ORDER },
    Migration { name: "how long alerts hold", sql: alerts::SCHEMA_HOLDS },
    Migration { name: "what muted alerts are owed", sql: alerts::SCHEMA_WITHHELD },
    Migration { name: "silences", sql: silences::SCHEMA },
    Migration { name: "acknowledgements", sql: acknowledgements::SCHEMA },
    Migration { name: "since when alerts are heard of", sql: alerts::SCHEMA_HEARD },
    Migration { name: "what was sent to whom", sql: deliveries::SCHEMA },
    Migration { name: "which alerts have acted", sql: alerts::SCHEMA_ACTIONS },
    Migration { name: "runs of actions", sql: action_runs::SCHEMA },
    Migration { name: "what became of alerts", sql: usefulness::SCHEMA },
    Migration { name: "alerts that flap", sql: flapping::SCHEMA },
    Migration { name: "digests", sql: digests::SCHEMA },
    Migration { name: "what charts have learned", sql: charts::SCHEMA },
];

/// Where the steps that were done are written.
const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY)";

/// The version that a database has once every step is done.
pub(super) fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// A database in memory as it is made when only the steps up to a version are known.
pub(super) fn made(version: i64) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    row_sum::register(&connection)?;
    Failing::default().register(&connection)?;
    let step = connection.transaction()?;
    step.execute_batch(VERSIONS)?;
    for (migration, number) in MIGRATIONS.iter().zip(1..=version) {
        take(&step, migration.sql, number)?;
    }
    step.commit()?;
    Ok(connection)
}

/// Brings a database up to date, each step in a transaction of its own.
pub(super) fn run(connection: &mut Connection, path: &Path) -> Result<(), StateError> {
    apply(connection, path, MIGRATIONS)
}

fn apply(
    connection: &mut Connection,
    path: &Path,
    migrations: &[Migration],
) -> Result<(), StateError> {
    let open = |source| StateError::Open { path: path.to_owned(), source };
    connection.execute_batch(VERSIONS).map_err(open)?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    for (migration, version) in migrations.iter().zip(1..) {
        let failed = |source| StateError::Migration { version, name: migration.name, source };
        // Another process may be at the same step; whoever comes second finds it done.
        let step =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(open)?;
        let found = current(&step).map_err(open)?;
        if found > known {
            return Err(StateError::Newer { path: path.to_owned(), found, known });
        }
        if found >= version {
            continue;
        }
        take(&step, migration.sql, version).map_err(failed)?;
        step.commit().map_err(failed)?;
    }
    Ok(())
}

fn take(step: &Transaction<'_>, sql: &str, version: i64) -> rusqlite::Result<()> {
    // A trigger that names a column would keep it from being changed.
    row_sum::remove(step)?;
    step.execute_batch(sql)?;
    step.execute("INSERT INTO schema_version (version) VALUES (?1)", [version])?;
    // From the step on that makes this table, rows have checksums.
    let has_sums = step.table_exists(None, check::COMMITS)?;
    if has_sums { row_sum::install(step) } else { Ok(()) }
}

/// Refuses to go on with a database that a newer program brought up to date meanwhile.
pub(super) fn refuse_newer(transaction: &Transaction<'_>) -> Result<(), StateError> {
    let action = "reading the schema's version";
    let found = current(transaction).map_err(|source| StateError::Statement { action, source })?;
    let path = transaction.path().map(PathBuf::from).unwrap_or_default();
    let known = newest();
    if found > known { Err(StateError::Newer { path, found, known }) } else { Ok(()) }
}

fn current(transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
    let sql = "SELECT COALESCE(MAX(version), 0) FROM schema_version";
    transaction.query_row(sql, [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{FILE_NAME, State};

    fn step(name: &'static str, sql: &'static str) -> Migration {
        Migration { name, sql }
    }

    #[test]
    fn a_database_is_migrated_once_and_opens_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        State::open(&path).unwrap();
        State::open(&path).unwrap();
        let mut connection = Connection::open(&path).unwrap();
        let step = connection.transaction().unwrap();
        assert_eq!(current(&step).unwrap(), i64::try_from(MIGRATIONS.len()).unwrap());
    }

    #[test]
    fn an_old_database_gets_only_the_new_steps() {
        let mut connection = Connection::open_in_memory().unwrap();
        let first = step("first", "CREATE TABLE one (id BIGINT)");
        let second = step("second", "CREATE TABLE two (id BIGINT)");
        apply(&mut connection, Path::new("x"), &[first]).unwrap();
        let first = step("first", "not SQL, and not run again");
        apply(&mut connection, Path::new("x"), &[first, second]).unwrap();
        connection.execute("INSERT INTO two (id) VALUES (1)", []).unwrap();
    }

    #[test]
    fn a_newer_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        State::open(&path).unwrap();
        let connection = Connection::open(&path).unwrap();
        row_sum::register(&connection).unwrap();
        Failing::default().register(&connection).unwrap();
        connection.execute("INSERT INTO schema_version (version) VALUES (999)", []).unwrap();
        let refused = State::open(&path).unwrap_err();
        assert!(matches!(refused, StateError::Newer { found: 999, .. }), "{refused}");
    }

    #[test]
    fn a_step_that_fails_leaves_nothing_behind() {
        let mut connection = Connection::open_in_memory().unwrap();
        let broken = step("broken", "CREATE TABLE one (id BIGINT); CREATE TABLE one (id BIGINT)");
        let error = apply(&mut connection, Path::new("x"), &[broken]).unwrap_err();
        assert!(matches!(error, StateError::Migration { version: 1, .. }), "{error}");
        connection.execute_batch("CREATE TABLE one (id BIGINT)").unwrap();
    }
}
