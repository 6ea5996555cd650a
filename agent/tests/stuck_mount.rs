//! A file system that never answers, as the clients of a network server that is away see it: a FUSE
//! mount whose other end is open and serves nothing. It is mounted out of the sight of others.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use upkeep_agent::exposition;
use upkeep_agent::host::{Host, HostPaths};
use upkeep_agent::probe::{FilesystemProbe, FilesystemSettings, Probe};
use upkeep_model::Observation;

/// How long the probe waits for one file system.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long anything may take that does not wait for ever.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_stuck_mount_blocks_nothing_and_is_asked_again_when_it_answers() {
    run_with_own_mounts("probe_in_own_mounts");
}

#[test]
fn the_agent_tells_of_the_others_and_ends() {
    run_with_own_mounts("agent_in_own_mounts");
}

/// Runs an ignored test of this file in a mount namespace of its own. It is the first process of a
/// process namespace too, since the mount table that counts is that of the first process.
fn run_with_own_mounts(test: &str) {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        eprintln!("SKIPPED: mounting takes root and /dev/fuse");
        return;
    }
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", test])
        .status();
    assert!(status.unwrap().success(), "{test}");
}

#[test]
#[ignore = "it is run by another test, in a mount namespace of its own"]
fn probe_in_own_mounts() {
    let folder = tempfile::tempdir().unwrap();
    let stuck = StuckMount::on(folder.path());
    let settings = FilesystemSettings { patience: PATIENCE, ..FilesystemSettings::default() };
    let probe = FilesystemProbe::new(settings);

    let (page, took) = observe(&probe);
    assert!((PATIENCE..LONG).contains(&took), "{took:?}");
    assert_eq!(error_of(&page, folder.path()).as_deref(), Some("mountpoint timeout"));
    assert!(page.contains("node_filesystem_size_bytes{"), "the others are missing:\n{page}");

    let (page, took) = observe(&probe);
    assert!(took < PATIENCE, "it was waited for again: {took:?}");
    assert_eq!(error_of(&page, folder.path()).as_deref(), Some("mountpoint timeout"));

    // Without its other end the mount answers at last, that it is not connected.
    stuck.hang_up();
    let limit = Instant::now() + LONG;
    loop {
        let (page, _) = observe(&probe);
        match error_of(&page, folder.path()).as_deref() {
            Some("mountpoint timeout") => assert!(Instant::now() < limit, "{page}"),
            other => {
                assert_eq!(other, Some("transport endpoint is not connected"));
                break;
            }
        }
    }
    unmount(folder.path(), UnmountFlags::DETACH).unwrap();
}

#[test]
#[ignore = "it is run by another test, in a mount namespace of its own"]
fn agent_in_own_mounts() {
    let folder = tempfile::tempdir().unwrap();
    let stuck = StuckMount::on(folder.path());
    let begun = Instant::now();
    let mut agent = Command::new(env!("CARGO_BIN_EXE_upkeep-agent"));
    let output = agent.arg("metrics").stdin(Stdio::null()).output().unwrap();
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert_eq!(error_of(&page, folder.path()).as_deref(), Some("mountpoint timeout"));
    assert!(page.contains("node_filesystem_size_bytes{"), "the others are missing:\n{page}");
    assert!(page.contains("\nnode_load1 "), "the other probes are missing:\n{page}");
    stuck.hang_up();
    unmount(folder.path(), UnmountFlags::DETACH).unwrap();
}

/// A mount that answers nothing as long as its other end is held open.
struct StuckMount(File);

impl StuckMount {
    fn on(folder: &Path) -> Self {
        let other_end = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", other_end.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        mount("stuck", folder, "fuse.stuck", MountFlags::empty(), options.as_c_str()).unwrap();
        Self(other_end)
    }

    fn hang_up(self) {
        drop(self.0);
    }
}

fn observe(probe: &FilesystemProbe) -> (String, Duration) {
    let mut out = Observation::at(0);
    let begun = Instant::now();
    let error = probe.observe(&Host::new(HostPaths::default()), &mut out).unwrap_err();
    let took = begun.elapsed();
    eprintln!("after {took:?}: {error}");
    let mut page = Vec::new();
    exposition::write(&out, &mut page).unwrap();
    (String::from_utf8(page).unwrap(), took)
}

/// What is said to be wrong with the file system that is mounted on a folder.
fn error_of(page: &str, folder: &Path) -> Option<String> {
    let place = format!("mountpoint=\"{}\"", folder.display());
    let line = page
        .lines()
        .find(|line| line.starts_with("node_filesystem_device_error{") && line.contains(&place))?;
    let (_, rest) = line.split_once("device_error=\"")?;
    rest.split_once('"').map(|(error, _)| error.to_owned())
}
