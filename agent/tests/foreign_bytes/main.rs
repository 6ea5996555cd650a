//! Whatever stands in a host's files, and whatever its programs and peers send: nothing panics,
//! nothing grows without bound, and what cannot be read is left out and told, never invented.
//!
//! The good inputs are the captured machine and the recorded disks of the conformance data where they
//! are there, this machine's own files otherwise, and this project's recordings of package managers.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod databases;
mod disks;
mod documents;
mod helper;
mod left_out;
mod managers;
mod probes;
mod values;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use upkeep_agent::exposition;
use upkeep_agent::host::{Host, HostPaths};
use upkeep_agent::probe::{Probe, ProbeError};
use upkeep_model::Observation;

/// The folder of the conformance data.
fn conformance() -> PathBuf {
    std::env::var_os("UPKEEP_CONFORMANCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
        PathBuf::from,
    )
}

/// A host that is a folder.
fn host_of(root: &Path) -> Host {
    Host::new(HostPaths {
        procfs: root.join("proc"),
        sysfs: root.join("sys"),
        udev_data: root.join("udev/data"),
        rootfs: root.to_owned(),
    })
}

/// Writes a file, and the folders that it is in.
fn put(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A file with other content, until this goes out of scope, be it by a panic.
struct Changed {
    path: PathBuf,
    good: Vec<u8>,
}

impl Changed {
    fn to(path: &Path, good: Vec<u8>, content: &[u8]) -> Self {
        fs::write(path, content).unwrap();
        Self { path: path.to_owned(), good }
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        fs::write(&self.path, &self.good).unwrap();
    }
}

/// What a probe says: its series with their values, and what it could not read.
fn told(probe: &dyn Probe, host: &Host) -> (BTreeSet<String>, Result<(), ProbeError>) {
    let mut out = Observation::at(0);
    let outcome = probe.observe(host, &mut out);
    let mut page = Vec::new();
    exposition::write(&out, &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    (lines.map(str::to_owned).collect(), outcome)
}

/// Whether a series is one of the good ones, but for labels that it lacks or that have no value.
fn is_poorer(line: &str, good: &BTreeSet<String>) -> bool {
    let parts = |line: &str| -> Option<(String, BTreeSet<String>)> {
        let (name, rest) = line.split_once('{')?;
        let (labels, value) = rest.rsplit_once('}')?;
        let labels = labels.split_inclusive("\",").map(|one| one.trim_end_matches(',').to_owned());
        let labels = labels.filter(|one| !one.ends_with("=\"\""));
        Some((format!("{name}{value}"), labels.collect()))
    };
    let Some((name, labels)) = parts(line) else { return false };
    good.iter()
        .filter_map(|line| parts(line))
        .any(|(other, others)| other == name && labels.is_subset(&others))
}
