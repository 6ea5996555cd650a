//! `check-config`

use std::io::{self, Write as _};
use std::path::Path;

use super::CommandError;
use crate::alert::{self, Routing};
use crate::config::Config;
use crate::rule;
use crate::yaml::{Fault, Faults};

/// Says what the configuration comes to; that it, the rules and the routing file could be read is
/// the check.
pub(super) fn run(config: &Config, file: &Path) -> Result<(), CommandError> {
    let rules = rule::load(&config.rules.folder_if_any(), Some(&config.action_names()));
    let mut faults = rules.err().map(|found| found.0).unwrap_or_default();
    if let Some(routing) = config.alerts.routing_file() {
        let allowed = config.alerts.allowed();
        let settings = alert::Settings { routing, allowed, ..alert::Settings::default() };
        match alert::load(&settings) {
            Ok(routing) => faults.extend(unknown_receiver(config, &routing, file)),
            Err(found) => faults.extend(found.0),
        }
    } else {
        faults.extend(unknown_receiver(config, &Routing::nobody(), file));
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
    if let Some(receiver) = &config.digest.receiver {
        writeln!(out, "  digests go to     {receiver}")?;
    }
    Ok(())
}

/// The fault of a configuration whose digests go to nobody of the routing file.
fn unknown_receiver(config: &Config, routing: &Routing, file: &Path) -> Option<Fault> {
    let wanted = config.digest.receiver.as_ref()?;
    if routing.receivers.iter().any(|receiver| receiver.name == *wanted) {
        return None;
    }
    let message = format!("digest.receiver: the routing file has no receiver `{wanted}`");
    Some(Fault { file: file.to_owned(), place: None, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_go_to_a_receiver_of_the_routing_file() {
        let folder = tempfile::tempdir().unwrap();
        let (file, routing) =
            (folder.path().join("collector.toml"), folder.path().join("routing.yml"));
        std::fs::write(&routing, "route: {receiver: ops}\nreceivers: [{name: ops}]\n").unwrap();
        let check = |settings: &str, expect: Option<&str>| {
            let text = format!("[alerts]\nrouting = {routing:?}\n{settings}");
            std::fs::write(&file, text).unwrap();
            let refused = run(&Config::load(&file).unwrap(), &file).err();
            let refused = refused.map(|error| error.to_string());
            match expect {
                Some(part) => {
                    assert!(refused.as_ref().is_some_and(|text| text.contains(part)), "{refused:?}")
                }
                None => assert_eq!(refused, None, "{settings}"),
            }
        };
        check("", None);
        check("[digest]\nreceiver = \"ops\"\n", None);
        let unknown = "digest.receiver: the routing file has no receiver `boss`";
        check("[digest]\nreceiver = \"boss\"\n", Some(unknown));
    }
}
