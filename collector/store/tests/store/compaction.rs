//! What was sealed is packed again: fewer pieces, the same answers.

use std::time::{Duration, Instant};

use crate::fixture::{Agent, Model, SPAN_MS, folder, host, labels, open, options};
use upkeep_store::{Append, Options, Store};

/// Three spans of a host and points of the collector's own, sealed again and again, some of it late.
fn fill(store: &Store, model: &mut Model) -> i64 {
    let mut agent = Agent::new(1, 1);
    for step in 0..90_i64 {
        // Every third frame comes a span late; the sealings in between make chunks of their own.
        let late = if step % 3 == 2 { SPAN_MS } else { 0 };
        let at_ms = 10 * SPAN_MS + step * 2_000 - late;
        agent.commit(store, model, at_ms, &[("load", step as f64 / 4.0), ("rare", 1.0)]);
        let up = labels(&[("__name__", "up")]);
        model.add(&up, at_ms + 1, 1.0);
        let points = vec![(up, at_ms + 1, 1.0)];
        store.commit(vec![Append::Points { home: host(1), points }]).unwrap();
        if step % 10 == 9 {
            store.seal_all(at_ms).unwrap();
        }
    }
    10 * SPAN_MS + 90 * 2_000
}

#[test]
fn many_chunks_become_few_and_answer_the_same() {
    let folder = folder();
    let store = open(folder.path());
    let mut model = Model::default();
    let end_ms = fill(&store, &mut model);
    let before = store.size();
    assert!(before.chunks > 9, "{before:?}");

    store.compact(9 * SPAN_MS).unwrap();
    assert_eq!(store.size().chunks, before.chunks, "nothing is cold yet");
    store.compact(end_ms + 9 * SPAN_MS).unwrap();
    let after = store.size();
    // The spans lie in two buckets of three spans.
    assert_eq!(after.chunks, 2, "{after:?}");
    assert!(after.chunk_bytes < before.chunk_bytes, "{before:?} {after:?}");
    model.check(&store);
    store.verify().unwrap();
    drop(store);
    let store = open(folder.path());
    model.check(&store);
    assert_eq!((store.size().chunks, store.damage()), (2, vec![]));
}

#[test]
fn what_comes_late_to_what_was_packed_still_loses_to_what_was_first() {
    let folder = folder();
    let store = open(folder.path());
    let mut model = Model::default();
    let point = |value: f64| {
        let points = vec![(labels(&[("__name__", "x")]), SPAN_MS, value)];
        store.commit(vec![Append::Points { home: host(1), points }]).unwrap();
        store.seal_all(SPAN_MS).unwrap();
    };
    point(1.0);
    model.add(&labels(&[("__name__", "x")]), SPAN_MS, 1.0);
    for later in [2.0, 3.0] {
        point(later);
        model.check(&store);
        store.compact(i64::MAX).unwrap();
        model.check(&store);
    }
    assert_eq!(store.size().chunks, 1);
}

#[test]
fn the_store_packs_by_itself_and_closes_at_once() {
    let folder = folder();
    let options = Options { compact_every: Duration::from_millis(5), ..options() };
    let store = Store::open(folder.path(), options).unwrap();
    let mut model = Model::default();
    fill(&store, &mut model);
    let until = Instant::now() + Duration::from_secs(30);
    while store.size().chunks > 2 {
        assert!(Instant::now() < until, "{:?}", store.size());
        std::thread::yield_now();
    }
    store.close().unwrap();
    drop(store);
    model.check(&open(folder.path()));
}

#[test]
fn what_is_free_in_the_file_is_given_back() {
    let folder = folder();
    let store = Store::open(folder.path(), Options { free_bytes: 64 << 10, ..options() }).unwrap();
    let mut model = Model::default();
    let mut agent = Agent::new(1, 1);
    let names: Vec<String> = (0..40).map(|number| format!("noise{number}")).collect();
    for step in 0..400_i64 {
        let noise = |number: usize| ((step * 31 + number as i64 * 7) as f64 * 0.73).sin();
        let row: Vec<(&str, f64)> =
            names.iter().enumerate().map(|(number, name)| (name.as_str(), noise(number))).collect();
        agent.commit(&store, &mut model, step * 1_000, &row);
        if step % 20 == 19 {
            store.seal_all(step * 1_000).unwrap();
        }
    }
    let before = store.size();
    store.compact(i64::MAX).unwrap();
    let after = store.size();
    assert!(after.database_bytes < before.database_bytes, "{before:?} {after:?}");
    model.check(&store);
    drop(store);
    let store = open(folder.path());
    model.check(&store);
    store.verify().unwrap();
    assert_eq!(store.damage(), []);
}
