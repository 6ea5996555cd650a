//! Who takes care of which alert.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Row, Transaction, params};

use super::audit::{self, Action, By, Outcome};
use super::{State, StateError};

pub(super) const SCHEMA: &str = "
CREATE TABLE acknowledgements (
    fingerprint TEXT PRIMARY KEY,
    author      TEXT NOT NULL,
    note        TEXT NOT NULL,
    made_at     BIGINT NOT NULL,
    expires_at  BIGINT
);
";

/// Somebody takes care of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Who.
    pub author: String,
    /// What they have to say about it.
    pub note: String,
    /// Since when, in milliseconds since 1970.
    pub made_at_ms: i64,
    /// Until when, in milliseconds since 1970; `None` until the alert is resolved.
    pub expires_at_ms: Option<i64>,
}

impl Acknowledgement {
    /// Whether it still holds.
    pub fn holds(&self, now_ms: i64) -> bool {
        self.expires_at_ms.is_none_or(|expires_at_ms| now_ms < expires_at_ms)
    }
}

impl State {
    /// Who takes care of alerts, by the alerts' fingerprints.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn acknowledgements(&self) -> Result<BTreeMap<String, Acknowledgement>, StateError> {
        self.read("reading acknowledgements", |transaction| {
            transaction
                .prepare("SELECT * FROM acknowledgements")?
                .query_map([], |row| Ok((row.get("fingerprint")?, acknowledgement(row)?)))?
                .collect()
        })
    }

    /// Notes that somebody takes care of an alert, in the place of who did before.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn acknowledge(
        &self,
        fingerprint: &str,
        made: &Acknowledgement,
        by: &By,
    ) -> Result<(), StateError> {
        self.write("storing an acknowledgement", |transaction| {
            let sql = "INSERT INTO acknowledgements
                (fingerprint, author, note, made_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
                ON CONFLICT (fingerprint) DO UPDATE SET author = excluded.author,
                note = excluded.note, made_at = excluded.made_at,
                expires_at = excluded.expires_at";
            transaction.prepare_cached(sql)?.execute(params![
                fingerprint,
                made.author,
                made.note,
                made.made_at_ms,
                made.expires_at_ms,
            ])?;
            let detail = format!("by {}: {}", made.author, made.note);
            let action = Action::AlertAcknowledge;
            audit::write(transaction, by, action, fingerprint, Outcome::Done, &detail)
        })
    }

    /// Notes that nobody takes care of an alert any more.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn withdraw_acknowledgement(&self, fingerprint: &str, by: &By) -> Result<(), StateError> {
        self.write("withdrawing an acknowledgement", |transaction| {
            forget(transaction, &BTreeSet::from([fingerprint.to_owned()]))?;
            let action = Action::AlertUnacknowledge;
            audit::write(transaction, by, action, fingerprint, Outcome::Done, "")
        })
    }
}

/// Forgets who took care of alerts that are over.
pub(super) fn forget(
    transaction: &Transaction<'_>,
    fingerprints: &BTreeSet<String>,
) -> rusqlite::Result<()> {
    let sql = "DELETE FROM acknowledgements WHERE fingerprint = ?1";
    let mut forget = transaction.prepare_cached(sql)?;
    fingerprints.iter().try_for_each(|fingerprint| forget.execute([fingerprint]).map(drop))
}

fn acknowledgement(row: &Row<'_>) -> rusqlite::Result<Acknowledgement> {
    Ok(Acknowledgement {
        author: row.get("author")?,
        note: row.get("note")?,
        made_at_ms: row.get("made_at")?,
        expires_at_ms: row.get("expires_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{self, AlertChanges};

    #[test]
    fn acknowledgements_are_stored_replaced_and_forgotten() {
        let (_folder, state) = state::temporary();
        let by = By { actor: "api-token:me".to_owned(), at_ms: 3 };
        let mut made = Acknowledgement {
            author: "me".to_owned(),
            note: "on my way".to_owned(),
            made_at_ms: 3,
            expires_at_ms: Some(9),
        };
        assert!(made.holds(8) && !made.holds(9));
        let expect = |made: &Acknowledgement| BTreeMap::from([("1f".to_owned(), made.clone())]);
        state.acknowledge("1f", &made, &by).unwrap();
        assert_eq!(state.acknowledgements().unwrap(), expect(&made));
        made.expires_at_ms = None;
        assert!(made.holds(i64::MAX));
        state.acknowledge("1f", &made, &by).unwrap();
        assert_eq!(state.acknowledgements().unwrap(), expect(&made));
        state.withdraw_acknowledgement("1f", &by).unwrap();
        assert!(state.acknowledgements().unwrap().is_empty());

        state.acknowledge("1f", &made, &by).unwrap();
        let mut changes = AlertChanges::default();
        changes.end_acknowledgement("1f");
        assert!(!changes.is_empty());
        state.change_alerts(&changes).unwrap();
        assert!(state.acknowledgements().unwrap().is_empty());
        let actions = state.audit(None, 9).unwrap().into_iter().map(|entry| entry.action);
        let expect =
            ["alert-acknowledge", "alert-unacknowledge", "alert-acknowledge", "alert-acknowledge"];
        assert_eq!(actions.collect::<Vec<_>>(), expect);
    }
}
