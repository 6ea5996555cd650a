//! `enroll`: a token becomes this host's identity, in files of the agent's own user.
//!
//! An administrator enrolls as root. Root reads the token, whose file is closed to everyone else,
//! and leaves the rest to this same program as the agent's user: so no key is ever made by root,
//! and no file is left that the agent could not replace later. The token goes there through a
//! pipe, neither as an argument nor in the environment, where others might see it.

use std::io::{self, Write};

use anyhow::Result;
use tracing::warn;
use upkeep_wire::Token;

use super::arguments::{Arguments, EnrollArguments};
use super::{VERSION, as_user, now_ms};
use crate::config::Config;
use crate::enroll::{self, Enrollment};
use crate::host::Host;
use crate::identity::{Identity, IdentityFolder};
use crate::inventory;

/// Enrolls, and deletes the file of a token that has done its duty.
pub(super) fn enroll_host(
    config: &Config,
    host: &Host,
    arguments: &Arguments,
    given: &EnrollArguments,
) -> Result<()> {
    let token = enroll::read_token(&given.token_file)?;
    if !as_user::enroll(&config.state_dir.0, arguments, given, &token)? {
        enroll_here(config, host, &token, given.force)?;
    }
    if !given.keep_token
        && let Err(error) = enroll::remove_token(&given.token_file)
    {
        warn!("the token is used up, but its file cannot be deleted: {error}");
    }
    Ok(())
}

fn enroll_here(config: &Config, host: &Host, token: &Token, force: bool) -> Result<()> {
    let folder = IdentityFolder::new(&config.state_dir.0);
    let hostname = inventory::facts(host).hostname;
    let enrollment =
        Enrollment { token, hostname: &hostname, agent_version: VERSION, force, now_ms: now_ms() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let identity = runtime.block_on(enroll::enroll(&folder, enrollment))?;
    let Identity { instance, host_id, address, .. } = identity;
    // The host is enrolled, whether or not somebody still reads that.
    let _ = writeln!(io::stdout(), "Enrolled as {instance} ({host_id}) with {address}.");
    Ok(())
}
