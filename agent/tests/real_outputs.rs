//! Holds what the agent reads of package managers against what they printed on real hosts, and what
//! a right reader got of it: every file of the folder, so that a new one cannot go unread.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod recording;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use serde_json::Value;
use upkeep_agent::host::{Host, HostPaths};
use upkeep_agent::package;
use upkeep_agent::patch::Memory;
use upkeep_model::{InstalledPackage, ManagerReport, PackageUpdate};

use self::recording::Recording;

const SIMULATE: [&str; 5] = ["apt-get", "-s", "-o", "Debug::NoLocking=1", "dist-upgrade"];
const RPM: [&str; 4] =
    ["rpm", "-qa", "--qf", r"%{NAME}\t%{ARCH}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\n"];
const ZYPPER: [&str; 3] = ["zypper", "--non-interactive", "--no-refresh"];

/// Name, architecture and version. Architectures are told as the reference does: by the kernel's
/// word, and `all` where there is none.
type Package = [String; 3];

/// One kind of output, by how its files are called: `SYSTEM.KIND.stdout` and the like.
struct Kind {
    name: &'static str,
    check: fn(&Outputs, &str),
}

const KINDS: [Kind; 7] = [
    Kind { name: "apt-get-full-upgrade", check: check_apt },
    Kind { name: "dpkg-query-show", check: check_dpkg_list },
    Kind { name: "rpm-query-all", check: check_rpm_list },
    Kind { name: "yum-update", check: check_yum_update },
    Kind { name: "yum-check-update", check: check_yum_list },
    Kind { name: "zypper-list-updates", check: check_zypper_updates },
    Kind { name: "zypper-list-patches", check: check_zypper_patches },
];

#[test]
fn every_real_output_is_read_as_others_read_it() {
    let data = std::env::var_os("UPKEEP_CONFORMANCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
        PathBuf::from,
    );
    let outputs = Outputs { folder: data.join("packages"), read: RefCell::default() };
    if !outputs.folder.is_dir() {
        eprintln!("SKIPPED: {} is not there", outputs.folder.display());
        return;
    }
    for Kind { name, check } in KINDS {
        let systems = outputs.systems_with(name);
        assert!(!systems.is_empty(), "no output of {name}");
        for system in systems {
            check(&outputs, &system);
        }
    }
    for name in outputs.names().filter(|name| name.ends_with(".dpkg-status")) {
        check_dpkg_status(&outputs, &name);
    }
    let unread: Vec<String> = outputs.names().filter(|name| !outputs.was_read(name)).collect();
    assert_eq!(unread, ["LICENSE"], "no check reads these files");
}

/// The folder, and which of its files were read.
struct Outputs {
    folder: PathBuf,
    read: RefCell<BTreeSet<String>>,
}

impl Outputs {
    fn names(&self) -> impl Iterator<Item = String> {
        let entries = std::fs::read_dir(&self.folder).unwrap();
        let names: BTreeSet<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into()).collect();
        names.into_iter()
    }

    /// The systems of which there is an output of a kind.
    fn systems_with(&self, kind: &str) -> Vec<String> {
        let end = format!(".{kind}.stdout");
        self.names().filter_map(|name| name.strip_suffix(&end).map(str::to_owned)).collect()
    }

    fn was_read(&self, name: &str) -> bool {
        self.read.borrow().contains(name)
    }

    fn text(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.folder.join(name)).unwrap();
        self.read.borrow_mut().insert(name.to_owned());
        text
    }

    /// What a command printed on a system, and what it complained about where that was kept.
    fn of_command(&self, system: &str, kind: &str) -> (String, String) {
        let stderr = format!("{system}.{kind}.stderr");
        let has_stderr = self.folder.join(&stderr).exists();
        let stderr = if has_stderr { self.text(&stderr) } else { String::new() };
        (self.text(&format!("{system}.{kind}.stdout")), stderr)
    }

    /// A list in JSON.
    fn list(&self, name: &str) -> Vec<Value> {
        serde_json::from_str(&self.text(name)).unwrap()
    }

    /// The packages that the reference reader found.
    fn packages(&self, name: &str) -> BTreeSet<Package> {
        let package = |value: &Value| {
            let of = |key: &str| field(value, key).to_owned();
            [of("name"), architecture(field(value, "arch")), of("version")]
        };
        self.list(name).iter().map(package).collect()
    }
}

fn field<'value>(value: &'value Value, key: &str) -> &'value str {
    value.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("no {key}: {value}"))
}

fn architecture(word: &str) -> String {
    match word {
        "amd64" => "x86_64",
        "i386" => "x86_32",
        "arm64" => "aarch64",
        "noarch" => "all",
        other => other,
    }
    .to_owned()
}

fn manager(recording: &Recording) -> ManagerReport {
    let report = recording.report(UNIX_EPOCH, &mut Memory::default());
    let [manager]: [ManagerReport; 1] = report.managers.try_into().unwrap();
    manager
}

fn offered(updates: &[PackageUpdate]) -> BTreeSet<Package> {
    let package = |one: &PackageUpdate| {
        [one.package.clone(), architecture(&one.architecture), one.offered.clone()]
    };
    updates.iter().map(package).collect()
}

fn installed(packages: &[InstalledPackage]) -> BTreeSet<Package> {
    let package = |one: &InstalledPackage| {
        [one.name.clone(), architecture(&one.architecture), one.version.clone()]
    };
    packages.iter().map(package).collect()
}

/// That one set holds all of another; what is missing is shown.
fn check_holds(all: &BTreeSet<Package>, some: &BTreeSet<Package>, system: &str) {
    let missing: Vec<_> = some.difference(all).collect();
    assert!(missing.is_empty(), "{system} lacks {missing:?}");
}

fn check_apt(outputs: &Outputs, system: &str) {
    let (stdout, stderr) = outputs.of_command(system, "apt-get-full-upgrade");
    let recording = Recording::new()
        .command(&SIMULATE, 0, &stdout, &stderr)
        .file("var/lib/apt/lists/deb_dists_stable_main_binary-amd64_Packages.lz4", "");
    let mut updates = manager(&recording).updates.known().unwrap().clone();
    // What would come new with an update is no update to the reference.
    updates.retain(|update| !update.installed.is_empty());
    // Where packages are broken for a moment, apt ends a line with their names, as in
    // `[systemd:amd64 ]`. The reference takes the last word for the architecture and then passes over
    // the line. apt installs them all the same: each has its `Conf` line later on.
    let lines = stdout.lines().filter(|line| line.starts_with("Inst ") && line.ends_with(" ]"));
    let passed_over: Vec<&str> = lines.filter_map(|line| line.split(' ').nth(1)).collect();
    updates.retain(|update| !passed_over.contains(&update.package.as_str()));
    let expect = outputs.packages(&format!("{system}.apt-get-full-upgrade.expected.json"));
    assert_eq!(offered(&updates), expect, "{system}");
}

fn check_dpkg_list(outputs: &Outputs, system: &str) {
    let (stdout, _) = outputs.of_command(system, "dpkg-query-show");
    let paragraph = |line: &str| {
        let package: Value = serde_json::from_str(line).unwrap();
        let of = |key| field(&package, key);
        format!(
            "Package: {}\nStatus: install ok {}\nArchitecture: {}\nVersion: {}\n\n",
            of("package"),
            of("status"),
            of("architecture"),
            of("version")
        )
    };
    let status: String = stdout.lines().map(paragraph).collect();
    let recording = Recording::new().file(package::dpkg::STATUS, &status);
    let seen = package::dpkg::installed(&Host::replay(recording.folder.path()).unwrap()).unwrap();
    let expect = outputs.packages(&format!("{system}.dpkg-query-show.want.json"));
    assert_eq!(installed(&seen), expect, "{system}");
}

fn check_rpm_list(outputs: &Outputs, system: &str) {
    let (stdout, _) = outputs.of_command(system, "rpm-query-all");
    let line = |line: &str| {
        let package: Value = serde_json::from_str(line).unwrap();
        ["package", "architecture", "version"].map(|key| field(&package, key)).join("\t") + "\n"
    };
    let list: String = stdout.lines().map(line).collect();
    let folder = tempfile::tempdir().unwrap();
    let answer = serde_json::json!({ "argv": RPM, "exit": 0, "stdout": list });
    std::fs::write(folder.path().join("commands.jsonl"), answer.to_string()).unwrap();
    let seen = package::rpm::installed(&Host::replay(folder.path()).unwrap()).unwrap();
    let expect = outputs.packages(&format!("{system}.rpm-query-all.want.json"));
    assert_eq!(installed(&seen), expect, "{system}");
}

/// What `yum update` would do, by our reader.
fn yum_update(outputs: &Outputs, system: &str) -> (BTreeSet<Package>, String) {
    let (stdout, stderr) = outputs.of_command(system, "yum-update");
    let recording = Recording::new()
        .command(&["yum", "--assumeno", "update"], 1, &stdout, &stderr)
        .command(&RPM, 0, "", "");
    (offered(manager(&recording).updates.known().unwrap()), stdout)
}

fn check_yum_update(outputs: &Outputs, system: &str) {
    let (seen, stdout) = yum_update(outputs, system);
    let expect = outputs.packages(&format!("{system}.yum-update.expected.json"));
    check_holds(&seen, &expect, system);
    // What comes only because others need it is no update to some readers.
    let mut more: BTreeSet<Package> = seen.difference(&expect).cloned().collect();
    let dependencies = dependencies(&stdout);
    more.retain(|[name, ..]| !dependencies.contains(name.as_str()));
    assert!(more.is_empty(), "{system} has no {more:?}");
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

/// How many packages `check-update` may not list of what `update` would do beside dependencies:
/// kernels, which are installed anew, and packages of modules.
const UNLISTED: usize = 6;

fn check_yum_list(outputs: &Outputs, system: &str) {
    let (stdout, stderr) = outputs.of_command(system, "yum-check-update");
    let recording = Recording::new()
        .command(&["yum", "-C", "check-update"], 100, &stdout, &stderr)
        .command(&RPM, 0, "", "");
    let listed = offered(manager(&recording).updates.known().unwrap());
    // The list knows no dependencies, and is nothing but what the update would do.
    let (updated, update) = yum_update(outputs, system);
    check_holds(&updated, &listed, system);
    let dependencies = dependencies(&update);
    let is_unlisted = |package: &&Package| !dependencies.contains(package[0].as_str());
    let unlisted: Vec<_> = updated.difference(&listed).filter(is_unlisted).collect();
    assert!(unlisted.len() <= UNLISTED, "{system} does not list {unlisted:?}");
}

fn check_zypper_updates(outputs: &Outputs, system: &str) {
    let (stdout, stderr) = outputs.of_command(system, "zypper-list-updates");
    let question = [ZYPPER.as_slice(), &["list-updates"]].concat();
    let recording = Recording::new()
        .command(&question, 0, &stdout, &stderr)
        .file("etc/zypp/repos.d/a.repo", "[base]\nenabled=1\n");
    let report = manager(&recording);
    let updates = report.updates.known().unwrap();
    let expect = outputs.packages(&format!("{system}.zypper-list-updates.expected.json"));
    assert_eq!(offered(updates), expect, "{system}");
    assert!(updates.iter().all(|update| !update.installed.is_empty()), "{system}");
    // Without patches it is not known what they are for.
    assert!(updates.iter().all(|update| report.is_security(update).is_none()), "{system}");
}

/// The list does not say what each patch is for, so that is made up: each for one package of its
/// own, about which the patch must then be told. The agent asks about exactly the needed ones.
fn check_zypper_patches(outputs: &Outputs, system: &str) {
    let (stdout, stderr) = outputs.of_command(system, "zypper-list-patches");
    let mut expect = outputs.list(&format!("{system}.zypper-list-patches.expected.json"));
    expect.sort_by_key(|patch| field(patch, "Name").to_owned());
    let names: Vec<&str> = expect.iter().map(|patch| field(patch, "Name")).collect();
    let package = |number: usize| format!("package{number}");
    let update = |number: usize| {
        format!(
            "<update kind=\"package\" name=\"{}\" edition-old=\"1-1\" edition=\"2-1\" \
             arch=\"noarch\"><source alias=\"base\"/></update>",
            package(number)
        )
    };
    let updates: String = (0..names.len()).map(update).collect();
    let updates = format!(
        "<stream><update-status><update-list>{updates}</update-list></update-status></stream>"
    );
    let information = |(number, name): (usize, &&str)| {
        format!("Name : {name}\nConflicts : {} < 2-1\n\n", package(number))
    };
    let information: String = names.iter().enumerate().map(information).collect();
    let ask = |question: &[&'static str]| [ZYPPER.as_slice(), question].concat();
    let about: Vec<&str> =
        ZYPPER.iter().chain(&["info", "-t", "patch"]).chain(&names).copied().collect();
    let in_xml = [ZYPPER.as_slice(), &["--xmlout", "list-updates"]].concat();
    let recording = Recording::new()
        .command(&in_xml, 0, &updates, "")
        .command(&ask(&["list-patches"]), 0, &stdout, &stderr)
        .command(&about, 0, &information, "")
        .file("etc/zypp/repos.d/a.repo", "[base]\nenabled=1\n");
    let report = manager(&recording);
    let seen: Vec<(bool, &str, &[String])> = report
        .updates
        .known()
        .unwrap()
        .iter()
        .map(|one| (one.security, one.severity.as_str(), one.advisories.as_slice()))
        .collect();
    let ids: Vec<[String; 1]> = names.iter().map(|&name| [name.to_owned()]).collect();
    let expect: Vec<(bool, &str, &[String])> = expect
        .iter()
        .zip(&ids)
        .map(|(patch, id)| {
            let is_security = field(patch, "Category") == "security";
            let severity = if is_security { field(patch, "Severity") } else { "" };
            (is_security, severity, id.as_slice())
        })
        .collect();
    assert_eq!(seen, expect, "{system}");
}

/// A piece of a package database, of which dpkg itself is the judge.
fn check_dpkg_status(outputs: &Outputs, name: &str) {
    let text = outputs.text(name);
    let root = tempfile::tempdir().unwrap();
    let database = root.path().join("var/lib/dpkg");
    std::fs::create_dir_all(database.join("info")).unwrap();
    std::fs::create_dir_all(database.join("updates")).unwrap();
    std::fs::write(database.join("status"), text).unwrap();
    let paths = HostPaths { rootfs: root.path().into(), ..HostPaths::default() };
    let seen = installed(&package::dpkg::installed(&Host::new(paths)).unwrap());
    assert!(!seen.is_empty());
    let judge = Command::new("dpkg-query")
        .arg("--admindir")
        .arg(&database)
        .args(["--show", "--showformat", r"${Package}\t${Architecture}\t${Version}\n"])
        .output();
    let Ok(judge) = judge else { return eprintln!("SKIPPED: there is no dpkg-query") };
    let list = String::from_utf8(judge.stdout).unwrap();
    let package = |line: &str| -> Package {
        let [name, word, version] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        [name.to_owned(), architecture(word), version.to_owned()]
    };
    assert_eq!(seen, list.lines().map(package).collect(), "{name}");
}
