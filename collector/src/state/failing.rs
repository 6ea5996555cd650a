//! Rows that do not pass their checksum, met while the database is in use: none is served, none is
//! changed, and each is told once.
//!
//! Reads see each table through a view of the same name that leaves such rows out; a temporary one,
//! since its name then goes before the table's. Changes are refused by the triggers of `row_sum`.
//! Both ask the function `row_passes`, which notes here what it turned down.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Transaction};

use super::{State, StateError, check, migrations, row_sum};

/// So many rows are told one by one; where more fail, all of it is looked at anyway.
const TOLD: usize = 1000;

/// A table and the number of a row.
type Place = (String, i64);

/// What was met, shared by the connections of one [`State`].
#[derive(Clone, Debug, Default)]
pub(super) struct Failing(Arc<Mutex<Met>>);

#[derive(Debug, Default)]
struct Met {
    /// Met since the last look, and not yet told.
    new: BTreeSet<Place>,
    /// In the log, and not yet declared.
    undeclared: BTreeSet<Place>,
    /// All that is in the log.
    told: BTreeSet<Place>,
}

impl Failing {
    /// Makes `row_passes(number, row_sum, table, value, ..)` known to a connection.
    pub(super) fn register(&self, connection: &Connection) -> rusqlite::Result<()> {
        let flags = FunctionFlags::SQLITE_UTF8
            | FunctionFlags::SQLITE_DETERMINISTIC
            | FunctionFlags::SQLITE_INNOCUOUS;
        let failing = self.clone();
        connection.create_scalar_function("row_passes", -1, flags, move |row: &Context<'_>| {
            let sum = row_sum::sum((2..row.len()).map(|index| row.get_raw(index)));
            let passes = row.get_raw(1) == ValueRef::Integer(sum);
            if !passes {
                failing.meet((row.get(2)?, row.get(0)?));
            }
            Ok(passes)
        })
    }

    fn meet(&self, place: Place) {
        let mut met = self.met();
        if !met.told.contains(&place) && met.told.len() + met.new.len() < TOLD {
            met.new.insert(place);
        }
    }

    /// Logs what was met, after statements that read.
    pub(super) fn tell(&self, transaction: &Transaction<'_>) -> Result<(), StateError> {
        let new = std::mem::take(&mut self.met().new);
        if new.is_empty() {
            return Ok(());
        }
        // A newer program that changed the tables meanwhile has other sums than the views.
        migrations::refuse_newer(transaction)?;
        self.log(new);
        Ok(())
    }

    /// Logs what was met, after a change that was refused.
    pub(super) fn tell_refused(&self) {
        let new = std::mem::take(&mut self.met().new);
        self.log(new);
    }

    fn log(&self, new: BTreeSet<Place>) {
        for (table, row) in &new {
            tracing::error!(table, row, "a row does not pass its checksum and is not served");
        }
        let mut met = self.met();
        met.undeclared.extend(new.iter().cloned());
        met.told.extend(new);
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a view that verifies before each table of a connection that only reads.
pub(super) fn read_by_views(connection: &Connection) -> rusqlite::Result<()> {
    for table in row_sum::tables(connection)? {
        let columns = row_sum::columns(connection, &table)?.join(", ");
        let passes = row_sum::passes(connection, &table, "")?;
        connection.execute_batch(&format!(
            "CREATE TEMP VIEW {table} AS SELECT {columns} FROM main.{table} WHERE {passes}"
        ))?;
    }
    Ok(())
}

impl State {
    /// Declares rows that were met since the last time and do not pass their checksum.
    ///
    /// # Errors
    /// When the database cannot be written; the next time tries again.
    pub fn declare_failing(&self, now_ms: i64) -> Result<(), StateError> {
        let failing = &self.connections.failing;
        let rows = failing.met().undeclared.clone();
        if rows.is_empty() {
            return Ok(());
        }
        let place = self.connections.path.display().to_string();
        let found = rows.iter().map(|(table, row)| {
            let lost = format!("row {row} of {table} does not pass its checksum");
            check::found(place.clone(), lost, now_ms)
        });
        self.declare_damage(&found.collect::<Vec<_>>())?;
        failing.met().undeclared.retain(|row| !rows.contains(row));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use upkeep_model::HostId;
    use uuid::Uuid;

    use super::*;
    use crate::state::{By, FoundDamage, enrolled_host, lock, temporary};

    /// Changes a host's name on the disk, as damage would: not by way of the triggers.
    fn flip(state: &State, name: &str, to: &str) {
        let writer = lock(&state.connections.writer);
        let sql = "SELECT sql FROM sqlite_schema WHERE name = 'hosts_update_sum'";
        let trigger: String = writer.query_row(sql, [], |row| row.get(0)).unwrap();
        writer.execute_batch("DROP TRIGGER hosts_update_sum").unwrap();
        writer.execute("UPDATE hosts SET instance = ?2 WHERE instance = ?1", [name, to]).unwrap();
        writer.execute_batch(&trigger).unwrap();
    }

    fn lost(state: &State) -> Vec<String> {
        state.damage(9).unwrap().into_iter().map(|FoundDamage { lost, .. }| lost).collect()
    }

    #[test]
    fn a_row_that_changed_on_the_disk_is_neither_served_nor_changed_and_told_once() {
        let (_folder, state) = temporary();
        let [one, two] =
            [(1, "web1"), (2, "web2")].map(|(id, name)| enrolled_host(&state, id, name));
        flip(&state, "web2", "web6");
        let names: Vec<_> = state.hosts().unwrap().into_iter().map(|host| host.instance).collect();
        assert_eq!(names, ["web1"]);
        assert_eq!(state.find_host("web6").unwrap(), None);
        assert_eq!(lost(&state), [""; 0]);
        state.declare_failing(5).unwrap();
        let expect = ["row 2 of hosts does not pass its checksum"];
        assert_eq!(lost(&state), expect);

        let refused = state.record_last_seen(&[(one, 7), (two, 7)]).unwrap_err();
        assert!(refused.to_string().contains("of hosts does not pass its checksum"), "{refused}");
        assert_eq!(state.host(one).unwrap().unwrap().last_seen_ms, None);
        state.record_last_seen(&[(one, 8)]).unwrap();
        assert_eq!(state.host(one).unwrap().unwrap().last_seen_ms, Some(8));
        state.declare_failing(9).unwrap();
        assert_eq!(lost(&state), expect);
    }

    #[test]
    fn a_change_that_meets_it_first_tells_it_too() {
        let (_folder, state) = temporary();
        let host = enrolled_host(&state, 1, "web1");
        flip(&state, "web1", "web3");
        let by = By { actor: "test".into(), at_ms: 1 };
        state.rename_host(host, "web4", &by).unwrap_err();
        let removed =
            state.write("removing", |transaction| transaction.execute("DELETE FROM hosts", []));
        assert!(removed.is_err(), "{removed:?}");
        state.declare_failing(5).unwrap();
        assert_eq!(lost(&state), ["row 1 of hosts does not pass its checksum"]);
    }

    #[test]
    fn tables_of_a_newer_program_are_not_taken_for_damage() {
        let (_folder, state) = temporary();
        let host = enrolled_host(&state, 1, "web1");
        flip(&state, "web1", "web3");
        let newer = "INSERT INTO schema_version (version) VALUES (999)";
        state.write("migrating", |transaction| transaction.execute(newer, [])).unwrap();
        let refused = state.host(host).unwrap_err();
        assert!(matches!(refused, StateError::Newer { found: 999, .. }), "{refused}");
        state.declare_failing(5).unwrap();
        assert_eq!(state.host(HostId(Uuid::nil())).unwrap(), None);
        assert_eq!(lost(&state), [""; 0]);
    }
}
