//! What became of the alerts of each rule, week by week, and of which alerts the end is still to come.

use rusqlite::{Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{State, StateError, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE usefulness (
    file       TEXT NOT NULL,
    rule_group TEXT NOT NULL,
    name       TEXT NOT NULL,
    week       BIGINT NOT NULL,
    tally      TEXT NOT NULL,
    PRIMARY KEY (file, rule_group, name, week)
);
CREATE TABLE unended_alerts (
    fingerprint TEXT NOT NULL,
    file        TEXT NOT NULL,
    rule_group  TEXT NOT NULL,
    name        TEXT NOT NULL,
    fired_at    BIGINT NOT NULL,
    became      TEXT NOT NULL,
    PRIMARY KEY (fingerprint, file, rule_group, name)
);
";

/// Whose alerts are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// A rule of ours.
    Rule {
        /// The file that it was read from.
        file: String,
        /// Its group.
        group: String,
        /// Its name; a second one of that name in the group has `#2` behind it.
        name: String,
    },
    /// Alerts that others sent, by their name.
    Outside {
        /// The name.
        name: String,
    },
}

/// What became of the alerts that began to fire in one week.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// How many there were.
    pub fired: u64,
    /// Of how many somebody was told.
    pub told: u64,
    /// How many messages told of some of them.
    pub notified: u64,
    /// How many were acknowledged.
    pub acknowledged: u64,
    /// For how many an action was run.
    pub acted: u64,
    /// For how many one of the two was done.
    pub cared_for: u64,
    /// How many were muted by a silence.
    pub silenced: u64,
    /// How often one of them began to flap.
    pub flapped: u64,
    /// How many are over.
    pub resolved: u64,
    /// How many ended without an acknowledgement, an action or a silence.
    pub by_itself: u64,
    /// How long those lasted that are over: how many within each bound.
    pub lasted: Vec<u64>,
    /// The same of those that ended by themselves.
    pub lasted_by_itself: Vec<u64>,
    /// How long it took until those were acknowledged that were.
    pub acknowledged_after: Vec<u64>,
}

/// What was done about an alert so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Became {
    /// Whether somebody was told of it.
    pub told: bool,
    /// Whether it was acknowledged.
    pub acknowledged: bool,
    /// Whether an action was run for it.
    pub acted: bool,
    /// Whether a silence muted it.
    pub silenced: bool,
}

/// An alert that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnendedAlert {
    /// The hash of its labels, as it is shown.
    pub fingerprint: String,
    /// Whose it is.
    pub origin: Origin,
    /// When it began to fire, in milliseconds since 1970.
    pub fired_at_ms: i64,
    /// What was done about it.
    pub became: Became,
}

/// The alerts of one origin in one week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeekTally {
    /// Whose they are.
    pub origin: Origin,
    /// Which week.
    pub week: i64,
    /// What became of them.
    pub tally: Tally,
}

/// What is to be stored together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsefulnessChanges {
    /// Weeks as they are now.
    pub tallies: Vec<WeekTally>,
    /// Weeks that are forgotten.
    pub forgotten: Vec<(Origin, i64)>,
    /// Alerts that have not ended, as they are now.
    pub unended: Vec<UnendedAlert>,
    /// Fingerprints and origins of those that have.
    pub ended: Vec<(String, Origin)>,
}

impl UsefulnessChanges {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.tallies.is_empty()
            && self.forgotten.is_empty()
            && self.unended.is_empty()
            && self.ended.is_empty()
    }
}

impl State {
    /// Everything that is kept: weeks, and alerts that have not ended.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn usefulness(&self) -> Result<(Vec<WeekTally>, Vec<UnendedAlert>), StateError> {
        self.read("reading what became of alerts", |transaction| {
            let tallies = transaction
                .prepare("SELECT * FROM usefulness")?
                .query_map([], week_tally)?
                .collect::<Result<_, _>>()?;
            let unended = transaction
                .prepare("SELECT * FROM unended_alerts")?
                .query_map([], unended_alert)?
                .collect::<Result<_, _>>()?;
            Ok((tallies, unended))
        })
    }

    /// Stores changes, all or none.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn change_usefulness(&self, changes: &UsefulnessChanges) -> Result<(), StateError> {
        self.write("storing what became of alerts", |transaction| {
            change_tallies(transaction, changes)?;
            change_alerts(transaction, changes)
        })
    }
}

fn change_tallies(
    transaction: &Transaction<'_>,
    changes: &UsefulnessChanges,
) -> rusqlite::Result<()> {
    let mut store = transaction.prepare_cached(
        "INSERT INTO usefulness (file, rule_group, name, week, tally) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (file, rule_group, name, week) DO UPDATE SET tally = excluded.tally",
    )?;
    for WeekTally { origin, week, tally } in &changes.tallies {
        let (file, group, name) = columns(origin);
        store.execute(params![file, group, name, week, column::to_json(tally)?])?;
    }
    let mut forget = transaction.prepare_cached(
        "DELETE FROM usefulness WHERE file = ?1 AND rule_group = ?2 AND name = ?3 AND week = ?4",
    )?;
    for (origin, week) in &changes.forgotten {
        let (file, group, name) = columns(origin);
        forget.execute(params![file, group, name, week])?;
    }
    Ok(())
}

fn change_alerts(
    transaction: &Transaction<'_>,
    changes: &UsefulnessChanges,
) -> rusqlite::Result<()> {
    let mut store = transaction.prepare_cached(
        "INSERT INTO unended_alerts (fingerprint, file, rule_group, name, fired_at, became)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (fingerprint, file, rule_group, name) DO UPDATE SET
         fired_at = excluded.fired_at, became = excluded.became",
    )?;
    for UnendedAlert { fingerprint, origin, fired_at_ms, became } in &changes.unended {
        let (file, group, name) = columns(origin);
        let became = column::to_json(became)?;
        store.execute(params![fingerprint, file, group, name, fired_at_ms, became])?;
    }
    let mut end = transaction.prepare_cached(
        "DELETE FROM unended_alerts
         WHERE fingerprint = ?1 AND file = ?2 AND rule_group = ?3 AND name = ?4",
    )?;
    for (fingerprint, origin) in &changes.ended {
        let (file, group, name) = columns(origin);
        end.execute(params![fingerprint, file, group, name])?;
    }
    Ok(())
}

/// An origin's columns; no rule is of a file without a name.
fn columns(origin: &Origin) -> (&str, &str, &str) {
    match origin {
        Origin::Rule { file, group, name } => (file, group, name),
        Origin::Outside { name } => ("", "", name),
    }
}

fn origin(row: &Row<'_>) -> rusqlite::Result<Origin> {
    let (file, name): (String, String) = (row.get("file")?, row.get("name")?);
    if file.is_empty() {
        return Ok(Origin::Outside { name });
    }
    Ok(Origin::Rule { file, group: row.get("rule_group")?, name })
}

fn week_tally(row: &Row<'_>) -> rusqlite::Result<WeekTally> {
    let (week, tally) = (row.get("week")?, column::json(row, "tally")?);
    Ok(WeekTally { origin: origin(row)?, week, tally })
}

fn unended_alert(row: &Row<'_>) -> rusqlite::Result<UnendedAlert> {
    Ok(UnendedAlert {
        fingerprint: row.get("fingerprint")?,
        origin: origin(row)?,
        fired_at_ms: row.get("fired_at")?,
        became: column::json(row, "became")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;

    #[test]
    fn what_became_of_alerts_is_stored_replaced_and_forgotten() {
        let (_folder, state) = state::temporary();
        let rule = |name: &str| Origin::Rule {
            file: "/r/a.yml".to_owned(),
            group: "g".to_owned(),
            name: name.to_owned(),
        };
        let outside = Origin::Outside { name: "Full".to_owned() };
        let week = |origin: &Origin, fired| WeekTally {
            origin: origin.clone(),
            week: 7,
            tally: Tally { fired, lasted: vec![0, fired], ..Tally::default() },
        };
        let unended = |origin: &Origin, told| UnendedAlert {
            fingerprint: "1f".to_owned(),
            origin: origin.clone(),
            fired_at_ms: 5,
            became: Became { told, ..Became::default() },
        };
        let both = [rule("A"), outside.clone()];
        for fired in [1, 2] {
            let changes = UsefulnessChanges {
                tallies: both.iter().map(|origin| week(origin, fired)).collect(),
                unended: both.iter().map(|origin| unended(origin, fired == 2)).collect(),
                ..UsefulnessChanges::default()
            };
            state.change_usefulness(&changes).unwrap();
        }
        let (mut tallies, mut alerts) = state.usefulness().unwrap();
        tallies.sort_by(|left, right| left.origin.cmp(&right.origin));
        alerts.sort_by(|left, right| left.origin.cmp(&right.origin));
        assert_eq!(tallies, [week(&rule("A"), 2), week(&outside, 2)]);
        assert_eq!(alerts, [unended(&rule("A"), true), unended(&outside, true)]);

        let changes = UsefulnessChanges {
            forgotten: vec![(rule("A"), 7), (outside.clone(), 8)],
            ended: vec![("1f".to_owned(), outside.clone()), ("2e".to_owned(), rule("A"))],
            ..UsefulnessChanges::default()
        };
        state.change_usefulness(&changes).unwrap();
        assert_eq!(
            state.usefulness().unwrap(),
            (vec![week(&outside, 2)], vec![unended(&rule("A"), true)])
        );
    }
}
