//! The alerts that are to be told, and what was told to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{Row, Transaction, params};
use upkeep_model::{Annotations, Labels};

use super::deliveries::{self, Delivery};
use super::flapping::{self, FlapRecord};
use super::{State, StateError, acknowledgements, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE alerts (
    fingerprint   TEXT PRIMARY KEY,
    labels        TEXT NOT NULL,
    annotations   TEXT NOT NULL,
    generator_url TEXT NOT NULL,
    starts_at     BIGINT NOT NULL,
    ends_at       BIGINT
);
CREATE TABLE notifications (
    receiver  TEXT NOT NULL,
    channel   BIGINT NOT NULL,
    group_key TEXT NOT NULL,
    firing    TEXT NOT NULL,
    resolved  TEXT NOT NULL,
    sent_at   BIGINT,
    failed_at BIGINT,
    failure   TEXT,
    PRIMARY KEY (receiver, channel, group_key)
);
";

/// For how long alerts hold that nobody speaks of.
pub(super) const SCHEMA_HOLDS: &str = "ALTER TABLE alerts ADD COLUMN holds_for BIGINT;";

/// What a channel was told and has not heard the end of, since it was muted.
pub(super) const SCHEMA_WITHHELD: &str =
    "ALTER TABLE notifications ADD COLUMN withheld TEXT NOT NULL DEFAULT '[]';";

/// Since when people have had the time to take care of an alert.
pub(super) const SCHEMA_HEARD: &str = "ALTER TABLE alerts ADD COLUMN heard_at BIGINT;";

/// Whether an alert is of a rule of ours, and whether the action was ordered that it asks for.
pub(super) const SCHEMA_ACTIONS: &str = "
ALTER TABLE alerts ADD COLUMN of_rule BIGINT NOT NULL DEFAULT 0;
ALTER TABLE alerts ADD COLUMN acted BIGINT NOT NULL DEFAULT 0;
";

/// An alert as the dispatcher last knew it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAlert {
    /// The hash of the labels, as it is shown.
    pub fingerprint: String,
    /// Its labels, `alertname` among them.
    pub labels: Labels,
    /// Texts for people.
    pub annotations: Annotations,
    /// Where the rule can be seen.
    pub generator_url: Arc<str>,
    /// When it began to fire, in milliseconds since 1970.
    pub starts_at_ms: i64,
    /// When it was resolved, in milliseconds since 1970; `None` while it fires.
    pub ends_at_ms: Option<i64>,
    /// For how many milliseconds it fires on if nobody speaks of it again; `None` if that is not
    /// said.
    pub holds_for_ms: Option<i64>,
    /// When it was first heard of, in milliseconds since 1970; `None` if that is not known.
    pub heard_at_ms: Option<i64>,
    /// Whether a rule of ours raised it.
    pub is_of_rule: bool,
    /// Whether the action was ordered that it asks for.
    pub has_acted: bool,
}

/// One channel of a receiver, as far as one group of alerts is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NotificationKey {
    /// The receiver's name.
    pub receiver: String,
    /// The place of the channel among the receiver's.
    pub channel: usize,
    /// The group's key.
    pub group: String,
}

/// What a channel was told about a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotificationRecord {
    /// Fingerprints of the alerts that it was told are firing.
    pub firing: BTreeSet<String>,
    /// Fingerprints of the alerts that it was told are resolved.
    pub resolved: BTreeSet<String>,
    /// Fingerprints of the alerts that it was once told are firing, and that were muted when it was
    /// last told: it is owed their end.
    pub withheld: BTreeSet<String>,
    /// When it was told, in milliseconds since 1970; `None` if it never was.
    pub sent_at_ms: Option<i64>,
    /// When telling it failed since then, in milliseconds since 1970, and why.
    pub failure: Option<(i64, String)>,
}

/// What changed and is to be stored together; of what changed twice the last word holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertChanges {
    /// By fingerprint: how an alert stands, or `None` if it is over and told.
    alerts: BTreeMap<String, Option<StoredAlert>>,
    /// What a channel was told about a group, or `None` if the group is over.
    told: BTreeMap<NotificationKey, Option<NotificationRecord>>,
    /// Fingerprints of alerts that are over and that somebody took care of.
    unacknowledged: BTreeSet<String>,
    /// By fingerprint: what an alert did lately, or `None` if it is calm.
    flapping: BTreeMap<String, Option<FlapRecord>>,
    /// What was sent.
    deliveries: Vec<Delivery>,
}

impl AlertChanges {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty()
            && self.told.is_empty()
            && self.unacknowledged.is_empty()
            && self.flapping.is_empty()
            && self.deliveries.is_empty()
    }

    /// An alert is new or stands differently.
    pub fn store(&mut self, alert: StoredAlert) {
        self.alerts.insert(alert.fingerprint.clone(), Some(alert));
    }

    /// An alert is over and told.
    pub fn remove(&mut self, fingerprint: &str) {
        self.alerts.insert(fingerprint.to_owned(), None);
    }

    /// A channel was told about a group, or could not be.
    pub fn tell(&mut self, key: NotificationKey, record: NotificationRecord) {
        self.told.insert(key, Some(record));
    }

    /// A group is over.
    pub fn end(&mut self, key: NotificationKey) {
        self.told.insert(key, None);
    }

    /// An alert that somebody took care of is over.
    pub fn end_acknowledgement(&mut self, fingerprint: &str) {
        self.unacknowledged.insert(fingerprint.to_owned());
    }

    /// An alert changed, or is calm.
    pub fn flap(&mut self, fingerprint: String, record: Option<FlapRecord>) {
        self.flapping.insert(fingerprint, record);
    }

    /// A message was sent, or could not be.
    pub fn deliver(&mut self, ended: Delivery) {
        self.deliveries.push(ended);
    }

    /// Adds what changed later.
    pub fn extend(&mut self, later: Self) {
        self.alerts.extend(later.alerts);
        self.told.extend(later.told);
        self.unacknowledged.extend(later.unacknowledged);
        self.flapping.extend(later.flapping);
        self.deliveries.extend(later.deliveries);
    }
}

impl State {
    /// Every alert that is not over and told.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn alerts(&self) -> Result<Vec<StoredAlert>, StateError> {
        self.read("reading alerts", |transaction| {
            transaction
                .prepare("SELECT * FROM alerts ORDER BY fingerprint")?
                .query_map([], stored_alert)?
                .collect()
        })
    }

    /// What every channel was told about groups that are not over.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn notifications(
        &self,
    ) -> Result<BTreeMap<NotificationKey, NotificationRecord>, StateError> {
        self.read("reading notifications", |transaction| {
            transaction
                .prepare("SELECT * FROM notifications")?
                .query_map([], notification)?
                .collect()
        })
    }

    /// Stores changes, all or none.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn change_alerts(&self, changes: &AlertChanges) -> Result<(), StateError> {
        self.write("storing alerts", |transaction| {
            change_alerts(transaction, &changes.alerts)?;
            acknowledgements::forget(transaction, &changes.unacknowledged)?;
            flapping::change(transaction, &changes.flapping)?;
            deliveries::note(transaction, &changes.deliveries)?;
            change_notifications(transaction, &changes.told)
        })
    }
}

fn change_alerts(
    transaction: &Transaction<'_>,
    changes: &BTreeMap<String, Option<StoredAlert>>,
) -> rusqlite::Result<()> {
    let mut store = transaction.prepare_cached(
        "INSERT INTO alerts (fingerprint, labels, annotations, generator_url, starts_at, ends_at,
         holds_for, heard_at, of_rule, acted) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (fingerprint) DO UPDATE SET annotations = excluded.annotations,
         generator_url = excluded.generator_url, starts_at = excluded.starts_at,
         ends_at = excluded.ends_at, holds_for = excluded.holds_for,
         heard_at = excluded.heard_at, of_rule = excluded.of_rule, acted = excluded.acted",
    )?;
    let mut remove = transaction.prepare_cached("DELETE FROM alerts WHERE fingerprint = ?1")?;
    for (fingerprint, alert) in changes {
        let Some(alert) = alert else {
            remove.execute([fingerprint])?;
            continue;
        };
        store.execute(params![
            alert.fingerprint,
            column::to_json(&alert.labels)?,
            column::to_json(&alert.annotations)?,
            alert.generator_url,
            alert.starts_at_ms,
            alert.ends_at_ms,
            alert.holds_for_ms,
            alert.heard_at_ms,
            alert.is_of_rule,
            alert.has_acted,
        ])?;
    }
    Ok(())
}

fn change_notifications(
    transaction: &Transaction<'_>,
    changes: &BTreeMap<NotificationKey, Option<NotificationRecord>>,
) -> rusqlite::Result<()> {
    let mut tell = transaction.prepare_cached(
        "INSERT INTO notifications (receiver, channel, group_key, firing, resolved, sent_at,
         failed_at, failure, withheld) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (receiver, channel, group_key) DO UPDATE SET firing = excluded.firing,
         resolved = excluded.resolved, sent_at = excluded.sent_at,
         failed_at = excluded.failed_at, failure = excluded.failure,
         withheld = excluded.withheld",
    )?;
    let mut end = transaction.prepare_cached(
        "DELETE FROM notifications WHERE receiver = ?1 AND channel = ?2 AND group_key = ?3",
    )?;
    for (key, record) in changes {
        let Some(record) = record else {
            end.execute(params![key.receiver, channel_number(key), key.group])?;
            continue;
        };
        let (failed_at, failure) = record.failure.clone().unzip();
        tell.execute(params![
            key.receiver,
            channel_number(key),
            key.group,
            column::to_json(&record.firing)?,
            column::to_json(&record.resolved)?,
            record.sent_at_ms,
            failed_at,
            failure,
            column::to_json(&record.withheld)?,
        ])?;
    }
    Ok(())
}

fn channel_number(key: &NotificationKey) -> i64 {
    i64::try_from(key.channel).unwrap_or(i64::MAX)
}

fn stored_alert(row: &Row<'_>) -> rusqlite::Result<StoredAlert> {
    Ok(StoredAlert {
        fingerprint: row.get("fingerprint")?,
        labels: column::labels(row, "labels")?,
        annotations: column::json(row, "annotations")?,
        generator_url: row.get("generator_url")?,
        starts_at_ms: row.get("starts_at")?,
        ends_at_ms: row.get("ends_at")?,
        holds_for_ms: row.get("holds_for")?,
        heard_at_ms: row.get("heard_at")?,
        is_of_rule: row.get("of_rule")?,
        has_acted: row.get("acted")?,
    })
}

fn notification(row: &Row<'_>) -> rusqlite::Result<(NotificationKey, NotificationRecord)> {
    let key = NotificationKey {
        receiver: row.get("receiver")?,
        channel: usize::try_from(column::unsigned(row, "channel")?).unwrap_or(usize::MAX),
        group: row.get("group_key")?,
    };
    let failed_at: Option<i64> = row.get("failed_at")?;
    let record = NotificationRecord {
        firing: column::json(row, "firing")?,
        resolved: column::json(row, "resolved")?,
        withheld: column::json(row, "withheld")?,
        sent_at_ms: row.get("sent_at")?,
        failure: failed_at.zip(row.get("failure")?),
    };
    Ok((key, record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;

    #[test]
    fn alerts_and_what_was_told_survive() {
        let (_folder, state) = state::temporary();
        let mut alert = StoredAlert {
            fingerprint: "1f".to_owned(),
            labels: Labels::new([("alertname", "Down"), ("instance", "web1")]),
            annotations: Annotations::from([("summary", "it's \"down\"")]),
            generator_url: "https://upkeep/rules".into(),
            starts_at_ms: 5,
            ends_at_ms: None,
            holds_for_ms: Some(240_000),
            heard_at_ms: Some(6),
            is_of_rule: true,
            has_acted: false,
        };
        let key = NotificationKey { receiver: "ops".to_owned(), channel: 1, group: "{}:{}".into() };
        let mut record = NotificationRecord {
            firing: BTreeSet::from(["1f".to_owned()]),
            withheld: BTreeSet::from(["2e".to_owned()]),
            sent_at_ms: Some(7),
            ..NotificationRecord::default()
        };
        let store = |alert: &StoredAlert, record: &NotificationRecord| {
            let mut changes = AlertChanges::default();
            changes.remove(&alert.fingerprint);
            changes.store(alert.clone());
            changes.tell(key.clone(), record.clone());
            state.change_alerts(&changes).unwrap();
            assert_eq!(state.alerts().unwrap(), std::slice::from_ref(alert));
            let expect = BTreeMap::from([(key.clone(), record.clone())]);
            assert_eq!(state.notifications().unwrap(), expect);
        };
        store(&alert, &record);
        alert.ends_at_ms = Some(9);
        alert.holds_for_ms = None;
        alert.heard_at_ms = None;
        (alert.is_of_rule, alert.has_acted) = (false, true);
        record.failure = Some((8, "status 503".to_owned()));
        store(&alert, &record);

        let mut over = AlertChanges::default();
        over.remove("1f");
        over.end(key);
        state.change_alerts(&over).unwrap();
        assert!(state.alerts().unwrap().is_empty() && state.notifications().unwrap().is_empty());
    }
}
