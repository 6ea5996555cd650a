//! Opening with care: what of the database is not as it was written is found before it is served.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction};

use super::{
    BUSY_TIMEOUT, DamagedPart, FoundDamage, State, StateError, hold, lives, lock, migrations,
    row_sum, salvage, tide,
};

/// The table that counts what was confirmed.
pub(super) const COMMITS: &str = "commits";

pub(super) const SCHEMA: &str = "
CREATE TABLE commits (
    id        BIGINT PRIMARY KEY,
    confirmed BIGINT NOT NULL
);
";

/// What SQLite says of a file that is shorter than its pages.
const SHORT_READ: i32 = 522;

/// What is asked for to find out whether memory is short.
const MEMORY_PROBE_BYTES: usize = 64 * 1024 * 1024;

impl State {
    /// Opens the database as [`State::open`] does, after all of it was read and checked. What does
    /// not pass is set aside, the rest goes on, and what is lost is logged and declared.
    ///
    /// # Errors
    /// As for [`State::open`], and when the files cannot be copied.
    pub fn open_checked(path: &Path, now_ms: i64) -> Result<Self, StateError> {
        super::restrict(path).map_err(|source| StateError::File { path: path.into(), source })?;
        let behind = repair(path, now_ms)?;
        let state = Self::open(path)?;
        if !behind.is_empty() {
            // This writes the count anew, so it is not found again.
            state.declare_damage(&behind)?;
            state.write("forgetting lives", lives::forget)?;
        }
        Ok(state)
    }

    /// Reads and checks all of the database while it is in use, and tells what is not as it was
    /// written, unless the last look told the same. It is set aside at the next start.
    ///
    /// # Errors
    /// When the database cannot be read, or the finding not be written.
    pub fn check(&self, now_ms: i64) -> Result<(), StateError> {
        let path = &self.connections.path;
        let Inspected { faults, .. } = inspect(path)?;
        if faults == *lock(&self.connections.told) {
            return Ok(());
        }
        if !faults.is_empty() {
            let lost =
                format!("it goes on at the next start with what is good: {}", faults.join("; "));
            let found = [found(path.display().to_string(), lost, now_ms)];
            log(&found);
            self.declare_damage(&found)?;
        }
        *lock(&self.connections.told) = faults;
        Ok(())
    }
}

/// A finding about this database.
pub(super) fn found(place: String, lost: String, now_ms: i64) -> FoundDamage {
    FoundDamage {
        part: DamagedPart::State,
        place,
        lost,
        host: None,
        from_ms: None,
        through_ms: None,
        found_at_ms: now_ms,
    }
}

fn log(found: &[FoundDamage]) {
    for FoundDamage { place, lost, .. } in found {
        tracing::error!(place, lost, "the state is damaged");
    }
}

/// Counts a transaction that is about to be committed.
pub(super) fn count_one(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    let sql = "INSERT INTO commits (id, confirmed) VALUES (1, 1)
        ON CONFLICT (id) DO UPDATE SET confirmed = commits.confirmed + 1 RETURNING confirmed";
    let count: i64 = transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Checks a database, and puts what is good of a damaged one in its place. Returns what a database
/// that is good has yet to declare: that changes are missing from its end.
fn repair(path: &Path, now_ms: i64) -> Result<Vec<FoundDamage>, StateError> {
    let file = |source| StateError::File { path: path.to_owned(), source };
    let held = hold::share(path)?;
    // Read first: what another process commits meanwhile makes the database's count the larger one.
    let noted = tide::read(path).unwrap_or(0);
    let Inspected { mut faults, confirmed } = inspect(path)?;
    let missing = noted.saturating_sub(confirmed.unwrap_or(noted));
    if confirmed.is_none() && faults.is_empty() && noted > 0 {
        faults.push(format!("the database is empty, and {noted} changes were made to it"));
    }
    if faults.is_empty() && missing == 0 && !salvage::is_unfinished(path) {
        return Ok(Vec::new());
    }
    drop(held);
    let _alone = hold::alone(path)?;
    if salvage::is_unfinished(path) {
        salvage::finish(path).map_err(file)?;
        return Ok(Vec::new());
    }
    let aside = salvage::set_aside(path).map_err(file)?.display().to_string();
    let gone = format!("the last {missing} changes, at least in part");
    let gone = (missing > 0).then_some(gone);
    let declare = |lost: Vec<String>| {
        let found = lost.into_iter().chain(gone).map(|lost| found(aside.clone(), lost, now_ms));
        let found: Vec<FoundDamage> = found.collect();
        log(&found);
        found
    };
    if faults.is_empty() {
        return Ok(declare(Vec::new()));
    }
    salvage::salvage(path, &faults, declare)?;
    Ok(Vec::new())
}

/// What was seen of a database.
struct Inspected {
    /// What is wrong with it, in words.
    faults: Vec<String>,
    /// How many changes it has; `None` if it counts none.
    confirmed: Option<u64>,
}

/// What is wrong with a database, in words; nothing if it is as it was written.
pub(super) fn faults(path: &Path) -> Result<Vec<String>, StateError> {
    inspect(path).map(|inspected| inspected.faults)
}

/// Reads all of a database and changes nothing, not even by closing it.
fn inspect(path: &Path) -> Result<Inspected, StateError> {
    let looked = Connection::open(path).and_then(|connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        row_sum::register(&connection)?;
        // One snapshot, since others may write meanwhile.
        let snapshot = connection.unchecked_transaction()?;
        look(&snapshot)
    });
    match looked {
        Ok(inspected) => Ok(inspected),
        Err(error) if is_damage(&error) => {
            Ok(Inspected { faults: vec![error.to_string()], confirmed: None })
        }
        Err(source) => Err(StateError::Open { path: path.to_owned(), source }),
    }
}

fn look(connection: &Connection) -> rusqlite::Result<Inspected> {
    let tables = row_sum::tables(connection)?;
    let mut has_sums = false;
    for table in &tables {
        let sql = "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2";
        has_sums |= connection.prepare(sql)?.exists([table.as_str(), row_sum::COLUMN])?;
    }
    // A new database, or one of a version without checksums, which gets them as it is opened.
    if !has_sums {
        return Ok(Inspected { faults: Vec::new(), confirmed: None });
    }
    let mut faults = row_sum::faults(connection)?;
    let sql = "SELECT MAX(version) FROM schema_version";
    let version: Option<i64> = connection.query_row(sql, [], |row| row.get(0))?;
    if version.is_none_or(|version| version <= migrations::newest()) {
        faults.extend(other_schema(connection, version)?);
    }
    let sql = "SELECT confirmed FROM commits";
    let confirmed: Option<i64> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    let confirmed = confirmed.and_then(|count| u64::try_from(count).ok());
    Ok(Inspected { faults, confirmed: Some(confirmed.unwrap_or(0)) })
}

/// What differs between the schema as it is and as it is made.
fn other_schema(connection: &Connection, version: Option<i64>) -> rusqlite::Result<Vec<String>> {
    let found = schema(connection)?;
    let made = made_schema(version)?;
    let differing: BTreeSet<&String> =
        found.symmetric_difference(&made).map(|(_, name, _)| name).collect();
    Ok(differing.into_iter().map(|name| format!("the definition of {name} is another")).collect())
}

/// The schema as it is made; the newest is wanted again and again, and made once.
fn made_schema(version: Option<i64>) -> rusqlite::Result<Definitions> {
    static NEWEST: OnceLock<Definitions> = OnceLock::new();
    if let Some(known) = NEWEST.get().filter(|_| version == Some(migrations::newest())) {
        return Ok(known.clone());
    }
    let made = schema(&migrations::made(version.unwrap_or(i64::MAX))?)?;
    if version == Some(migrations::newest()) {
        // Somebody else may have been first, with the same.
        let _ = NEWEST.set(made.clone());
    }
    Ok(made)
}

type Definitions = BTreeSet<(String, String, Option<String>)>;

fn schema(connection: &Connection) -> rusqlite::Result<Definitions> {
    let sql = "SELECT type, name || ' on ' || tbl_name, sql FROM sqlite_schema";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    connection.prepare(sql)?.query_map([], row)?.collect()
}

/// Whether an error is of the file's content, and not of the system's mood.
fn is_damage(error: &rusqlite::Error) -> bool {
    let Some(failure) = error.sqlite_error() else { return true };
    match failure.code {
        ErrorCode::SystemIoFailure => failure.extended_code == SHORT_READ,
        // It also says so when a damaged length asks for more than it may have.
        ErrorCode::OutOfMemory => has_memory(),
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::CannotOpen
        | ErrorCode::PermissionDenied
        | ErrorCode::ReadOnly
        | ErrorCode::DiskFull
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::NoLargeFileSupport
        | ErrorCode::OperationInterrupted => false,
        _ => true,
    }
}

/// Whether so much memory can be had as nothing in a sound database needs at once.
fn has_memory() -> bool {
    let mut probe: Vec<u8> = Vec::new();
    let had = probe.try_reserve_exact(MEMORY_PROBE_BYTES).is_ok();
    std::hint::black_box(probe);
    had
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn errors_of_the_content_are_told_from_those_of_the_system() {
        let check = |code: i32, expect: bool| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(is_damage(&error), expect, "{error}");
        };
        check(ffi::SQLITE_CORRUPT, true);
        check(ffi::SQLITE_NOTADB, true);
        check(ffi::SQLITE_IOERR_SHORT_READ, true);
        // There is memory, so it was asked for more than any sound database needs.
        check(ffi::SQLITE_NOMEM, true);
        check(ffi::SQLITE_IOERR_READ, false);
        check(ffi::SQLITE_FULL, false);
        check(ffi::SQLITE_BUSY, false);
    }
}
