//! The real apt, dnf, zypper and pacman of this machine over small repositories: the agent, as an
//! ordinary user, tells what each of them would update, what it is for and what stays.
//!
//! They see the folder of `real_managers/packages.sh` in a mount namespace of their own, so that
//! nothing of this machine is changed or read. apk is in no package of Debian and has a recording.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use upkeep_agent::host::{Host, HostPaths};
use upkeep_agent::patch::{self, Memory};

/// What the packages and their repositories are made with, and who reads them.
const PROGRAMS: [&str; 9] =
    ["apt-get", "createrepo_c", "dnf", "pacman", "rpm", "rpmbuild", "setpriv", "unshare", "zypper"];

/// A user that owns nothing.
const NOBODY: &str = "65534";

#[test]
fn real_managers_are_asked_as_an_ordinary_user() {
    let Some(lab) = lab() else { return };
    let agent = lab.path().join("upkeep-agent");
    fs::copy(env!("CARGO_BIN_EXE_upkeep-agent"), &agent).unwrap();
    let output = own_managers(lab.path())
        .args(["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
        .args([agent.as_os_str(), "updates".as_ref(), "--json".as_ref()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expect = [
        "apt engine 1.0 2.0 Debian-Security:stable-security true [] null",
        "apt lamp 1.0 2.0 Debian:stable false [] null",
        "apt frozen 1.0 2.0 Debian:stable false [] \"held\"",
        "dnf engine 1.0-1 2.0-1 lab true Important [\"CVE-2026-1000\",\"LAB-2026:0001\"] null",
        "dnf lamp 1.0-1 2.0-1 lab false [] null",
        "dnf frozen 1.0-1 2.0-1 lab false [] \"held\"",
        "zypper engine 1.0-1 2.0-1 lab true important [\"CVE-2026-1000\",\"LAB-2026:0001\"] null",
        "zypper lamp 1.0-1 2.0-1 lab false [] null",
        "zypper frozen 1.0-1 2.0-1 lab false [] \"held\"",
        "pacman frozen 1.0-1 2.0-1 core false [] \"held\"",
        "pacman lamp 1.0-1 2.0-1 core false [] null",
    ];
    assert_eq!(shown(&report), expect);
    let managers = report["managers"].as_array().unwrap();
    let without = managers.iter().map(|manager| manager["without_advisories"].to_string());
    assert_eq!(without.collect::<Vec<_>>(), ["[]", "[]", "[]", "[\"core\"]"]);
    assert!(managers.iter().all(|manager| manager["lists_refreshed_at_ms"].is_i64()));
    assert_eq!(managers[0]["removable"], 1);
}

/// The updates, one a line, or why they are not known.
fn shown(report: &Value) -> Vec<String> {
    let of_manager = |manager: &Value| {
        let name = manager["manager"].as_str().unwrap().to_owned();
        let Some(updates) = manager["updates"]["known"].as_array() else {
            return vec![format!("{name} {}", manager["updates"])];
        };
        let line = |update: &Value| {
            let word = |key: &str| update[key].as_str().unwrap();
            let words = ["package", "installed", "offered", "origin"].map(word).join(" ");
            let severity = format!("{} {}", update["security"], word("severity"));
            let rest = format!("{} {}", update["advisories"], update["stays"]);
            format!("{name} {words} {} {rest}", severity.trim_end())
        };
        updates.iter().map(line).collect()
    };
    report["managers"].as_array().unwrap().iter().flat_map(of_manager).collect()
}

#[test]
fn real_managers_are_asked_again_when_their_packages_change() {
    let Some(lab) = lab() else { return };
    let status = own_managers(lab.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "among_own_managers"])
        .env("UPKEEP_TEST_LAB", lab.path())
        .status();
    assert!(status.unwrap().success());
}

#[test]
#[ignore = "it is run by another test, where the managers see only the packages of the tests"]
fn among_own_managers() {
    let lab = PathBuf::from(std::env::var_os("UPKEEP_TEST_LAB").unwrap());
    let host = Host::new(HostPaths::default());
    let mut memory = Memory::default();
    let look = |memory: &mut Memory| {
        let report = serde_json::to_value(patch::report(&host, 0, memory)).unwrap();
        shown(&report)
            .iter()
            .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
            .collect()
    };
    let all: Vec<String> = look(&mut memory);
    assert_eq!(all.len(), 11, "{all:?}");
    // From here on whoever is asked cannot answer.
    for program in ["apt-get", "dnf", "zypper", "pacman"] {
        let program = format!("/usr/bin/{program}");
        run(Command::new("mount").args(["--bind", "/bin/false", &program]));
    }
    assert_eq!(look(&mut memory), all, "somebody was asked, and nothing has changed");
    let update = |package: &str| {
        let file = lab.join(format!("srv/rpm/{package}-2.0-1.noarch.rpm"));
        run(Command::new("rpm").args(["-U", "--justdb", "--nodeps", "--noscripts"]).arg(file));
    };
    update("lamp");
    let asked = |memory: &mut Memory| -> Vec<&str> {
        let now = look(memory);
        let of = |manager: &str, lines: &[String]| -> Vec<String> {
            lines.iter().filter(|line| line.starts_with(manager)).cloned().collect()
        };
        let mut managers = vec!["apt", "dnf", "zypper", "pacman"];
        managers.retain(|manager| of(manager, &now) != of(manager, &all));
        managers
    };
    assert_eq!(asked(&mut memory), ["dnf", "zypper"]);
    let status = fs::read_to_string("/var/lib/dpkg/status").unwrap();
    fs::write("/var/lib/dpkg/status", status.replacen("1.0", "2.0", 1)).unwrap();
    assert_eq!(asked(&mut memory), ["apt", "dnf", "zypper"]);
    fs::remove_dir_all("/var/lib/pacman/local/lamp-1.0-1").unwrap();
    assert_eq!(asked(&mut memory), ["apt", "dnf", "zypper", "pacman"]);
}

/// A folder with packages and repositories, or none where this machine cannot make or show one.
fn lab() -> Option<tempfile::TempDir> {
    let folders = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
    let is_missing =
        |program: &&str| !folders.iter().any(|at| Path::new(at).join(program).exists());
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(is_missing).collect();
    if !rustix::process::geteuid().is_root() || !missing.is_empty() {
        eprintln!("SKIPPED: real package managers take root, and these programs: {missing:?}");
        return None;
    }
    let lab = tempfile::tempdir().unwrap();
    fs::set_permissions(lab.path(), fs::Permissions::from_mode(0o755)).unwrap();
    run(Command::new(script("packages.sh")).arg(lab.path()));
    Some(lab)
}

/// A command that is run where the managers see only that folder.
fn own_managers(lab: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    command.arg(script("own-managers.sh")).arg(lab);
    command
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_managers").join(name)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}
