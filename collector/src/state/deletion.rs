//! Deletion of a host: every row that is about it goes, but those of the audit log. Its charts are found
//! by its name: others than hosts have some, too.

use rusqlite::{Transaction, params};
use upkeep_model::HostId;

use super::audit::{self, Action, By, Outcome};
use super::{HostChange, State, StateError, charts, hosts, row_sum};

impl State {
    /// How many rows of each table are about a host; tables without any are left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn rows_of_host(&self, id: HostId) -> Result<Vec<(String, u64)>, StateError> {
        self.read("counting the rows of a host", |transaction| {
            let mut counts = Vec::new();
            for table in tables_about_hosts(transaction)? {
                let sql = format!("SELECT COUNT(*) FROM {table} WHERE host = ?1");
                let count: i64 = transaction.query_row(&sql, [id.to_string()], |row| row.get(0))?;
                counts.push((table, count.unsigned_abs()));
            }
            if let Some(host) = hosts::by_id(transaction, id)? {
                counts.push(("charts".to_owned(), charts::count_of(transaction, &host.instance)?));
            }
            counts.retain(|(_, count)| *count > 0);
            Ok(counts)
        })
    }

    /// Deletes a host and all that is known of it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn delete_host(&self, id: HostId, by: &By) -> Result<HostChange, StateError> {
        self.write("deleting a host", |transaction| {
            let Some(host) = hosts::by_id(transaction, id)? else {
                return Ok(HostChange::NoSuchHost);
            };
            for table in tables_about_hosts(transaction)? {
                let sql = format!("DELETE FROM {table} WHERE host = ?1");
                transaction.execute(&sql, [id.to_string()])?;
            }
            charts::forget_of(transaction, &host.instance)?;
            transaction.execute("DELETE FROM hosts WHERE id = ?1", params![id.to_string()])?;
            let subject = id.to_string();
            let (action, outcome) = (Action::HostDelete, Outcome::Done);
            audit::write(transaction, by, action, &subject, outcome, &host.instance)?;
            Ok(HostChange::Done)
        })
    }
}

/// The tables with a column `host`, the youngest first: none refers to a younger one.
fn tables_about_hosts(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let mut about_hosts = Vec::new();
    for table in row_sum::tables(transaction)? {
        if row_sum::columns(transaction, &table)?.iter().any(|column| column == "host") {
            about_hosts.push(table);
        }
    }
    about_hosts.reverse();
    Ok(about_hosts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{KeptChart, enrolled_host, numbered_event, temporary};
    use upkeep_model::{Epoch, Life, StreamKey};

    fn chart(signal: &str, instance: &str) -> KeptChart {
        let (signal, instance) = (signal.to_owned(), instance.to_owned());
        KeptChart { signal, instance, through_ms: 1, memory: "{}".to_owned(), slots: Vec::new() }
    }

    #[test]
    fn nothing_of_a_deleted_host_is_left_but_the_audit_log() {
        let (_folder, state) = temporary();
        let hosts = [1, 2].map(|id| enrolled_host(&state, id, &format!("web{id}")));
        for host in hosts {
            let stream = StreamKey { host, epoch: Epoch([1; 16]) };
            state.accept_life(stream, Life([3; 16])).unwrap();
            let events: Vec<_> =
                (1..=10).map(|number| numbered_event(number, "text".to_owned())).collect();
            state.commit_events(stream, &events, 5).unwrap();
            let name = state.host(host).unwrap().unwrap().instance;
            state.keep_charts(&["swap_in", "load"].map(|signal| chart(signal, &name))).unwrap();
        }
        let [gone, stays] = hosts;
        let before = state.rows_of_host(stays).unwrap();
        assert!(before.len() >= 4, "{before:?}");
        assert_eq!(state.rows_of_host(gone).unwrap(), before);
        let by = By { actor: "command-line:root".into(), at_ms: 9 };
        assert_eq!(state.delete_host(gone, &by).unwrap(), HostChange::Done);
        assert_eq!(state.delete_host(gone, &by).unwrap(), HostChange::NoSuchHost);
        assert_eq!(state.rows_of_host(gone).unwrap(), []);
        assert_eq!(state.rows_of_host(stays).unwrap(), before);
        let charts = state.charts().unwrap().into_iter().map(|chart| chart.instance);
        assert_eq!(charts.collect::<Vec<_>>(), ["web2", "web2"]);
        let names: Vec<_> = state.hosts().unwrap().into_iter().map(|host| host.instance).collect();
        assert_eq!(names, ["web2"]);
        let audited = state.audit(None, 9).unwrap();
        let entry = audited.first().unwrap();
        assert_eq!((entry.action.as_str(), entry.detail.as_str()), ("host-delete", "web1"));
        state.check(10).unwrap();
        assert_eq!(state.damage(9).unwrap(), []);
        // The name is free again.
        enrolled_host(&state, 3, "web1");
    }
}
