//! API tokens: what programs and people show to the HTTP API.

use std::fmt;
use std::str::FromStr;

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use thiserror::Error;

use super::audit::{self, Action, By, Outcome};
use super::secret::{self, SecretHash};
use super::{State, StateError, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE api_tokens (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    secret_hash TEXT NOT NULL UNIQUE,
    scopes      TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT,
    revoked_at  BIGINT,
    last_used   BIGINT
);
";

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Reading everything but secrets and the audit log.
    Read,
    /// Writing samples and alerts from outside.
    Write,
    /// Silences, acknowledgements, names and tags of hosts.
    Operate,
    /// Tokens, revocation, the audit log.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Operate, Self::Admin];
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Operate => "operate",
            Self::Admin => "admin",
        })
    }
}

/// A word that is no scope.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a scope; scopes are read, write, operate and admin")]
pub struct UnknownScope(pub String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let known = Self::ALL.into_iter().find(|scope| scope.to_string() == text);
        known.ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// A token that is to be kept.
#[derive(Clone, Debug)]
pub struct NewApiToken {
    /// Its public id.
    pub id: String,
    /// What it is for, in words of who made it.
    pub name: String,
    /// The hash of the whole token as it is shown.
    pub secret_hash: SecretHash,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it ceases to be good; `None` for never.
    pub expires_at_ms: Option<i64>,
}

/// A token as the state has it. Times are milliseconds since 1970 by the collector's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Its public id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at_ms: i64,
    /// When it ceases to be good; `None` for never.
    pub expires_at_ms: Option<i64>,
    /// When it was taken back.
    pub revoked_at_ms: Option<i64>,
    /// When it was last shown and good.
    pub last_used_ms: Option<i64>,
    /// The hash of the whole token.
    pub secret_hash: SecretHash,
}

impl State {
    /// Keeps a new token.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn create_api_token(&self, token: &NewApiToken, by: &By) -> Result<(), StateError> {
        self.write("keeping an API token", |transaction| {
            let sql = "INSERT INTO api_tokens
                (id, name, secret_hash, scopes, created_at, expires_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let scopes = join(&token.scopes);
            transaction.execute(
                sql,
                params![
                    token.id,
                    token.name,
                    token.secret_hash.to_hex(),
                    scopes,
                    by.at_ms,
                    token.expires_at_ms
                ],
            )?;
            let detail = format!("{}: {scopes}", token.name);
            audit::write(transaction, by, Action::ApiTokenCreate, &token.id, Outcome::Done, &detail)
        })
    }

    /// Every token, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn api_tokens(&self) -> Result<Vec<ApiToken>, StateError> {
        self.read("reading the API tokens", |transaction| {
            let sql = "SELECT * FROM api_tokens ORDER BY created_at DESC, id";
            transaction.prepare_cached(sql)?.query_map([], record)?.collect()
        })
    }

    /// The token of a hash, good or not: expiry and revocation are for the caller to judge.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn api_token(&self, secret_hash: &SecretHash) -> Result<Option<ApiToken>, StateError> {
        self.read("reading an API token", |transaction| {
            let sql = "SELECT * FROM api_tokens WHERE secret_hash = ?1";
            let mut statement = transaction.prepare_cached(sql)?;
            statement.query_row([secret_hash.to_hex()], record).optional()
        })
    }

    /// Notes that a token was used.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn record_api_token_use(&self, id: &str, at_ms: i64) -> Result<(), StateError> {
        self.write("noting the use of an API token", |transaction| {
            let sql = "UPDATE api_tokens SET last_used = ?1 WHERE id = ?2";
            transaction.prepare_cached(sql)?.execute(params![at_ms, id])?;
            Ok(())
        })
    }

    /// Takes a token back; `false` if there is none of that id.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn revoke_api_token(&self, id: &str, by: &By) -> Result<bool, StateError> {
        self.write("revoking an API token", |transaction| {
            let sql = "UPDATE api_tokens SET revoked_at = COALESCE(revoked_at, ?1) WHERE id = ?2";
            if transaction.execute(sql, params![by.at_ms, id])? == 0 {
                return Ok(false);
            }
            audit::write(transaction, by, Action::ApiTokenRevoke, id, Outcome::Done, "")?;
            Ok(true)
        })
    }
}

fn join(scopes: &[Scope]) -> String {
    let words: Vec<String> = scopes.iter().map(Scope::to_string).collect();
    words.join(",")
}

fn record(row: &Row<'_>) -> rusqlite::Result<ApiToken> {
    let scopes: String = row.get("scopes")?;
    let scopes: Result<Vec<Scope>, UnknownScope> =
        scopes.split(',').filter(|word| !word.is_empty()).map(str::parse).collect();
    Ok(ApiToken {
        id: row.get("id")?,
        name: row.get("name")?,
        scopes: scopes.map_err(|error| column::broken("scopes", error))?,
        created_at_ms: row.get("created_at")?,
        expires_at_ms: row.get("expires_at")?,
        revoked_at_ms: row.get("revoked_at")?,
        last_used_ms: row.get("last_used")?,
        secret_hash: secret::column(row, "secret_hash")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::temporary;

    #[test]
    fn a_token_is_found_by_its_hash_alone() {
        let (_folder, state) = temporary();
        let by = By { actor: "command-line:root".into(), at_ms: 5 };
        let new = NewApiToken {
            id: "a1".into(),
            name: "grafana".into(),
            secret_hash: SecretHash::of(b"the whole token"),
            scopes: vec![Scope::Read, Scope::Operate],
            expires_at_ms: Some(10),
        };
        state.create_api_token(&new, &by).unwrap();
        state.record_api_token_use("a1", 7).unwrap();
        assert!(state.api_token(&SecretHash::of(b"another")).unwrap().is_none());
        let token = state.api_token(&SecretHash::of(b"the whole token")).unwrap().unwrap();
        assert_eq!((token.id.as_str(), token.last_used_ms), ("a1", Some(7)));
        assert_eq!(token.scopes, [Scope::Read, Scope::Operate]);
        assert!(state.revoke_api_token("a1", &by).unwrap());
        assert!(!state.revoke_api_token("a2", &by).unwrap());
        assert_eq!(state.api_tokens().unwrap()[0].revoked_at_ms, Some(5));
    }
}
