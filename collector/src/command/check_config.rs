//! `check-config`

use std::io::{self, Write as _};
use std::path::Path;

use super::CommandError;
use crate::alert;
use crate::config::Config;
use crate::rule;
use crate::yaml::Faults;

/// Says what the configuration comes to; that it, the rules and the routing file could be read is
/// the check.
pub(super) fn run(config: &Config, file: &Path) -> Result<(), CommandError> {
    let rules = rule::load(&config.rules.folder_if_any(), Some(&config.action_names()));
    let mut faults = rules.err().map(|found| found.0).unwrap_or_default();
    if let Some(routing) = config.alerts.routing_file() {
        let allowed = config.alerts.allowed();
        let settings = alert::Settings { routing, allowed, ..alert::Settings::default() };
        faults.extend(alert::load(&settings).err().map(|found| found.0).unwrap_or_default());
    }
    if !faults.is_empty() {
        return Err(Faults(faults).into());
    }
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
    for action in config.actions().unwrap_or_default() {
        let (name, kind) = (&action.name, action.deed.kind());
        writeln!(out, "  action            {name}: a {kind}, {}", action.limit)?;
    }
    Ok(())
}
