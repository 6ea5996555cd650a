//! `check-config`

use std::io::{self, Write as _};
use std::path::Path;

use super::CommandError;
use crate::config::Config;

/// Says what the configuration comes to; that it could be read is the check.
pub(super) fn run(config: &Config, file: &Path) -> Result<(), CommandError> {
    let scheme = if config.http.tls { "https" } else { "http" };
    let mut out = io::stdout().lock();
    writeln!(out, "{} is in order", file.display())?;
    writeln!(out, "  data in           {}", config.data_dir.display())?;
    writeln!(out, "  agents connect to {}", config.grpc.listen)?;
    writeln!(out, "  HTTP API at       {scheme}://{}", config.http.listen)?;
    writeln!(out, "  samples kept for  {} days", config.storage.retention_days)?;
    writeln!(out, "  rules from        {}", config.rules.folder.display())?;
    match config.alerts.routing_file() {
        Some(file) => writeln!(out, "  alerts routed by  {}", file.display())?,
        None => writeln!(out, "  alerts routed by  nothing: nobody is told")?,
    }
    Ok(())
}
