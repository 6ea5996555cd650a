//! What is too old goes, and only that.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fixture::{Agent, Model, SPAN_MS, folder, host, labels, options, samples};
use upkeep_store::{Append, Options, Store};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn open(folder: &std::path::Path) -> Store {
    let retention = Duration::from_millis(2 * DAY_MS as u64);
    Store::open(folder, Options { retention, ..options() }).unwrap()
}

#[test]
fn old_spans_go_whole_and_series_without_samples_with_them() {
    let folder = folder();
    let (mut model, mut kept) = (Model::default(), Model::default());
    let (mut silent, mut alive) = (Agent::new(1, 1), Agent::new(2, 1));
    let store = open(folder.path());
    silent.commit(&store, &mut model, 1_000, &[("gone", 1.0)]);
    alive.commit(&store, &mut model, 2_000, &[("load", 1.0)]);
    let once = labels(&[("__name__", "once")]);
    let points = vec![(once, 5, 1.0)];
    store.commit(vec![Append::Points { home: host(1), points }]).unwrap();
    for day in 1..5 {
        alive.commit(&store, &mut kept, day * DAY_MS, &[("load", day as f64)]);
    }
    kept.0.values_mut().for_each(|samples| samples.retain(|at_ms, _| *at_ms >= 2 * DAY_MS));
    store.seal_all(4 * DAY_MS).unwrap();
    let names = |store: &Store| store.label_values("__name__", &[], -1, 9 * DAY_MS).unwrap();
    assert_eq!(names(&store), ["gone", "load", "once"]);

    store.retain(4 * DAY_MS + SPAN_MS - 1).unwrap();
    kept.check(&store);
    assert_eq!(names(&store), ["load"]);
    drop(store);
    let store = open(folder.path());
    kept.check(&store);
    assert_eq!(names(&store), ["load"]);

    // The silent host comes back: its mark was kept, its descriptions were not.
    assert_eq!(store.committed(silent.stream).prefix(), 1);
    silent.describe(&store);
    let mut back = Agent::new(1, 2);
    back.commit(&store, &mut kept, 4 * DAY_MS, &[("gone", 2.0)]);
    alive.commit(&store, &mut kept, 4 * DAY_MS + 1, &[("load", 9.0)]);
    kept.check(&store);
    store.retain(5 * DAY_MS).unwrap();
    drop(store);
    let store = open(folder.path());
    kept.0.values_mut().for_each(|samples| samples.retain(|at_ms, _| *at_ms >= 3 * DAY_MS));
    kept.check(&store);
    store.verify().unwrap();
    assert_eq!(store.damage(), []);
}

#[test]
fn a_series_that_pauses_longer_than_the_retention_comes_back() {
    let folder = folder();
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    let store = open(folder.path());
    let both = [("load", 1.0), ("rare", 2.0)];
    agent.commit(&store, &mut Model::default(), 0, &both);
    agent.commit(&store, &mut Model::default(), 1, &[("load", 1.0)]);
    store.seal_all(2).unwrap();
    agent.commit(&store, &mut model, 9 * DAY_MS, &[("load", 1.0)]);
    store.retain(9 * DAY_MS).unwrap();
    assert_eq!(store.label_values("__name__", &[], 8 * DAY_MS, 9 * DAY_MS).unwrap(), ["load"]);
    agent.commit(&store, &mut model, 9 * DAY_MS + 1, &both);
    model.check(&store);
    drop(store);
    let store = open(folder.path());
    model.check(&store);
    store.verify().unwrap();
    assert_eq!(store.damage(), []);
}

#[test]
fn what_is_not_sealed_yet_stays() {
    let folder = folder();
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    let store = open(folder.path());
    agent.commit(&store, &mut model, 0, &[("load", 1.0)]);
    store.retain(100 * DAY_MS).unwrap();
    model.check(&store);
    agent.commit(&store, &mut model, 1, &[("load", 2.0)]);
    drop(store);
    model.check(&open(folder.path()));
}

#[test]
fn the_oldest_spans_go_when_there_is_too_much() {
    let folder = folder();
    let end_ms = 300 * 6_000;
    let store = open(folder.path());
    for number in [1, 2] {
        let mut agent = Agent::new(number, 1);
        for step in 0..300_i64 {
            let noise = ((step * 37 + number as i64) as f64 * 0.61).sin();
            let row = [("load", noise), ("other", noise + 1.0)];
            agent.commit(&store, &mut Model::default(), step * 6_000, &row);
        }
    }
    store.seal_all(end_ms).unwrap();
    let all = store.size();
    store.retain(end_ms).unwrap();
    assert_eq!(store.size().chunks, all.chunks, "nobody said how much may be there");
    drop(store);

    // What is beside chunks counts, too: series, marks of streams.
    let limit = all.chunk_bytes / 2 + (16 << 10);
    let limited = Options { retention_bytes: Some(limit), ..options() };
    let limited = Store::open(folder.path(), limited).unwrap();
    limited.retain(end_ms).unwrap();
    let after = limited.size();
    assert!(after.chunk_bytes <= limit && after.chunk_bytes > 0, "{all:?} {after:?}");
    assert_eq!(after.dropped_bytes, all.chunk_bytes - after.chunk_bytes);
    let left = samples(limited.select(&[], i64::MIN, i64::MAX).unwrap());
    let begins: BTreeSet<i64> =
        left.values().filter_map(|one| one.keys().next().copied()).collect();
    // Whole spans, and of both hosts the same.
    assert_eq!((left.len(), begins.len()), (4, 1), "{begins:?}");
    assert!(begins.iter().all(|begin| *begin > 0 && begin % SPAN_MS == 0), "{begins:?}");
    limited.verify().unwrap();
    assert_eq!(limited.damage(), []);
    limited.retain(end_ms).unwrap();
    assert_eq!(limited.size().chunks, after.chunks, "it is little enough now");
}
