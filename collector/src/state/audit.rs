//! Who changed what, and what was refused.

use std::fmt;

use rusqlite::{Row, Transaction, params};
use serde::Serialize;

use super::{State, StateError};

pub(super) const SCHEMA: &str = "
CREATE TABLE audit (
    id      BIGINT PRIMARY KEY,
    at_ms   BIGINT NOT NULL,
    actor   TEXT NOT NULL,
    action  TEXT NOT NULL,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail  TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at_ms);
";

/// Who asks for a change, and when; every change carries it into the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// Such as `command-line:root`, `api-token:grafana`, `host:<uuid>`, `enrollment:<token id>`,
    /// `alert:<fingerprint>`.
    pub actor: String,
    /// The collector's clock, milliseconds since 1970.
    pub at_ms: i64,
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The certificate authority was made.
    AuthorityCreate,
    /// An enrollment token was made.
    TokenCreate,
    /// An enrollment token was revoked.
    TokenRevoke,
    /// An API token was made.
    ApiTokenCreate,
    /// An API token was revoked.
    ApiTokenRevoke,
    /// A host asked for an identity.
    HostEnroll,
    /// A host asked for a new certificate.
    HostRenew,
    /// A host tried to connect and was refused.
    HostConnect,
    /// A host was shut out.
    HostRevoke,
    /// A host got another name.
    HostRename,
    /// A host's tags were changed.
    HostTag,
    /// A host and all that was known of it was deleted.
    HostDelete,
    /// A backup was made.
    Backup,
    /// The data folder was filled from a backup.
    Restore,
    /// A silence was made or changed.
    SilenceSet,
    /// A silence was ended before its time.
    SilenceExpire,
    /// Somebody takes care of an alert.
    AlertAcknowledge,
    /// Nobody takes care of an alert any more, though it fires.
    AlertUnacknowledge,
    /// An alert asked for a predefined action.
    ActionRun,
    /// A predefined action ended.
    ActionEnd,
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::AuthorityCreate => "authority-create",
            Self::TokenCreate => "token-create",
            Self::TokenRevoke => "token-revoke",
            Self::ApiTokenCreate => "api-token-create",
            Self::ApiTokenRevoke => "api-token-revoke",
            Self::HostEnroll => "host-enroll",
            Self::HostRenew => "host-renew",
            Self::HostConnect => "host-connect",
            Self::HostRevoke => "host-revoke",
            Self::HostRename => "host-rename",
            Self::HostTag => "host-tag",
            Self::HostDelete => "host-delete",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::SilenceSet => "silence-set",
            Self::SilenceExpire => "silence-expire",
            Self::AlertAcknowledge => "alert-acknowledge",
            Self::AlertUnacknowledge => "alert-unacknowledge",
            Self::ActionRun => "action-run",
            Self::ActionEnd => "action-end",
        })
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused; the detail says why.
    Refused,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Done => "done",
            Self::Refused => "refused",
        })
    }
}

/// One entry of the log, as it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// Its number; later entries have greater ones.
    pub id: i64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Who did or asked for it.
    pub actor: String,
    /// What it is about, as [`Action`] prints.
    pub action: String,
    /// What it was done to, such as a host's identity.
    pub subject: String,
    /// How it went, as [`Outcome`] prints.
    pub outcome: String,
    /// More, in words.
    pub detail: String,
}

impl State {
    /// Writes one entry by itself, for what changes nothing in the database.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn record_audit(
        &self,
        by: &By,
        action: Action,
        subject: &str,
        outcome: Outcome,
        detail: &str,
    ) -> Result<(), StateError> {
        self.write("writing to the audit log", |transaction| {
            write(transaction, by, action, subject, outcome, detail)
        })
    }

    /// The newest entries first, those before the entry `before` where it is given.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn audit(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditEntry>, StateError> {
        self.read("reading the audit log", |transaction| {
            let sql = "SELECT * FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
            transaction
                .prepare_cached(sql)?
                .query_map(params![before.unwrap_or(i64::MAX), limit], entry)?
                .collect()
        })
    }

    /// The number of the newest entry, 0 if there is none. Since every change of a host or token
    /// is in the log, a server finds out by it that another process changed something.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn last_audit(&self) -> Result<i64, StateError> {
        self.read("reading the audit log", |transaction| {
            let sql = "SELECT COALESCE(MAX(id), 0) FROM audit";
            transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))
        })
    }
}

/// Writes an entry into the transaction of the change that it is about.
pub(super) fn write(
    transaction: &Transaction<'_>,
    by: &By,
    action: Action,
    subject: &str,
    outcome: Outcome,
    detail: &str,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO audit (id, at_ms, actor, action, subject, outcome, detail)
        SELECT COALESCE(MAX(id), 0) + 1, ?1, ?2, ?3, ?4, ?5, ?6 FROM audit";
    transaction.prepare_cached(sql)?.execute(params![
        by.at_ms,
        by.actor,
        action.to_string(),
        subject,
        outcome.to_string(),
        detail
    ])?;
    Ok(())
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        id: row.get("id")?,
        at_ms: row.get("at_ms")?,
        actor: row.get("actor")?,
        action: row.get("action")?,
        subject: row.get("subject")?,
        outcome: row.get("outcome")?,
        detail: row.get("detail")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::temporary;

    #[test]
    fn entries_come_back_newest_first_and_by_pages() {
        let (_folder, state) = temporary();
        assert_eq!(state.last_audit().unwrap(), 0);
        for at_ms in 1..=3 {
            let by = By { actor: "command-line:root".into(), at_ms };
            state.record_audit(&by, Action::HostTag, "web1", Outcome::Done, "").unwrap();
        }
        let times = |before, limit| -> Vec<i64> {
            state.audit(before, limit).unwrap().iter().map(|entry| entry.at_ms).collect()
        };
        assert_eq!(times(None, 2), [3, 2]);
        assert_eq!(times(Some(2), 2), [1]);
        assert_eq!(state.last_audit().unwrap(), 3);
    }
}
