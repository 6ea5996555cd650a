//! Silences, as people set them.

use std::collections::BTreeMap;

use rusqlite::{Row, Transaction, params};
use serde::{Deserialize, Serialize};
use upkeep_model::{MatchOperator, Matcher};
use uuid::Uuid;

use super::audit::{self, Action, By, Outcome};
use super::{State, StateError, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE silences (
    id          TEXT PRIMARY KEY,
    matchers    TEXT NOT NULL,
    starts_at   BIGINT NOT NULL,
    ends_at     BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    comment     TEXT NOT NULL,
    annotations TEXT NOT NULL,
    recurrence  TEXT
);
";

/// Alerts that are not told for a while, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct SilenceRecord {
    /// What identifies it.
    pub id: Uuid,
    /// Alerts that match all of these are not told.
    pub matchers: Vec<Matcher>,
    /// From when on, in milliseconds since 1970.
    pub starts_at_ms: i64,
    /// Until when, in milliseconds since 1970; that moment does not belong to it.
    pub ends_at_ms: i64,
    /// When it was last changed, in milliseconds since 1970.
    pub updated_at_ms: i64,
    /// Who wants it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// More texts, by name.
    pub annotations: BTreeMap<String, String>,
    /// The only times between start and end at which it holds, as JSON; `None` if it always does.
    pub recurrence: Option<String>,
}

/// What happened to a silence, for the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilenceChange {
    /// It is new or says something else.
    Set,
    /// It was ended before its time.
    Expired,
}

/// A matcher in a column, with the names of Alertmanager's API.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MatcherColumn {
    name: String,
    value: String,
    is_regex: bool,
    is_equal: bool,
}

impl State {
    /// Every silence that is not forgotten.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn silences(&self) -> Result<Vec<SilenceRecord>, StateError> {
        self.read("reading silences", |transaction| {
            transaction
                .prepare("SELECT * FROM silences ORDER BY id")?
                .query_map([], silence)?
                .collect()
        })
    }

    /// Stores silences as they are now, all or none, with an entry of the audit log for each.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn store_silences(
        &self,
        silences: &[(SilenceRecord, SilenceChange)],
        by: &By,
    ) -> Result<(), StateError> {
        self.write("storing silences", |transaction| {
            silences.iter().try_for_each(|(silence, change)| {
                store(transaction, silence)?;
                let action = match change {
                    SilenceChange::Set => Action::SilenceSet,
                    SilenceChange::Expired => Action::SilenceExpire,
                };
                let detail = shown(silence);
                audit::write(
                    transaction,
                    by,
                    action,
                    &silence.id.to_string(),
                    Outcome::Done,
                    &detail,
                )
            })
        })
    }

    /// Forgets silences.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_silences(&self, ids: &[Uuid]) -> Result<(), StateError> {
        self.write("forgetting silences", |transaction| {
            let mut forget = transaction.prepare_cached("DELETE FROM silences WHERE id = ?1")?;
            ids.iter().try_for_each(|id| forget.execute([id.to_string()]).map(drop))
        })
    }
}

fn store(transaction: &Transaction<'_>, silence: &SilenceRecord) -> rusqlite::Result<()> {
    let matchers: Vec<_> = silence.matchers.iter().map(MatcherColumn::of).collect();
    let sql = "INSERT INTO silences (id, matchers, starts_at, ends_at, updated_at, created_by,
        comment, annotations, recurrence) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT (id) DO UPDATE SET matchers = excluded.matchers,
        starts_at = excluded.starts_at, ends_at = excluded.ends_at,
        updated_at = excluded.updated_at, created_by = excluded.created_by,
        comment = excluded.comment, annotations = excluded.annotations,
        recurrence = excluded.recurrence";
    transaction.prepare_cached(sql)?.execute(params![
        silence.id.to_string(),
        column::to_json(&matchers)?,
        silence.starts_at_ms,
        silence.ends_at_ms,
        silence.updated_at_ms,
        silence.created_by,
        silence.comment,
        column::to_json(&silence.annotations)?,
        silence.recurrence,
    ])?;
    Ok(())
}

/// What the audit log says of a silence.
fn shown(silence: &SilenceRecord) -> String {
    let matchers: Vec<_> = silence.matchers.iter().map(Matcher::to_string).collect();
    format!("{{{}}} by {}: {}", matchers.join(","), silence.created_by, silence.comment)
}

impl MatcherColumn {
    fn of(matcher: &Matcher) -> Self {
        let (is_regex, is_equal) = match matcher.operator() {
            MatchOperator::Equal => (false, true),
            MatchOperator::NotEqual => (false, false),
            MatchOperator::Matches => (true, true),
            MatchOperator::NotMatches => (true, false),
        };
        let (name, value) = (matcher.name().to_owned(), matcher.value().to_owned());
        Self { name, value, is_regex, is_equal }
    }

    fn read(self) -> rusqlite::Result<Matcher> {
        let operator = match (self.is_regex, self.is_equal) {
            (false, true) => MatchOperator::Equal,
            (false, false) => MatchOperator::NotEqual,
            (true, true) => MatchOperator::Matches,
            (true, false) => MatchOperator::NotMatches,
        };
        Matcher::new(self.name, operator, self.value)
            .map_err(|error| column::broken("matchers", error))
    }
}

fn silence(row: &Row<'_>) -> rusqlite::Result<SilenceRecord> {
    let id: String = row.get("id")?;
    let matchers: Vec<MatcherColumn> = column::json(row, "matchers")?;
    Ok(SilenceRecord {
        id: Uuid::parse_str(&id).map_err(|error| column::broken("id", error))?,
        matchers: matchers.into_iter().map(MatcherColumn::read).collect::<Result<_, _>>()?,
        starts_at_ms: row.get("starts_at")?,
        ends_at_ms: row.get("ends_at")?,
        updated_at_ms: row.get("updated_at")?,
        created_by: row.get("created_by")?,
        comment: row.get("comment")?,
        annotations: column::json(row, "annotations")?,
        recurrence: row.get("recurrence")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;

    #[test]
    fn silences_are_stored_changed_and_forgotten() {
        let (_folder, state) = state::temporary();
        let by = By { actor: "api-token:me".to_owned(), at_ms: 3 };
        let operators = [
            MatchOperator::Equal,
            MatchOperator::NotEqual,
            MatchOperator::Matches,
            MatchOperator::NotMatches,
        ];
        let matchers = operators.map(|operator| Matcher::new("größe", operator, "a\"b").unwrap());
        let mut one = SilenceRecord {
            id: Uuid::from_u128(1),
            matchers: matchers.to_vec(),
            starts_at_ms: 1,
            ends_at_ms: 2,
            updated_at_ms: 3,
            created_by: "me".to_owned(),
            comment: "new disks".to_owned(),
            annotations: BTreeMap::from([("ticket".to_owned(), "7".to_owned())]),
            recurrence: Some("[]".to_owned()),
        };
        let other = SilenceRecord { id: Uuid::from_u128(2), recurrence: None, ..one.clone() };
        let set = [(one.clone(), SilenceChange::Set), (other.clone(), SilenceChange::Set)];
        state.store_silences(&set, &by).unwrap();
        assert_eq!(state.silences().unwrap(), [one.clone(), other.clone()]);

        one.ends_at_ms = 9;
        one.comment = "more disks".to_owned();
        state.store_silences(&[(one.clone(), SilenceChange::Expired)], &by).unwrap();
        assert_eq!(state.silences().unwrap(), [one.clone(), other.clone()]);
        state.forget_silences(&[one.id]).unwrap();
        assert_eq!(state.silences().unwrap(), [other]);

        let newest = state.audit(None, 1).unwrap().remove(0);
        assert_eq!(
            (newest.action.as_str(), newest.actor.as_str()),
            ("silence-expire", "api-token:me")
        );
        assert!(newest.detail.ends_with("by me: more disks"), "{newest:?}");
    }
}
