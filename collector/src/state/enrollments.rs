//! Who became which host by which token.
//!
//! The decision is pure, and it is taken inside the transaction that acts on it: two requests with
//! the last use of a token cannot both get it. A token's use is bound to the request's own id and
//! public key, so a request whose reply was lost is answered again with the same identity.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use thiserror::Error;
use upkeep_model::HostId;

use super::audit::{self, Action, By, Outcome};
use super::secret::{self, SecretHash};
use super::tokens::{self, EnrollmentToken};
use super::{State, StateError, column, hosts};

pub(super) const SCHEMA: &str = "
CREATE TABLE enrollments (
    token_id      TEXT NOT NULL REFERENCES enrollment_tokens (id),
    enrollment_id TEXT NOT NULL,
    key_hash      TEXT NOT NULL UNIQUE,
    host          TEXT NOT NULL UNIQUE REFERENCES hosts (id),
    at_ms         BIGINT NOT NULL,
    PRIMARY KEY (token_id, enrollment_id)
);
";

/// A request for an identity.
#[derive(Clone, Debug)]
pub struct EnrollmentAttempt {
    /// The public id of the token that was shown.
    pub token_id: String,
    /// The hash of the secret that was shown.
    pub secret_hash: SecretHash,
    /// What the agent chose to recognize its own request by, in hexadecimal digits.
    pub enrollment_id: String,
    /// The hash of the public key that the host proved to have.
    pub key_hash: SecretHash,
    /// What the host calls itself; a label only.
    pub hostname: String,
    /// The version of its agent.
    pub agent_version: String,
    /// The identity that it gets if it becomes a new host.
    pub fresh: HostId,
}

/// A use of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrollment {
    /// What the agent chose to recognize its own request by.
    pub enrollment_id: String,
    /// The hash of the host's public key at the time.
    pub key_hash: SecretHash,
    /// The identity that it got.
    pub host: HostId,
}

/// Why a request gets no identity. What each says goes back to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EnrollmentRefusal {
    /// No token has that id.
    #[error(
        "the enrollment token is not known to this collector; make one with \
             `upkeep-collector token create`"
    )]
    Unknown,
    /// The secret does not belong to the id.
    #[error("the enrollment token was not made by this collector: its secret is wrong")]
    Forged,
    /// An operator took it back.
    #[error("the enrollment token was revoked")]
    Revoked,
    /// Its time is over.
    #[error("the enrollment token has expired; make another with `upkeep-collector token create`")]
    Expired,
    /// Every use it had is used.
    #[error(
        "the enrollment token was used already; make another with \
             `upkeep-collector token create`"
    )]
    Used,
    /// The same request was made with another key, so it is not the same host.
    #[error(
        "this enrollment was made with another key already; if it was not this host, \
             somebody else has the token"
    )]
    OtherKey,
    /// The key belongs to a host already.
    #[error(
        "this key belongs to a host that was enrolled already; remove the agent's key \
             and enroll again"
    )]
    KeyInUse,
    /// The host that came of this request was shut out since.
    #[error("the host of this enrollment was revoked")]
    HostRevoked,
}

/// What is to be done about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It becomes a new host.
    New,
    /// It is the same request again.
    Again(HostId),
    /// It is refused.
    Refused(EnrollmentRefusal),
}

/// What stands in the way of a request, or speaks for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing<'a> {
    /// The token of the id that was shown.
    pub token: Option<&'a EnrollmentToken>,
    /// An earlier request with the same token and enrollment id.
    pub same_request: Option<&'a Enrollment>,
    /// Whether the host of that earlier request was shut out.
    pub host_revoked: bool,
    /// Whether the key belongs to another enrollment.
    pub key_in_use: bool,
}

/// Decides about a request, at a time by the collector's clock.
pub fn decide(attempt: &EnrollmentAttempt, standing: Standing<'_>, now_ms: i64) -> Decision {
    let Some(token) = standing.token else {
        return Decision::Refused(EnrollmentRefusal::Unknown);
    };
    if token.secret_hash != attempt.secret_hash {
        return Decision::Refused(EnrollmentRefusal::Forged);
    }
    if token.revoked_at_ms.is_some() {
        return Decision::Refused(EnrollmentRefusal::Revoked);
    }
    // A reply may be lost for longer than the token lives, so a repetition is judged before that.
    if let Some(same) = standing.same_request {
        return if same.key_hash != attempt.key_hash {
            Decision::Refused(EnrollmentRefusal::OtherKey)
        } else if standing.host_revoked {
            Decision::Refused(EnrollmentRefusal::HostRevoked)
        } else {
            Decision::Again(same.host)
        };
    }
    if token.expires_at_ms <= now_ms {
        return Decision::Refused(EnrollmentRefusal::Expired);
    }
    if token.uses_left == 0 {
        return Decision::Refused(EnrollmentRefusal::Used);
    }
    if standing.key_in_use {
        return Decision::Refused(EnrollmentRefusal::KeyInUse);
    }
    Decision::New
}

impl State {
    /// Decides about a request and acts on it in one transaction, audit entry included. Returns
    /// the identity and name, or why there is none.
    ///
    /// # Errors
    /// When the database cannot be written; then nothing was decided.
    pub fn enroll(
        &self,
        attempt: &EnrollmentAttempt,
        now_ms: i64,
    ) -> Result<Result<(HostId, String), EnrollmentRefusal>, StateError> {
        let by = By { actor: format!("enrollment:{}", attempt.token_id), at_ms: now_ms };
        self.write("enrolling a host", |transaction| {
            let note = |host: &str, outcome, detail: &str| {
                audit::write(transaction, &by, Action::HostEnroll, host, outcome, detail)
            };
            match decide_within(transaction, attempt, now_ms)? {
                Decision::Refused(refusal) => {
                    note(&attempt.hostname, Outcome::Refused, &refusal.to_string())?;
                    Ok(Err(refusal))
                }
                Decision::Again(host) => {
                    note(&host.to_string(), Outcome::Done, "the same request again")?;
                    let record = hosts::by_id(transaction, host)?;
                    Ok(Ok((host, record.map(|record| record.instance).unwrap_or_default())))
                }
                Decision::New => {
                    let instance = bind(transaction, attempt, now_ms)?;
                    note(&attempt.fresh.to_string(), Outcome::Done, &instance)?;
                    Ok(Ok((attempt.fresh, instance)))
                }
            }
        })
    }
}

fn decide_within(
    transaction: &Transaction<'_>,
    attempt: &EnrollmentAttempt,
    now_ms: i64,
) -> rusqlite::Result<Decision> {
    let token = tokens::by_id(transaction, &attempt.token_id)?;
    let sql = "SELECT * FROM enrollments WHERE token_id = ?1 AND enrollment_id = ?2";
    let same_request = transaction
        .query_row(sql, params![attempt.token_id, attempt.enrollment_id], record)
        .optional()?;
    let sql = "SELECT * FROM enrollments WHERE key_hash = ?1";
    let of_key = transaction.query_row(sql, [attempt.key_hash.to_hex()], record).optional()?;
    let host = match &same_request {
        Some(same) => hosts::by_id(transaction, same.host)?,
        None => None,
    };
    let standing = Standing {
        token: token.as_ref(),
        same_request: same_request.as_ref(),
        host_revoked: host.is_some_and(|host| host.revoked_at_ms.is_some()),
        key_in_use: of_key.is_some(),
    };
    Ok(decide(attempt, standing, now_ms))
}

fn bind(
    transaction: &Transaction<'_>,
    attempt: &EnrollmentAttempt,
    now_ms: i64,
) -> rusqlite::Result<String> {
    tokens::use_once(transaction, &attempt.token_id)?;
    let (hostname, version) = (&attempt.hostname, &attempt.agent_version);
    let instance = hosts::insert(transaction, attempt.fresh, hostname, version, now_ms)?;
    let sql = "INSERT INTO enrollments (token_id, enrollment_id, key_hash, host, at_ms)
        VALUES (?1, ?2, ?3, ?4, ?5)";
    transaction.execute(
        sql,
        params![
            attempt.token_id,
            attempt.enrollment_id,
            attempt.key_hash.to_hex(),
            attempt.fresh.to_string(),
            now_ms
        ],
    )?;
    Ok(instance)
}

fn record(row: &Row<'_>) -> rusqlite::Result<Enrollment> {
    Ok(Enrollment {
        enrollment_id: row.get("enrollment_id")?,
        key_hash: secret::column(row, "key_hash")?,
        host: column::host(row, "host")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{NewEnrollmentToken, temporary};
    use uuid::Uuid;

    const NOW: i64 = 1_000_000;

    fn attempt(secret: &[u8], request: &str, key: &[u8], fresh: u128) -> EnrollmentAttempt {
        EnrollmentAttempt {
            token_id: "t1".into(),
            secret_hash: SecretHash::of(secret),
            enrollment_id: request.into(),
            key_hash: SecretHash::of(key),
            hostname: "web1".into(),
            agent_version: "0.1.0".into(),
            fresh: HostId(Uuid::from_u128(fresh)),
        }
    }

    fn token() -> EnrollmentToken {
        EnrollmentToken {
            id: "t1".into(),
            secret_hash: SecretHash::of(b"secret"),
            created_at_ms: NOW - 10,
            expires_at_ms: NOW + 10,
            uses_left: 1,
            revoked_at_ms: None,
        }
    }

    #[test]
    fn every_request_is_decided_for_a_reason() {
        let host = HostId(Uuid::from_u128(7));
        let good = attempt(b"secret", "r1", b"key", 9);
        let key_hash = SecretHash::of(b"key");
        let before = Enrollment { enrollment_id: "r1".into(), key_hash, host };
        let spent = EnrollmentToken { uses_left: 0, ..token() };
        let late = EnrollmentToken { expires_at_ms: NOW, ..token() };
        let taken_back = EnrollmentToken { revoked_at_ms: Some(1), ..token() };
        let fine = token();
        let alone = |token| Standing { token: Some(token), ..Standing::default() };
        let again = |token| Standing { same_request: Some(&before), ..alone(token) };
        let check = |attempt: &EnrollmentAttempt, standing, expect| {
            assert_eq!(decide(attempt, standing, NOW), expect);
        };
        let refused = Decision::Refused;

        check(&good, Standing::default(), refused(EnrollmentRefusal::Unknown));
        check(&good, alone(&fine), Decision::New);
        let forged = attempt(b"guess", "r1", b"key", 9);
        check(&forged, alone(&fine), refused(EnrollmentRefusal::Forged));
        check(&forged, again(&spent), refused(EnrollmentRefusal::Forged));
        check(&good, alone(&late), refused(EnrollmentRefusal::Expired));
        check(&good, alone(&spent), refused(EnrollmentRefusal::Used));
        check(&good, alone(&taken_back), refused(EnrollmentRefusal::Revoked));
        check(&good, again(&spent), Decision::Again(host));
        check(&good, again(&late), Decision::Again(host));
        check(&good, again(&taken_back), refused(EnrollmentRefusal::Revoked));
        let revoked = Standing { host_revoked: true, ..again(&spent) };
        check(&good, revoked, refused(EnrollmentRefusal::HostRevoked));
        let other = attempt(b"secret", "r1", b"other key", 9);
        check(&other, again(&spent), refused(EnrollmentRefusal::OtherKey));
        let copied = Standing { key_in_use: true, ..alone(&fine) };
        check(&good, copied, refused(EnrollmentRefusal::KeyInUse));
    }

    fn new_token(uses: u32) -> NewEnrollmentToken {
        let secret_hash = SecretHash::of(b"secret");
        NewEnrollmentToken { id: "t1".into(), secret_hash, expires_at_ms: NOW + 10, uses }
    }

    #[test]
    fn a_token_is_used_once_and_a_lost_reply_makes_no_second_host() {
        let (_folder, state) = temporary();
        let by = By { actor: "command-line:root".into(), at_ms: NOW };
        state.create_enrollment_token(&new_token(1), &by).unwrap();

        let enroll = |attempt: &EnrollmentAttempt| state.enroll(attempt, NOW).unwrap();
        let (first, name) = enroll(&attempt(b"secret", "r1", b"key", 1)).unwrap();
        assert_eq!(name, "web1");
        let (again, _) = enroll(&attempt(b"secret", "r1", b"key", 2)).unwrap();
        assert_eq!(again, first);
        let other_key = enroll(&attempt(b"secret", "r1", b"other", 3));
        assert_eq!(other_key, Err(EnrollmentRefusal::OtherKey));
        let second = enroll(&attempt(b"secret", "r2", b"other", 4));
        assert_eq!(second, Err(EnrollmentRefusal::Used));

        assert_eq!(state.hosts().unwrap().len(), 1);
        assert_eq!(state.enrollment_tokens().unwrap()[0].uses_left, 0);
        let refused =
            state.audit(None, 100).unwrap().iter().filter(|e| e.outcome == "refused").count();
        assert_eq!(refused, 2);
    }

    #[test]
    fn a_token_that_was_taken_back_is_refused() {
        let (_folder, state) = temporary();
        let by = By { actor: "command-line:root".into(), at_ms: NOW };
        state.create_enrollment_token(&new_token(5), &by).unwrap();
        assert!(state.revoke_enrollment_token("t1", &by).unwrap());
        assert!(!state.revoke_enrollment_token("t2", &by).unwrap());
        let refused = state.enroll(&attempt(b"secret", "r1", b"key", 1), NOW).unwrap();
        assert_eq!(refused, Err(EnrollmentRefusal::Revoked));
    }
}
