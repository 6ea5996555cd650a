//! `init`

use std::fs;

use clap::Args;

use super::{CommandError, by_operator};
use crate::ca::Authority;
use crate::config::Config;
use crate::state::{self, Action, Outcome, State};

/// What `init` may be told.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A name or IP address by which agents and people reach this collector; may be given several
    /// times. Without any: this machine's host name and localhost.
    #[arg(long = "address", value_name = "NAME")]
    addresses: Vec<String>,
}

/// Makes the authority, and the state beside it.
pub(super) fn run(config: &Config, arguments: &Arguments) -> Result<(), CommandError> {
    let by = by_operator();
    let names =
        if arguments.addresses.is_empty() { default_names() } else { arguments.addresses.clone() };
    Authority::create(&config.data_dir, &names, by.at_ms)?;
    let state = State::open(&config.data_dir.join(state::FILE_NAME))?;
    let subject = names.join(" ");
    state.record_audit(&by, Action::AuthorityCreate, &subject, Outcome::Done, "")?;
    let folder = config.data_dir.join("ca");
    eprintln!("The certificate authority is in {}.", folder.display());
    eprintln!("Agents and browsers reach this collector as: {}", names.join(", "));
    Ok(())
}

fn default_names() -> Vec<String> {
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut names = vec!["localhost".to_owned()];
    if !hostname.trim().is_empty() && hostname.trim() != "localhost" {
        names.insert(0, hostname.trim().to_owned());
    }
    names
}
