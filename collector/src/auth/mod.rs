//! Who a request comes from and what it may do: bearer tokens with scopes.
//!
//! A token is random and 256 bits long, and the state has only its SHA-256. It is looked up by that
//! hash, and hashes are compared in constant time, so neither what is stored nor how long a refusal
//! takes helps to guess one. Scopes are rights, not ranks: a token for writing cannot read.

use axum::http::{HeaderMap, header};
use thiserror::Error;
use tokio::task;

use crate::state::{ApiToken, SecretHash, State, StateError};

pub use crate::state::Scope;

/// When a token was last used is noted with this precision in milliseconds, since every note is a
/// transaction with a sync.
const USE_PRECISION_MS: i64 = 10 * 60 * 1000;

/// Who a token was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's public id, as the audit log names it.
    pub token: String,
    /// What the token is for, in words of who made it.
    pub name: String,
}

/// Why a request is turned away.
#[derive(Debug, Error)]
pub enum Refusal {
    /// It carries no token.
    #[error("this needs an API token: send `Authorization: Bearer …`")]
    Missing,
    /// Its header is no bearer token.
    #[error("the Authorization header holds no bearer token")]
    Malformed,
    /// Nobody made this token.
    #[error("the API token is not known")]
    Unknown,
    /// It was taken back.
    #[error("the API token {0} was revoked")]
    Revoked(String),
    /// Its time is over.
    #[error("the API token {0} has expired")]
    Expired(String),
    /// It is good, but not for this.
    #[error("the API token {token} lacks the scope {needed}")]
    Scope {
        /// The token's public id.
        token: String,
        /// What would be needed.
        needed: Scope,
    },
    /// It could not be looked up.
    #[error(transparent)]
    State(#[from] StateError),
    /// The collector is stopping.
    #[error("the look-up of the API token was broken off")]
    Stopped,
}

/// Finds out who a request comes from, and whether the scope that it needs is among the caller's.
/// `now_ms` is the collector's clock, milliseconds since 1970.
///
/// # Errors
/// When there is no good token, or it does not reach so far.
pub async fn authorize(
    state: &State,
    headers: &HeaderMap,
    needed: Scope,
    now_ms: i64,
) -> Result<Caller, Refusal> {
    let hash = SecretHash::of(bearer(headers)?.as_bytes());
    let state = state.clone();
    let look_up = task::spawn_blocking(move || {
        let token = state.api_token(&hash)?.filter(|token| token.secret_hash == hash);
        let token = judge(token, needed, now_ms)?;
        note_use(&state, &token, now_ms);
        Ok(Caller { token: token.id, name: token.name })
    });
    look_up.await.unwrap_or(Err(Refusal::Stopped))
}

/// The token in the Authorization header; the scheme's case does not matter.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let header = headers.get(header::AUTHORIZATION).ok_or(Refusal::Missing)?;
    let text = header.to_str().map_err(|_| Refusal::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::Malformed)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Refusal::Malformed);
    }
    Ok(token)
}

fn judge(token: Option<ApiToken>, needed: Scope, now_ms: i64) -> Result<ApiToken, Refusal> {
    let token = token.ok_or(Refusal::Unknown)?;
    if token.revoked_at_ms.is_some() {
        return Err(Refusal::Revoked(token.id));
    }
    if token.expires_at_ms.is_some_and(|expires| expires <= now_ms) {
        return Err(Refusal::Expired(token.id));
    }
    if !token.scopes.iter().any(|held| covers(*held, needed)) {
        return Err(Refusal::Scope { token: token.id, needed });
    }
    Ok(token)
}

/// Whether a scope that is held includes one that is needed. Who operates sees what he operates on,
/// and an administrator may do everything.
pub fn covers(held: Scope, needed: Scope) -> bool {
    match held {
        Scope::Read => needed == Scope::Read,
        Scope::Write => needed == Scope::Write,
        Scope::Operate => matches!(needed, Scope::Operate | Scope::Read),
        Scope::Admin => true,
    }
}

/// A note that cannot be written refuses nobody: the token is good all the same.
fn note_use(state: &State, token: &ApiToken, now_ms: i64) {
    if token.last_used_ms.is_some_and(|last| now_ms - last < USE_PRECISION_MS) {
        return;
    }
    if let Err(error) = state.record_api_token_use(&token.id, now_ms) {
        tracing::warn!(token = token.id, %error, "the use of an API token could not be noted");
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const NOW_MS: i64 = 1_000_000;

    fn token(scopes: &[Scope]) -> ApiToken {
        ApiToken {
            id: "t1".into(),
            name: "test".into(),
            scopes: scopes.to_vec(),
            created_at_ms: 0,
            expires_at_ms: None,
            revoked_at_ms: None,
            last_used_ms: None,
            secret_hash: SecretHash::of(b"secret"),
        }
    }

    #[test]
    fn scopes_are_rights_and_not_ranks() {
        use Scope::{Admin, Operate, Read, Write};
        let check = |held, allowed: &[Scope]| {
            for needed in Scope::ALL {
                assert_eq!(covers(held, needed), allowed.contains(&needed), "{held} {needed}");
            }
        };
        check(Read, &[Read]);
        check(Write, &[Write]);
        check(Operate, &[Operate, Read]);
        check(Admin, &Scope::ALL);
    }

    #[test]
    fn a_token_is_judged_by_time_and_scope() {
        let check = |token: Option<ApiToken>, expect: &str| {
            let judged = judge(token, Scope::Read, NOW_MS);
            let said = judged.map_or_else(|refusal| refusal.to_string(), |_| "good".to_owned());
            assert_eq!(said, expect);
        };
        let good = token(&[Scope::Read]);
        check(None, "the API token is not known");
        check(Some(good.clone()), "good");
        check(Some(ApiToken { expires_at_ms: Some(NOW_MS + 1), ..good.clone() }), "good");
        check(
            Some(ApiToken { expires_at_ms: Some(NOW_MS), ..good.clone() }),
            "the API token t1 has expired",
        );
        check(Some(ApiToken { revoked_at_ms: Some(1), ..good }), "the API token t1 was revoked");
        check(Some(token(&[Scope::Write])), "the API token t1 lacks the scope read");
        check(Some(token(&[Scope::Write, Scope::Operate])), "good");
        check(Some(token(&[])), "the API token t1 lacks the scope read");
    }

    #[test]
    fn only_a_bearer_header_carries_a_token() {
        let check = |header: Option<&str>, expect: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(text) = header {
                headers.insert(header::AUTHORIZATION, HeaderValue::from_str(text).unwrap());
            }
            assert_eq!(bearer(&headers).ok(), expect, "{header:?}");
        };
        check(None, None);
        check(Some(""), None);
        check(Some("Bearer"), None);
        check(Some("Bearer "), None);
        check(Some("Basic dXNlcjpwYXNz"), None);
        check(Some("Bearer abc"), Some("abc"));
        check(Some("bearer  abc "), Some("abc"));
    }
}
