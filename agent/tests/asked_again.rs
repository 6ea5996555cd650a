//! Package managers are asked again when something has changed on which their answer depends, and
//! only then.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod recording;

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use upkeep_agent::patch::Memory;

use self::recording::Recording;

const HOUR: Duration = Duration::from_secs(3600);
const RPM: [&str; 4] =
    ["rpm", "-qa", "--qf", r"%{NAME}\t%{ARCH}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\n"];

/// How a manager is asked, and how it answers without and with one update.
struct Manager {
    question: &'static [&'static str],
    nothing: (i32, &'static str),
    one: (i32, &'static str),
}

const APT: Manager = Manager {
    question: &["apt-get", "-s", "-o", "Debug::NoLocking=1", "dist-upgrade"],
    nothing: (0, "0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n"),
    one: (
        0,
        "1 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\nInst a [1] (2 X:1/x [all])\n",
    ),
};
const DNF: Manager = Manager {
    question: &["dnf", "-C", "check-update"],
    nothing: (0, ""),
    one: (100, "bash.x86_64    5.2-1    base\n"),
};
const DNF5: Manager = Manager {
    question: &["dnf5", "-C", "--setopt=cachedir=/var/cache/libdnf5", "check-upgrade", "--json"],
    nothing: (0, "{}"),
    one: (0, r#"{"upgrades":[{"name":"bash","arch":"x86_64","evr":"5.2-1","repository":"base"}]}"#),
};
const YUM: Manager = Manager { question: &["yum", "-C", "check-update"], ..DNF };
const ZYPPER: Manager = Manager {
    question: &["zypper", "--non-interactive", "--no-refresh", "--xmlout", "list-updates"],
    nothing: (0, "<stream><update-status><update-list/></update-status></stream>"),
    one: (
        0,
        "<stream><update-status><update-list><update kind=\"package\" name=\"bash\" arch=\"x86_64\" \
         edition-old=\"5.1-1\" edition=\"5.2-1\"/></update-list></update-status></stream>",
    ),
};
const PACMAN: Manager =
    Manager { question: &["pacman", "-Qu"], nothing: (1, ""), one: (0, "bash 5.1-1 -> 5.2-1\n") };
const APK: Manager = Manager {
    question: &["apk", "--no-network", "version", "-l", "<"],
    nothing: (0, "Installed:    Available:\n"),
    one: (0, "bash-5.1-r0    < 5.2-r0\n"),
};

/// A recording of a host that has only this manager, with all that it needs for an answer.
fn recording(manager: &Manager, (exit, stdout): (i32, &str), before: Recording) -> Recording {
    let repositories = r#"[{"id":"base"}]"#;
    let from_cache = ["dnf5", "-C", "--setopt=cachedir=/var/cache/libdnf5"];
    let recording = Recording { commands: String::new(), ..before };
    let recording = recording.command(manager.question, exit, stdout, "");
    match manager.question {
        ["dnf5", ..] => recording.command(
            &[&from_cache[..], &["repo", "list", "--enabled", "--json"]].concat(),
            0,
            repositories,
            "",
        ),
        _ => recording,
    }
    .command(&RPM, 0, "bash\tx86_64\t5.1-1\n", "")
}

/// How many updates are pending, or none if that is not known.
fn pending(recording: &Recording, now: SystemTime, memory: &mut Memory) -> Option<usize> {
    let report = recording.report(now, memory);
    let [manager] = report.managers.as_slice() else { panic!("not one manager: {report:?}") };
    manager.updates.known().map(Vec::len)
}

/// A host on which each of these files is there.
fn host_with(files: &[(&str, &str)]) -> Recording {
    files.iter().fold(Recording::new(), |host, (path, content)| host.file(path, content))
}

/// Makes a file longer, or makes it.
fn change(host: &Recording, path: &str) {
    let path = host.folder.path().join("root").join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::options().append(true).create(true).open(path);
    file.unwrap().write_all(b"\n").unwrap();
}

fn check(manager: &Manager, files: &[(&str, &str)], inputs: &[&str]) {
    let places = files.iter().map(|(path, _)| path).chain(inputs);
    for input in places {
        let mut memory = Memory::default();
        let host = recording(manager, manager.nothing, host_with(files));
        assert_eq!(pending(&host, UNIX_EPOCH, &mut memory), Some(0), "{:?}", manager.question);
        let host = recording(manager, manager.one, host);
        let seen = pending(&host, UNIX_EPOCH + HOUR, &mut memory);
        assert_eq!(
            seen,
            Some(0),
            "{:?} was asked again, and nothing has changed",
            manager.question
        );
        change(&host, input);
        let seen = pending(&host, UNIX_EPOCH + HOUR, &mut memory);
        assert_eq!(seen, Some(1), "{:?} was not asked again: {input}", manager.question);
        let host = recording(manager, manager.nothing, host);
        let seen = pending(&host, UNIX_EPOCH + 26 * HOUR, &mut memory);
        assert_eq!(seen, Some(0), "{:?} was not asked again after a day", manager.question);
    }
}

const RPM_DATABASES: [&str; 4] = [
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/rpmdb.sqlite-wal",
    "var/lib/rpm/Packages",
    "usr/lib/sysimage/rpm/Packages.db",
];
const REPOSITORY: (&str, &str) = ("etc/yum.repos.d/a.repo", "[base]\nenabled=1\n");

#[test]
fn managers_are_asked_again_only_when_something_changed() {
    check(
        &APT,
        &[
            ("var/lib/dpkg/status", ""),
            ("var/lib/apt/lists/deb_Packages", ""),
            ("etc/apt/sources.list.d/x.list", "deb x\n"),
        ],
        &[
            "var/lib/apt/lists/new_Packages",
            "var/lib/apt/extended_states",
            "etc/apt/sources.list",
            "etc/apt/apt.conf.d/20x",
            "etc/machine-id",
        ],
    );
    let inputs = |own: &[&'static str]| [own, &RPM_DATABASES].concat();
    check(
        &DNF,
        &[REPOSITORY, ("var/cache/dnf/base-0123456789abcdef/repodata/repomd.xml", "")],
        &inputs(&[
            "etc/dnf/dnf.conf",
            "etc/dnf/vars/release",
            "etc/dnf/modules.d/nodejs.module",
            "etc/dnf/plugins/versionlock.list",
            "var/cache/dnf/base.solv",
        ]),
    );
    check(
        &DNF5,
        &[REPOSITORY, ("var/cache/libdnf5/base-0123456789abcdef/repodata/repomd.xml", "")],
        &inputs(&[
            "etc/dnf/versionlock.toml",
            "etc/dnf/repos.override.d/x.repo",
            "usr/share/dnf5/libdnf.conf.d/x.conf",
        ]),
    );
    check(
        &YUM,
        &[REPOSITORY, ("var/cache/yum/x86_64/7Server/base/repomd.xml", "")],
        &inputs(&["etc/yum.conf", "etc/yum/pluginconf.d/versionlock.list"]),
    );
    check(
        &ZYPPER,
        &[
            ("etc/zypp/repos.d/a.repo", "[base]\nenabled=1\n"),
            ("var/cache/zypp/raw/base/repodata/repomd.xml", ""),
        ],
        &inputs(&[
            "etc/zypp/zypp.conf",
            "etc/zypp/locks",
            "etc/zypp/vars.d/release",
            "etc/products.d/baseproduct",
            "var/cache/zypp/solv/base/solv",
        ]),
    );
    check(
        &PACMAN,
        &[
            ("var/lib/pacman/sync/core.db", ""),
            ("etc/pacman.conf", "[options]\nInclude = /srv/pacman/*.conf\n"),
            ("srv/pacman/mine.conf", "[options]\n"),
        ],
        &["var/lib/pacman/local/bash-5.1-1/desc", "etc/pacman.d/mirrorlist"],
    );
    check(
        &APK,
        &[("etc/apk/repositories", "https://dl.example.org/v3.22/main\n")],
        &[
            "lib/apk/db/installed",
            "etc/apk/world",
            "etc/apk/repositories.d/x.list",
            "var/cache/apk/APKINDEX.01234567.tar.gz",
        ],
    );
}

#[test]
fn a_failure_is_not_kept() {
    let mut memory = Memory::default();
    let host = recording(&DNF, (1, "Error: locked\n"), host_with(&[REPOSITORY]));
    assert_eq!(pending(&host, UNIX_EPOCH, &mut memory), None);
    let host = recording(&DNF, DNF.one, host);
    assert_eq!(pending(&host, UNIX_EPOCH, &mut memory), Some(1));
}

#[test]
fn due_restarts_are_asked_for_again_when_packages_change() {
    const QUESTION: [&str; 5] = ["dnf", "-C", "--disablerepo=*", "needs-restarting", "-r"];
    let mut memory = Memory::default();
    let mut look = |host: Recording, exit: i32, stdout: &str| {
        let host = recording(&DNF, DNF.nothing, host).command(&QUESTION, exit, stdout, "");
        let reboot = host.report(UNIX_EPOCH, &mut memory).reboot;
        (host, reboot.known().map(|reboot| reboot.required()))
    };
    let not_due = "Reboot should not be necessary.\n";
    let due = "Core libraries or services have been updated since boot-up:\n  * glibc\n";
    let host = host_with(&[
        REPOSITORY,
        ("proc/sys/kernel/osrelease", "5.14.0-1.el9.x86_64\n"),
        ("proc/sys/kernel/version", "#1 SMP\n"),
        ("boot/vmlinuz-5.14.0-1.el9.x86_64", ""),
    ]);
    let (host, required) = look(host, 0, not_due);
    assert_eq!(required, Some(false));
    let (host, required) = look(host, 1, due);
    assert_eq!(required, Some(false), "it was asked again, and nothing has changed");
    change(&host, "var/lib/rpm/rpmdb.sqlite");
    let (_, required) = look(host, 1, due);
    assert_eq!(required, Some(true));
}
