//! Processes that still run code which was deleted since: an update has replaced it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::HelperError;
use crate::host::{Host, Output, Tree};

/// What `needrestart` finds out, in its batch mode; it restarts nothing then.
const NEEDRESTART: [&str; 2] = ["needrestart", "-b"];

/// How long it may take. It looks into scripts too, and a crowded host has many.
const NEEDRESTART_TIME: Duration = Duration::from_secs(60);

/// The most processes that an answer lists; after an update of the C library it is every one.
const MAX_PROCESSES: usize = 4096;

/// The most files that are listed of one process.
const MAX_FILES: usize = 64;

/// Where files that are deleted on purpose lie, or that are none: what is mapped from there was not
/// replaced by an update.
const PASSING: [&str; 11] = [
    "/dev/",
    "/memfd:",
    "/SYSV",
    "/tmp/",
    "/var/tmp/",
    "/run/",
    "/proc/",
    "/sys/",
    "/[aio]",
    "/anon_hugepage",
    "/drm ",
];

/// How files are called that a program writes code into, and deletes while it runs it.
const PASSING_NAME: &str = "/orcexec.";

/// What the kernel writes behind the name of a file that is no more.
const DELETED: &str = " (deleted)";

/// How engines of containers name the control groups of what runs in one.
const CONTAINERS: [&str; 9] = [
    "/docker/",
    "/docker-",
    "/kubepods",
    "/libpod-",
    "/crio-",
    "/cri-containerd-",
    "/lxc/",
    "/lxc.payload",
    "/machine.slice/systemd-nspawn@",
];

/// The processes of all users that run deleted code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartsAnswer {
    /// The processes, by their numbers.
    pub processes: Vec<StaleProcess>,
    /// How many more there are than an answer lists.
    pub more: u64,
    /// How many processes were looked into.
    #[serde(default)]
    pub looked_into: u64,
    /// How many processes could not be looked into.
    pub unreadable: u64,
    /// What `needrestart -b` says, where it is installed.
    pub needrestart: Option<Output>,
    /// Why `needrestart` says nothing although it is installed.
    pub fault: Option<String>,
}

/// One process that runs deleted code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleProcess {
    /// Its number.
    pub pid: u32,
    /// The unit that it is of, such as `ssh.service` or `session-3.scope`.
    pub unit: Option<String>,
    /// Its program: the whole path where it can be read, else the name.
    pub program: String,
    /// The deleted files that it maps as code, sorted.
    pub files: Vec<String>,
}

/// Looks into every process of the host. What runs in a container has another root, in which the host
/// replaces nothing.
pub(super) fn read(host: &Host) -> Result<RestartsAnswer, HelperError> {
    let mut answer = RestartsAnswer::default();
    let entries = host.list(Tree::Proc, "")?;
    let mut pids: Vec<u32> = entries.iter().filter_map(|entry| entry.name.parse().ok()).collect();
    pids.sort_unstable();
    // If this is a container itself, its processes are what is looked for.
    let inside = host.read(Tree::Proc, "1/cgroup").is_ok_and(|text| is_of_container(&text));
    for pid in pids {
        let look = stale_process(host, pid, inside);
        if !matches!(look, Look::Gone | Look::Unreadable) {
            answer.looked_into += 1;
        }
        match look {
            Look::Stale(_) if answer.processes.len() >= MAX_PROCESSES => answer.more += 1,
            Look::Stale(process) => answer.processes.push(process),
            Look::Current | Look::Gone => {}
            Look::Unreadable => answer.unreadable += 1,
        }
    }
    if host.has_program(NEEDRESTART[0]) {
        match host.run(&NEEDRESTART, NEEDRESTART_TIME) {
            Ok(output) => answer.needrestart = Some(output),
            Err(error) => answer.fault = Some(error.to_string()),
        }
    }
    Ok(answer)
}

enum Look {
    Current,
    /// It ended meanwhile, or a recording does not have it.
    Gone,
    Stale(StaleProcess),
    Unreadable,
}

fn stale_process(host: &Host, pid: u32, inside: bool) -> Look {
    let files = match host.read_if_present(Tree::Proc, &format!("{pid}/maps")) {
        Ok(Some(maps)) => deleted_code(&maps),
        Ok(None) => return Look::Gone,
        Err(_) if !host.exists(Tree::Proc, &pid.to_string()) => return Look::Gone,
        Err(_) => return Look::Unreadable,
    };
    if files.is_empty() {
        return Look::Current;
    }
    let cgroup = host.read(Tree::Proc, &format!("{pid}/cgroup")).ok();
    let has_mark = !inside && cgroup.as_ref().is_some_and(|text| is_of_container(text));
    if has_mark || is_nested(host, pid) {
        return Look::Current;
    }
    let unit = cgroup.and_then(|text| unit_of(&text).map(str::to_owned));
    Look::Stale(StaleProcess { pid, unit, program: program(host, pid), files })
}

/// The program's path, or at least its name.
fn program(host: &Host, pid: u32) -> String {
    if let Ok(target) = host.link(Tree::Proc, &format!("{pid}/exe")) {
        let path = target.to_string_lossy();
        return path.strip_suffix(DELETED).unwrap_or(&path).to_owned();
    }
    let name = host.read(Tree::Proc, &format!("{pid}/comm"));
    name.map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// The files that are mapped as code and deleted, from a process' table of mappings. A line is
/// `start-end permissions offset device inode path`, with the path set off by spaces.
fn deleted_code(maps: &str) -> Vec<String> {
    let mut files: Vec<&str> = maps.lines().filter_map(deleted_file).collect();
    files.sort_unstable();
    files.dedup();
    files.truncate(MAX_FILES);
    files.into_iter().map(str::to_owned).collect()
}

fn deleted_file(line: &str) -> Option<&str> {
    let start = line.strip_suffix(DELETED)?;
    let permissions = start.split_ascii_whitespace().nth(1)?;
    let path = start.get(start.find('/')?..)?;
    let is_code = permissions.as_bytes().get(2) == Some(&b'x');
    let passes = PASSING.iter().any(|place| path.starts_with(place)) || path.contains(PASSING_NAME);
    (is_code && !passes).then_some(path)
}

/// Whether a process has a number of its own in a namespace beneath ours, as those in containers
/// have whatever engine started them.
fn is_nested(host: &Host, pid: u32) -> bool {
    let Ok(status) = host.read(Tree::Proc, &format!("{pid}/status")) else { return false };
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.split_ascii_whitespace().count() > 1)
}

/// Whether a process' control group is that of a container.
fn is_of_container(cgroup: &str) -> bool {
    CONTAINERS.iter().any(|part| cgroup.contains(part))
}

/// The unit in a process' control group, as systemd itself tells it: the first part of the path
/// that is not a slice. What runs in a container belongs to the unit around it.
fn unit_of(cgroup: &str) -> Option<&str> {
    let of_systemd = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    let paths = cgroup.lines().filter(of_systemd).filter_map(|line| line.splitn(3, ':').nth(2));
    paths.filter_map(unit_of_path).next()
}

fn unit_of_path(path: &str) -> Option<&str> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let first = parts.find(|part| !part.ends_with(".slice"))?;
    (first.ends_with(".service") || first.ends_with(".scope")).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_code_is_found_and_passing_files_are_not() {
        let check = |line: &str, expect: &[&str]| assert_eq!(deleted_code(line), expect, "{line}");
        let at = "7f0000000000-7f0000001000";
        let libc = "/usr/lib/x86_64-linux-gnu/libc.so.6";
        check(&format!("{at} r-xp 00000000 08:01 1234                {libc} (deleted)"), &[libc]);
        check(&format!("{at} r-xp 00000000 08:01 1234                {libc}"), &[]);
        check(&format!("{at} r--p 00000000 08:01 1234                {libc} (deleted)"), &[]);
        let spaces = "/opt/a b (old)/lib.so";
        check(&format!("{at} r-xp 0 08:01 1 {spaces} (deleted)"), &[spaces]);
        let both = format!("{at} r-xp 0 8:1 2 /b (deleted)\n{at} r-xp 0 8:1 1 /a (deleted)\n");
        check(&both.repeat(2), &["/a", "/b"]);
        let home = "/home/anna/orcexec.6bKbsd";
        for passing in ["/dev/zero", "/memfd:x", "/SYSV0000", "/tmp/ffi1", "/run/user/1/orc", home]
        {
            check(&format!("{at} rwxp 00000000 00:01 1 {passing} (deleted)"), &[]);
        }
        check(&format!("{at} r-xp 00000000 00:00 0 [vdso]"), &[]);
        check("(deleted)\n (deleted)\n/ (deleted)\n", &[]);
    }

    #[test]
    fn what_runs_in_a_container_is_not_the_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let process = |pid: u32, cgroup: &str| {
            let at = folder.path().join(format!("root/proc/{pid}"));
            std::fs::create_dir_all(&at).unwrap();
            let maps = "7f00-7f01 r-xp 0 8:1 1 /usr/lib/libc.so.6 (deleted)\n";
            std::fs::write(at.join("maps"), maps).unwrap();
            std::fs::write(at.join("cgroup"), cgroup).unwrap();
            std::fs::write(at.join("comm"), "x\n").unwrap();
        };
        let check = |first: &str, expect: &[u32]| {
            process(1, first);
            std::fs::create_dir_all(folder.path().join("root/proc/99")).unwrap();
            let answer = read(&Host::replay(folder.path()).unwrap()).unwrap();
            let seen: Vec<u32> = answer.processes.iter().map(|process| process.pid).collect();
            assert_eq!((seen.as_slice(), answer.looked_into), (expect, 7));
        };
        process(2, "0::/system.slice/ssh.service\n");
        process(3, "0::/system.slice/docker-0123.scope\n");
        process(4, "0::/lxc/101/ns/system.slice/ssh.service\n");
        process(5, "0::/machine.slice/systemd-nspawn@x.service/payload/system.slice/a.service\n");
        process(6, "0::/machine.slice/machine-qemu.scope\n");
        process(7, "0::/x/payload/system.slice/a.service\n");
        std::fs::write(folder.path().join("root/proc/6/status"), "Name:\tqemu\nNSpid:\t6\n")
            .unwrap();
        std::fs::write(folder.path().join("root/proc/7/status"), "Name:\ta\nNSpid:\t7\t1\n")
            .unwrap();
        check("0::/init.scope\n", &[1, 2, 6]);
        check("0::/docker/0123\n", &[1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_unit_is_the_outermost() {
        let check = |cgroup: &str, expect: Option<&str>| assert_eq!(unit_of(cgroup), expect);
        check("0::/system.slice/ssh.service\n", Some("ssh.service"));
        check(
            "0::/system.slice/system-getty.slice/getty@tty1.service\n",
            Some("getty@tty1.service"),
        );
        check("0::/user.slice/user-1000.slice/session-3.scope\n", Some("session-3.scope"));
        check(
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n",
            Some("user@1000.service"),
        );
        check("0::/machine.slice/docker-1.scope/system.slice/a.service", Some("docker-1.scope"));
        check(
            "9:cpu:/a.service\n1:name=systemd:/system.slice/cron.service\n0::/\n",
            Some("cron.service"),
        );
        check("0::/init.scope\n", Some("init.scope"));
        check("0::/docker/0123\n", None);
        check("0::/\n", None);
        check("", None);
    }
}
