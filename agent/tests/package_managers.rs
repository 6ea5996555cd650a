//! Pending updates as hosts of every kind tell them: from recordings of real programs over small
//! repositories, from outputs of real hosts, and from programs that cannot answer.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod recording;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use upkeep_agent::host::Host;
use upkeep_agent::patch::{self, Memory};
use upkeep_model::{Knowledge, ManagerReport, PackageUpdate, Refresh};

use self::recording::Recording;

const CHECK_UPDATE: [&str; 3] = ["dnf", "-C", "check-update"];
const YUM_CHECK_UPDATE: [&str; 3] = ["yum", "-C", "check-update"];
const CHECK_UPGRADE: [&str; 5] =
    ["dnf5", "-C", "--setopt=cachedir=/var/cache/libdnf5", "check-upgrade", "--json"];
const REPO_LIST: [&str; 7] =
    ["dnf5", "-C", "--setopt=cachedir=/var/cache/libdnf5", "repo", "list", "--enabled", "--json"];
const LIST_UPDATES: [&str; 5] =
    ["zypper", "--non-interactive", "--no-refresh", "--xmlout", "list-updates"];
const PACMAN: [&str; 2] = ["pacman", "-Qu"];
const APK: [&str; 5] = ["apk", "--no-network", "version", "-l", "<"];

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Adds a file that last changed at some time.
fn aged(recording: Recording, path: &str, content: &str, changed: SystemTime) -> Recording {
    let recording = recording.file(path, content);
    let path = recording.folder.path().join("root").join(path);
    std::fs::File::open(path).unwrap().set_modified(changed).unwrap();
    recording
}

fn managers(recording: &Recording, now: SystemTime) -> Vec<ManagerReport> {
    recording.report(now, &mut Memory::default()).managers
}

/// The report of the only manager.
fn manager(recording: &Recording) -> ManagerReport {
    let [manager]: [ManagerReport; 1] = managers(recording, UNIX_EPOCH).try_into().unwrap();
    manager
}

/// The updates, one a line: package, architecture, versions, origin, then what else is known.
fn shown(report: &ManagerReport) -> Result<Vec<String>, &str> {
    let line = |update: &PackageUpdate| {
        let PackageUpdate { package, architecture, installed, offered, origin, .. } = update;
        let security = match report.is_security(update) {
            Some(true) => " security",
            Some(false) => "",
            None => " unknown",
        };
        let severity = format!(" {}", update.severity);
        let advisories = format!(" {}", update.advisories.join(","));
        let stays = update.stays.map(|stay| format!(" {}", stay.as_str())).unwrap_or_default();
        format!(
            "{package} {architecture} {installed} {offered} {origin}{security}{}{}{stays}",
            severity.trim_end(),
            advisories.trim_end(),
        )
    };
    match &report.updates {
        Knowledge::Known(updates) => Ok(updates.iter().map(line).collect()),
        Knowledge::Unknown(reason) => Err(reason),
    }
}

/// Replays a recording of this folder's `recordings`; see its `README.md`. `restart` are the packages
/// for which a restart is due by the manager's word, if one is.
fn check_recording(name: &str, manager: &str, restart: Option<&[&str]>, expect: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name);
    let report = patch::report(&Host::replay(&folder).unwrap(), 0, &mut Memory::default());
    let due = report.reboot.known().map(|reboot| &reboot.reasons[0].packages);
    let restart = restart.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    assert_eq!(due, restart.as_ref(), "{name}");
    let [report]: [ManagerReport; 1] = report.managers.try_into().unwrap();
    assert_eq!(report.manager, manager);
    let expect: Vec<String> = expect.iter().map(|&line| line.to_owned()).collect();
    assert_eq!(shown(&report), Ok(expect), "{name}");
}

#[test]
fn dnf4_is_read() {
    check_recording(
        "dnf4",
        "dnf",
        Some(&["glibc", "systemd"]),
        &[
            "a-very-long-package-name-that-wraps-tables noarch 1.0.20240101-1.el9_4.99 1.0.20250202-1.el9_4.100 base",
            "broken noarch 1.0-1 2.0-1 base",
            "kernel-core x86_64 5.14.0-1.el9 5.14.0-2.el9 base security Critical CVE-2024-2222,LAB-2024:0003",
            "vendor-tool noarch 1-1 2-1 vendor unknown",
            "web-security noarch 2.0-1 2.1-1 base LAB-2024:0002",
            "new-name noarch old-name-1.0-1 2.0-1 base",
            "engine x86_64 2:1.0-1 2:1.5-1 base security Critical CVE-2024-2222,LAB-2024:0003 pinned",
            "frozen noarch 1.0-1 2.0-1 base LAB-2024:0004 pinned",
            "lamp noarch 1.0-1.el9 1.2-1.el9 base security Important CVE-2024-1111,CVE-2024-1112,LAB-2024:0001,LAB-2024:0002 held",
        ],
    );
}

#[test]
fn dnf5_is_read() {
    check_recording(
        "dnf5",
        "dnf",
        Some(&["glibc", "kernel-core", "systemd"]),
        &[
            "a-very-long-package-name-that-wraps-tables noarch 1.0.20240101-1.el9_4.99 1.0.20250202-1.el9_4.100 base",
            "broken noarch 1.0-1 2.0-1 base",
            "engine x86_64 2:1.0-1 2:1.5-1 base security Critical CVE-2024-2222,LAB-2024:0003",
            "kernel-core x86_64 5.14.0-1.el9 5.14.0-2.el9 base security Critical CVE-2024-2222,LAB-2024:0003",
            "vendor-tool noarch 1-1 2-1 vendor unknown",
            "web-security noarch 2.0-1 2.1-1 base LAB-2024:0002",
            "new-name noarch old-name-1.0-1 2.0-1 base",
            "frozen noarch 1.0-1 2.0-1 base LAB-2024:0004 pinned",
            "lamp noarch 1.0-1.el9 1.2-1.el9 base security Important CVE-2024-1111,CVE-2024-1112,LAB-2024:0001,LAB-2024:0002 held",
        ],
    );
}

#[test]
fn zypper_is_read() {
    check_recording(
        "zypper",
        "zypper",
        Some(&[]),
        &[
            "a-very-long-package-name-that-wraps-tables noarch 1.0.20240101-1.el9_4.99 1.0.20250202-1.el9_4.100 base",
            "engine x86_64 2:1.0-1 2:1.5-1 base security critical CVE-2024-2222,LAB-2024:0003",
            "kernel-core x86_64 5.14.0-1.el9 5.14.0-2.el9 base security critical CVE-2024-2222,LAB-2024:0003",
            "lamp noarch 1.0-1.el9 1.2-1.el9 base security important CVE-2024-1111,CVE-2024-1112,LAB-2024:0001,LAB-2024:0002",
            "web-security noarch 2.0-1 2.1-1 base LAB-2024:0002",
            "vendor-tool noarch 1-1 2-1 vendor unknown",
            "broken noarch 1.0-1 2.0-1 base kept_back",
            "frozen noarch 1.0-1 2.0-1 base LAB-2024:0004 held",
        ],
    );
}

#[test]
fn pacman_is_read() {
    check_recording(
        "pacman",
        "pacman",
        None,
        &[
            "engine x86_64 1.0-1 1.5-1 core unknown",
            "frozen any 1.0-1 2.0-1 extra unknown held",
            "grouped any 1-1 2-1 extra unknown held",
            "lamp any 1.0-1 1.1-1 core unknown",
            "new-name   2-1 extra unknown",
        ],
    );
}

#[test]
fn apk_is_read() {
    let upgrades = "Installed:                                Available:\n\
        busybox-1.36.1-r2                       < 1.36.1-r5 \n\
        nginx-1.24.0-r15                        < 1.24.0-r16 \n\
        py3-pip-23.3.1-r0                       < 24.0-r1 \n";
    let policy = "busybox policy:\n  1.36.1-r2:\n    lib/apk/db/installed\n  1.36.1-r5:\n    \
        https://dl.example.org/alpine/v3.19/main\n\
        nginx policy:\n  1.24.0-r15:\n    lib/apk/db/installed\n  1.24.0-r16:\n    \
        https://dl.example.org/alpine/v3.19/main\n\
        py3-pip policy:\n  23.3.1-r0:\n    lib/apk/db/installed\n    \
        https://dl.example.org/alpine/v3.19/community\n  24.0-r1:\n    \
        https://dl.example.org/alpine/v3.19/community\n";
    let recording = Recording::new()
        .command(&APK, 0, upgrades, "")
        .command(&["apk", "--no-network", "policy", "busybox", "nginx", "py3-pip"], 0, policy, "")
        .file("etc/apk/world", "busybox\nnginx=1.24.0-r15\npy3-pip\n")
        .file(
            "lib/apk/db/installed",
            "P:busybox\nV:1.36.1-r2\nA:x86_64\n\nP:nginx\nV:1.24.0-r15\nA:x86_64\n\n\
             P:py3-pip\nV:23.3.1-r0\nA:noarch\n\n",
        );
    let expect = [
        "busybox x86_64 1.36.1-r2 1.36.1-r5 v3.19/main unknown",
        "nginx x86_64 1.24.0-r15 1.24.0-r16 v3.19/main unknown pinned",
        "py3-pip noarch 23.3.1-r0 24.0-r1 v3.19/community unknown",
    ];
    assert_eq!(shown(&manager(&recording)), Ok(expect.map(str::to_owned).to_vec()));
}

#[test]
fn who_cannot_answer_is_unknown_and_says_why() {
    let check = |recording: Recording, expect: Result<usize, &str>| {
        let report = manager(&recording);
        assert_eq!(shown(&report).map(|updates| updates.len()), expect);
    };
    let answer = |argv: &[&str], exit, stdout: &str, stderr: &str| {
        Recording::new()
            .command(argv, exit, stdout, stderr)
            .file("etc/yum.repos.d/a.repo", "[base]\nenabled=1\n")
            .file("etc/zypp/repos.d/a.repo", "[base]\nenabled=1\n")
            .file("etc/apk/repositories", "https://dl.example.org/v3.19/main\n")
    };
    let bare = |argv: &[&str], exit, stdout: &str| Recording::new().command(argv, exit, stdout, "");

    let dnf = |exit, stdout: &str, stderr: &str| answer(&CHECK_UPDATE, exit, stdout, stderr);
    check(dnf(0, "", "Last metadata expiration check: 0:00:01 ago on Sat.\n"), Ok(0));
    check(
        dnf(1, "", "Error: Error: rpmdb open failed\n"),
        Err("dnf ended with status 1: Error: rpmdb open failed"),
    );
    let no_cache =
        "Error: Cache-only enabled but no cache for 'base'\nIgnoring repositories: base\n";
    check(
        dnf(0, "", no_cache),
        Err("nothing is cached of base, or it may not be read; run `dnf makecache`"),
    );
    check(
        dnf(100, "\nAktualisierungen: 3\n", ""),
        Err("dnf has updates and its list could not be read: Aktualisierungen: 3"),
    );
    check(bare(&CHECK_UPDATE, 0, ""), Err("no repository is switched on"));
    check(
        answer(
            &YUM_CHECK_UPDATE,
            1,
            "",
            "Error: Cannot retrieve repository metadata (repomd.xml)\n",
        ),
        Err("yum ended with status 1: Cannot retrieve repository metadata (repomd.xml)"),
    );

    let dnf5 = |stdout: &str, repositories: &str| {
        answer(&CHECK_UPGRADE, 0, stdout, "").command(&REPO_LIST, 0, repositories, "")
    };
    let base = r#"[{"id":"base","name":"Base","is_enabled":true}]"#;
    let index = "var/cache/libdnf5/base-0b35d9b7133aa761/repodata/repomd.xml";
    check(dnf5("{}\n", base).file(index, "<repomd/>"), Ok(0));
    check(
        dnf5("{}\n", base),
        Err("nothing is cached of base, or it may not be read; run `dnf makecache`"),
    );
    check(dnf5("{}\n", "[]"), Err("no repository is switched on"));
    check(
        dnf5("Upgrades\n", base),
        Err("dnf5's answer could not be read: expected value at line 1 column 1: Upgrades"),
    );

    let zypper = |exit, stdout: &str| answer(&LIST_UPDATES, exit, stdout, "");
    let list = "<stream><update-status version=\"0.6\"><update-list/></update-status></stream>";
    check(zypper(0, list), Ok(0));
    check(bare(&LIST_UPDATES, 0, list), Err("no repository is switched on"));
    check(
        zypper(106, "<stream><message type=\"error\">No permission to write.</message></stream>"),
        Err("zypper ended with status 106: No permission to write.; run `zypper refresh`"),
    );
    check(
        zypper(
            7,
            "<stream><message type=\"error\">System management is locked.</message></stream>",
        ),
        Err("zypper ended with status 7: System management is locked."),
    );
    check(zypper(0, "<stream/>"), Err("zypper ended without a list of updates"));

    let missing = "warning: database file for 'core' does not exist (use '-Sy' to download)\n";
    let never = "the package lists were never downloaded; run `pacman -Syu`";
    check(answer(&PACMAN, 1, "", "").file("var/lib/pacman/sync/core.db", ""), Ok(0));
    check(answer(&PACMAN, 1, "", ""), Err(never));
    check(
        answer(&PACMAN, 1, "", missing),
        Err("database file for 'core' does not exist (use '-Sy' to download)"),
    );

    let opening = "WARNING: opening from cache https://dl.example.org/v3.19/main: No such file\n";
    check(answer(&APK, 0, "Installed:    Available:\n", ""), Ok(0));
    check(
        answer(&APK, 0, "", opening),
        Err(
            "apk: opening from cache https://dl.example.org/v3.19/main: No such file; run `apk update`",
        ),
    );
    check(bare(&APK, 0, ""), Err("no repository is configured"));
    check(
        answer(&APK, 99, "", "ERROR: Unable to read database: Permission denied\n"),
        Err("apk ended with status 99: Unable to read database: Permission denied"),
    );
}

#[test]
fn a_restart_is_due_by_the_managers_word() {
    let kernel = "boot/vmlinuz-5.14.0-1.el9.x86_64";
    let host = |check: &[&str], repositories: &str| {
        Recording::new()
            .command(check, 0, "", "")
            .file(repositories, "[base]\nenabled=1\n")
            .file("proc/sys/kernel/osrelease", "5.14.0-1.el9.x86_64\n")
            .file("proc/sys/kernel/version", "#1 SMP\n")
            .file(kernel, "")
    };
    let check = |recording: Recording, expect: Result<&[&[&str]], &str>| {
        let report = recording.report(UNIX_EPOCH, &mut Memory::default()).reboot;
        let seen = match &report {
            Knowledge::Known(reboot) => {
                Ok(reboot.reasons.iter().map(|reason| reason.packages.clone()).collect::<Vec<_>>())
            }
            Knowledge::Unknown(reason) => Err(reason.as_str()),
        };
        let expect = expect.map(|reasons| {
            let names = |names: &&[&str]| names.iter().map(|&name| name.to_owned()).collect();
            reasons.iter().map(names).collect::<Vec<Vec<String>>>()
        });
        assert_eq!(seen, expect);
    };
    const ASK_DNF: [&str; 5] = ["dnf", "-C", "--disablerepo=*", "needs-restarting", "-r"];
    const ASK_YUM: [&str; 2] = ["needs-restarting", "-r"];
    const ASK_ZYPPER: [&str; 4] =
        ["zypper", "--non-interactive", "--no-refresh", "needs-rebooting"];
    let dnf = || host(&CHECK_UPDATE, "etc/yum.repos.d/a.repo");
    let due = "Core libraries or services have been updated since boot-up:\n  * glibc\n\n\
        Reboot is required to fully utilize these updates.\n";
    check(dnf(), Ok(&[]));
    check(dnf().command(&ASK_DNF, 1, due, ""), Ok(&[&["glibc"]]));
    check(dnf().command(&ASK_DNF, 0, "Reboot should not be necessary.\n", ""), Ok(&[]));
    let no_plugin = "No such command: needs-restarting. Please use /usr/bin/dnf --help\n";
    check(dnf().command(&ASK_DNF, 1, "", no_plugin), Ok(&[]));
    check(
        dnf().command(&ASK_DNF, 1, "", "Error: rpmdb open failed\n"),
        Err("dnf ended with status 1: rpmdb open failed"),
    );
    check(dnf().command(&ASK_DNF, 1, due, "").file("run/systemd/container", "podman\n"), Ok(&[]));
    // Who makes images has it, and it looks after nothing there.
    check(
        Recording::new()
            .command(&ASK_DNF, 1, due, "")
            .file("var/lib/dpkg/status", "")
            .file("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n")
            .file("proc/sys/kernel/version", "#1\n")
            .file("boot/vmlinuz-6.1.0-28-amd64", ""),
        Ok(&[]),
    );
    let due = "Core libraries or services have been updated:\n  systemd -> 219-78.el7\n";
    let yum = || host(&YUM_CHECK_UPDATE, "etc/yum.repos.d/a.repo");
    check(yum().command(&ASK_YUM, 1, due, ""), Ok(&[&["systemd"]]));
    let zypper = || host(&LIST_UPDATES, "etc/zypp/repos.d/a.repo");
    check(zypper().command(&ASK_ZYPPER, 0, "Reboot is probably not necessary.\n", ""), Ok(&[]));
    check(zypper().command(&ASK_ZYPPER, 102, "Reboot is suggested.\n", ""), Ok(&[&[]]));
    check(zypper().command(&ASK_ZYPPER, 102, "", "").file("run/reboot-needed", ""), Ok(&[&[]]));
    check(zypper().file("run/reboot-needed", "soft-reboot"), Ok(&[&[]]));
    check(zypper().command(&ASK_ZYPPER, 2, "", "Unknown command 'needs-rebooting'\n"), Ok(&[]));
    check(
        zypper().command(&ASK_ZYPPER, 7, "", "System management is locked.\n"),
        Err("zypper ended with status 7: System management is locked."),
    );
}

#[test]
fn a_manager_that_looks_after_nothing_is_left_out() {
    let debian = || {
        Recording::new()
            .file("var/lib/dpkg/status", "")
            .command(&CHECK_UPDATE, 0, "", "")
            .command(&LIST_UPDATES, 0, "", "")
            .command(&PACMAN, 1, "", "")
    };
    assert_eq!(managers(&debian(), UNIX_EPOCH), []);
    let used = debian().file("etc/yum.repos.d/a.repo", "[a]\n");
    assert_eq!(managers(&used, UNIX_EPOCH).len(), 1);
}

#[test]
fn lists_are_as_old_as_the_oldest_in_use() {
    let now = UNIX_EPOCH + 1000 * DAY;
    let timer = "etc/systemd/system/timers.target.wants/dnf-makecache.timer";
    let host = |base: u32, extra: u32| {
        let index =
            |name: &str| format!("var/cache/dnf/{name}-0123456789abcdef/repodata/repomd.xml");
        let recording = Recording::new().command(&CHECK_UPDATE, 0, "", "").file(timer, "").file(
            "etc/yum.repos.d/a.repo",
            "[base]\n[extra]\nmetadata_expire=7d\n[off]\nenabled=0\n",
        );
        // Where nothing has changed, the manager touches a file beside the index.
        let recording = aged(recording, &index("base"), "", now - 600 * DAY);
        let beside = index("base").replace("repomd.xml", "primary.xml.gz");
        let recording = aged(recording, &beside, "", now - base * DAY);
        let recording = aged(recording, &index("extra"), "", now - extra * DAY);
        aged(recording, &index("off"), "", now - 500 * DAY)
    };
    let check = |base: u32, extra: u32, age: u32, expect: Refresh| {
        let [report]: [ManagerReport; 1] = managers(&host(base, extra), now).try_into().unwrap();
        let oldest = i64::from(1000 - age) * 24 * 3600 * 1000;
        assert_eq!(report.lists_refreshed_at_ms, Some(oldest));
        assert_eq!(report.refresh, Knowledge::Known(expect));
    };
    check(1, 5, 5, Refresh::Works);
    let fails = |text: &str| Refresh::Fails(text.to_owned());
    check(4, 5, 5, fails("the list of base was last refreshed 4 days ago"));
    check(2, 9, 9, fails("the list of extra was last refreshed 9 days ago"));
}
