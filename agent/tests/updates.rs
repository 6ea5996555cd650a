//! Pending updates and restarts as whole hosts tell them, from recordings.
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use upkeep_agent::host::Host;
use upkeep_agent::patch;
use upkeep_model::{Knowledge, PackageUpdate, Stay, UpdateReport};

const SIMULATE: [&str; 5] = ["apt-get", "-s", "-o", "Debug::NoLocking=1", "dist-upgrade"];

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

    /// A Debian host on which nothing is the matter.
    fn debian(self) -> Self {
        self.file("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n")
            .file("proc/sys/kernel/version", "#1 SMP Debian 6.1.119-1 (2024-11-22)\n")
            .file("boot/vmlinuz-6.1.0-28-amd64", "")
            .file("var/lib/apt/lists/deb_dists_stable_main_binary-amd64_Packages.lz4", "")
    }

    fn report(&self) -> UpdateReport {
        std::fs::write(self.folder.path().join("commands.jsonl"), &self.commands).unwrap();
        patch::report(&Host::replay(self.folder.path()).unwrap(), 1_000)
    }
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
fn what_real_systems_print_is_read_as_others_read_it() {
    let data = std::env::var_os("UPKEEP_CONFORMANCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
        PathBuf::from,
    );
    let data = data.join("packages");
    if !data.is_dir() {
        eprintln!("SKIPPED: {} is not there", data.display());
        return;
    }
    let mut systems = 0;
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(system) = name.strip_suffix(".apt-get-full-upgrade.stdout") else { continue };
        systems += 1;
        let stdout = std::fs::read_to_string(&path).unwrap();
        let report = Recording::new().debian().command(&SIMULATE, 0, &stdout, "").report();
        let passed_over = passed_over(&stdout);
        let seen: BTreeSet<[String; 3]> = updates_of(&report)
            .unwrap()
            .iter()
            // What would come new with an update is no update to them.
            .filter(|update| !update.installed.is_empty())
            .filter(|update| !passed_over.contains(&update.package.as_str()))
            .map(|update| {
                [&update.package, &update.architecture, &update.offered].map(String::clone)
            })
            .collect();
        let expected = data.join(format!("{system}.apt-get-full-upgrade.expected.json"));
        assert_eq!(seen, expected_updates(&expected), "{system}");
    }
    assert!(systems >= 4, "only {systems} systems in {}", data.display());
}

/// Updates that are real and that the others' reader does not find: those whose line ends with the
/// names of packages that are broken at that point.
fn passed_over(stdout: &str) -> Vec<&str> {
    let lines = stdout.lines().filter(|line| line.starts_with("Inst ") && line.ends_with(" ]"));
    lines.filter_map(|line| line.split(' ').nth(1)).collect()
}

fn expected_updates(path: &Path) -> BTreeSet<[String; 3]> {
    let text = std::fs::read_to_string(path).unwrap();
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    let packages = list.as_array().unwrap().iter();
    packages
        .map(|package| {
            let field = |name: &str| package.get(name).unwrap().as_str().unwrap().to_owned();
            // They name architectures as kernels do.
            let architecture = field("arch").replace("x86_64", "amd64");
            [field("name"), architecture, field("version")]
        })
        .collect()
}

#[test]
fn what_apt_cannot_tell_is_unknown_with_its_reason() {
    let check = |recording: Recording, expect: Result<usize, &str>| {
        let report = recording.report();
        assert_eq!(updates_of(&report).map(<[_]>::len), expect);
    };
    let recorded = |exit, stdout: &str, stderr: &str| {
        Recording::new().debian().command(&SIMULATE, exit, stdout, stderr)
    };
    check(recorded(0, SUMS, "W: odd\n"), Ok(0));
    check(
        recorded(100, "", "E: Could not get lock /var/lib/dpkg/lock.\n"),
        Err("apt-get ended with status 100: Could not get lock /var/lib/dpkg/lock."),
    );
    check(recorded(0, "Reading\n", ""), Err("apt-get ended without saying what it would do"));
    check(
        Recording::new().file("var/lib/apt/lists/lock", "").command(&SIMULATE, 0, SUMS, ""),
        Err("the package lists were never downloaded; run `apt-get update`"),
    );
    check(Recording::new().debian(), Err("not one manager"));
}

#[test]
fn what_stays_is_told_with_where_it_would_come_from() {
    let stdout = "The following packages have been kept back:\n  linux-image-amd64\n  odd\n\
        0 upgraded, 0 newly installed, 0 to remove and 2 not upgraded.\n";
    let policy = "linux-image-amd64:\n  Installed: 6.1.1\n  Candidate: 6.1.2\n  Version table:\n\
        \x20    6.1.2 500\n        500 http://deb.example.org bookworm-security/main amd64 Packages\n\
        \x20*** 6.1.1 100\n        100 /var/lib/dpkg/status\n";
    let report = Recording::new()
        .debian()
        .file(
            "var/lib/dpkg/status",
            "Package: linux-image-amd64\nStatus: install ok installed\nArchitecture: amd64\nVersion: 6.1.1\n",
        )
        .command(&SIMULATE, 0, stdout, "")
        .command(&["apt-cache", "policy", "linux-image-amd64", "odd"], 0, policy, "")
        .report();
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

#[test]
fn a_restart_is_due_for_a_reason() {
    let check = |recording: Recording, expect: Result<&[(&str, &[&str])], &str>| {
        let report = recording.report();
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
    let debian = || Recording::new().debian();
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
