//! A sync that failed is not repeated: what it was for may be read until the power goes, and nothing is
//! built on that.

use rand::SeedableRng;
use rand::rngs::StdRng;
use upkeep_disk::{Disk, DiskError, Ordering, Recording, Tree};

use crate::fixture::{Agent, Model, folder, open};

/// The file whose sync fails.
const SEGMENT: &str = "00000000000000000001.segment";

/// States that are drawn after the power went.
const STATES: u64 = 40;

/// Commits before the sync that fails, and after the store was opened again.
const COMMITS: i64 = 5;

#[test]
fn what_is_confirmed_after_a_failed_sync_survives_a_power_cut() {
    let recording = match Recording::mount(Tree::default()) {
        Err(error @ DiskError::Mount { .. }) => {
            return eprintln!("SKIPPED: power cuts take root and /dev/fuse: {error}");
        }
        mounted => mounted.unwrap(),
    };
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    let path = recording.path().join("samples");
    let store = open(&path);
    for at_ms in 0..COMMITS {
        agent.commit(&store, &mut model, at_ms, &[("load", at_ms as f64)]);
    }
    recording.fail_syncs(SEGMENT, 1);
    let frame = agent.frame(&store, &mut model, COMMITS, &[("load", 7.0)]);
    let refused = store.commit(vec![frame]).unwrap_err();
    assert!(refused.to_string().contains("sync"), "{refused}");
    assert_eq!(store.committed(agent.stream).prefix(), COMMITS as u64);
    drop(store);

    // The program was started again: it reads what was not synced, as long as there is power.
    let store = open(&path);
    assert_eq!(store.committed(agent.stream).prefix(), COMMITS as u64 + 1);
    for at_ms in COMMITS + 1..2 * COMMITS {
        agent.commit(&store, &mut model, at_ms, &[("load", at_ms as f64)]);
    }
    let operations = recording.take();
    for ordering in [Ordering::Journalled, Ordering::Loose] {
        let mut disk = Disk::new(ordering, Tree::default());
        operations.iter().for_each(|operation| disk.apply(operation));
        for seed in 0..STATES {
            let left = folder();
            disk.after_cut(&mut StdRng::seed_from_u64(seed)).write(left.path()).unwrap();
            let store = open(&left.path().join("samples"));
            let committed = store.committed(agent.stream);
            assert_eq!(committed.prefix(), 2 * COMMITS as u64, "{ordering:?} {seed}");
            assert_eq!(store.damage(), [], "{ordering:?} {seed}");
            model.check(&store);
        }
    }
}
