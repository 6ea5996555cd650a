//! Pending updates and restarts as whole hosts tell them, from recordings.
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

mod recording;

use std::time::SystemTime;

use upkeep_agent::helper;
use upkeep_agent::host::{Host, HostPaths};
use upkeep_agent::patch::Memory;
use upkeep_model::{
    Knowledge, PackageUpdate, RebootReport, Refresh, StaleService, Stay, UpdateReport,
};

use self::recording::Recording;

const SIMULATE: [&str; 5] = ["apt-get", "-s", "-o", "Debug::NoLocking=1", "dist-upgrade"];

/// A Debian host on which nothing is the matter.
fn debian() -> Recording {
    on_debian(Recording::new())
}

/// The same, of a recording that has something already.
fn on_debian(recording: Recording) -> Recording {
    recording
        .file("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n")
        .file("proc/sys/kernel/version", "#1 SMP Debian 6.1.119-1 (2024-11-22)\n")
        .file("boot/vmlinuz-6.1.0-28-amd64", "")
        .file("var/lib/apt/lists/deb_dists_stable_main_binary-amd64_Packages.lz4", "")
}

/// What is told now.
fn look(recording: &Recording) -> UpdateReport {
    recording.report(SystemTime::now(), &mut Memory::default())
}

/// The updates of the only manager, or why they are not known.
fn updates_of(report: &UpdateReport) -> Result<&[PackageUpdate], &str> {
    let [manager] = report.managers.as_slice() else { return Err("not one manager") };
    match &manager.updates {
        Knowledge::Known(updates) => Ok(updates),
        Knowledge::Unknown(reason) => Err(reason),
    }
}

const SUMS: &str = "0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n";

#[test]
fn what_apt_cannot_tell_is_unknown_with_its_reason() {
    let check = |recording: Recording, expect: Result<usize, &str>| {
        let report = look(&recording);
        assert_eq!(updates_of(&report).map(<[_]>::len), expect);
    };
    let recorded =
        |exit, stdout: &str, stderr: &str| debian().command(&SIMULATE, exit, stdout, stderr);
    check(recorded(0, SUMS, "W: odd\n"), Ok(0));
    check(
        recorded(100, "", "E: Could not get lock /var/lib/dpkg/lock.\n"),
        Err("apt-get ended with status 100: Could not get lock /var/lib/dpkg/lock"),
    );
    check(recorded(0, "Reading\n", ""), Err("apt-get ended without saying what it would do"));
    check(
        Recording::new().file("var/lib/apt/lists/lock", "").command(&SIMULATE, 0, SUMS, ""),
        Err("the package lists were never downloaded; run `apt-get update`"),
    );
    check(
        recorded(
            0,
            SUMS,
            "W: Unable to read /etc/apt/sources.list.d/x.list - open (13: Permission denied)\n",
        ),
        Err("Unable to read /etc/apt/sources.list.d/x.list - open (13: Permission denied)"),
    );
    check(
        recorded(0, SUMS, "").file(
            "var/lib/dpkg/status",
            "Package: libc6\nStatus: install ok half-configured\nVersion: 2\n",
        ),
        Err("not fully installed: libc6 (half-configured); run `dpkg --configure -a`"),
    );
    check(
        recorded(0, SUMS, "").file("var/lib/dpkg/updates/0003", "Package: libc6\n"),
        Err("dpkg is at work or was interrupted; if it does not run, run `dpkg --configure -a`"),
    );
    check(debian(), Err("not one manager"));
}

#[test]
fn what_stays_is_told_with_where_it_would_come_from() {
    let stdout = "The following packages have been kept back:\n  linux-image-amd64\n  odd\n\
        0 upgraded, 0 newly installed, 0 to remove and 2 not upgraded.\n";
    let policy = "linux-image-amd64:\n  Installed: 6.1.1\n  Candidate: 6.1.2\n  Version table:\n\
        \x20    6.1.2 500\n        500 http://deb.example.org bookworm-security/main amd64 Packages\n\
        \x20*** 6.1.1 100\n        100 /var/lib/dpkg/status\n";
    let report = look(
&debian()
        .file(
            "var/lib/dpkg/status",
            "Package: linux-image-amd64\nStatus: install ok installed\nArchitecture: amd64\nVersion: 6.1.1\n",
        )
        .command(&SIMULATE, 0, stdout, "")
        .command(&["apt-cache", "policy", "linux-image-amd64", "odd"], 0, policy, ""),
);
    let expect = [
        PackageUpdate {
            package: "linux-image-amd64".to_owned(),
            architecture: "amd64".to_owned(),
            installed: "6.1.1".to_owned(),
            offered: "6.1.2".to_owned(),
            origin: "bookworm-security/main".to_owned(),
            security: true,
            stays: Some(Stay::KeptBack),
            ..PackageUpdate::default()
        },
        PackageUpdate {
            package: "odd".to_owned(),
            stays: Some(Stay::KeptBack),
            ..PackageUpdate::default()
        },
    ];
    assert_eq!(updates_of(&report), Ok(expect.as_slice()));
}

/// One block of `apt-cache policy`: the versions above the installed one, each with its source.
fn policy(name: &str, installed: &str, candidate: &str, offers: &[(&str, &str)]) -> String {
    let mut text =
        format!("{name}:\n  Installed: {installed}\n  Candidate: {candidate}\n  Version table:\n");
    for (version, suite) in offers {
        text += &format!(
            "     {version} 500\n        500 http://deb.example.org {suite} amd64 Packages\n"
        );
    }
    text + &format!(" *** {installed} 100\n        100 /var/lib/dpkg/status\n")
}

#[test]
fn held_pinned_and_phased_updates_are_told_apart() {
    let stdout = "The following packages have been kept back:\n  held kept phased\n\
        2 upgraded, 0 newly installed, 0 to remove and 3 not upgraded.\n\
        Inst fixed [1] (3 Ubuntu:22.04/jammy-updates [amd64])\n\
        Inst plain [1] (3 Ubuntu:22.04/jammy-updates [amd64])\n";
    let status: String = ["held", "kept", "phased", "pinned", "fixed", "plain"]
        .iter()
        .map(|name| {
            let wanted = if *name == "held" { "hold" } else { "install" };
            format!("Package: {name}\nStatus: {wanted} ok installed\nArchitecture: amd64\nVersion: 1\n\n")
        })
        .collect();
    let sources = "Package files:\n 500 http://deb.example.org jammy-security/main amd64 Packages\n\
        \x20    release v=22.04,o=Ubuntu,a=jammy-security,n=jammy,l=Ubuntu,c=main,b=amd64\n\
        Pinned packages:\n     pinned -> 1 with priority 1001\n     absent -> 1 with priority 1001\n";
    let newer = [("2", "jammy-updates/main")];
    let staying = policy("held", "1", "2", &[("2", "jammy-security/main")])
        + &policy("kept", "1", "2", &newer)
        + &policy("phased", "1", "2", &newer).replace("2 500\n", "2 500 (phased 20%)\n");
    let pinned = policy("pinned", "1", "1", &[("2", "jammy-security/main")]);
    let pending =
        policy("fixed", "1", "3", &[("3", "jammy-updates/main"), ("2", "jammy-security/main")])
            + &policy("plain", "1", "3", &[("3", "jammy-updates/main")]);
    let ask = |names: &[&'static str]| [&["apt-cache", "policy"], names].concat();
    let report = look(
        &debian()
            .file("var/lib/dpkg/status", &status)
            .file("etc/apt/preferences.d/mine", "")
            .command(&SIMULATE, 0, stdout, "")
            .command(&ask(&[]), 0, sources, "")
            .command(&ask(&["fixed", "plain"]), 0, &pending, "")
            .command(&ask(&["held", "kept", "phased"]), 0, &staying, "")
            .command(&ask(&["pinned"]), 0, &pinned, ""),
    );
    let seen: Vec<_> = updates_of(&report)
        .unwrap()
        .iter()
        .map(|one| {
            (
                one.package.as_str(),
                one.offered.as_str(),
                one.origin.as_str(),
                one.security,
                one.stays,
            )
        })
        .collect();
    let security = "Ubuntu:22.04/jammy-security";
    let expect = [
        // Version 2 was for security, and comes with version 3.
        ("fixed", "3", "Ubuntu:22.04/jammy-updates", true, None),
        ("plain", "3", "Ubuntu:22.04/jammy-updates", false, None),
        ("held", "2", security, true, Some(Stay::Held)),
        ("kept", "2", "jammy-updates/main", false, Some(Stay::KeptBack)),
        ("phased", "2", "jammy-updates/main", false, Some(Stay::Phased)),
        ("pinned", "2", security, true, Some(Stay::Pinned)),
    ];
    assert_eq!(seen, expect);
}

#[test]
fn whether_lists_are_refreshed_is_told() {
    let check = |recording: Recording, expect: Knowledge<Refresh>| {
        let report = look(&on_debian(recording).command(&SIMULATE, 0, SUMS, ""));
        assert_eq!(report.managers[0].refresh, expect);
    };
    let periodic = "APT::Periodic::Update-Package-Lists \"1\";\n";
    let timed = |settings: &str| {
        Recording::new()
            .command(&["apt-config", "dump"], 0, settings, "")
            .file("run/systemd/system/x", "")
            .file("etc/systemd/system/timers.target.wants/apt-daily.timer", "")
            .file("var/lib/apt/periodic/update-stamp", "")
    };
    check(timed(periodic), Knowledge::Known(Refresh::Works));
    check(timed(""), Knowledge::Known(Refresh::Off));
    check(
        Recording::new().command(&["apt-config", "dump"], 0, periodic, ""),
        Knowledge::Known(Refresh::Off),
    );
    let list = "Valid-Until: Sat, 01 Aug 2020 00:00:00 UTC\n";
    check(
        timed(periodic).file("var/lib/apt/lists/deb_dists_x_InRelease", list),
        Knowledge::Known(Refresh::Fails(
            "deb_dists_x_InRelease was valid until 2020-08-01 only".to_owned(),
        )),
    );
    let Knowledge::Unknown(reason) =
        look(&debian().command(&SIMULATE, 0, SUMS, "")).managers[0].refresh.clone()
    else {
        panic!("nothing tells it");
    };
    assert!(reason.contains("apt-config dump"), "{reason}");
}

#[test]
fn a_restart_is_due_for_a_reason() {
    let check = |recording: Recording, expect: Result<&[(&str, &[&str])], &str>| {
        let report = look(&recording);
        let reasons: Result<Vec<_>, _> = match &report.reboot {
            Knowledge::Known(reboot) => Ok(reboot
                .reasons
                .iter()
                .map(|reason| {
                    let packages: Vec<&str> = reason.packages.iter().map(String::as_str).collect();
                    (reason.reason.as_str(), packages)
                })
                .collect()),
            Knowledge::Unknown(reason) => Err(reason.as_str()),
        };
        let expect = expect.map(|reasons| {
            reasons.iter().map(|(reason, packages)| (*reason, packages.to_vec())).collect()
        });
        assert_eq!(reasons, expect);
    };
    let newer = || debian().file("boot/vmlinuz-6.1.0-30-amd64", "");
    check(debian(), Ok(&[]));
    check(newer(), Ok(&[("kernel 6.1.0-30-amd64 is installed, 6.1.0-28-amd64 runs", &[])]));
    check(
        debian()
            .file("run/reboot-required", "*** System restart required ***\n")
            .file("run/reboot-required.pkgs", "libc6\ndbus\nlibc6\n"),
        Ok(&[("updated packages ask for a restart", &["dbus", "libc6"])]),
    );
    check(
        debian().file(
            "var/lib/dpkg/status",
            "Package: linux-image-6.1.0-28-amd64\nStatus: install ok installed\nVersion: 6.1.124-1\n",
        ),
        Ok(&[(
            "kernel 6.1.0-28-amd64 is installed in version 6.1.124-1, 6.1.119-1 runs",
            &["linux-image-6.1.0-28-amd64"],
        )]),
    );
    check(newer().file("run/systemd/container", "lxc\n"), Ok(&[]));
    check(
        Recording::new()
            .file("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n")
            .file("proc/sys/kernel/version", "#1\n"),
        Err("no kernel is installed to compare the running one with"),
    );
    check(
        Recording::new()
            .file("proc/sys/kernel/osrelease", "6.1.0\n")
            .file("proc/sys/kernel/version", "#1\n")
            .file("run/reboot-required", ""),
        Ok(&[("updated packages ask for a restart", &[])]),
    );
}

#[test]
fn services_that_run_old_code_are_named() {
    let maps = "7f00-7f01 r-xp 0 08:01 1 /usr/lib/libssl.so.3 (deleted)\n";
    let recording = || {
        debian()
            .file("proc/1/maps", "7f00-7f01 r-xp 0 08:01 1 /usr/lib/systemd/systemd\n")
            .file("proc/1/cgroup", "0::/init.scope\n")
            .file("proc/70/cgroup", "0::/system.slice/ssh.service\n")
    };
    let report = look(&recording().file("proc/70/maps", maps).command(
        &["needrestart", "-b"],
        0,
        "NEEDRESTART-KSTA: 1\nNEEDRESTART-SVC: a.service\n",
        "",
    ));
    let service = |name: &str, files: &[&str], processes: u32| StaleService {
        name: name.to_owned(),
        files: files.iter().map(|file| (*file).to_owned()).collect(),
        processes,
    };
    let expect =
        vec![service("a.service", &[], 0), service("ssh.service", &["/usr/lib/libssl.so.3"], 1)];
    assert_eq!(report.services, Knowledge::Known(expect));
    assert_eq!(report.reboot, Knowledge::Known(RebootReport::default()));
    assert_eq!(look(&recording()).services, Knowledge::Known(Vec::new()));
    assert!(look(&debian()).services.known().is_none());
    let init = look(&recording().file("proc/1/maps", maps));
    let reason = "the init process runs code that was replaced: /usr/lib/libssl.so.3";
    assert_eq!(init.reboot.known().unwrap().reasons[0].reason, reason);
}

/// A process whose program is replaced under it, on the very machine of the test.
#[cfg(target_os = "linux")]
#[test]
fn a_process_that_runs_a_replaced_program_is_seen() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program = folder.path().join("old-service");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let mut process = std::process::Command::new(&program).arg("300").spawn().unwrap();
    // The process maps its program a moment after it was started.
    let maps = format!("/proc/{}/maps", process.id());
    while !std::fs::read_to_string(&maps).unwrap().contains("old-service") {
        std::thread::yield_now();
    }
    let host = Host::new(HostPaths::default());
    let look = || helper::restarts(&host).map(|answer| answer.processes);
    let before = look();
    let fresh = folder.path().join("new");
    std::fs::copy("/bin/sleep", &fresh).unwrap();
    std::fs::rename(&fresh, &program).unwrap();
    let after = look();
    process.kill().unwrap();
    process.wait().unwrap();
    let (Ok(before), Ok(after)) = (before, after) else {
        eprintln!("SKIPPED: only root or the helper may look into processes");
        return;
    };
    assert!(before.iter().all(|one| one.pid != process.id()));
    let seen = after.iter().find(|one| one.pid == process.id()).unwrap();
    assert_eq!(seen.files, [program.to_string_lossy()]);
}
