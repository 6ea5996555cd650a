//! Damage to the store's files: nothing wrong is served, and what is lost is told.

use std::path::Path;

use rand::rngs::StdRng;
use upkeep_disk::{Harm, Wary, survives_damage};
use upkeep_store::Store;

use crate::fixture::{Model, open, samples};
use crate::recovery::filled;

/// Damages that are tried unless told otherwise.
const FEW: u64 = 125;

struct SampleStore;

impl Wary for SampleStore {
    type Life = Model;

    fn fill(&self, folder: &Path, _: &mut StdRng) -> Model {
        filled(folder)
    }

    fn check(&self, model: &Model, folder: &Path, damaged: &Path) -> Harm {
        let store = open(folder);
        served(&store, model, false);
        let _ = store.seal_all(i64::MAX / 2);
        let harm = served(&store, model, false);
        // A copy of what is left tells of the same damage, except of what is set aside.
        let copy = folder.join("copy");
        let is_told = store.snapshot(&copy).map(|_| !store.damage().is_empty());
        if let Ok(is_told) = is_told {
            served(&open(&copy), model, is_told);
        }
        let _ = store.compact(i64::MAX);
        assert_eq!(served(&store, model, false), harm, "another answer after compaction");
        drop(store);
        let name = damaged.file_stem().unwrap().to_str().unwrap();
        let is_aside = walk(&folder.join("quarantine")).iter().any(|path| path.contains(name));
        assert_eq!(
            served(&open(folder), model, is_aside),
            harm,
            "another answer after opening again"
        );
        harm
    }
}

/// Holds everything that is served against the model; that something is missing must be told, unless
/// it was already set aside when the store was opened.
fn served(store: &Store, model: &Model, is_aside: bool) -> Harm {
    let series = store.select(&[], i64::MIN, i64::MAX);
    let verified = store.verify();
    let Ok(series) = series else {
        return Harm::Declared;
    };
    let mut count = 0;
    for (labels, samples) in samples(series) {
        for (at_ms, bits) in samples {
            let known = model.0.get(&labels).and_then(|all| all.get(&at_ms));
            assert_eq!(known, Some(&bits), "{labels} at {at_ms}");
            count += 1;
        }
    }
    let all: usize = model.0.values().map(|samples| samples.len()).sum();
    let is_told = is_aside || verified.is_err() || !store.damage().is_empty();
    assert!(count == all || is_told, "{count} of {all} are served, and no damage is told");
    if count == all { Harm::None } else { Harm::Declared }
}

fn walk(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn damage_anywhere_serves_nothing_wrong_and_is_told() {
    survives_damage(&SampleStore, FEW);
}
