//! A full disk: a clear refusal, nothing lost, and on it goes once there is room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::{Agent, Model, options};
use upkeep_store::{Options, Store, StoreError};

/// A small file system of its own, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, bytes: u64) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(at)
            .output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(folder.path(), 4 * 1024 * 1024) else {
        println!("skipped: a file system of its own can be mounted by root only");
        return;
    };
    let options = Options { segment_bytes: 64 * 1024, ..options() };
    let store = Store::open(folder.path(), options.clone()).unwrap();
    let ballast = folder.path().join("ballast");
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    for step in 0..20 {
        agent.commit(&store, &mut model, step, &[("load", step as f64)]);
    }
    fill(&ballast);

    let mut refused = 0;
    let mut step = 20;
    while refused < 3 {
        // A refused frame is sent again, as an agent would.
        let frame = agent.frame(&store, &mut model, step, &[("load", (step as f64).sqrt())]);
        step += 1;
        while let Err(error) = store.commit(vec![frame.clone()]) {
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
            assert_eq!(store.committed(agent.stream).prefix(), agent.sequence - 1);
            refused += 1;
            if refused < 3 {
                continue;
            }
            fs::remove_file(&ballast).unwrap();
        }
        assert!(step < 100_000, "the disk never got full");
    }
    agent.commit(&store, &mut model, step, &[("load", 0.5)]);
    model.check(&store);
    drop(store);
    let store = Store::open(folder.path(), options.clone()).unwrap();
    model.check(&store);
    assert_eq!(store.damage(), []);

    // Sealing on a full disk fails, and works later.
    fill(&ballast);
    let error = store.seal_all(1_000_000).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    model.check(&store);
    fs::remove_file(&ballast).unwrap();
    store.seal_all(1_000_000).unwrap();
    model.check(&store);
    drop(store);
    model.check(&Store::open(folder.path(), options).unwrap());
}

#[test]
fn a_store_that_lost_power_opens_on_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(folder.path(), 4 * 1024 * 1024) else {
        println!("skipped: a file system of its own can be mounted by root only");
        return;
    };
    let store = Store::open(folder.path(), options()).unwrap();
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    for step in 0..200 {
        agent.commit(&store, &mut model, step, &[("load", (step as f64).sqrt())]);
    }
    drop(store);
    // How far the journal reaches is noted and never synced.
    fs::remove_file(folder.path().join("journal/tide")).unwrap();
    let ballast = folder.path().join("ballast");
    fill(&ballast);
    let store = Store::open(folder.path(), options()).unwrap();
    model.check(&store);
    fs::remove_file(&ballast).unwrap();
    agent.commit(&store, &mut model, 200, &[("load", 0.5)]);
    model.check(&store);
    assert_eq!(store.damage(), []);
}

/// Writes until there is no room left.
fn fill(ballast: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(ballast).unwrap();
    for block in [4096, 1] {
        while file.write_all(&vec![7; block]).is_ok() {}
    }
}
