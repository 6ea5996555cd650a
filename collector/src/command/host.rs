//! `host list|show|revoke|rename|tag|delete`

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{CommandError, by_operator, held, moment, open_state, print_json, print_table};
use crate::config::Config;
use crate::control::Request;
use crate::fleet;
use crate::state::{HostChange, HostRecord, State};

/// Commands on hosts. A host is named by its name in the fleet or by its id.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the hosts.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show all that is known of one host.
    Show {
        /// The host.
        host: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shut a host out for good.
    Revoke {
        /// The host.
        host: String,
    },
    /// Shut a host out and delete all that is known of it: samples, facts, updates, events, declared gaps.
    /// Its entries in the audit log stay, and so do backups.
    Delete {
        /// The host.
        host: String,
        /// Do it; without, it is only said what would be deleted.
        #[arg(long)]
        yes: bool,
    },
    /// Give a host another name; its series from now on carry it.
    Rename {
        /// The host.
        host: String,
        /// The new name.
        name: String,
    },
    /// Set tags, which become labels of the host's series.
    Tag {
        /// The host.
        host: String,
        /// `NAME=VALUE`; an empty value removes the tag.
        #[arg(required = true, value_name = "NAME=VALUE")]
        tags: Vec<String>,
    },
}

/// Runs one of the commands.
pub(super) fn run(config: &Config, command: &Command) -> Result<(), CommandError> {
    let state = open_state(config)?;
    match command {
        Command::List { json } => list(&state.hosts()?, *json),
        Command::Show { host, json } => show(&find(&state, host)?, *json),
        Command::Revoke { host } => {
            let changed = state.revoke_host(find(&state, host)?.id, &by_operator())?;
            done(changed, host, "")
        }
        Command::Delete { host, yes } => delete(config, &state, &find(&state, host)?, *yes),
        Command::Rename { host, name } => {
            fleet::check_name(name).map_err(|fault| CommandError::Argument(fault.to_string()))?;
            let changed = state.rename_host(find(&state, host)?.id, name, &by_operator())?;
            done(changed, host, name)
        }
        Command::Tag { host, tags } => {
            let found = find(&state, host)?;
            let tags = changed_tags(found.tags, tags)?;
            done(state.tag_host(found.id, &tags, &by_operator())?, host, "")
        }
    }
}

fn delete(
    config: &Config,
    state: &State,
    host: &HostRecord,
    is_confirmed: bool,
) -> Result<(), CommandError> {
    let (id, name) = (host.id, &host.instance);
    let (enrolled, seen) = (moment(Some(host.enrolled_at_ms)), moment(host.last_seen_ms));
    eprintln!("{name} ({id}), {}, enrolled {enrolled}, last seen {seen}:", status(host));
    eprintln!("  all samples under its identity, whatever name it had");
    for (table, rows) in state.rows_of_host(id)? {
        eprintln!("  {rows} rows of {table}");
    }
    if !is_confirmed {
        return Err(CommandError::Unconfirmed);
    }
    held::ask(config, &Request::DeleteHost { host: id, actor: by_operator().actor })?;
    eprintln!("{name} is deleted.");
    Ok(())
}

fn find(state: &State, name: &str) -> Result<HostRecord, CommandError> {
    let missing = || CommandError::NotFound { what: "host", name: name.to_owned() };
    state.find_host(name)?.ok_or_else(missing)
}

fn done(change: HostChange, host: &str, name: &str) -> Result<(), CommandError> {
    match change {
        HostChange::Done => Ok(()),
        HostChange::NoSuchHost => {
            Err(CommandError::NotFound { what: "host", name: host.to_owned() })
        }
        HostChange::NameTaken => {
            Err(CommandError::Argument(format!("another host has the name {name:?}")))
        }
    }
}

fn changed_tags(
    mut tags: BTreeMap<String, String>,
    changes: &[String],
) -> Result<BTreeMap<String, String>, CommandError> {
    for change in changes {
        let (name, value) = change
            .split_once('=')
            .ok_or_else(|| CommandError::Argument(format!("{change:?} is not NAME=VALUE")))?;
        fleet::check_tag(name, value).map_err(|fault| CommandError::Argument(fault.to_string()))?;
        if value.is_empty() {
            tags.remove(name);
        } else {
            tags.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(tags)
}

fn list(hosts: &[HostRecord], as_json: bool) -> Result<(), CommandError> {
    if as_json {
        return print_json(&hosts.iter().map(to_json).collect::<Vec<Value>>());
    }
    let rows: Vec<Vec<String>> = hosts
        .iter()
        .map(|host| {
            vec![
                host.instance.clone(),
                host.id.to_string(),
                status(host).to_owned(),
                moment(host.last_seen_ms),
                host.agent_version.clone(),
                tags(host),
            ]
        })
        .collect();
    print_table(&["HOST", "ID", "STATUS", "LAST SEEN", "AGENT", "TAGS"], &rows)
}

fn show(host: &HostRecord, as_json: bool) -> Result<(), CommandError> {
    if as_json {
        return print_json(&to_json(host));
    }
    let facts = host.facts.clone().unwrap_or_default();
    let certificate = host.certificate.as_ref();
    let rows: Vec<Vec<String>> = [
        ("id", host.id.to_string()),
        ("status", status(host).to_owned()),
        ("calls itself", host.hostname.clone()),
        ("tags", tags(host)),
        ("distribution", facts.distribution.name),
        ("kernel", facts.kernel),
        ("agent", host.agent_version.clone()),
        ("enrolled", moment(Some(host.enrolled_at_ms))),
        ("last seen", moment(host.last_seen_ms)),
        ("revoked", moment(host.revoked_at_ms)),
        ("clock offset", host.clock_offset_ms.map_or("-".to_owned(), |ms| format!("{ms} ms"))),
        ("clock synchronized", host.clock_synchronized.map_or("-".to_owned(), |is| is.to_string())),
        ("certificate until", moment(certificate.map(|one| one.expires_at_ms))),
    ]
    .into_iter()
    .map(|(name, value)| vec![name.to_owned(), value])
    .collect();
    print_table(&["HOST", &host.instance], &rows)
}

fn to_json(host: &HostRecord) -> Value {
    json!({
        "id": host.id,
        "instance": host.instance,
        "status": status(host),
        "hostname": host.hostname,
        "tags": host.tags,
        "facts": host.facts,
        "agent_version": host.agent_version,
        "interval_ms": host.interval_ms,
        "enrolled_at": host.enrolled_at_ms,
        "last_seen": host.last_seen_ms,
        "revoked_at": host.revoked_at_ms,
        "clock_offset_ms": host.clock_offset_ms,
        "clock_synchronized": host.clock_synchronized,
        "certificate_serial": host.certificate.as_ref().map(|one| &one.serial),
        "certificate_expires_at": host.certificate.as_ref().map(|one| one.expires_at_ms),
    })
}

fn status(host: &HostRecord) -> &'static str {
    match (host.revoked_at_ms, host.last_seen_ms) {
        (Some(_), _) => "revoked",
        (None, None) => "enrolled",
        (None, Some(_)) => "active",
    }
}

fn tags(host: &HostRecord) -> String {
    let pairs: Vec<String> =
        host.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",")
}
