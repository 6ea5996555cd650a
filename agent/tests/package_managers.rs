//! Pending updates as hosts of every kind tell them: from recordings of real programs over small
//! repositories, from outputs of real hosts, and from programs that cannot answer.
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use upkeep_agent::host::Host;
use upkeep_agent::patch::{self, Memory};
use upkeep_model::{Knowledge, ManagerReport, PackageUpdate, Refresh};

const RPM: [&str; 4] =
    ["rpm", "-qa", "--qf", r"%{NAME}\t%{ARCH}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\n"];
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

/// A recording that is made by a test.
struct Recording {
    folder: tempfile::TempDir,
    commands: String,
}

impl Recording {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), commands: String::new() }
    }

    fn command(mut self, argv: &[&str], exit: i32, stdout: &str, stderr: &str) -> Self {
        let line = serde_json::json!({
            "argv": argv, "exit": exit, "stdout": stdout, "stderr": stderr,
        });
        self.commands.push_str(&format!("{line}\n"));
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        let path = self.folder.path().join("root").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// A file, or a folder, that last changed at some time.
    fn aged(self, path: &str, content: &str, changed: SystemTime) -> Self {
        let recording = self.file(path, content);
        let path = recording.folder.path().join("root").join(path);
        std::fs::File::open(path).unwrap().set_modified(changed).unwrap();
        recording
    }

    fn report(&self, now: SystemTime) -> Vec<ManagerReport> {
        std::fs::write(self.folder.path().join("commands.jsonl"), &self.commands).unwrap();
        let now = now.duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap();
        let host = Host::replay(self.folder.path()).unwrap();
        patch::report(&host, now, &mut Memory::default()).managers
    }

    /// The report of the only manager.
    fn manager(&self) -> ManagerReport {
        let [manager]: [ManagerReport; 1] = self.report(UNIX_EPOCH).try_into().unwrap();
        manager
    }
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

/// Replays a recording of this folder's `recordings`; see its `README.md`.
fn check_recording(name: &str, manager: &str, expect: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name);
    let report = patch::report(&Host::replay(&folder).unwrap(), 0, &mut Memory::default());
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
    assert_eq!(shown(&recording.manager()), Ok(expect.map(str::to_owned).to_vec()));
}

/// The folder of real outputs, where it is there.
fn outputs() -> Option<PathBuf> {
    let data = std::env::var_os("UPKEEP_CONFORMANCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
        PathBuf::from,
    );
    let data = data.join("packages");
    if data.is_dir() {
        return Some(data);
    }
    eprintln!("SKIPPED: {} is not there", data.display());
    None
}

/// The outputs whose names end so, each with the system that they are of.
fn outputs_of(data: &Path, suffix: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let named = entries.filter_map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let system = name.strip_suffix(suffix)?.to_owned();
        Some((system, std::fs::read_to_string(path).unwrap()))
    });
    named.collect()
}

fn expected(path: &Path, fields: [&str; 3]) -> BTreeSet<[String; 3]> {
    let text = std::fs::read_to_string(path).unwrap();
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    let field = |package: &serde_json::Value, name: &str| {
        // They call `all` what has no architecture, and keep the manager's word beside it.
        let value =
            package.get(if name == "arch" { "rawarch" } else { name }).or(package.get(name));
        match value.unwrap().as_str().unwrap() {
            "all" if name == "arch" => "noarch".to_owned(),
            text => text.to_owned(),
        }
    };
    let packages = list.as_array().unwrap().iter();
    packages.map(|package| fields.map(|name| field(package, name))).collect()
}

fn found(report: &ManagerReport) -> BTreeSet<[String; 3]> {
    let updates = report.updates.known().unwrap().iter();
    updates
        .map(|update| [&update.package, &update.architecture, &update.offered].map(String::clone))
        .collect()
}

const UPDATE_FIELDS: [&str; 3] = ["name", "arch", "version"];

#[test]
fn what_yum_printed_on_real_hosts_is_read_as_others_read_it() {
    let Some(data) = outputs() else { return };
    let systems = outputs_of(&data, ".yum-update.stdout");
    assert!(systems.len() >= 2, "only {} systems", systems.len());
    for (system, stdout) in systems {
        let expect =
            expected(&data.join(format!("{system}.yum-update.expected.json")), UPDATE_FIELDS);
        let recording = Recording::new()
            .command(&["yum", "--assumeno", "update"], 1, &stdout, "")
            .command(&RPM, 0, "", "");
        let seen = found(&recording.manager());
        assert_eq!(
            expect.difference(&seen).collect::<Vec<_>>(),
            [] as [&[String; 3]; 0],
            "{system}"
        );
        // What comes only because others need it is no update to some readers.
        let dependencies = dependencies(&stdout);
        let more =
            seen.difference(&expect).filter(|[name, ..]| !dependencies.contains(name.as_str()));
        assert_eq!(more.count(), 0, "{system}");

        let check_update =
            std::fs::read_to_string(data.join(format!("{system}.yum-check-update.stdout")))
                .unwrap();
        let recording = Recording::new()
            .command(&YUM_CHECK_UPDATE, 100, &check_update, "")
            .command(&RPM, 0, "", "");
        let listed = found(&recording.manager());
        // The list knows no dependencies, and is nothing but what the update would do.
        assert_eq!(
            listed.difference(&seen).collect::<Vec<_>>(),
            [] as [&[String; 3]; 0],
            "{system}"
        );
        let missing = seen.difference(&listed).count() - dependencies.len();
        assert!(missing <= 6, "{system}: {:?}", seen.difference(&listed).collect::<Vec<_>>());
    }
}

/// The packages under the headings of dependencies.
fn dependencies(stdout: &str) -> BTreeSet<&str> {
    let mut is_dependency = false;
    let mut names = BTreeSet::new();
    for line in stdout.lines() {
        if line.starts_with(|first: char| first.is_alphabetic()) {
            is_dependency = line.contains("dependencies:");
        } else if is_dependency {
            names.extend(line.split_ascii_whitespace().next());
        }
    }
    names
}

#[test]
fn what_zypper_printed_on_real_hosts_is_read_as_others_read_it() {
    let Some(data) = outputs() else { return };
    let table = ["zypper", "--non-interactive", "--no-refresh", "list-updates"];
    let systems = outputs_of(&data, ".zypper-list-updates.stdout");
    assert!(!systems.is_empty());
    for (system, stdout) in systems {
        let expect = expected(
            &data.join(format!("{system}.zypper-list-updates.expected.json")),
            UPDATE_FIELDS,
        );
        let patches = data.join(format!("{system}.zypper-list-patches.stdout"));
        let patches = std::fs::read_to_string(patches).unwrap();
        let recording = Recording::new()
            .command(&table, 0, &stdout, "")
            .command(
                &["zypper", "--non-interactive", "--no-refresh", "list-patches"],
                0,
                &patches,
                "",
            )
            .file("etc/zypp/repos.d/a.repo", "[SLES12-SP5-Updates]\nenabled=1\n");
        let report = recording.manager();
        assert_eq!(found(&report), expect, "{system}");
        // It was not recorded which packages the patches are for.
        let updates = report.updates.known().unwrap();
        assert!(updates.iter().all(|update| report.is_security(update).is_none()), "{system}");
        assert!(updates.iter().all(|update| !update.installed.is_empty()), "{system}");
    }
}

#[test]
fn who_cannot_answer_is_unknown_and_says_why() {
    let check = |recording: Recording, expect: Result<usize, &str>| {
        let report = recording.manager();
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
fn a_manager_that_looks_after_nothing_is_left_out() {
    let debian = || {
        Recording::new()
            .file("var/lib/dpkg/status", "")
            .command(&CHECK_UPDATE, 0, "", "")
            .command(&LIST_UPDATES, 0, "", "")
            .command(&PACMAN, 1, "", "")
    };
    assert_eq!(debian().report(UNIX_EPOCH), []);
    let used = debian().file("etc/yum.repos.d/a.repo", "[a]\n");
    assert_eq!(used.report(UNIX_EPOCH).len(), 1);
}

#[test]
fn lists_are_as_old_as_the_oldest_in_use() {
    let now = UNIX_EPOCH + 1000 * DAY;
    let timer = "etc/systemd/system/timers.target.wants/dnf-makecache.timer";
    let host = |base: u32, extra: u32| {
        let index =
            |name: &str| format!("var/cache/dnf/{name}-0123456789abcdef/repodata/repomd.xml");
        Recording::new()
            .command(&CHECK_UPDATE, 0, "", "")
            .file(
                "etc/yum.repos.d/a.repo",
                "[base]\n[extra]\nmetadata_expire=7d\n[off]\nenabled=0\n",
            )
            .aged(&index("base"), "", now - base * DAY)
            .aged(&index("extra"), "", now - extra * DAY)
            .aged(&index("off"), "", now - 500 * DAY)
            .file(timer, "")
    };
    let check = |base: u32, extra: u32, age: u32, expect: Refresh| {
        let [report]: [ManagerReport; 1] = host(base, extra).report(now).try_into().unwrap();
        let oldest = i64::from(1000 - age) * 24 * 3600 * 1000;
        assert_eq!(report.lists_refreshed_at_ms, Some(oldest));
        assert_eq!(report.refresh, Knowledge::Known(expect));
    };
    check(1, 5, 5, Refresh::Works);
    let fails = |text: &str| Refresh::Fails(text.to_owned());
    check(4, 5, 5, fails("the list of base was last refreshed 4 days ago"));
    check(2, 9, 9, fails("the list of extra was last refreshed 9 days ago"));
}
