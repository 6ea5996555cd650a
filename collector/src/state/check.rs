//! Opening with care: what of the database is not as it was written is found before it is served.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction};

use super::salvage::Salvaged;
use super::{
    BUSY_TIMEOUT, DamagedPart, FoundDamage, State, StateError, migrations, row_sum, salvage, tide,
};

pub(super) const SCHEMA: &str = "
CREATE TABLE commits (
    id        BIGINT PRIMARY KEY,
    confirmed BIGINT NOT NULL
);
";

/// What SQLite says of a file that is shorter than its pages.
const SHORT_READ: i32 = 522;

impl State {
    /// Opens the database as [`State::open`] does, after all of it was read and checked. What does
    /// not pass is set aside, the rest goes on, and what is lost is logged and declared.
    ///
    /// # Errors
    /// As for [`State::open`], and when the files cannot be copied.
    pub fn open_checked(path: &Path, now_ms: i64) -> Result<Self, StateError> {
        super::restrict(path).map_err(|source| StateError::File { path: path.into(), source })?;
        let Salvaged { aside, lost } = repair(path)?;
        let state = Self::open(path)?;
        let place = aside.display().to_string();
        let found = lost.into_iter().map(|lost| found(place.clone(), lost, now_ms));
        let found: Vec<FoundDamage> = found.collect();
        if !found.is_empty() {
            // From here on the count begins where the database has it.
            fs::remove_file(tide::path(path))
                .or_else(absent)
                .map_err(|source| StateError::File { path: tide::path(path), source })?;
            state.declare_damage(&found)?;
        }
        for FoundDamage { place, lost, .. } in &found {
            tracing::error!(place, lost, "the state is damaged");
        }
        Ok(state)
    }

    /// Reads and checks all of the database while it is in use, and declares what is not as it was
    /// written; it is set aside at the next start.
    ///
    /// # Errors
    /// When the database cannot be read, or the finding not be written.
    pub fn check(&self, now_ms: i64) -> Result<(), StateError> {
        let path = &self.connections.path;
        let Inspected { faults, .. } = inspect(path)?;
        if faults.is_empty() {
            return Ok(());
        }
        let lost = format!("it goes on at the next start with what is good: {}", faults.join("; "));
        let found = found(path.display().to_string(), lost, now_ms);
        tracing::error!(place = found.place, lost = found.lost, "the state is damaged");
        self.declare_damage(&[found])
    }
}

fn found(place: String, lost: String, now_ms: i64) -> FoundDamage {
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

fn absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Counts a transaction that is about to be committed.
pub(super) fn count_one(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    let sql = "INSERT INTO commits (id, confirmed) VALUES (1, 1)
        ON CONFLICT (id) DO UPDATE SET confirmed = commits.confirmed + 1 RETURNING confirmed";
    let count: i64 = transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Checks a database, and salvages it if it is damaged.
fn repair(path: &Path) -> Result<Salvaged, StateError> {
    // Read first: what another process commits meanwhile makes the database's count the larger one.
    let noted = tide::read(path).unwrap_or(0);
    let Inspected { mut faults, confirmed } = inspect(path)?;
    let missing = confirmed.map(|confirmed| noted.saturating_sub(confirmed));
    let missing = missing.filter(|missing| *missing > 0);
    let gone = missing.map(|missing| format!("the last {missing} changes, at least in part"));
    if confirmed.is_none() && faults.is_empty() && noted > 0 {
        faults.push(format!("the database is empty, and {noted} changes were made to it"));
    }
    let mut salvaged = if !faults.is_empty() {
        salvage::salvage(path, &faults)?
    } else if gone.is_some() {
        let aside = salvage::set_aside(path);
        let aside = aside.map_err(|source| StateError::File { path: path.into(), source })?;
        Salvaged { aside, lost: Vec::new() }
    } else {
        return Ok(Salvaged { aside: path.to_owned(), lost: Vec::new() });
    };
    salvaged.lost.extend(gone);
    Ok(salvaged)
}

/// What was seen of a database.
struct Inspected {
    /// What is wrong with it, in words.
    faults: Vec<String>,
    /// How many changes it has; `None` if it counts none.
    confirmed: Option<u64>,
}

/// Reads all of a database and changes nothing, not even by closing it.
fn inspect(path: &Path) -> Result<Inspected, StateError> {
    let looked = Connection::open(path).and_then(|connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        row_sum::register(&connection)?;
        look(&connection)
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
    let made = schema(&migrations::made(version.unwrap_or(i64::MAX))?)?;
    let differing: BTreeSet<&String> =
        found.symmetric_difference(&made).map(|(_, name, _)| name).collect();
    Ok(differing.into_iter().map(|name| format!("the definition of {name} is another")).collect())
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
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::CannotOpen
        | ErrorCode::PermissionDenied
        | ErrorCode::ReadOnly
        | ErrorCode::DiskFull
        | ErrorCode::OutOfMemory
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::NoLargeFileSupport
        | ErrorCode::OperationInterrupted => false,
        _ => true,
    }
}
