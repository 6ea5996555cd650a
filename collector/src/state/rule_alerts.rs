//! Where the alerts of rules stand, so that a restart neither tells anybody again nor begins
//! anew to wait.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, params};
use upkeep_model::{Annotations, Labels};

use super::{State, StateError, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE rule_groups (
    name         TEXT PRIMARY KEY,
    evaluated_at BIGINT NOT NULL
);
CREATE TABLE rule_alerts (
    rule_group        TEXT NOT NULL,
    rule              TEXT NOT NULL,
    fingerprint       TEXT NOT NULL,
    labels            TEXT NOT NULL,
    annotations       TEXT NOT NULL,
    value             DOUBLE PRECISION,
    active_at         BIGINT NOT NULL,
    fired_at          BIGINT,
    resolved_at       BIGINT,
    keep_firing_since BIGINT,
    PRIMARY KEY (rule_group, rule, fingerprint)
);
";

/// One alert of one rule as it was last stored.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleAlert {
    /// The rule within its group.
    pub rule: String,
    /// The hash of the labels, as it is shown.
    pub fingerprint: String,
    /// Its labels, `alertname` among them.
    pub labels: Labels,
    /// Texts for people.
    pub annotations: Annotations,
    /// The expression's value.
    pub value: f64,
    /// Since when its condition holds, in milliseconds since 1970.
    pub active_at_ms: i64,
    /// When it began to fire, in milliseconds since 1970; `None` while it is pending.
    pub fired_at_ms: Option<i64>,
    /// When it was resolved, in milliseconds since 1970; `None` if it is not.
    pub resolved_at_ms: Option<i64>,
    /// Since when it fires though its condition is gone, in milliseconds since 1970.
    pub keep_firing_since_ms: Option<i64>,
}

/// What evaluations changed in a group's alerts; of one that changed twice the last word holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleAlertChanges {
    /// By rule and fingerprint: how the alert stands, or `None` if it is gone.
    changes: BTreeMap<(String, String), Option<RuleAlert>>,
}

impl RuleAlertChanges {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// An alert is new or stands differently.
    pub fn store(&mut self, alert: RuleAlert) {
        let key = (alert.rule.clone(), alert.fingerprint.clone());
        self.changes.insert(key, Some(alert));
    }

    /// An alert is gone.
    pub fn remove(&mut self, rule: &str, fingerprint: &str) {
        self.changes.insert((rule.to_owned(), fingerprint.to_owned()), None);
    }

    /// Adds what changed later.
    pub fn extend(&mut self, later: Self) {
        self.changes.extend(later.changes);
    }
}

impl State {
    /// The stored alerts of a group, and when it was last evaluated if it ever was, in milliseconds
    /// since 1970.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn rule_alerts(&self, group: &str) -> Result<(Vec<RuleAlert>, Option<i64>), StateError> {
        self.read("reading a rule group's alerts", |transaction| {
            let sql = "SELECT evaluated_at FROM rule_groups WHERE name = ?1";
            let evaluated_at = transaction
                .prepare_cached(sql)?
                .query_row([group], |row| row.get("evaluated_at"))
                .optional()?;
            let sql = "SELECT * FROM rule_alerts WHERE rule_group = ?1 ORDER BY rule, fingerprint";
            let alerts = transaction
                .prepare_cached(sql)?
                .query_map([group], rule_alert)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((alerts, evaluated_at))
        })
    }

    /// Stores what an evaluation changed, and when it was.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn change_rule_alerts(
        &self,
        group: &str,
        changes: &RuleAlertChanges,
        now_ms: i64,
    ) -> Result<(), StateError> {
        self.write("storing a rule group's alerts", |transaction| {
            let sql = "INSERT INTO rule_groups (name, evaluated_at) VALUES (?1, ?2)
                ON CONFLICT (name) DO UPDATE SET evaluated_at = excluded.evaluated_at";
            transaction.prepare_cached(sql)?.execute(params![group, now_ms])?;
            let sql = "DELETE FROM rule_alerts
                WHERE rule_group = ?1 AND rule = ?2 AND fingerprint = ?3";
            let mut delete = transaction.prepare_cached(sql)?;
            for (rule, fingerprint) in changes.changes.keys() {
                delete.execute(params![group, rule, fingerprint])?;
            }
            let sql = "INSERT INTO rule_alerts (rule_group, rule, fingerprint, labels, annotations,
                value, active_at, fired_at, resolved_at, keep_firing_since)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            let mut insert = transaction.prepare_cached(sql)?;
            for alert in changes.changes.values().flatten() {
                insert.execute(params![
                    group,
                    alert.rule,
                    alert.fingerprint,
                    column::to_json(&alert.labels)?,
                    column::to_json(&alert.annotations)?,
                    alert.value,
                    alert.active_at_ms,
                    alert.fired_at_ms,
                    alert.resolved_at_ms,
                    alert.keep_firing_since_ms,
                ])?;
            }
            Ok(())
        })
    }

    /// Forgets the groups that are not among those in use.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn retain_rule_groups(&self, in_use: &[String]) -> Result<(), StateError> {
        self.write("forgetting rule groups", |transaction| {
            let sql = "SELECT name FROM rule_groups";
            let known: Vec<String> = transaction
                .prepare(sql)?
                .query_map([], |row| row.get("name"))?
                .collect::<rusqlite::Result<_>>()?;
            for name in known.iter().filter(|name| !in_use.contains(name)) {
                transaction.execute("DELETE FROM rule_alerts WHERE rule_group = ?1", [name])?;
                transaction.execute("DELETE FROM rule_groups WHERE name = ?1", [name])?;
            }
            Ok(())
        })
    }
}

fn rule_alert(row: &Row<'_>) -> rusqlite::Result<RuleAlert> {
    Ok(RuleAlert {
        rule: row.get("rule")?,
        fingerprint: row.get("fingerprint")?,
        labels: column::labels(row, "labels")?,
        annotations: column::json(row, "annotations")?,
        // SQLite stores NaN as NULL.
        value: row.get::<_, Option<f64>>("value")?.unwrap_or(f64::NAN),
        active_at_ms: row.get("active_at")?,
        fired_at_ms: row.get("fired_at")?,
        resolved_at_ms: row.get("resolved_at")?,
        keep_firing_since_ms: row.get("keep_firing_since")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;

    fn alert(rule: &str, fired_at_ms: Option<i64>) -> RuleAlert {
        RuleAlert {
            rule: rule.to_owned(),
            fingerprint: format!("{rule}-print"),
            labels: Labels::new([("alertname", rule)]),
            annotations: Annotations::from([("action", "look")]),
            value: 2.5,
            active_at_ms: 10,
            fired_at_ms,
            resolved_at_ms: None,
            keep_firing_since_ms: Some(30),
        }
    }

    #[test]
    fn alerts_are_stored_changed_and_removed() {
        let (_folder, state) = state::temporary();
        assert_eq!(state.rule_alerts("g").unwrap(), (Vec::new(), None));
        let both = vec![alert("a", None), alert("b", Some(20))];
        let mut changes = RuleAlertChanges::default();
        both.iter().cloned().for_each(|alert| changes.store(alert));
        state.change_rule_alerts("g", &changes, 100).unwrap();
        assert_eq!(state.rule_alerts("g").unwrap(), (both, Some(100)));

        let mut changes = RuleAlertChanges::default();
        changes.store(alert("b", Some(1)));
        let mut later = RuleAlertChanges::default();
        later.store(alert("a", Some(25)));
        later.remove("b", "b-print");
        changes.extend(later);
        state.change_rule_alerts("g", &changes, 200).unwrap();
        let expect = (vec![alert("a", Some(25))], Some(200));
        assert_eq!(state.rule_alerts("g").unwrap(), expect);

        state.retain_rule_groups(&["g".to_owned()]).unwrap();
        assert_eq!(state.rule_alerts("g").unwrap(), expect);
        state.retain_rule_groups(&["other".to_owned()]).unwrap();
        assert_eq!(state.rule_alerts("g").unwrap(), (Vec::new(), None));
    }
}
