//! The hosts of the fleet.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, Transaction, params};
use upkeep_model::{Epoch, HostFacts, HostId};

use super::audit::{self, Action, By, Outcome};
use super::{State, StateError, column, presence};

pub(super) const SCHEMA: &str = "
CREATE TABLE hosts (
    id                  TEXT PRIMARY KEY,
    instance            TEXT NOT NULL UNIQUE,
    hostname            TEXT NOT NULL,
    facts               TEXT,
    tags                TEXT NOT NULL,
    enrolled_at         BIGINT NOT NULL,
    last_seen           BIGINT,
    agent_version       TEXT NOT NULL,
    interval_ms         BIGINT NOT NULL,
    revoked_at          BIGINT,
    clock_offset_ms     BIGINT,
    certificate_serial  TEXT,
    certificate_expires BIGINT
);
";

pub(super) const SCHEMA_CLOCK: &str = "ALTER TABLE hosts ADD COLUMN clock_synchronized BOOLEAN;";

/// Until a host has said how often it observes, this is assumed.
const ASSUMED_INTERVAL_MS: u32 = 10_000;

/// How many digits of its UUID a host's name gets where the name is taken: the first that is free.
const DISTINGUISHING_DIGITS: [usize; 3] = [4, 8, 32];

/// A host as the state has it. Times are milliseconds since 1970 by the collector's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct HostRecord {
    /// The identity that its certificate carries.
    pub id: HostId,
    /// The unique name that it goes by in the fleet, the label `instance`.
    pub instance: String,
    /// What it calls itself.
    pub hostname: String,
    /// What it reported about itself; `None` before its first report.
    pub facts: Option<HostFacts>,
    /// Labels that an operator gave it.
    pub tags: BTreeMap<String, String>,
    /// When it got its identity.
    pub enrolled_at_ms: i64,
    /// When something last came from it; `None` before the first connection.
    pub last_seen_ms: Option<i64>,
    /// The version of its agent.
    pub agent_version: String,
    /// How often it observes.
    pub interval_ms: u32,
    /// When it was shut out.
    pub revoked_at_ms: Option<i64>,
    /// Its clock less the collector's, as seen at its last connection.
    pub clock_offset_ms: Option<i64>,
    /// Whether its kernel held the clock for synchronised then; `None` where that is not known.
    pub clock_synchronized: Option<bool>,
    /// When something last came from it, while it is lost.
    pub lost_since_ms: Option<i64>,
    /// The newest certificate that it was given.
    pub certificate: Option<CertificateRecord>,
}

/// What is kept of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRecord {
    /// Its serial number in hexadecimal digits.
    pub serial: String,
    /// When it expires, milliseconds since 1970.
    pub expires_at_ms: i64,
}

/// What a host tells as it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// When it connected, by the collector's clock.
    pub at_ms: i64,
    /// The version of its agent.
    pub agent_version: String,
    /// How often it observes.
    pub interval_ms: u32,
    /// Its clock less the collector's.
    pub clock_offset_ms: i64,
    /// Whether its kernel holds the clock for synchronised; `None` where that is not known.
    pub clock_synchronized: Option<bool>,
    /// Whether its clock is so far off that its times are corrected.
    pub clock_is_wrong: bool,
    /// The life of its buffer.
    pub epoch: Epoch,
}

/// What became of a change that an operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostChange {
    /// It is done.
    Done,
    /// There is no such host.
    NoSuchHost,
    /// Another host has that name.
    NameTaken,
}

impl State {
    /// Every host, in the order of their names.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn hosts(&self) -> Result<Vec<HostRecord>, StateError> {
        self.hosts_after("", u32::MAX)
    }

    /// At most `limit` hosts whose names come after `instance`, in the order of their names.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn hosts_after(&self, instance: &str, limit: u32) -> Result<Vec<HostRecord>, StateError> {
        self.read("reading the hosts", |transaction| {
            let sql = "SELECT * FROM hosts WHERE instance > ?1 ORDER BY instance LIMIT ?2";
            transaction.prepare_cached(sql)?.query_map(params![instance, limit], record)?.collect()
        })
    }

    /// One host.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn host(&self, id: HostId) -> Result<Option<HostRecord>, StateError> {
        self.read("reading a host", |transaction| by_column(transaction, "id", &id.to_string()))
    }

    /// The host of that name, or of that identity where the name is one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn find_host(&self, name_or_id: &str) -> Result<Option<HostRecord>, StateError> {
        self.read("reading a host", |transaction| {
            let named = by_column(transaction, "instance", name_or_id)?;
            match named {
                Some(host) => Ok(Some(host)),
                None => by_column(transaction, "id", &name_or_id.to_lowercase()),
            }
        })
    }

    /// Notes that a host connected.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn record_contact(&self, id: HostId, contact: &Contact) -> Result<(), StateError> {
        self.write("noting a connection", |transaction| {
            let sql = "UPDATE hosts SET last_seen = ?1, agent_version = ?2, interval_ms = ?3,
                clock_offset_ms = ?4, clock_synchronized = ?5 WHERE id = ?6";
            transaction.prepare_cached(sql)?.execute(params![
                contact.at_ms,
                contact.agent_version,
                contact.interval_ms,
                contact.clock_offset_ms,
                contact.clock_synchronized,
                id.to_string()
            ])?;
            presence::note_contact(transaction, id, contact)
        })
    }

    /// Notes when hosts were last heard of, all in one transaction.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn record_last_seen(&self, seen: &[(HostId, i64)]) -> Result<(), StateError> {
        self.write("noting when hosts were seen", |transaction| {
            let sql = "UPDATE hosts SET last_seen = ?1 WHERE id = ?2";
            let mut statement = transaction.prepare_cached(sql)?;
            for (id, at_ms) in seen {
                statement.execute(params![at_ms, id.to_string()])?;
            }
            Ok(())
        })
    }

    /// Notes the certificate that a host was given.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn record_certificate(
        &self,
        id: HostId,
        certificate: &CertificateRecord,
    ) -> Result<(), StateError> {
        self.write("noting a certificate", |transaction| {
            let sql =
                "UPDATE hosts SET certificate_serial = ?1, certificate_expires = ?2 WHERE id = ?3";
            transaction.prepare_cached(sql)?.execute(params![
                certificate.serial,
                certificate.expires_at_ms,
                id.to_string()
            ])?;
            Ok(())
        })
    }

    /// Shuts a host out for good. A host that was shut out before stays so since then.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn revoke_host(&self, id: HostId, by: &By) -> Result<HostChange, StateError> {
        self.write("revoking a host", |transaction| {
            let sql = "UPDATE hosts SET revoked_at = COALESCE(revoked_at, ?1) WHERE id = ?2";
            let changed = transaction.execute(sql, params![by.at_ms, id.to_string()])?;
            changed_host(transaction, by, Action::HostRevoke, id, changed, "")
        })
    }

    /// Gives a host another name.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn rename_host(
        &self,
        id: HostId,
        instance: &str,
        by: &By,
    ) -> Result<HostChange, StateError> {
        self.write("renaming a host", |transaction| {
            let holder = by_column(transaction, "instance", instance)?;
            if holder.is_some_and(|holder| holder.id != id) {
                return Ok(HostChange::NameTaken);
            }
            let sql = "UPDATE hosts SET instance = ?1 WHERE id = ?2";
            let changed = transaction.execute(sql, params![instance, id.to_string()])?;
            changed_host(transaction, by, Action::HostRename, id, changed, instance)
        })
    }

    /// Replaces a host's tags.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn tag_host(
        &self,
        id: HostId,
        tags: &BTreeMap<String, String>,
        by: &By,
    ) -> Result<HostChange, StateError> {
        self.write("tagging a host", |transaction| {
            let text = column::to_json(tags)?;
            let sql = "UPDATE hosts SET tags = ?1 WHERE id = ?2";
            let changed = transaction.execute(sql, params![text, id.to_string()])?;
            changed_host(transaction, by, Action::HostTag, id, changed, &text)
        })
    }
}

/// Adds a host under its host name, or under a name made unique where another host has it: who
/// comes later never evicts who was there. Returns the name.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    id: HostId,
    hostname: &str,
    agent_version: &str,
    now_ms: i64,
) -> rusqlite::Result<String> {
    let instance = free_name(transaction, id, hostname)?;
    let sql = "INSERT INTO hosts
        (id, instance, hostname, tags, enrolled_at, agent_version, interval_ms)
        VALUES (?1, ?2, ?3, '{}', ?4, ?5, ?6)";
    transaction.execute(
        sql,
        params![id.to_string(), instance, hostname, now_ms, agent_version, ASSUMED_INTERVAL_MS],
    )?;
    Ok(instance)
}

/// One host by its identity, within a transaction.
pub(super) fn by_id(
    transaction: &Transaction<'_>,
    id: HostId,
) -> rusqlite::Result<Option<HostRecord>> {
    by_column(transaction, "id", &id.to_string())
}

fn free_name(
    transaction: &Transaction<'_>,
    id: HostId,
    hostname: &str,
) -> rusqlite::Result<String> {
    let digits = id.0.simple().to_string();
    let mut name = hostname.to_owned();
    for count in DISTINGUISHING_DIGITS {
        if by_column(transaction, "instance", &name)?.is_none() {
            break;
        }
        name = format!("{hostname}~{}", digits.get(..count).unwrap_or(&digits));
    }
    Ok(name)
}

fn by_column(
    transaction: &Transaction<'_>,
    name: &'static str,
    value: &str,
) -> rusqlite::Result<Option<HostRecord>> {
    let sql = format!("SELECT * FROM hosts WHERE {name} = ?1");
    transaction.prepare_cached(&sql)?.query_row([value], record).optional()
}

fn changed_host(
    transaction: &Transaction<'_>,
    by: &By,
    action: Action,
    id: HostId,
    changed: usize,
    detail: &str,
) -> rusqlite::Result<HostChange> {
    if changed == 0 {
        return Ok(HostChange::NoSuchHost);
    }
    audit::write(transaction, by, action, &id.to_string(), Outcome::Done, detail)?;
    Ok(HostChange::Done)
}

fn record(row: &Row<'_>) -> rusqlite::Result<HostRecord> {
    let serial: Option<String> = row.get("certificate_serial")?;
    let expires: Option<i64> = row.get("certificate_expires")?;
    let certificate = serial
        .zip(expires)
        .map(|(serial, expires_at_ms)| CertificateRecord { serial, expires_at_ms });
    Ok(HostRecord {
        id: column::host(row, "id")?,
        instance: row.get("instance")?,
        hostname: row.get("hostname")?,
        facts: column::optional_json(row, "facts")?,
        tags: column::json(row, "tags")?,
        enrolled_at_ms: row.get("enrolled_at")?,
        last_seen_ms: row.get("last_seen")?,
        agent_version: row.get("agent_version")?,
        interval_ms: row.get("interval_ms")?,
        revoked_at_ms: row.get("revoked_at")?,
        clock_offset_ms: row.get("clock_offset_ms")?,
        clock_synchronized: row.get("clock_synchronized")?,
        lost_since_ms: row.get("lost_since")?,
        certificate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::temporary;
    use uuid::Uuid;

    fn by(at_ms: i64) -> By {
        By { actor: "command-line:root".into(), at_ms }
    }

    fn add(state: &State, id: u128, hostname: &str) -> (HostId, String) {
        let id = HostId(Uuid::from_u128(id));
        let name = state
            .write("adding", |transaction| insert(transaction, id, hostname, "0.1.0", 1_000))
            .unwrap();
        (id, name)
    }

    #[test]
    fn a_name_that_is_taken_is_made_unique_and_evicts_nobody() {
        let (_folder, state) = temporary();
        let first = add(&state, 0x1111 << 112, "web1");
        let second = add(&state, 0x2222 << 112, "web1");
        let third = add(&state, (0x2222 << 112) | 1, "web1");
        assert_eq!(
            [first.1.as_str(), second.1.as_str(), third.1.as_str()],
            ["web1", "web1~2222", "web1~22220000"]
        );
        assert_eq!(state.find_host("web1").unwrap().unwrap().id, first.0);
        assert_eq!(state.find_host(&second.0.to_string()).unwrap().unwrap().id, second.0);
    }

    #[test]
    fn changes_are_kept_and_audited() {
        let (_folder, state) = temporary();
        let (id, _) = add(&state, 7, "web1");
        let (other, _) = add(&state, 8, "web2");
        let nobody = HostId(Uuid::from_u128(9));
        let tags = BTreeMap::from([("site".to_owned(), "berlin".to_owned())]);
        assert_eq!(state.rename_host(id, "web2", &by(1)).unwrap(), HostChange::NameTaken);
        assert_eq!(state.rename_host(id, "front", &by(2)).unwrap(), HostChange::Done);
        assert_eq!(state.rename_host(id, "front", &by(3)).unwrap(), HostChange::Done);
        assert_eq!(state.tag_host(id, &tags, &by(4)).unwrap(), HostChange::Done);
        assert_eq!(state.revoke_host(id, &by(5)).unwrap(), HostChange::Done);
        assert_eq!(state.revoke_host(id, &by(6)).unwrap(), HostChange::Done);
        assert_eq!(state.revoke_host(nobody, &by(7)).unwrap(), HostChange::NoSuchHost);

        let host = state.host(id).unwrap().unwrap();
        assert_eq!((host.instance.as_str(), host.revoked_at_ms), ("front", Some(5)));
        assert_eq!(host.tags, tags);
        assert_eq!(state.host(other).unwrap().unwrap().revoked_at_ms, None);
        let audited: Vec<i64> =
            state.audit(None, 10).unwrap().iter().map(|entry| entry.at_ms).collect();
        assert_eq!(audited, [6, 5, 4, 3, 2]);
    }

    #[test]
    fn contacts_and_certificates_are_kept() {
        let (_folder, state) = temporary();
        let (id, _) = add(&state, 7, "web1");
        let contact = Contact {
            at_ms: 5_000,
            agent_version: "0.2.0".into(),
            interval_ms: 1_000,
            clock_offset_ms: -250,
            clock_synchronized: Some(true),
            clock_is_wrong: false,
            epoch: Epoch([1; 16]),
        };
        let certificate = CertificateRecord { serial: "0a".into(), expires_at_ms: 9_000 };
        state.record_contact(id, &contact).unwrap();
        state.record_certificate(id, &certificate).unwrap();
        state.record_last_seen(&[(id, 6_000)]).unwrap();
        let host = state.host(id).unwrap().unwrap();
        assert_eq!((host.last_seen_ms, host.clock_offset_ms), (Some(6_000), Some(-250)));
        assert_eq!(host.clock_synchronized, Some(true));
        assert_eq!((host.interval_ms, host.agent_version.as_str()), (1_000, "0.2.0"));
        assert_eq!(host.certificate, Some(certificate));
    }

    #[test]
    fn hosts_come_in_pages_by_name() {
        let (_folder, state) = temporary();
        for (id, name) in [(1, "b"), (2, "a"), (3, "c")] {
            add(&state, id, name);
        }
        let names = |hosts: Vec<HostRecord>| -> Vec<String> {
            hosts.into_iter().map(|host| host.instance).collect()
        };
        assert_eq!(names(state.hosts().unwrap()), ["a", "b", "c"]);
        assert_eq!(names(state.hosts_after("a", 1).unwrap()), ["b"]);
    }
}
