//! Whatever stands in a host's files and whatever its programs print: nothing panics, and nothing
//! grows without bound.
//!
//! Good inputs are spoilt at random and read again: in a few rounds that are always the same, or for
//! `FUZZ_SECONDS` as `make fuzz` has it. A failure names the seed of its round, which `FUZZ_SEED` brings back as the
//! first one. The good inputs are the captured machine of the conformance data where it is there,
//! this machine's own files otherwise, and this project's recordings of package managers.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use upkeep_agent::host::{Host, HostPaths};
use upkeep_agent::probe::{Probe, Settings, chosen};
use upkeep_agent::{package, patch};
use upkeep_model::Observation;

/// No honest host of one machine's files has as many series.
const MOST_SERIES: usize = 20_000;

/// So many rounds, always the same, where no time is given.
const FEW: u32 = 60;

/// This machine's own files that serve where there is no captured machine.
const OWN_FILES: [&str; 24] = [
    "proc/stat",
    "proc/meminfo",
    "proc/loadavg",
    "proc/vmstat",
    "proc/diskstats",
    "proc/mdstat",
    "proc/cpuinfo",
    "proc/interrupts",
    "proc/softirqs",
    "proc/schedstat",
    "proc/1/mountinfo",
    "proc/net/dev",
    "proc/net/arp",
    "proc/net/netstat",
    "proc/net/snmp",
    "proc/net/snmp6",
    "proc/net/sockstat",
    "proc/net/sockstat6",
    "proc/net/softnet_stat",
    "proc/net/tcp",
    "proc/net/udp",
    "proc/pressure/cpu",
    "proc/pressure/io",
    "etc/os-release",
];

/// What numbers and words are spoilt with.
const ODD: [&[u8]; 12] = [
    b"-1",
    b"18446744073709551616",
    b"9223372036854775807",
    b"1e400",
    b"NaN",
    b"-0x",
    b"\0",
    b"\xff\xfe",
    b"\n",
    b" ",
    b":",
    b"\xc3\xa9\xf0\x9f\x92\xa5",
];

/// Runs rounds until the time is over.
fn rounds(mut round: impl FnMut(&mut StdRng)) {
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let until = setting("FUZZ_SECONDS").map(|long| Instant::now() + Duration::from_secs(long));
    let first = setting("FUZZ_SEED").unwrap_or(1);
    let mut count = 0;
    for seed in first.. {
        let mut random = StdRng::seed_from_u64(seed);
        if catch_unwind(AssertUnwindSafe(|| round(&mut random))).is_err() {
            panic!("FUZZ_SEED={seed} does it again");
        }
        count += 1;
        if until.map_or(count >= FEW, |until| Instant::now() > until) {
            break;
        }
    }
    println!("{count} rounds");
}

/// Spoils bytes in one to four places.
fn spoil(bytes: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(0..40)).min(bytes.len());
        match random.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            3 => {
                let odd = ODD[random.random_range(0..ODD.len())];
                bytes.splice(at..end, odd.iter().copied());
            }
            4 => {
                let odd = ODD[random.random_range(0..ODD.len())];
                bytes.splice(at..at, odd.iter().copied());
            }
            _ if at < bytes.len() => bytes[at] = random.random(),
            _ => {}
        }
    }
}

fn conformance() -> PathBuf {
    std::env::var_os("UPKEEP_CONFORMANCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
        PathBuf::from,
    )
}

/// A tree of good files, and where they are.
fn good_tree(folder: &Path) -> (PathBuf, Vec<PathBuf>) {
    let archive = conformance().join("node_exporter/fixtures.tar.gz");
    let root = folder.join("fixtures");
    if archive.is_file() {
        let unpack = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder).status();
        assert!(unpack.unwrap().success());
    } else {
        for name in OWN_FILES {
            let Ok(content) = fs::read(Path::new("/").join(name)) else { continue };
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    (root, files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(&entry.path(), files);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
}

fn observe(probes: &[Box<dyn Probe>], host: &Host) {
    for probe in probes {
        let mut out = Observation::at(0);
        // What cannot be read is a fault of the file, which the probe tells.
        drop(probe.observe(host, &mut out));
        assert!(out.len() < MOST_SERIES, "{}: {} series", probe.name(), out.len());
        for (series, _) in out.iter() {
            let name = series.labels.metric_name().unwrap();
            let is_good = |at: usize, letter: char| {
                letter.is_ascii_alphabetic()
                    || "_:".contains(letter)
                    || at > 0 && letter.is_ascii_digit()
            };
            let mut letters = name.chars().enumerate();
            assert!(letters.all(|(at, letter)| is_good(at, letter)), "{}: {name:?}", probe.name());
        }
    }
}

#[test]
fn spoilt_files_are_survived_by_every_probe() {
    let folder = tempfile::tempdir().unwrap();
    let (root, files) = good_tree(folder.path());
    assert!(files.len() > 10, "{files:?}");
    let host = Host::new(HostPaths {
        procfs: root.join("proc"),
        sysfs: root.join("sys"),
        udev_data: root.join("udev/data"),
        rootfs: root.clone(),
    });
    let textfiles = vec![root.join("textfile/two_metric_files").display().to_string()];
    let settings = Settings { all: true, textfile_folders: textfiles, ..Settings::default() };
    let probes = chosen(&settings);
    observe(&probes, &host);
    rounds(|random| {
        let mut kept = Vec::new();
        for _ in 0..random.random_range(1..=12) {
            let path = &files[random.random_range(0..files.len())];
            let Ok(good) = fs::read(path) else { continue };
            let mut spoilt = good.clone();
            spoil(&mut spoilt, random);
            fs::write(path, spoilt).unwrap();
            kept.push((path, good));
        }
        observe(&probes, &host);
        for database in package::DATABASES {
            drop(database.installed(&host));
        }
        for (path, good) in kept.into_iter().rev() {
            fs::write(path, good).unwrap();
        }
    });
}

#[test]
fn spoilt_answers_of_package_managers_are_survived() {
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let entries = fs::read_dir(recordings).unwrap().map(|entry| entry.unwrap().path());
    let folders: Vec<PathBuf> =
        entries.filter(|path| path.join("commands.jsonl").exists()).collect();
    assert!(!folders.is_empty());
    let work = tempfile::tempdir().unwrap();
    rounds(|random| {
        let folder = &folders[random.random_range(0..folders.len())];
        let text = fs::read_to_string(folder.join("commands.jsonl")).unwrap();
        let spoilt: String = text.lines().map(|line| spoil_answer(line, random)).collect();
        let copy = work.path().join(folder.file_name().unwrap());
        if !copy.exists() {
            let status = Command::new("cp").arg("-a").arg(folder).arg(&copy).status();
            assert!(status.unwrap().success());
        }
        fs::write(copy.join("commands.jsonl"), spoilt).unwrap();
        let host = Host::replay(&copy).unwrap();
        drop(patch::report(&host, 0, &mut patch::Memory::default()));
    });
}

/// A recorded command with its output spoilt, as often as not.
fn spoil_answer(line: &str, random: &mut StdRng) -> String {
    let mut command: Value = serde_json::from_str(line).unwrap();
    for stream in ["stdout", "stderr"] {
        let Some(text) = command[stream].as_str() else { continue };
        if random.random() {
            let mut bytes = text.as_bytes().to_vec();
            spoil(&mut bytes, random);
            command[stream] = String::from_utf8_lossy(&bytes).into_owned().into();
        }
    }
    format!("{command}\n")
}
