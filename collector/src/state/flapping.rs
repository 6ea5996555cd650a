//! How often alerts lately changed between firing and resolved.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};

use super::{State, StateError, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE flapping (
    fingerprint TEXT PRIMARY KEY,
    fires       BIGINT NOT NULL,
    since       BIGINT,
    changes     TEXT NOT NULL
);
";

/// What an alert did lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlapRecord {
    /// Whether it fires.
    pub fires: bool,
    /// Since when it flaps, in milliseconds since 1970; `None` if it does not.
    pub since_ms: Option<i64>,
    /// When it changed, in milliseconds since 1970, the last change last.
    pub changes_ms: Vec<i64>,
}

impl State {
    /// What alerts did lately, by their fingerprints.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn flapping(&self) -> Result<BTreeMap<String, FlapRecord>, StateError> {
        self.read("reading which alerts flap", |transaction| {
            transaction
                .prepare("SELECT * FROM flapping")?
                .query_map([], |row| {
                    let record = FlapRecord {
                        fires: row.get::<_, i64>("fires")? != 0,
                        since_ms: row.get("since")?,
                        changes_ms: column::json(row, "changes")?,
                    };
                    Ok((row.get("fingerprint")?, record))
                })?
                .collect()
        })
    }
}

/// Stores what alerts did lately, or forgets it.
pub(super) fn change(
    transaction: &Transaction<'_>,
    changes: &BTreeMap<String, Option<FlapRecord>>,
) -> rusqlite::Result<()> {
    let mut store = transaction.prepare_cached(
        "INSERT INTO flapping (fingerprint, fires, since, changes) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (fingerprint) DO UPDATE SET fires = excluded.fires, since = excluded.since,
         changes = excluded.changes",
    )?;
    let mut forget = transaction.prepare_cached("DELETE FROM flapping WHERE fingerprint = ?1")?;
    for (fingerprint, record) in changes {
        match record {
            Some(record) => store.execute(params![
                fingerprint,
                i64::from(record.fires),
                record.since_ms,
                column::to_json(&record.changes_ms)?,
            ])?,
            None => forget.execute([fingerprint])?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{self, AlertChanges};

    #[test]
    fn what_alerts_did_lately_survives_until_it_is_forgotten() {
        let (_folder, state) = state::temporary();
        let change = |name: &str, record: Option<FlapRecord>| {
            let mut changes = AlertChanges::default();
            changes.flap(name.to_owned(), record);
            assert!(!changes.is_empty());
            let mut all = AlertChanges::default();
            all.extend(changes);
            state.change_alerts(&all).unwrap();
        };
        let record = |fires, since_ms| FlapRecord { fires, since_ms, changes_ms: vec![1, 5, 9] };
        change("1f", Some(record(true, None)));
        change("2e", Some(record(true, None)));
        change("1f", Some(record(false, Some(9))));
        change("2e", None);
        let expect = BTreeMap::from([("1f".to_owned(), record(false, Some(9)))]);
        assert_eq!(state.flapping().unwrap(), expect);
    }
}
