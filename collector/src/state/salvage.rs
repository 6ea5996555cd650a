//! What becomes of a damaged database: it is copied into quarantine as it was found, and a new one
//! takes its place with every row that passes its checksum.
//!
//! Rows are reached in three ways, since a page that cannot be read ends a walk: through the table
//! from its first row, from its last, and one by one as an index names them. What can be told from
//! an index and is reached in no way is counted as lost. Fields of the file's header that are always
//! the same are set right first: one flipped bit there would make all the rest unreadable.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OpenFlags, Row, Transaction, params_from_iter};

use super::{FoundDamage, State, StateError, lives, lock, row_sum, tide};

/// Beside the data: what was found damaged, never read again.
const QUARANTINE: &str = "quarantine";

/// Folders beside the data in which the new database is made: as long as it is not whole, and then.
const DRAFT: &str = ".salvage";
const DONE: &str = ".salvaged";

/// The new database in them.
const FRESH: &str = "state.db";

/// What SQLite keeps beside a database.
const LOG: &str = "-wal";
const LOG_INDEX: &str = "-shm";

/// The fields of the header that every database of this program has: offset and bytes. Magic and
/// page size, write-ahead mode, payload fractions; no free list; schema format; no largest root page;
/// UTF-8; no vacuum.
const HEADER: [(u64, &[u8]); 6] = [
    (0, b"SQLite format 3\0\x10\x00"),
    (18, &[2, 2, 0, 64, 32, 32]),
    (32, &[0; 8]),
    (44, &[0, 0, 0, 4]),
    (52, &[0, 0, 0, 0, 0, 0, 0, 1]),
    (64, &[0, 0, 0, 0]),
];

/// Of the file's header: all of it, the counted change, the count of pages, and the change with which
/// that was written.
const HEADER_BYTES: u64 = 100;
const CHANGE: u64 = 24;
const PAGES: u64 = 28;
const PAGES_SINCE_CHANGE: u64 = 92;

/// What SQLite takes for a page unless told otherwise.
const PAGE_BYTES: u64 = 4096;

/// Puts the rows that verify in the place of a damaged database, which the caller has alone. The new
/// one declares what is lost. A salvage that is cut off begins anew at the next start, or, once
/// all is written, is finished then.
pub(super) fn salvage(
    path: &Path,
    faults: &[String],
    declare: impl FnOnce(Vec<String>) -> Vec<FoundDamage>,
) -> Result<(), StateError> {
    let failed = |source| StateError::File { path: path.to_owned(), source };
    let work = companion(path, DRAFT);
    remove_folder(&work).and_then(|()| fs::create_dir(&work)).map_err(failed)?;
    let (damaged, fresh) = (work.join("damaged.db"), work.join(FRESH));
    copy(path, &damaged).and_then(|()| mend_header(&damaged)).map_err(failed)?;
    let state = State::open(&fresh)?;
    let mut lost = vec![format!("set aside: {}", faults.join("; "))];
    lost.extend(fill(&state, &damaged, path)?);
    state.declare_damage(&declare(lost))?;
    empty_log(&state)?;
    drop(state);
    // From here on the new database counts.
    File::open(&fresh)
        .and_then(|file| file.sync_all())
        .and_then(|()| File::open(&work)?.sync_all())
        .and_then(|()| fs::rename(&work, companion(path, DONE)))
        .and_then(|()| sync_folder(path))
        .and_then(|()| finish(path))
        .map_err(failed)
}

/// Whether a salvage was cut off after all was written.
pub(super) fn is_unfinished(path: &Path) -> bool {
    companion(path, DONE).exists()
}

/// Finishes a salvage of which all is written.
pub(super) fn finish(path: &Path) -> io::Result<()> {
    let done = companion(path, DONE);
    let fresh = done.join(FRESH);
    if fresh.exists() {
        // A log that stayed would be applied to the new database.
        for kept in [LOG, LOG_INDEX] {
            remove_one(&companion(path, kept))?;
        }
        remove_one(&tide::path(path))?;
        sync_folder(path)?;
        fs::rename(&fresh, path)?;
        sync_folder(path)?;
    }
    remove_folder(&done)
}

/// Copies the database and its log into quarantine, under a name that no earlier one has.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let folder = path.with_file_name(QUARANTINE);
    fs::create_dir_all(&folder)?;
    // A copy that is cut off is written over by the next one.
    let draft = folder.join("state.draft.db");
    remove(&draft)?;
    copy(path, &draft)?;
    let name = |number: u32| folder.join(format!("state.{number}.db"));
    let target = (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0));
    if companion(&draft, LOG).exists() {
        fs::rename(companion(&draft, LOG), companion(&target, LOG))?;
    }
    if draft.exists() {
        fs::rename(&draft, &target)?;
    }
    File::open(&folder)?.sync_all()?;
    sync_folder(path)?;
    Ok(target)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for suffix in [LOG, ""] {
        let (from, to) = (companion(from, suffix), companion(to, suffix));
        match fs::copy(from, &to) {
            Ok(_) => File::open(&to)?.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn mend_header(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    if length < HEADER_BYTES {
        return Ok(());
    }
    for (offset, bytes) in HEADER {
        file.write_all_at(bytes, offset)?;
    }
    // The count of pages holds only if it was written with the change that is counted beside it.
    let pages = u32::try_from(length / PAGE_BYTES).unwrap_or(u32::MAX);
    let mut change = [0; 4];
    file.read_exact_at(&mut change, CHANGE)?;
    file.write_all_at(&pages.to_be_bytes(), PAGES)?;
    file.write_all_at(&change, PAGES_SINCE_CHANGE)
}

/// Takes every row that verifies into the new database; says what is lost.
fn fill(state: &State, damaged: &Path, path: &Path) -> Result<Vec<String>, StateError> {
    let action = "salvaging";
    let failed = |source| StateError::Statement { action, source };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let old = match Connection::open_with_flags(damaged, flags).and_then(readable) {
        Ok(old) => old,
        Err(error) => return Ok(vec![format!("everything in {}: {error}", path.display())]),
    };
    let mut lost = Vec::new();
    let mut new = lock(&state.connections.writer);
    new.pragma_update(None, "foreign_keys", false).map_err(failed)?;
    let transaction = new.transaction().map_err(failed)?;
    for table in row_sum::tables(&transaction).map_err(failed)? {
        if table != "schema_version" {
            let columns = row_sum::columns(&transaction, &table).map_err(failed)?;
            lost.extend(fill_table(&transaction, &old, &table, &columns).map_err(failed)?);
        }
    }
    lost.extend(remove_orphans(&transaction).map_err(failed)?);
    // What is missing of a host's packages it sends again, as it would not if it were told a state.
    let sql = "UPDATE package_states SET hash = ''";
    transaction.execute(sql, []).map_err(failed)?;
    lives::forget(&transaction).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(lost)
}

/// Brings everything into the database itself, which is moved without its log.
fn empty_log(state: &State) -> Result<(), StateError> {
    let action = "emptying the log";
    let failed = |source| StateError::Statement { action, source };
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy: i64 =
        lock(&state.connections.writer).query_row(sql, [], |row| row.get(0)).map_err(failed)?;
    let is_busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
    if busy == 0 { Ok(()) } else { Err(failed(rusqlite::Error::SqliteFailure(is_busy, None))) }
}

fn readable(old: Connection) -> rusqlite::Result<Connection> {
    old.pragma_update(None, "cell_size_check", true)?;
    old.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(old)
}

fn fill_table(
    new: &Transaction<'_>,
    old: &Connection,
    table: &str,
    columns: &[String],
) -> rusqlite::Result<Option<String>> {
    let mut taking = Taking { table, columns, new, seen: HashSet::new(), wrong: 0, double: 0 };
    let mut is_whole = taking.walk(old, "ORDER BY rowid", &[])?;
    if !is_whole {
        taking.walk(old, "ORDER BY rowid DESC", &[])?;
    }
    let mut missing = 0;
    match named_by_index(old, table) {
        Ok(rows) => {
            for row in rows.into_iter().filter(|row| !taking.seen.contains(row)).collect::<Vec<_>>()
            {
                taking.walk(old, "WHERE rowid = ?1", &[row])?;
                missing += u64::from(!taking.seen.contains(&row));
            }
        }
        Err(_) => is_whole = false,
    }
    let mut parts = Vec::new();
    let mut part = |count: u64, what: &str| {
        if count > 0 {
            parts.push(format!("{count} rows {what}"));
        }
    };
    part(taking.wrong, "that do not pass their checksum");
    part(taking.double, "of which there is another");
    part(missing, "that only an index names");
    if !is_whole && missing == 0 {
        parts.push("rows on pages that cannot be read".to_owned());
    }
    Ok((!parts.is_empty()).then(|| format!("of {table}: {}", parts.join(", "))))
}

/// The rows that the table's index over its key names.
fn named_by_index(old: &Connection, table: &str) -> rusqlite::Result<Vec<i64>> {
    let sql = format!("SELECT rowid FROM {table} INDEXED BY sqlite_autoindex_{table}_1");
    old.prepare(&sql)?.query_map([], |row| row.get(0))?.collect()
}

/// Rows of one table on their way into the new database.
struct Taking<'a> {
    table: &'a str,
    columns: &'a [String],
    new: &'a Transaction<'a>,
    seen: HashSet<i64>,
    wrong: u64,
    double: u64,
}

impl Taking<'_> {
    /// Takes rows as far as they can be read; says whether that was to the end.
    fn walk(&mut self, old: &Connection, way: &str, row: &[i64]) -> rusqlite::Result<bool> {
        let (table, columns) = (self.table, self.columns.join(", "));
        let sql =
            format!("SELECT {}, rowid, {columns} FROM {table} NOT INDEXED {way}", row_sum::COLUMN);
        let Ok(mut reading) = old.prepare(&sql) else { return Ok(false) };
        let Ok(mut rows) = reading.query(params_from_iter(row)) else { return Ok(false) };
        loop {
            match rows.next() {
                Ok(Some(row)) => self.take(row)?,
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }

    fn take(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let Ok(number) = row.get::<_, i64>(1) else { return Ok(()) };
        if !self.seen.insert(number) {
            return Ok(());
        }
        let places = 2..self.columns.len() + 2;
        let values: Vec<ValueRef<'_>> =
            places.map(|place| row.get_ref(place)).collect::<Result<_, _>>()?;
        let name = ValueRef::Text(self.table.as_bytes());
        let sum = row_sum::sum(std::iter::once(name).chain(values.iter().copied()));
        let values: Result<Vec<Value>, _> = values.into_iter().map(Value::try_from).collect();
        let (Ok(values), true) = (values, row.get_ref(0)? == ValueRef::Integer(sum)) else {
            self.wrong += 1;
            return Ok(());
        };
        let marks = vec!["?"; values.len()].join(", ");
        let (table, columns) = (self.table, self.columns.join(", "));
        let sql = format!("INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})");
        let taken = self.new.prepare_cached(&sql)?.execute(params_from_iter(values))?;
        self.double += u64::from(taken == 0);
        Ok(())
    }
}

/// Removes rows of hosts and tokens that are lost, until there are none.
fn remove_orphans(new: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let mut lost = Vec::new();
    loop {
        let mut check = new.prepare("PRAGMA foreign_key_check")?;
        let orphans = check.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
        let orphans: Vec<(String, i64)> = orphans.collect::<Result<_, _>>()?;
        if orphans.is_empty() {
            return Ok(lost);
        }
        for (table, row) in &orphans {
            new.execute(&format!("DELETE FROM {table} WHERE rowid = ?1"), [row])?;
        }
        let tables: HashSet<&str> = orphans.iter().map(|(table, _)| table.as_str()).collect();
        for table in tables {
            let count = orphans.iter().filter(|(of, _)| of == table).count();
            lost.push(format!("of {table}: {count} rows of a host or token that is lost"));
        }
    }
}

fn companion(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Removes a database with what SQLite keeps beside it.
fn remove(path: &Path) -> io::Result<()> {
    ["", LOG, LOG_INDEX].iter().try_for_each(|suffix| remove_one(&companion(path, suffix)))
}

fn remove_one(path: &Path) -> io::Result<()> {
    fs::remove_file(path).or_else(absent)
}

fn remove_folder(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path).or_else(absent)
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
