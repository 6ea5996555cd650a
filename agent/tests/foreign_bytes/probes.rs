//! The files of the kernel and of udev, and what the probes make of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use upkeep_agent::host::Host;
use upkeep_agent::probe::{Probe, Settings, chosen};
use upkeep_model::{METRIC_NAME, Observation, check_series};
use upkeep_tests::fuzz;

use crate::{Changed, conformance, host_of, put};

/// No honest host of one machine's files has as many series.
const MOST_SERIES: usize = 20_000;

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

/// A tree of good files, and where they are.
pub(crate) fn good_tree(folder: &Path) -> (PathBuf, Vec<PathBuf>) {
    let archive = conformance().join("node_exporter/fixtures.tar.gz");
    let root = folder.join("fixtures");
    if archive.is_file() {
        let unpack = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder).status();
        assert!(unpack.unwrap().success());
    } else {
        for name in OWN_FILES {
            let Ok(content) = fs::read(Path::new("/").join(name)) else { continue };
            put(&root.join(name), &content);
        }
    }
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    assert!(files.len() > 10, "{files:?}");
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
        for (series, value) in out.iter() {
            let name = series.labels.metric_name().unwrap();
            let labels = series.labels.iter().filter(|(label, _)| *label != METRIC_NAME);
            check_series(name, labels).unwrap();
            // The format of textfiles has such values, the kernel's files do not.
            let may_be_any = probe.name() == "textfile";
            assert!(may_be_any || value.is_finite(), "{}: {name} is {value}", probe.name());
        }
    }
}

#[test]
fn spoilt_files_are_survived_by_every_probe() {
    let folder = tempfile::tempdir().unwrap();
    let (root, files) = good_tree(folder.path());
    let host = host_of(&root);
    let textfiles = vec![root.join("textfile/two_metric_files").display().to_string()];
    let settings = Settings { all: true, textfile_folders: textfiles, ..Settings::default() };
    let probes = chosen(&settings);
    observe(&probes, &host);
    let one = (prop::sample::select(files), fuzz::spoils());
    let cases = prop::collection::vec(one, 1..=12);
    fuzz::survive("files of probes", 48, &cases, |spoilt| {
        let mut changed = Vec::new();
        for (path, spoils) in spoilt {
            let Ok(good) = fs::read(&path) else { continue };
            let content = fuzz::spoilt(&good, &spoils);
            changed.push(Changed::to(&path, good, &content));
        }
        observe(&probes, &host);
        // The latest first, where a file was changed twice.
        while changed.pop().is_some() {}
    });
}
