//! Where the alerts of rules stand, so that a restart neither tells anybody again nor begins
//! anew to wait.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, params};
use upkeep_model::Labels;

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
    stage             TEXT NOT NULL,
    stage_since       BIGINT NOT NULL,
    active_at         BIGINT NOT NULL,
    keep_firing_since BIGINT,
    PRIMARY KEY (rule_group, rule, fingerprint)
);
";

/// How far an alert has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAlertStage {
    /// Its condition holds, not yet for long enough.
    Pending,
    /// It fires.
    Firing,
    /// It fired and is over.
    Resolved,
}

impl RuleAlertStage {
    const ALL: [Self; 3] = [Self::Pending, Self::Firing, Self::Resolved];

    fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

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
    pub annotations: BTreeMap<String, String>,
    /// The expression's value.
    pub value: f64,
    /// How far it has come.
    pub stage: RuleAlertStage,
    /// Since when it is at that stage, in milliseconds since 1970.
    pub stage_since_ms: i64,
    /// Since when its condition holds, in milliseconds since 1970.
    pub active_at_ms: i64,
    /// Since when it fires though its condition is gone, in milliseconds since 1970.
    pub keep_firing_since_ms: Option<i64>,
}

/// What an evaluation changed in a group's alerts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleAlertChanges {
    /// Alerts that are new or stand differently.
    pub stored: Vec<RuleAlert>,
    /// Alerts that are gone: the rule and the fingerprint.
    pub removed: Vec<(String, String)>,
}

impl RuleAlertChanges {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty() && self.removed.is_empty()
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
            let stored = changes.stored.iter().map(|alert| (&alert.rule, &alert.fingerprint));
            let removed = changes.removed.iter().map(|(rule, fingerprint)| (rule, fingerprint));
            for (rule, fingerprint) in stored.chain(removed) {
                delete.execute(params![group, rule, fingerprint])?;
            }
            let sql = "INSERT INTO rule_alerts (rule_group, rule, fingerprint, labels, annotations,
                value, stage, stage_since, active_at, keep_firing_since)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            let mut insert = transaction.prepare_cached(sql)?;
            for alert in &changes.stored {
                insert.execute(params![
                    group,
                    alert.rule,
                    alert.fingerprint,
                    column::to_json(&alert.labels)?,
                    column::to_json(&alert.annotations)?,
                    alert.value,
                    alert.stage.name(),
                    alert.stage_since_ms,
                    alert.active_at_ms,
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
    let stage: String = row.get("stage")?;
    let stage = RuleAlertStage::ALL
        .into_iter()
        .find(|known| known.name() == stage)
        .ok_or_else(|| column::broken("stage", rusqlite::types::FromSqlError::InvalidType))?;
    Ok(RuleAlert {
        rule: row.get("rule")?,
        fingerprint: row.get("fingerprint")?,
        labels: column::labels(row, "labels")?,
        annotations: column::json(row, "annotations")?,
        // SQLite stores NaN as NULL.
        value: row.get::<_, Option<f64>>("value")?.unwrap_or(f64::NAN),
        stage,
        stage_since_ms: row.get("stage_since")?,
        active_at_ms: row.get("active_at")?,
        keep_firing_since_ms: row.get("keep_firing_since")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;

    fn alert(rule: &str, stage: RuleAlertStage) -> RuleAlert {
        RuleAlert {
            rule: rule.to_owned(),
            fingerprint: format!("{rule}-print"),
            labels: Labels::new([("alertname", rule)]),
            annotations: BTreeMap::from([("action".to_owned(), "look".to_owned())]),
            value: 2.5,
            stage,
            stage_since_ms: 20,
            active_at_ms: 10,
            keep_firing_since_ms: Some(30),
        }
    }

    #[test]
    fn alerts_are_stored_changed_and_removed() {
        let (_folder, state) = state::temporary();
        assert_eq!(state.rule_alerts("g").unwrap(), (Vec::new(), None));
        let both = vec![alert("a", RuleAlertStage::Pending), alert("b", RuleAlertStage::Firing)];
        let changes = RuleAlertChanges { stored: both.clone(), removed: Vec::new() };
        state.change_rule_alerts("g", &changes, 100).unwrap();
        assert_eq!(state.rule_alerts("g").unwrap(), (both, Some(100)));

        let changes = RuleAlertChanges {
            stored: vec![alert("a", RuleAlertStage::Resolved)],
            removed: vec![("b".to_owned(), "b-print".to_owned())],
        };
        state.change_rule_alerts("g", &changes, 200).unwrap();
        let expect = (vec![alert("a", RuleAlertStage::Resolved)], Some(200));
        assert_eq!(state.rule_alerts("g").unwrap(), expect);

        state.retain_rule_groups(&["g".to_owned()]).unwrap();
        assert_eq!(state.rule_alerts("g").unwrap(), expect);
        state.retain_rule_groups(&["other".to_owned()]).unwrap();
        assert_eq!(state.rule_alerts("g").unwrap(), (Vec::new(), None));
    }
}
