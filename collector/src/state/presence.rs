//! Which hosts are lost, and how each last connected, so that a change of either is told once, whoever
//! is started anew in between.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use upkeep_model::HostId;

use super::hosts::Contact;
use super::occurrences::{Occurrence, note};
use super::{State, StateError};

pub(super) const SCHEMA: &str = "
ALTER TABLE hosts ADD COLUMN lost_since BIGINT;
ALTER TABLE hosts ADD COLUMN epoch TEXT;
ALTER TABLE hosts ADD COLUMN clock_wrong BOOLEAN;
CREATE INDEX gaps_at ON gaps (to_ms);
";

/// News of one host.
#[derive(Clone, Debug, PartialEq)]
pub struct PresenceNews {
    /// The host.
    pub host: HostId,
    /// What happened.
    pub occurrence: Occurrence,
}

impl State {
    /// Notes which hosts were lost, came back or delivered what was missing, all in one transaction.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_presence(&self, news: &[PresenceNews], now_ms: i64) -> Result<(), StateError> {
        self.write("noting which hosts are lost", |transaction| {
            let sql = "UPDATE hosts SET lost_since = ?1 WHERE id = ?2";
            let mut statement = transaction.prepare_cached(sql)?;
            for PresenceNews { host, occurrence } in news {
                note(transaction, Some(*host), occurrence, now_ms)?;
                let lost_since = match occurrence {
                    Occurrence::HostLost { since_ms } => Some(*since_ms),
                    Occurrence::HostBack { .. } => None,
                    _ => continue,
                };
                statement.execute(params![lost_since, host.to_string()])?;
            }
            Ok(())
        })
    }
}

/// How a host last connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Former {
    epoch: Option<String>,
    clock_wrong: Option<bool>,
}

/// Notes what is new about the way in which a host connects.
pub(super) fn note_contact(
    transaction: &Transaction<'_>,
    host: HostId,
    contact: &Contact,
) -> rusqlite::Result<()> {
    let sql = "SELECT epoch, clock_wrong FROM hosts WHERE id = ?1";
    let read = |row: &Row<'_>| {
        Ok(Former { epoch: row.get("epoch")?, clock_wrong: row.get("clock_wrong")? })
    };
    let former = transaction.prepare_cached(sql)?.query_row([host.to_string()], read).optional()?;
    let former = former.unwrap_or_default();
    for occurrence in news_of(&former, contact) {
        note(transaction, Some(host), &occurrence, contact.at_ms)?;
    }
    let epoch = contact.epoch.to_string();
    let present = Former { epoch: Some(epoch), clock_wrong: Some(contact.clock_is_wrong) };
    if present != former {
        let sql = "UPDATE hosts SET epoch = ?1, clock_wrong = ?2 WHERE id = ?3";
        let values = params![present.epoch, present.clock_wrong, host.to_string()];
        transaction.prepare_cached(sql)?.execute(values)?;
    }
    Ok(())
}

fn news_of(former: &Former, contact: &Contact) -> Vec<Occurrence> {
    let mut news = Vec::new();
    let after = contact.epoch.to_string();
    if let Some(before) = former.epoch.clone().filter(|before| *before != after) {
        news.push(Occurrence::BufferReplaced { before, after });
    }
    let (was_wrong, offset_ms) = (former.clock_wrong == Some(true), contact.clock_offset_ms);
    match (was_wrong, contact.clock_is_wrong) {
        (false, true) => news.push(Occurrence::ClockCorrected { offset_ms }),
        (true, false) => news.push(Occurrence::ClockRight { offset_ms }),
        (true, true) | (false, false) => {}
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{OccurrenceFilter, enrolled_host, temporary};
    use upkeep_model::Epoch;

    fn contact(epoch: u8, offset_ms: i64) -> Contact {
        Contact {
            at_ms: 1_000,
            agent_version: "1".to_owned(),
            interval_ms: 10_000,
            clock_offset_ms: offset_ms,
            clock_synchronized: None,
            clock_is_wrong: offset_ms > 600_000,
            epoch: Epoch([epoch; 16]),
        }
    }

    fn kinds(state: &State) -> Vec<&'static str> {
        let mut found = state.occurrences(&OccurrenceFilter::default(), 100).unwrap();
        found.reverse();
        found.iter().map(|one| one.occurrence.kind().as_str()).collect()
    }

    #[test]
    fn only_what_is_new_of_a_connection_is_told() {
        let (_folder, state) = temporary();
        let host = enrolled_host(&state, 1, "a");
        let mut told = 0;
        let mut check = |epoch, offset_ms, expect: &[&str]| {
            state.record_contact(host, &contact(epoch, offset_ms)).unwrap();
            let found = kinds(&state);
            assert_eq!(found[told..], *expect, "{epoch} {offset_ms}");
            told = found.len();
        };
        check(1, 0, &[]);
        check(1, 0, &[]);
        check(2, 700_000, &["buffer_replaced", "clock_corrected"]);
        check(2, 900_000, &[]);
        check(2, 5, &["clock_right"]);
        check(2, 5, &[]);
        check(3, 5, &["buffer_replaced"]);
    }

    #[test]
    fn a_host_stays_lost_until_it_is_back() {
        let (_folder, state) = temporary();
        let host = enrolled_host(&state, 1, "a");
        let check = |occurrence: Occurrence, expect: Option<i64>| {
            state.note_presence(&[PresenceNews { host, occurrence }], 10).unwrap();
            assert_eq!(state.host(host).unwrap().unwrap().lost_since_ms, expect);
        };
        check(Occurrence::HostLost { since_ms: 5 }, Some(5));
        check(Occurrence::BacklogDelivered { from_ms: 1, to_ms: 2, records: 3 }, Some(5));
        check(Occurrence::HostBack { since_ms: 5, backlog_records: 3 }, None);
    }
}
