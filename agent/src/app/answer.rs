//! `helper`: answers one question on the socket that is standard input.

use anyhow::{Result, bail};

use crate::config::Config;
use crate::host::Host;

/// Answers and ends. A question that was refused is no failure of the helper; the log has it.
#[cfg(target_os = "linux")]
pub(super) fn answer(config: &Config, host: &Host) -> Result<()> {
    use std::io;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use anyhow::Context;
    use tracing::{debug, warn};

    use crate::helper::{HelperError, Permissions, serve};

    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let stream = UnixStream::from(input);
    if stream.local_addr().is_err() {
        bail!("standard input is not a socket; upkeep-agent-helper.socket starts the helper");
    }
    let permissions = Permissions::of(host, config.helper.verbs.clone())
        .context("it is not known who may ask")?;
    match serve(&stream, host, &permissions) {
        Ok(verb) => debug!(%verb, "answered"),
        Err(error @ (HelperError::Absent(_) | HelperError::Failed(_))) => debug!("{error}"),
        Err(error) => warn!("a question was not answered: {error}"),
    }
    Ok(())
}

/// There is no helper on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn answer(_config: &Config, _host: &Host) -> Result<()> {
    bail!("there is no helper on this system")
}
