//! `api-token create|list|revoke`

use std::io::{self, Write as _};
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{CommandError, by_operator, moment, open_state, print_json, print_table};
use crate::config::Config;
use crate::state::{ApiToken, NewApiToken, Scope, SecretHash};

/// What every API token begins with, so that one that leaked can be recognized.
const PREFIX: &str = "upkeep_api_";

/// Commands on API tokens.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a token and print it; it is shown this once.
    Create {
        /// What it is for, such as `grafana`.
        name: String,
        /// What it may be used for: read, write, operate or admin; may be given several times.
        #[arg(long = "scope", default_value = "read")]
        scopes: Vec<Scope>,
        /// How long it is good, such as `90d`; without it, until it is revoked.
        #[arg(long, value_parser = humantime::parse_duration)]
        ttl: Option<Duration>,
    },
    /// Show the tokens, without their secrets.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take a token back.
    Revoke {
        /// The token's id, as `list` shows it.
        id: String,
    },
}

/// Runs one of the commands.
pub(super) fn run(config: &Config, command: &Command) -> Result<(), CommandError> {
    match command {
        Command::Create { name, scopes, ttl } => create(config, name, scopes, *ttl),
        Command::List { json } => list(config, *json),
        Command::Revoke { id } => {
            if open_state(config)?.revoke_api_token(id, &by_operator())? {
                return Ok(());
            }
            Err(CommandError::NotFound { what: "API token", name: id.clone() })
        }
    }
}

fn create(
    config: &Config,
    name: &str,
    scopes: &[Scope],
    ttl: Option<Duration>,
) -> Result<(), CommandError> {
    let state = open_state(config)?;
    let by = by_operator();
    let secret = data_encoding::BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>());
    let token = format!("{PREFIX}{secret}");
    let mut scopes = scopes.to_vec();
    scopes.sort_unstable();
    scopes.dedup();
    let expires_at_ms =
        ttl.map(|ttl| by.at_ms.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)));
    let new = NewApiToken {
        id: data_encoding::HEXLOWER.encode(&rand::random::<[u8; 6]>()),
        name: name.to_owned(),
        secret_hash: SecretHash::of(token.as_bytes()),
        scopes,
        expires_at_ms,
    };
    state.create_api_token(&new, &by)?;
    Ok(writeln!(io::stdout(), "{token}")?)
}

fn list(config: &Config, as_json: bool) -> Result<(), CommandError> {
    let tokens = open_state(config)?.api_tokens()?;
    let now_ms = by_operator().at_ms;
    if as_json {
        let rows: Vec<Value> = tokens.iter().map(|token| to_json(token, now_ms)).collect();
        return print_json(&rows);
    }
    let rows: Vec<Vec<String>> = tokens
        .iter()
        .map(|token| {
            let scopes: Vec<String> = token.scopes.iter().map(Scope::to_string).collect();
            vec![
                token.id.clone(),
                token.name.clone(),
                status(token, now_ms).to_owned(),
                scopes.join(","),
                moment(Some(token.created_at_ms)),
                moment(token.expires_at_ms),
                moment(token.last_used_ms),
            ]
        })
        .collect();
    print_table(&["ID", "NAME", "STATUS", "SCOPES", "CREATED", "EXPIRES", "LAST USED"], &rows)
}

fn to_json(token: &ApiToken, now_ms: i64) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "status": status(token, now_ms),
        "scopes": token.scopes,
        "created_at": token.created_at_ms,
        "expires_at": token.expires_at_ms,
        "revoked_at": token.revoked_at_ms,
        "last_used": token.last_used_ms,
    })
}

fn status(token: &ApiToken, now_ms: i64) -> &'static str {
    if token.revoked_at_ms.is_some() {
        "revoked"
    } else if token.expires_at_ms.is_some_and(|expires| expires <= now_ms) {
        "expired"
    } else {
        "good"
    }
}
