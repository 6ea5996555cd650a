//! `token create|list|revoke`

use std::fs;
use std::io::{self, Write as _};
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};
use upkeep_wire::{Fingerprint, Token, TokenSecret};

use super::{CommandError, by_operator, moment, open_state, print_json, print_table};
use crate::app::ADDRESSES_FILE;
use crate::ca::Authority;
use crate::config::Config;
use crate::state::{EnrollmentToken, NewEnrollmentToken, SecretHash};

/// Commands on enrollment tokens.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a token and print it; it is shown this once.
    Create {
        /// How long it is good.
        #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
        ttl: Duration,
        /// How many hosts may enroll with it.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        /// What agents connect to; without it the configured or the first certified name.
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
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
        Command::Create { ttl, uses, address } => create(config, *ttl, *uses, address.clone()),
        Command::List { json } => list(config, *json),
        Command::Revoke { id } => {
            if open_state(config)?.revoke_enrollment_token(id, &by_operator())? {
                return Ok(());
            }
            Err(CommandError::NotFound { what: "enrollment token", name: id.clone() })
        }
    }
}

fn create(
    config: &Config,
    ttl: Duration,
    uses: u32,
    address: Option<String>,
) -> Result<(), CommandError> {
    let authority = Authority::open(&config.data_dir, config.certificates.host_lifetime.0)?;
    let state = open_state(config)?;
    let address = match address.or_else(|| config.grpc.address.clone()) {
        Some(address) => address,
        None => default_address(config, &authority.server_names()?),
    };
    let by = by_operator();
    let id = data_encoding::HEXLOWER.encode(&rand::random::<[u8; 6]>());
    let secret: [u8; 32] = rand::random();
    let pins = authority.roots().iter().map(|root| Fingerprint::of(root)).collect();
    let token = Token::new(id.clone(), TokenSecret::new(secret), address, pins)?;
    let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
    let new = NewEnrollmentToken {
        id,
        secret_hash: SecretHash::of(&secret),
        expires_at_ms: by.at_ms.saturating_add(ttl_ms),
        uses,
    };
    state.create_enrollment_token(&new, &by)?;
    Ok(writeln!(io::stdout(), "{}", token.to_text())?)
}

/// The first certified name, and the port that the running server took or the configured one.
fn default_address(config: &Config, names: &[String]) -> String {
    let running = fs::read(config.data_dir.join(ADDRESSES_FILE)).ok();
    let running: Option<Value> = running.and_then(|text| serde_json::from_slice(&text).ok());
    let port = running
        .as_ref()
        .and_then(|addresses| addresses.get("grpc")?.as_str()?.parse().ok())
        .map_or(config.grpc.listen.port(), |address: std::net::SocketAddr| address.port());
    let name = names.first().map_or("localhost", String::as_str);
    if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") }
}

fn list(config: &Config, as_json: bool) -> Result<(), CommandError> {
    let tokens = open_state(config)?.enrollment_tokens()?;
    let now_ms = by_operator().at_ms;
    if as_json {
        let rows: Vec<Value> = tokens.iter().map(|token| to_json(token, now_ms)).collect();
        return print_json(&rows);
    }
    let rows: Vec<Vec<String>> = tokens
        .iter()
        .map(|token| {
            vec![
                token.id.clone(),
                status(token, now_ms).to_owned(),
                token.uses_left.to_string(),
                moment(Some(token.created_at_ms)),
                moment(Some(token.expires_at_ms)),
            ]
        })
        .collect();
    print_table(&["ID", "STATUS", "USES LEFT", "CREATED", "EXPIRES"], &rows)
}

fn to_json(token: &EnrollmentToken, now_ms: i64) -> Value {
    json!({
        "id": token.id,
        "status": status(token, now_ms),
        "uses_left": token.uses_left,
        "created_at": token.created_at_ms,
        "expires_at": token.expires_at_ms,
        "revoked_at": token.revoked_at_ms,
    })
}

fn status(token: &EnrollmentToken, now_ms: i64) -> &'static str {
    if token.revoked_at_ms.is_some() {
        "revoked"
    } else if token.uses_left == 0 {
        "used"
    } else if token.expires_at_ms <= now_ms {
        "expired"
    } else {
        "good"
    }
}
