//! Enrollment tokens: what a host without an identity shows to get one.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::audit::{self, Action, By, Outcome};
use super::secret::{self, SecretHash};
use super::{State, StateError};

pub(super) const SCHEMA: &str = "
CREATE TABLE enrollment_tokens (
    id          TEXT PRIMARY KEY,
    secret_hash TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    uses_left   BIGINT NOT NULL,
    revoked_at  BIGINT
);
";

/// A token that is to be kept.
#[derive(Clone, Debug)]
pub struct NewEnrollmentToken {
    /// Its public id.
    pub id: String,
    /// The hash of its secret; the secret itself is kept nowhere.
    pub secret_hash: SecretHash,
    /// When it ceases to be good, by the collector's clock.
    pub expires_at_ms: i64,
    /// How many hosts may enroll with it.
    pub uses: u32,
}

/// A token as the state has it. Times are milliseconds since 1970 by the collector's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrollmentToken {
    /// Its public id.
    pub id: String,
    /// The hash of its secret.
    pub secret_hash: SecretHash,
    /// When it was made.
    pub created_at_ms: i64,
    /// When it ceases to be good.
    pub expires_at_ms: i64,
    /// How many more hosts may enroll with it.
    pub uses_left: u32,
    /// When an operator took it back.
    pub revoked_at_ms: Option<i64>,
}

impl State {
    /// Keeps a new token.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn create_enrollment_token(
        &self,
        token: &NewEnrollmentToken,
        by: &By,
    ) -> Result<(), StateError> {
        self.write("keeping an enrollment token", |transaction| {
            let sql = "INSERT INTO enrollment_tokens
                (id, secret_hash, created_at, expires_at, uses_left) VALUES (?1, ?2, ?3, ?4, ?5)";
            transaction.execute(
                sql,
                params![
                    token.id,
                    token.secret_hash.to_hex(),
                    by.at_ms,
                    token.expires_at_ms,
                    token.uses
                ],
            )?;
            let detail = format!("{} uses", token.uses);
            audit::write(transaction, by, Action::TokenCreate, &token.id, Outcome::Done, &detail)
        })
    }

    /// Every token, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn enrollment_tokens(&self) -> Result<Vec<EnrollmentToken>, StateError> {
        self.read("reading the enrollment tokens", |transaction| {
            let sql = "SELECT * FROM enrollment_tokens ORDER BY created_at DESC, id";
            transaction.prepare_cached(sql)?.query_map([], record)?.collect()
        })
    }

    /// Takes a token back; `false` if there is none of that id.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn revoke_enrollment_token(&self, id: &str, by: &By) -> Result<bool, StateError> {
        self.write("revoking an enrollment token", |transaction| {
            let sql = "UPDATE enrollment_tokens SET revoked_at = COALESCE(revoked_at, ?1)
                WHERE id = ?2";
            if transaction.execute(sql, params![by.at_ms, id])? == 0 {
                return Ok(false);
            }
            audit::write(transaction, by, Action::TokenRevoke, id, Outcome::Done, "")?;
            Ok(true)
        })
    }
}

/// One token, within a transaction.
pub(super) fn by_id(
    transaction: &Transaction<'_>,
    id: &str,
) -> rusqlite::Result<Option<EnrollmentToken>> {
    let sql = "SELECT * FROM enrollment_tokens WHERE id = ?1";
    transaction.prepare_cached(sql)?.query_row([id], record).optional()
}

/// Uses a token once.
pub(super) fn use_once(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE enrollment_tokens SET uses_left = uses_left - 1 WHERE id = ?1";
    transaction.execute(sql, [id])?;
    Ok(())
}

fn record(row: &Row<'_>) -> rusqlite::Result<EnrollmentToken> {
    Ok(EnrollmentToken {
        id: row.get("id")?,
        secret_hash: secret::column(row, "secret_hash")?,
        created_at_ms: row.get("created_at")?,
        expires_at_ms: row.get("expires_at")?,
        uses_left: row.get("uses_left")?,
        revoked_at_ms: row.get("revoked_at")?,
    })
}
