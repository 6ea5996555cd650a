//! Checksums of rows. SQLite's pages carry none, so a bit that flips within a text would be served.
//!
//! Every table has a column `row_sum` beside its own: the CRC-32 of the table's name and of all the
//! other values, each with its type and length. Triggers set it after each insert and update, by a
//! function that every connection registers; so a row cannot be written without its sum, and whoever
//! writes by another program is refused. Others refuse to change or remove a row that does not pass, or
//! its new sum would vouch for what is damaged. What SQLite itself can check of pages it
//! checks by `quick_check`; indices are held against their tables by sums over both.

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Transaction};

/// The column.
pub(super) const COLUMN: &str = "row_sum";

/// So many faults of pages and indices are named.
const FAULTS_NAMED: u32 = 20;

/// Makes the function known that gives rows their sums.
pub(super) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("row_checksum", -1, flags, |context: &Context<'_>| {
        Ok(sum((0..context.len()).map(|index| context.get_raw(index))))
    })
}

/// The sum of a row: of its table's name and then its values.
pub(super) fn sum<'a>(values: impl Iterator<Item = ValueRef<'a>>) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    for value in values {
        let mut part = |kind: u8, bytes: &[u8]| {
            hasher.update(&[kind]);
            hasher.update(&bytes.len().to_le_bytes());
            hasher.update(bytes);
        };
        match value {
            ValueRef::Null => part(0, &[]),
            ValueRef::Integer(number) => part(1, &number.to_le_bytes()),
            ValueRef::Real(number) => part(2, &number.to_bits().to_le_bytes()),
            ValueRef::Text(bytes) => part(3, bytes),
            ValueRef::Blob(bytes) => part(4, bytes),
        }
    }
    i64::from(hasher.finalize())
}

/// Takes the triggers away, so that tables can change.
pub(super) fn remove(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'trigger'";
    let mut reading = transaction.prepare(sql)?;
    let found = reading.query_map([], |row| row.get::<_, String>(0))?;
    let triggers: Vec<String> = found.collect::<Result<_, _>>()?;
    triggers.iter().try_for_each(|name| transaction.execute_batch(&format!("DROP TRIGGER {name}")))
}

/// Gives every table the column and the triggers, and every row its sum.
pub(super) fn install(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let tables = tables(transaction)?;
    for table in &tables {
        let has_column = transaction
            .prepare("SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2")?
            .exists([table.as_str(), COLUMN])?;
        if !has_column {
            let sql = format!("ALTER TABLE {table} ADD COLUMN {COLUMN} BIGINT");
            transaction.execute_batch(&sql)?;
        }
    }
    for table in &tables {
        let set = format!("UPDATE {table} SET {COLUMN} = {}", expression(transaction, table)?);
        let passes = passes(transaction, table, "OLD.")?;
        let refuse =
            format!("SELECT RAISE(ABORT, 'a row of {table} does not pass its checksum'); END");
        // Those of updates rest when the sum changes: then it is another trigger that sets it.
        transaction.execute_batch(&format!(
            "{set};
            CREATE TRIGGER {table}_insert_sum AFTER INSERT ON {table}
            BEGIN {set} WHERE rowid = NEW.rowid; END;
            CREATE TRIGGER {table}_update_sum AFTER UPDATE ON {table}
            WHEN NEW.{COLUMN} IS OLD.{COLUMN}
            BEGIN {set} WHERE rowid = NEW.rowid; END;
            CREATE TRIGGER {table}_update_guard BEFORE UPDATE ON {table}
            WHEN CASE WHEN NEW.{COLUMN} IS OLD.{COLUMN} THEN NOT {passes} ELSE 0 END
            BEGIN {refuse};
            CREATE TRIGGER {table}_delete_guard BEFORE DELETE ON {table}
            WHEN NOT {passes} BEGIN {refuse};"
        ))?;
    }
    Ok(())
}

/// What is wrong with a database, in words; nothing if it is as it was written.
pub(super) fn faults(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = connection.prepare(&format!("PRAGMA quick_check({FAULTS_NAMED})"))?;
    let found = check.query_map([], |row| row.get::<_, String>(0))?;
    let mut faults: Vec<String> = found.collect::<Result<_, _>>()?;
    faults.retain(|fault| fault != "ok");
    for table in tables(connection)? {
        let sum = expression(connection, &table)?;
        let sql = format!("SELECT COUNT(*) FROM {table} NOT INDEXED WHERE {COLUMN} IS NOT {sum}");
        let wrong: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        if wrong > 0 {
            faults.push(format!("{wrong} rows of {table} do not pass their checksum"));
        }
        for index in indices(connection, &table)? {
            if !index_agrees(connection, &table, &index)? {
                faults.push(format!("the index {index} does not agree with {table}"));
            }
        }
    }
    Ok(faults)
}

/// Whether an index has an entry for each row of its table, with the row's values, and no other. SQLite's
/// `integrity_check` looks each one up, which takes a big database beyond the time of a start; sums
/// over both, each read from its first page to its last, take a fraction of that.
fn index_agrees(connection: &Connection, table: &str, index: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT name FROM pragma_index_info(?1) ORDER BY seqno";
    let mut reading = connection.prepare(sql)?;
    let columns = reading.query_map([index], |row| row.get::<_, String>(0))?;
    let columns = columns.collect::<Result<Vec<_>, _>>()?.join(", ");
    let sum = |way: &str| {
        let sql =
            format!("SELECT COUNT(*), SUM(row_checksum(rowid, {columns})) FROM {table} {way}");
        let pair = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?));
        connection.query_row(&sql, [], pair)
    };
    Ok(sum(&format!("INDEXED BY {index}"))? == sum("NOT INDEXED")?)
}

fn indices(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_index_list(?1) ORDER BY name";
    connection.prepare(sql)?.query_map([table], |row| row.get(0))?.collect()
}

/// The tables, in the order in which they were made.
pub(super) fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_schema
        WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY rowid";
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// A table's columns beside the sum.
pub(super) fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_info(?1) WHERE name <> ?2 ORDER BY cid";
    connection.prepare(sql)?.query_map([table, COLUMN], |row| row.get(0))?.collect()
}

/// The call that asks whether a row passes, by names of columns that begin with something.
pub(super) fn passes(connection: &Connection, table: &str, row: &str) -> rusqlite::Result<String> {
    let columns = columns(connection, table)?;
    let columns: Vec<String> = columns.into_iter().map(|column| format!("{row}{column}")).collect();
    let columns = columns.join(", ");
    Ok(format!("row_passes({row}rowid, {row}{COLUMN}, '{table}', {columns})"))
}

fn expression(connection: &Connection, table: &str) -> rusqlite::Result<String> {
    Ok(format!("row_checksum('{table}', {})", columns(connection, table)?.join(", ")))
}
