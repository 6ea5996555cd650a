//! What control charts have learned. Samples are kept for some weeks at most, and often for less than
//! it takes to know the hours of a week.

use data_encoding::BASE64;
use rusqlite::{Row, Transaction, params};

use super::{State, StateError, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE charts (
    signal   TEXT NOT NULL,
    instance TEXT NOT NULL,
    through  BIGINT NOT NULL,
    memory   TEXT NOT NULL,
    slots    TEXT NOT NULL,
    PRIMARY KEY (signal, instance)
);
";

/// One chart as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptChart {
    /// The signal.
    pub signal: String,
    /// The host.
    pub instance: String,
    /// What was measured until then was looked at, in milliseconds since 1970.
    pub through_ms: i64,
    /// What it remembers beside the hours of the week, as JSON.
    pub memory: String,
    /// What it knows of the hours of the week.
    pub slots: Vec<u8>,
}

impl State {
    /// Every chart that is kept.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn charts(&self) -> Result<Vec<KeptChart>, StateError> {
        self.read("reading charts", |transaction| {
            let sql = "SELECT * FROM charts ORDER BY signal, instance";
            transaction.prepare_cached(sql)?.query_map([], chart)?.collect()
        })
    }

    /// Keeps charts in the place of what was kept of them.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn keep_charts(&self, charts: &[KeptChart]) -> Result<(), StateError> {
        self.write("keeping charts", |transaction| {
            let sql = "INSERT INTO charts (signal, instance, through, memory, slots)
                VALUES (?1, ?2, ?3, ?4, ?5)
                ON CONFLICT (signal, instance) DO UPDATE SET through = excluded.through,
                memory = excluded.memory, slots = excluded.slots";
            let mut keep = transaction.prepare_cached(sql)?;
            charts.iter().try_for_each(|chart| {
                let KeptChart { signal, instance, through_ms, memory, slots } = chart;
                let slots = BASE64.encode(slots);
                keep.execute(params![signal, instance, through_ms, memory, slots]).map(drop)
            })
        })
    }

    /// Forgets charts, each by its signal and host.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_charts(&self, charts: &[(String, String)]) -> Result<(), StateError> {
        self.write("forgetting charts", |transaction| {
            let sql = "DELETE FROM charts WHERE signal = ?1 AND instance = ?2";
            let mut forget = transaction.prepare_cached(sql)?;
            let mut one = |(signal, instance): &(String, String)| {
                forget.execute([signal, instance]).map(drop)
            };
            charts.iter().try_for_each(&mut one)
        })
    }
}

/// How many charts there are of a host.
pub(super) fn count_of(transaction: &Transaction<'_>, instance: &str) -> rusqlite::Result<u64> {
    let sql = "SELECT COUNT(*) FROM charts WHERE instance = ?1";
    let count: i64 = transaction.query_row(sql, [instance], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Forgets every chart of a host.
pub(super) fn forget_of(transaction: &Transaction<'_>, instance: &str) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM charts WHERE instance = ?1", [instance]).map(drop)
}

fn chart(row: &Row<'_>) -> rusqlite::Result<KeptChart> {
    let slots: String = row.get("slots")?;
    Ok(KeptChart {
        signal: row.get("signal")?,
        instance: row.get("instance")?,
        through_ms: row.get("through")?,
        memory: row.get("memory")?,
        slots: BASE64.decode(slots.as_bytes()).map_err(|error| column::broken("slots", error))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::temporary;

    #[test]
    fn charts_are_kept_replaced_and_forgotten() {
        let (_folder, state) = temporary();
        let chart = |signal: &str, through_ms| KeptChart {
            signal: signal.to_owned(),
            instance: "web1".to_owned(),
            through_ms,
            memory: "{}".to_owned(),
            slots: vec![0, 255, 7],
        };
        state.keep_charts(&[chart("swap_in", 1), chart("load", 1)]).unwrap();
        state.keep_charts(&[chart("load", 2)]).unwrap();
        assert_eq!(state.charts().unwrap(), [chart("load", 2), chart("swap_in", 1)]);
        state.forget_charts(&[("load".to_owned(), "web1".to_owned())]).unwrap();
        assert_eq!(state.charts().unwrap(), [chart("swap_in", 1)]);
    }
}
