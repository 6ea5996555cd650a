//! The services that still run code which an update has replaced.

use std::collections::{BTreeMap, BTreeSet};

use upkeep_model::{Knowledge, RestartReason, StaleService};

use super::needrestart::Needrestart;
use crate::helper::{RestartsAnswer, StaleProcess};

/// Units that are not restarted while a host runs, and what they are.
const CORE: [(&str, &str); 3] = [
    ("init.scope", "the init process"),
    ("dbus.service", "the message bus"),
    ("dbus-broker.service", "the message bus"),
];

/// So many files are named in a reason.
const NAMED_FILES: usize = 3;

/// Groups processes by their service, and adds what only `needrestart` finds: interpreters whose
/// scripts were replaced.
pub(super) fn report(
    answer: &RestartsAnswer,
    needrestart: &Needrestart,
) -> Knowledge<Vec<StaleService>> {
    let mut services: BTreeMap<&str, (BTreeSet<&str>, u32)> = BTreeMap::new();
    for process in &answer.processes {
        let (files, processes) = services.entry(name(process)).or_default();
        files.extend(process.files.iter().map(String::as_str));
        *processes += 1;
    }
    for service in &needrestart.services {
        services.entry(service).or_default();
    }
    if services.is_empty() && answer.unreadable > 0 {
        let number = answer.unreadable;
        let all = answer.unreadable + answer.looked_into;
        return Knowledge::Unknown(format!("{number} of {all} processes could not be looked into"));
    }
    if services.is_empty() && answer.looked_into == 0 {
        return Knowledge::Unknown("there was no process to look into".to_owned());
    }
    let services = services.into_iter().map(|(name, (files, processes))| StaleService {
        name: name.to_owned(),
        files: files.into_iter().map(str::to_owned).collect(),
        processes,
    });
    Knowledge::Known(services.collect())
}

/// The unit, or the program where it runs outside of services: in a session, or without systemd.
fn name(process: &StaleProcess) -> &str {
    match process.unit.as_deref() {
        Some(unit) if !unit.starts_with("session-") => unit,
        _ => process.program.rsplit('/').next().unwrap_or_default(),
    }
}

/// Restarts of the whole host that replaced code is the reason for.
pub(super) fn restart_reasons(answer: &RestartsAnswer) -> Vec<RestartReason> {
    let of_core = answer.processes.iter().filter_map(|process| {
        let is_unit = |(unit, _): &&(&str, &str)| {
            let is_first = process.pid == 1 && *unit == "init.scope";
            is_first || process.unit.as_deref() == Some(unit)
        };
        let (_, what) = CORE.iter().find(is_unit)?;
        let files: Vec<&str> = process.files.iter().take(NAMED_FILES).map(String::as_str).collect();
        let reason = format!("{what} runs code that was replaced: {}", files.join(", "));
        Some(RestartReason { reason, packages: Vec::new() })
    });
    let mut reasons: Vec<RestartReason> = of_core.collect();
    reasons.dedup();
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, unit: Option<&str>, program: &str, files: &[&str]) -> StaleProcess {
        StaleProcess {
            pid,
            unit: unit.map(str::to_owned),
            program: program.to_owned(),
            files: files.iter().map(|file| (*file).to_owned()).collect(),
        }
    }

    #[test]
    fn processes_are_grouped_by_service() {
        let libc = "/usr/lib/libc.so.6";
        let answer = RestartsAnswer {
            processes: vec![
                process(7, Some("ssh.service"), "/usr/sbin/sshd", &[libc]),
                process(8, Some("ssh.service"), "/usr/sbin/sshd", &["/usr/lib/libz.so.1", libc]),
                process(9, Some("session-3.scope"), "/usr/bin/tmux", &[libc]),
                process(10, None, "runsvdir", &[libc]),
            ],
            looked_into: 100,
            ..RestartsAnswer::default()
        };
        let needrestart = Needrestart {
            services: vec!["ssh.service".to_owned(), "fail2ban.service".to_owned()],
            ..Needrestart::default()
        };
        let Knowledge::Known(services) = report(&answer, &needrestart) else { panic!("unknown") };
        let seen: Vec<_> = services
            .iter()
            .map(|one| (one.name.as_str(), one.processes, one.files.len()))
            .collect();
        let expect =
            [("fail2ban.service", 0, 0), ("runsvdir", 1, 1), ("ssh.service", 2, 2), ("tmux", 1, 1)];
        assert_eq!(seen, expect);
    }

    #[test]
    fn none_is_said_only_where_all_were_seen() {
        let check = |answer: RestartsAnswer, expect: Result<usize, &str>| {
            let seen = report(&answer, &Needrestart::default());
            let expect = expect.map_err(str::to_owned);
            let seen = match seen {
                Knowledge::Known(services) => Ok(services.len()),
                Knowledge::Unknown(reason) => Err(reason),
            };
            assert_eq!(seen, expect);
        };
        let of = |processes, looked_into, unreadable| RestartsAnswer {
            processes,
            looked_into,
            unreadable,
            ..RestartsAnswer::default()
        };
        let stale = || vec![process(7, Some("ssh.service"), "sshd", &["/x"])];
        check(of(Vec::new(), 9, 0), Ok(0));
        check(of(Vec::new(), 9, 3), Err("3 of 12 processes could not be looked into"));
        check(of(Vec::new(), 0, 0), Err("there was no process to look into"));
        check(of(stale(), 9, 3), Ok(1));
    }

    #[test]
    fn what_cannot_be_restarted_takes_a_restart_of_the_host() {
        let check = |process: StaleProcess, expect: &[&str]| {
            let answer = RestartsAnswer { processes: vec![process], ..RestartsAnswer::default() };
            let seen = restart_reasons(&answer);
            let seen: Vec<_> = seen.iter().map(|reason| reason.reason.as_str()).collect();
            assert_eq!(seen, expect);
        };
        check(
            process(1, None, "systemd", &["/a", "/b", "/c", "/d"]),
            &["the init process runs code that was replaced: /a, /b, /c"],
        );
        check(
            process(70, Some("dbus.service"), "dbus-daemon", &["/a"]),
            &["the message bus runs code that was replaced: /a"],
        );
        check(process(71, Some("ssh.service"), "sshd", &["/a"]), &[]);
    }
}
