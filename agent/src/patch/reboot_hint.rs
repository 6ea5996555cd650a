//! What dnf, yum and zypper themselves know of a due restart: packages that are used by everything
//! were updated since the host was started.
//!
//! They are asked for nothing but this. dnf 4 and yum need no repository for it; dnf 5 also goes by
//! advisories that suggest a restart, and needs lists of files for that which few hosts have cached,
//! so that it is asked a second time without repositories. Neither takes a lock for an ordinary
//! user or downloads anything.

use serde::Deserialize;
use upkeep_model::RestartReason;

use super::answer::{DEADLINE, failure};
use super::remembered::{self, Input, Remembered, State};
use super::{dnf_report, dnf5, zypper};
use crate::host::{Host, HostError, Output, Tree};
use crate::package::rpm;

/// A program that knows of due restarts.
struct Source {
    /// Whether it looks after the host.
    is_in_use: fn(&Host) -> bool,
    /// How it is asked; what comes later is asked where what comes before fails.
    questions: &'static [&'static [&'static str]],
    /// Reads its answer; `None` if it is none.
    read: fn(&Output) -> Option<Hint>,
}

/// What a program says: the packages for which a restart is due, or that none is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hint {
    Due(Vec<String>),
    NotDue,
}

const SOURCES: [Source; 4] = [
    Source {
        is_in_use: |host| dnf5::is_there(host) && dnf_report::is_in_use(host),
        questions: &[
            &["dnf5", "-C", "--setopt=cachedir=/var/cache/libdnf5", "needs-restarting", "--json"],
            &["dnf5", "-C", "--disablerepo=*", "needs-restarting", "--json"],
            // Before dnf 5.3 there was no other form.
            &["dnf5", "-C", "--disablerepo=*", "needs-restarting"],
        ],
        read: |output| read_json(output).or_else(|| read_lines(output)),
    },
    Source {
        is_in_use: |host| {
            !dnf5::is_there(host) && host.has_program("dnf") && dnf_report::is_in_use(host)
        },
        questions: &[&["dnf", "-C", "--disablerepo=*", "needs-restarting", "-r"]],
        read: read_lines,
    },
    // Of yum-utils. The program of that name that zypper brings is another.
    Source {
        is_in_use: |host| {
            let has_dnf = host.has_program("dnf") || host.has_program("dnf5");
            !has_dnf && host.has_program("yum") && host.has_program("needs-restarting")
        },
        questions: &[&["needs-restarting", "-r"]],
        read: read_lines,
    },
    Source {
        // Where its flag is seen, that tells as much.
        is_in_use: |host| {
            host.has_program("zypper")
                && !zypper::is_foreign(host)
                && !host.exists(Tree::Root, zypper::REBOOT_FLAG)
        },
        questions: &[&["zypper", "--non-interactive", "--no-refresh", "needs-rebooting"]],
        read: read_status,
    },
];

/// What the answers depend on beside the start of the host, which this process does not outlive.
const INPUTS: [Input; 4] = [
    Input::folder("etc/dnf", 3),
    Input::folder("usr/share/dnf5", 2),
    Input::folder("var/cache/libdnf5", 3),
    Input::file(zypper::REBOOT_FLAG),
];

/// The restarts that are due, by each program that looks after the host and can tell.
///
/// # Errors
/// The reason if one of them should be able to tell and is not.
pub(super) fn ask(
    host: &Host,
    now_ms: i64,
    memory: &mut Remembered<Vec<RestartReason>>,
) -> Result<Vec<RestartReason>, String> {
    let sources: Vec<&Source> = SOURCES.iter().filter(|source| (source.is_in_use)(host)).collect();
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    memory.or_ask(now_ms, state(host), || {
        let mut reasons = Vec::new();
        for source in sources {
            if let Some(Hint::Due(packages)) = hint(host, source)? {
                let reason =
                    "core libraries or services were updated since the host was started".to_owned();
                reasons.push(RestartReason { reason, packages });
            }
        }
        Ok(reasons)
    })
}

fn state(host: &Host) -> State {
    remembered::look(host, rpm::FILES.map(Input::file).into_iter().chain(INPUTS))
}

/// Asks a program; `None` if it is not made for such questions.
fn hint(host: &Host, source: &Source) -> Result<Option<Hint>, String> {
    let mut complaint = None;
    for question in source.questions {
        let output = match host.run(question, DEADLINE) {
            Err(HostError::NotRecorded { .. }) => continue,
            Err(error) => return Err(error.to_string()),
            Ok(output) => output,
        };
        if let Some(hint) = (source.read)(&output) {
            return Ok(Some(hint));
        }
        if !lacks_command(&output) {
            let program = question.first().copied().unwrap_or_default();
            complaint.get_or_insert_with(|| failure(program, &output));
        }
    }
    complaint.map_or(Ok(None), Err)
}

/// Whether the program does not know the command or option: it comes with a package of its own, or
/// with a later version.
fn lacks_command(output: &Output) -> bool {
    const COMPLAINTS: [&str; 3] = ["No such command", "Unknown argument", "Unknown command"];
    COMPLAINTS.iter().any(|words| output.stderr.contains(words) || output.stdout.contains(words))
}

/// Reads the lines of dnf and yum. They end with 1 both if a restart is due and if they failed, so
/// that the words decide.
fn read_lines(output: &Output) -> Option<Hint> {
    const DUE: &str = "Core libraries or services have been updated";
    const NOT_DUE: &str = "Reboot should not be necessary";
    match output.exit {
        Some(1) if output.stdout.contains(DUE) => {
            Some(Hint::Due(output.stdout.lines().filter_map(parse_package).collect()))
        }
        Some(0) if output.stdout.contains(NOT_DUE) => Some(Hint::NotDue),
        // yum-utils of RHEL 7 says it otherwise.
        Some(0) if output.stdout.contains("No core libraries or services") => Some(Hint::NotDue),
        _ => None,
    }
}

/// Reads a line such as `  * glibc`, or `  glibc -> 2.17-326.el7` of yum.
fn parse_package(line: &str) -> Option<String> {
    let text = line.strip_prefix("  ")?.trim();
    let name = match text.strip_prefix("* ") {
        Some(name) => name,
        None => text.split_once(" -> ")?.0,
    };
    Some(name.trim().to_owned())
}

/// What dnf 5 says in JSON of a restart of the host.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    reboot_required: bool,
    #[serde(default)]
    packages: Vec<String>,
}

fn read_json(output: &Output) -> Option<Hint> {
    let entries: Vec<Entry> = serde_json::from_str(&output.stdout).ok()?;
    let entry = entries.into_iter().find(|entry| entry.kind == "reboot")?;
    Some(if entry.reboot_required { Hint::Due(entry.packages) } else { Hint::NotDue })
}

/// Reads the exit status of zypper, which knows no more than that.
fn read_status(output: &Output) -> Option<Hint> {
    match output.exit? {
        0 => Some(Hint::NotDue),
        102 => Some(Hint::Due(Vec::new())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(exit: i32, stdout: &str) -> Output {
        Output { exit: Some(exit), stdout: stdout.to_owned(), stderr: String::new() }
    }

    fn due(packages: &[&str]) -> Option<Hint> {
        Some(Hint::Due(packages.iter().map(|&name| name.to_owned()).collect()))
    }

    #[test]
    fn the_words_of_dnf_and_yum_decide() {
        let check = |exit: i32, stdout: &str, expect: Option<Hint>| {
            assert_eq!(read_lines(&output(exit, stdout)), expect, "{stdout}");
        };
        check(
            1,
            "Core libraries or services have been updated since boot-up:\n  * glibc\n  * systemd\n\n\
             Reboot is required to fully utilize these updates.\n\
             More information: https://access.redhat.com/solutions/27943\n",
            due(&["glibc", "systemd"]),
        );
        check(
            1,
            "Core libraries or services have been updated:\n  openssl-libs -> 1:1.0.2k-26.el7_9\n\
             \x20 kernel -> 3.10.0-1160.119.1.el7\n\n\
             Reboot is required to ensure that your system benefits from these updates.\n",
            due(&["openssl-libs", "kernel"]),
        );
        let not_due = "No core libraries or services have been updated since boot-up.\n\
            Reboot should not be necessary.\n";
        check(0, not_due, Some(Hint::NotDue));
        check(
            0,
            "No core libraries or services have been updated.\nReboot is probably not necessary.\n",
            Some(Hint::NotDue),
        );
        check(1, "Error: Error: rpmdb open failed\n", None);
        check(1, not_due, None);
        check(0, "", None);
    }

    #[test]
    fn dnf5_answers_in_json() {
        let check = |stdout: &str, expect: Option<Hint>| {
            assert_eq!(read_json(&output(1, stdout)), expect, "{stdout}");
        };
        let services = r#"{"type":"service","name":"a","reboot_required":true}"#;
        let reboot = r#"{"type":"reboot","reboot_required":true,"packages":["kernel-core"]}"#;
        check(&format!("[{services},{reboot}]"), due(&["kernel-core"]));
        check(r#"[{"type":"reboot","reboot_required":false}]"#, Some(Hint::NotDue));
        check(&format!("[{services}]"), None);
        check("[]", None);
        check("Cache-only enabled but no cache for repository \"base\"", None);
    }
}
