//! The databases of installed packages, and what a distribution says about itself.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;
use upkeep_agent::host::Host;
use upkeep_agent::package::DATABASES;
use upkeep_agent::package::rpm::QUERY;
use upkeep_agent::probe::{OsProbe, Probe};
use upkeep_model::Observation;
use upkeep_tests::fuzz;

use crate::{Changed, conformance, put};

/// The files of a host that has every package manager there is.
const FILES: [(&str, &str); 4] = [
    (
        "root/var/lib/dpkg/status",
        "Package: adduser\nStatus: install ok installed\nArchitecture: all\nVersion: 3.134\n\n\
         Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n",
    ),
    (
        "root/lib/apk/db/installed",
        "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\n\nP:busybox\nV:1.36.1-r29\nA:x86_64\n\n",
    ),
    (
        "root/var/lib/pacman/local/zlib-1:1.3.1-2/desc",
        "%NAME%\nzlib\n\n%VERSION%\n1:1.3.1-2\n\n%ARCH%\nx86_64\n\n",
    ),
    (
        "root/etc/os-release",
        "NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=\"12.5\"\nSUPPORT_END=2028-06-30\n\
         PRETTY_NAME='Debian \\'12\\''\n",
    ),
];

fn recording(folder: &Path) {
    for (path, content) in FILES {
        put(&folder.join(path), content.as_bytes());
    }
    // A real database, where it is there.
    if let Ok(status) = fs::read(conformance().join("packages/debian.dpkg-status")) {
        put(&folder.join(FILES[0].0), &status);
    }
    let rpm =
        "bash\tx86_64\t5.2.26-3.fc40\nkernel\tx86_64\t1:6.8.5-301.fc40\ngpg-pubkey\t(none)\t1-2\n";
    let command = json!({"argv": QUERY, "exit": 0, "stdout": rpm});
    put(&folder.join("commands.jsonl"), format!("{command}\n").as_bytes());
}

#[test]
fn spoilt_databases_of_packages_are_survived() {
    let folder = tempfile::tempdir().unwrap();
    recording(folder.path());
    let commands = folder.path().join("commands.jsonl");
    let mut files: Vec<_> = FILES.iter().map(|(path, _)| folder.path().join(path)).collect();
    files.push(commands.clone());
    let installed = |host: &Host| {
        for database in DATABASES {
            let packages = database.installed(host).unwrap_or_default();
            assert!(packages.len() < 10_000);
            for package in packages {
                assert!(!package.name.is_empty() && !package.version.is_empty(), "{package:?}");
            }
        }
        drop(OsProbe.observe(host, &mut Observation::at(0)));
    };
    installed(&Host::replay(folder.path()).unwrap());
    let cases = (prop::sample::select(files), fuzz::spoils());
    fuzz::survive("package databases", 64, &cases, |(file, spoils)| {
        let good = fs::read(&file).unwrap();
        let spoilt = if file == commands {
            // The output of rpm is spoilt, not the recording that holds it.
            let mut command: serde_json::Value = serde_json::from_slice(&good).unwrap();
            let bytes = fuzz::spoilt(command["stdout"].as_str().unwrap().as_bytes(), &spoils);
            command["stdout"] = String::from_utf8_lossy(&bytes).into_owned().into();
            command.to_string().into_bytes()
        } else {
            fuzz::spoilt(&good, &spoils)
        };
        let _changed = Changed::to(&file, good, &spoilt);
        installed(&Host::replay(folder.path()).unwrap());
    });
}
