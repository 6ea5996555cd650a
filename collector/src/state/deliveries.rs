//! What was sent to whom, when, and what came of it.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{State, StateError, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE deliveries (
    id        BIGINT PRIMARY KEY,
    first_at  BIGINT NOT NULL,
    last_at   BIGINT NOT NULL,
    tries     BIGINT NOT NULL,
    receiver  TEXT NOT NULL,
    channel   BIGINT NOT NULL,
    kind      TEXT NOT NULL,
    group_key TEXT NOT NULL,
    reason    TEXT NOT NULL,
    outcome   TEXT NOT NULL,
    answer    TEXT NOT NULL,
    alerts    BIGINT NOT NULL
);
CREATE INDEX deliveries_of_group ON deliveries (receiver, channel, group_key, id);
CREATE TABLE delivered_alerts (
    fingerprint TEXT NOT NULL,
    delivery    BIGINT NOT NULL,
    status      TEXT NOT NULL,
    PRIMARY KEY (fingerprint, delivery)
);
CREATE INDEX delivered_alerts_of_delivery ON delivered_alerts (delivery);
";

/// Of a longer message only so many alerts are noted; how many there were is.
const MAX_ALERTS: usize = 1_000;

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The receiver took it.
    Told,
    /// It did not arrive and is tried again.
    Failed,
    /// It was refused for good.
    Refused,
}

impl DeliveryOutcome {
    const ALL: [Self; 3] = [Self::Told, Self::Failed, Self::Refused];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// A message that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: i64,
    /// The receiver's name.
    pub receiver: String,
    /// The place of the channel among the receiver's.
    pub channel: usize,
    /// What the channel is called.
    pub kind: String,
    /// The group's key.
    pub group: String,
    /// Why the group was told of.
    pub reason: String,
    /// How it ended.
    pub outcome: DeliveryOutcome,
    /// What the receiver answered, or what was wrong; empty if it said nothing.
    pub answer: String,
    /// The fingerprints of the alerts, and whether they were said to fire.
    pub alerts: Vec<(String, bool)>,
}

/// A message, as it is told of one alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenDelivery {
    /// Its number; later ones have greater ones.
    pub id: i64,
    /// When it was first tried, in milliseconds since 1970.
    pub first_at_ms: i64,
    /// When it was last tried, in milliseconds since 1970.
    pub last_at_ms: i64,
    /// How often it was tried; tries that fail in a row count as one message.
    pub tries: u64,
    /// The receiver's name.
    pub receiver: String,
    /// The place of the channel among the receiver's.
    pub channel: u64,
    /// What the channel is called.
    pub kind: String,
    /// The group's key.
    pub group: String,
    /// Why the group was told of.
    pub reason: String,
    /// How it ended.
    pub outcome: DeliveryOutcome,
    /// What the receiver answered, or what was wrong; empty if it said nothing.
    pub answer: String,
    /// How many alerts it told of.
    pub alerts: u64,
    /// Whether it said that the alert fires.
    pub fires: bool,
}

impl State {
    /// The messages that told of an alert, the newest first, those before the message `before` where
    /// it is given.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn deliveries(
        &self,
        fingerprint: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<SeenDelivery>, StateError> {
        self.read("reading what was sent", |transaction| {
            let sql = "SELECT deliveries.*, delivered_alerts.status FROM delivered_alerts
                JOIN deliveries ON deliveries.id = delivered_alerts.delivery
                WHERE delivered_alerts.fingerprint = ?1 AND delivered_alerts.delivery < ?2
                ORDER BY delivered_alerts.delivery DESC LIMIT ?3";
            transaction
                .prepare_cached(sql)?
                .query_map(params![fingerprint, before.unwrap_or(i64::MAX), limit], delivery)?
                .collect()
        })
    }

    /// Forgets messages that ended before a moment, and the oldest beyond so many alerts that all of
    /// them tell of.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_deliveries(&self, before_ms: i64, most: u32) -> Result<(), StateError> {
        self.write("forgetting what was sent", |transaction| {
            let sql = "SELECT delivery FROM delivered_alerts ORDER BY delivery DESC
                LIMIT 1 OFFSET ?1";
            let beyond: Option<i64> =
                transaction.query_row(sql, [most], |row| row.get(0)).optional()?;
            let sql = "SELECT MAX(id) FROM deliveries WHERE last_at < ?1";
            let old: Option<i64> = transaction.query_row(sql, [before_ms], |row| row.get(0))?;
            let Some(last) = beyond.max(old) else { return Ok(()) };
            transaction.execute("DELETE FROM delivered_alerts WHERE delivery <= ?1", [last])?;
            transaction.execute("DELETE FROM deliveries WHERE id <= ?1", [last])?;
            Ok(())
        })
    }
}

/// Notes messages that ended. One that failed like the last of its group and channel is that one,
/// tried again, so that a receiver that is away for days does not fill the database.
pub(super) fn note(transaction: &Transaction<'_>, ended: &[Delivery]) -> rusqlite::Result<()> {
    for one in ended {
        let id = match failing(transaction, one)? {
            Some(id) => {
                let sql = "UPDATE deliveries SET last_at = ?2, tries = tries + 1, answer = ?3,
                    outcome = ?4, alerts = ?5 WHERE id = ?1";
                transaction.prepare_cached(sql)?.execute(params![
                    id,
                    one.at_ms,
                    one.answer,
                    one.outcome.name(),
                    count(one)
                ])?;
                id
            }
            None => insert(transaction, one)?,
        };
        let sql = "INSERT INTO delivered_alerts (fingerprint, delivery, status)
            VALUES (?1, ?2, ?3)
            ON CONFLICT (fingerprint, delivery) DO UPDATE SET status = excluded.status";
        let mut alert = transaction.prepare_cached(sql)?;
        for (fingerprint, fires) in one.alerts.iter().take(MAX_ALERTS) {
            alert.execute(params![fingerprint, id, if *fires { "firing" } else { "resolved" }])?;
        }
    }
    Ok(())
}

/// The message before, if it was the same and is still being tried.
fn failing(transaction: &Transaction<'_>, one: &Delivery) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT id, outcome, reason FROM deliveries
        WHERE receiver = ?1 AND channel = ?2 AND group_key = ?3 ORDER BY id DESC LIMIT 1";
    let last: Option<(i64, String, String)> = transaction
        .prepare_cached(sql)?
        .query_row(params![one.receiver, channel(one), one.group], |row| {
            Ok((row.get("id")?, row.get("outcome")?, row.get("reason")?))
        })
        .optional()?;
    let is_failing = |outcome: &str| outcome == DeliveryOutcome::Failed.name();
    Ok(last
        .filter(|(_, outcome, reason)| is_failing(outcome) && *reason == one.reason)
        .map(|(id, ..)| id))
}

fn insert(transaction: &Transaction<'_>, one: &Delivery) -> rusqlite::Result<i64> {
    let sql = "SELECT COALESCE(MAX(id), 0) + 1 FROM deliveries";
    let id: i64 = transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    let sql = "INSERT INTO deliveries (id, first_at, last_at, tries, receiver, channel, kind,
        group_key, reason, outcome, answer, alerts)
        VALUES (?1, ?2, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    transaction.prepare_cached(sql)?.execute(params![
        id,
        one.at_ms,
        one.receiver,
        channel(one),
        one.kind,
        one.group,
        one.reason,
        one.outcome.name(),
        one.answer,
        count(one),
    ])?;
    Ok(id)
}

fn channel(one: &Delivery) -> i64 {
    i64::try_from(one.channel).unwrap_or(i64::MAX)
}

fn count(one: &Delivery) -> i64 {
    i64::try_from(one.alerts.len()).unwrap_or(i64::MAX)
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<SeenDelivery> {
    let outcome: String = row.get("outcome")?;
    let status: String = row.get("status")?;
    Ok(SeenDelivery {
        id: row.get("id")?,
        first_at_ms: row.get("first_at")?,
        last_at_ms: row.get("last_at")?,
        tries: column::unsigned(row, "tries")?,
        receiver: row.get("receiver")?,
        channel: column::unsigned(row, "channel")?,
        kind: row.get("kind")?,
        group: row.get("group_key")?,
        reason: row.get("reason")?,
        outcome: DeliveryOutcome::ALL
            .into_iter()
            .find(|known| known.name() == outcome)
            .ok_or_else(|| column::broken("outcome", rusqlite::types::FromSqlError::InvalidType))?,
        answer: row.get("answer")?,
        alerts: column::unsigned(row, "alerts")?,
        fires: status == "firing",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{self, AlertChanges};

    fn ended(at_ms: i64, outcome: DeliveryOutcome, alerts: &[(&str, bool)]) -> Delivery {
        Delivery {
            at_ms,
            receiver: "ops".to_owned(),
            channel: 1,
            kind: "webhook".to_owned(),
            group: "{}:{}".to_owned(),
            reason: "First".to_owned(),
            outcome,
            answer: format!("at {at_ms}"),
            alerts: alerts.iter().map(|(name, fires)| ((*name).to_owned(), *fires)).collect(),
        }
    }

    fn keep(state: &State, ended: Vec<Delivery>) {
        let mut changes = AlertChanges::default();
        ended.into_iter().for_each(|one| changes.deliver(one));
        assert!(!changes.is_empty());
        state.change_alerts(&changes).unwrap();
    }

    /// Numbers, moments, tries, outcomes and answers of what was sent about an alert.
    fn shown(state: &State, name: &str) -> Vec<String> {
        let line = |one: SeenDelivery| {
            let outcome = one.outcome.name();
            let SeenDelivery { id, first_at_ms, last_at_ms, tries, answer, fires, .. } = one;
            format!("{id}: {first_at_ms}-{last_at_ms} {tries} {outcome} {answer} {fires}")
        };
        state.deliveries(name, None, 9).unwrap().into_iter().map(line).collect()
    }

    #[test]
    fn what_was_sent_is_told_of_each_alert() {
        use DeliveryOutcome::{Failed, Refused, Told};
        let (_folder, state) = state::temporary();
        keep(&state, vec![ended(1, Failed, &[("a", true)]), ended(2, Failed, &[("a", true)])]);
        assert_eq!(shown(&state, "a"), ["1: 1-2 2 failed at 2 true"], "one message, tried again");
        keep(&state, vec![ended(3, Told, &[("a", true), ("b", true)])]);
        assert_eq!(shown(&state, "a"), ["1: 1-3 3 told at 3 true"]);
        keep(&state, vec![ended(4, Told, &[("a", false)])]);
        keep(&state, vec![ended(5, Refused, &[("b", false)])]);
        let other = Delivery { channel: 0, ..ended(6, Failed, &[("b", false)]) };
        keep(&state, vec![other, ended(7, Failed, &[("b", false)])]);
        assert_eq!(shown(&state, "a"), ["2: 4-4 1 told at 4 false", "1: 1-3 3 told at 3 true"]);
        let of_b = [
            "5: 7-7 1 failed at 7 false",
            "4: 6-6 1 failed at 6 false",
            "3: 5-5 1 refused at 5 false",
            "1: 1-3 3 told at 3 true",
        ];
        assert_eq!(shown(&state, "b"), of_b);
        let page = state.deliveries("b", Some(4), 1).unwrap();
        assert_eq!(page.iter().map(|one| one.id).collect::<Vec<_>>(), [3]);
        assert_eq!((page[0].receiver.as_str(), page[0].channel, page[0].alerts), ("ops", 1, 1));

        // A new reason is a new message, though the last one still fails.
        let anew = Delivery { reason: "NewFiring".to_owned(), ..ended(8, Failed, &[("b", true)]) };
        keep(&state, vec![anew]);
        assert_eq!(shown(&state, "b")[0], "6: 8-8 1 failed at 8 true");

        state.forget_deliveries(5, 1_000).unwrap();
        assert_eq!((shown(&state, "a").len(), shown(&state, "b").len()), (0, 4));
        state.forget_deliveries(0, 2).unwrap();
        assert_eq!(shown(&state, "b").len(), 2);
        state.forget_deliveries(i64::MAX, 2).unwrap();
        assert_eq!(shown(&state, "b").len(), 0);
    }

    #[test]
    fn of_a_long_message_not_all_alerts_are_noted() {
        let (_folder, state) = state::temporary();
        let names: Vec<_> = (0..2_000).map(|number| (format!("{number:04}"), true)).collect();
        let long = Delivery { alerts: names, ..ended(1, DeliveryOutcome::Told, &[]) };
        keep(&state, vec![long]);
        assert_eq!(state.deliveries("0999", None, 9).unwrap()[0].alerts, 2_000);
        assert!(state.deliveries("1000", None, 9).unwrap().is_empty());
    }
}
