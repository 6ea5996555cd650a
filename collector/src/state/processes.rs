//! The heaviest processes of the hosts, as each last reported them.

use rusqlite::{OptionalExtension, Transaction, params};
use upkeep_model::{HostId, ProcessReport};

use super::{State, StateError, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE processes (
    host   TEXT PRIMARY KEY REFERENCES hosts (id),
    report TEXT NOT NULL
);
";

impl State {
    /// What a host last said of its heaviest processes; `None` if it never did.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn processes(&self, host: HostId) -> Result<Option<ProcessReport>, StateError> {
        self.read("reading a host's processes", |transaction| {
            let sql = "SELECT report FROM processes WHERE host = ?1";
            transaction
                .prepare_cached(sql)?
                .query_row([host.to_string()], |row| column::json(row, "report"))
                .optional()
        })
    }
}

/// Takes a report in the place of the one before.
pub(super) fn apply(
    transaction: &Transaction<'_>,
    host: HostId,
    report: &ProcessReport,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO processes (host, report) VALUES (?1, ?2)
        ON CONFLICT (host) DO UPDATE SET report = excluded.report";
    let values = params![host.to_string(), column::to_json(report)?];
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{enrolled_host, temporary};

    #[test]
    fn the_last_report_counts() {
        let (_folder, state) = temporary();
        let host = enrolled_host(&state, 1, "web1");
        assert_eq!(state.processes(host).unwrap(), None);
        for at_ms in [5, 9] {
            let report = ProcessReport { at_ms, ..ProcessReport::default() };
            state.write("telling", |transaction| apply(transaction, host, &report)).unwrap();
        }
        assert_eq!(state.processes(host).unwrap().unwrap().at_ms, 9);
    }
}
