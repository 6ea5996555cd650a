//! Refreshing the lists of packages, which only a unit of its own does, and only where the
//! administrator has switched it on: it takes the lock of the package manager and the network.

use std::time::Duration;

use crate::host::Host;

/// How long one manager may take; a mirror may be slow.
const PATIENCE: Duration = Duration::from_secs(600);

/// How many letters of a complaint are told.
const MAX_COMPLAINT: usize = 500;

/// How each manager's lists are refreshed, and nothing else is done. For pacman there is no such
/// command: new lists without their updates lead to systems that are updated in part, by the next
/// installation of any package. A command is left out where its better is there.
const COMMANDS: [Refresh; 5] = [
    Refresh {
        manager: "apt",
        command: &["apt-get", "--quiet", "--option=APT::Update::Error-Mode=any", "update"],
        better: None,
    },
    Refresh {
        manager: "dnf",
        command: &["dnf", "--quiet", "--refresh", "makecache"],
        better: None,
    },
    Refresh {
        manager: "yum",
        command: &["yum", "--quiet", "makecache", "fast"],
        better: Some("dnf"),
    },
    Refresh {
        manager: "zypper",
        command: &["zypper", "--non-interactive", "--quiet", "refresh"],
        better: None,
    },
    Refresh { manager: "apk", command: &["apk", "--quiet", "update"], better: None },
];

struct Refresh {
    manager: &'static str,
    command: &'static [&'static str],
    better: Option<&'static str>,
}

/// What became of one manager's lists: nothing to complain about, or the reason.
pub type Refreshed = (&'static str, Result<(), String>);

/// Refreshes the lists of every manager that the host has.
pub fn refresh(host: &Host) -> Vec<Refreshed> {
    let is_there = |name: Option<&&str>| name.is_some_and(|name| host.has_program(name));
    COMMANDS
        .iter()
        .filter(|one| is_there(one.command.first()) && !is_there(one.better.as_ref()))
        .map(|one| (one.manager, run(host, one.command)))
        .collect()
}

fn run(host: &Host, command: &[&str]) -> Result<(), String> {
    let output = host.run(command, PATIENCE).map_err(|error| error.to_string())?;
    if output.exit == Some(0) {
        return Ok(());
    }
    let complaint: String = output.stderr.trim().chars().take(MAX_COMPLAINT).collect();
    let status = output.exit.map_or_else(|| "a signal".to_owned(), |exit| exit.to_string());
    Err(format!("{} ended with {status}: {complaint}", command.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_manager_that_is_there_is_refreshed_once() {
        let check = |commands: &[(&[&str], i32)], expect: &[(&str, Option<&str>)]| {
            let folder = tempfile::tempdir().unwrap();
            let line = |(argv, exit): &(&[&str], i32)| {
                serde_json::json!({ "argv": argv, "exit": exit, "stderr": "no route\n" })
                    .to_string()
            };
            let lines: Vec<String> = commands.iter().map(line).collect();
            std::fs::write(folder.path().join("commands.jsonl"), lines.join("\n")).unwrap();
            let host = Host::replay(folder.path()).unwrap();
            let refreshed = refresh(&host);
            let seen: Vec<(&str, Option<&str>)> = refreshed
                .iter()
                .map(|(manager, outcome)| (*manager, outcome.as_ref().err().map(String::as_str)))
                .collect();
            assert_eq!(seen, expect);
        };
        let [apt, dnf, yum, zypper, _] = COMMANDS.map(|one| one.command);
        check(&[], &[]);
        check(&[(apt, 0)], &[("apt", None)]);
        check(&[(yum, 0)], &[("yum", None)]);
        check(&[(yum, 0), (dnf, 0)], &[("dnf", None)]);
        check(&[(&["pacman", "-Sy"], 0)], &[]);
        let failed = "zypper --non-interactive --quiet refresh ended with 4: no route";
        check(&[(zypper, 4), (apt, 0)], &[("apt", None), ("zypper", Some(failed))]);
    }
}
