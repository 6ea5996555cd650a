//! What is too old goes, and only that.

use std::time::Duration;

use crate::fixture::{Agent, Model, SPAN_MS, folder, host, labels, options};
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
