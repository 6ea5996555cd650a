//! What the store takes, and what it refuses.

use std::sync::mpsc;
use std::time::Duration;

use crate::fixture::{Agent, Model, folder, host, labels, open, options, samples};
use upkeep_codec::Encoder;
use upkeep_model::{MatchOperator, Matcher, Ranges, stale_marker};
use upkeep_store::{Append, Options, Store, StoreError};

#[test]
fn frames_and_points_are_found_at_once_and_after_reopening() {
    let folder = folder();
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    let store = open(folder.path());
    for step in 0..5 {
        let row = [("load", step as f64 / 4.0), ("odd", f64::NAN)];
        agent.commit(&store, &mut model, 1_000 * step, &row);
        let up = labels(&[("__name__", "up"), ("instance", "host1")]);
        model.add(&up, 1_000 * step + 7, 1.0);
        let points = vec![(up, 1_000 * step + 7, 1.0)];
        store.commit(vec![Append::Points { home: host(1), points }]).unwrap();
    }
    model.check(&store);
    assert_eq!(store.committed(agent.stream).prefix(), 5);
    drop(store);

    let store = open(folder.path());
    model.check(&store);
    assert_eq!(store.committed(agent.stream).prefix(), 5);
    agent.commit(&store, &mut model, 9_000, &[("load", 9.0)]);
    model.check(&store);
    assert_eq!(store.damage(), []);
}

#[test]
fn repeats_are_skipped_and_holes_refused() {
    let folder = folder();
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    let store = open(folder.path());
    let frames: Vec<Append> = (0..4)
        .map(|step| agent.frame(&store, &mut model, step, &[("load", step as f64)]))
        .collect();
    let (first, second, third, fourth) = (&frames[0], &frames[1], &frames[2], &frames[3]);
    store.commit(vec![first.clone(), second.clone(), first.clone()]).unwrap();
    store.commit(vec![second.clone()]).unwrap();
    let error = store.commit(vec![fourth.clone()]).unwrap_err();
    assert!(matches!(error, StoreError::Hole { wanted: 3, got: 4, .. }), "{error}");
    assert_eq!(store.committed(agent.stream).prefix(), 2);
    store.commit(vec![third.clone(), fourth.clone()]).unwrap();
    assert_eq!(store.committed(agent.stream).prefix(), 4);
    model.check(&store);
}

#[test]
fn live_frames_are_taken_beside_a_backlog() {
    let folder = folder();
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    let mut store = open(folder.path());
    for at_ms in 0..3 {
        agent.commit(&store, &mut model, at_ms, &[("load", at_ms as f64)]);
    }
    // Away twice before the first backlog is delivered.
    for round in 1..=2 {
        for at_ms in 0..20 {
            let name = if at_ms < 5 { "load" } else { "other" };
            assert!(agent.fall_behind(&store, 100 * round + at_ms, &[(name, 1.0)]));
        }
        for at_ms in 0..10 {
            agent.commit(&store, &mut model, 100 * round + 50 + at_ms, &[("other", 7.0)]);
        }
    }
    agent.check_delivered(&store);
    assert_eq!(store.committed(agent.stream).count(), 3);
    let beyond = agent.backlog[1].clone();
    let (stream, (sequence, body, _)) = (agent.stream, beyond);
    let error = store.commit(vec![Append::Frame { stream, sequence, body }]).unwrap_err();
    assert!(matches!(error, StoreError::Hole { wanted: 4, got: 5, .. }), "{error}");

    drop(store);
    store = open(folder.path());
    agent.check_delivered(&store);
    store.seal_all(0).unwrap();
    agent.catch_up(&store, &mut model, 7);
    drop(store);
    store = open(folder.path());
    agent.check_delivered(&store);
    agent.catch_up(&store, &mut model, 23);
    agent.commit(&store, &mut model, 400, &[("other", 8.0)]);
    assert_eq!(store.committed(agent.stream).count(), 2);
    agent.catch_up(&store, &mut model, usize::MAX);
    assert_eq!(store.committed(agent.stream), Ranges::through(64));
    model.check(&store);
    drop(store);
    store = open(folder.path());
    assert_eq!(store.committed(agent.stream), Ranges::through(64));
    model.check(&store);
    assert_eq!(store.damage(), []);
}

#[test]
fn what_will_never_come_is_passed_over_wherever_it_is() {
    let folder = folder();
    let stream = Agent::new(1, 1).stream;
    let check = |expect: &[std::ops::RangeInclusive<u64>]| {
        let store = open(folder.path());
        assert_eq!(store.committed(stream).iter().collect::<Vec<_>>(), expect);
        store
    };
    let store = check(&[]);
    assert!(store.skip(stream, 1..=5) && store.skip(stream, 9..=9));
    store.close().unwrap();
    drop(store);
    let store = check(&[1..=5, 9..=9]);
    store.seal_all(0).unwrap();
    assert!(store.skip(stream, 7..=9) && store.skip(stream, 6..=6));
    store.close().unwrap();
    drop(store);
    check(&[1..=9]);
}

#[test]
fn a_bad_frame_harms_no_other_stream_and_can_be_skipped() {
    let folder = folder();
    let (mut model, mut lost) = (Model::default(), Model::default());
    let (mut good, mut bad) = (Agent::new(1, 1), Agent::new(2, 1));
    let store = open(folder.path());
    bad.commit(&store, &mut model, 0, &[("load", 1.0)]);
    let broken = bad.frame(&store, &mut lost, 1, &[("load", 2.0)]);
    let Append::Frame { stream, sequence, body } = broken else { unreachable!() };
    let body = body.slice(..body.len() - 1);
    let next = bad.frame(&store, &mut model, 2, &[("load", 3.0)]);

    let appends = vec![
        good.frame(&store, &mut model, 0, &[("load", 5.0)]),
        Append::Frame { stream, sequence, body },
        next.clone(),
        good.frame(&store, &mut model, 1, &[("load", 6.0)]),
    ];
    let error = store.commit(appends).unwrap_err();
    assert!(matches!(error, StoreError::Frame { sequence: 2, .. }), "{error}");
    assert_eq!((store.committed(good.stream).prefix(), store.committed(stream).prefix()), (2, 1));

    store.skip(stream, sequence..=sequence);
    assert_eq!(store.committed(stream).prefix(), 2);
    store.commit(vec![next]).unwrap();
    assert_eq!(store.committed(stream).prefix(), 3);
    model.check(&store);
    store.skip(stream, 4..=10);
    store.close().unwrap();
    assert!(matches!(store.commit(vec![]), Err(StoreError::Closed)));
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.committed(stream).prefix(), 10);
    model.check(&store);
}

#[test]
fn frames_need_descriptions_and_key_frames() {
    let folder = folder();
    let store = open(folder.path());
    let stream = Agent::new(1, 1).stream;
    let mut encoder = Encoder::default();
    let key = encoder.encode(1, 0, vec![(0, 1.0), (1, 2.0)]).bytes;
    let delta = encoder.encode(2, 10, vec![(0, 1.0), (1, 3.0)]).bytes;
    let frame = |sequence, body: &[u8]| {
        vec![Append::Frame { stream, sequence, body: body.to_vec().into() }]
    };
    let load = |name| labels(&[("__name__", "load"), ("instance", "a"), ("kind", name)]);

    let error = store.commit(frame(1, &key)).unwrap_err();
    assert!(matches!(error, StoreError::NotDescribed { number: 0, .. }), "{error}");
    let error = store.describe(stream, 1, &[load("y")]).unwrap_err();
    assert!(matches!(error, StoreError::Numbers { wanted: 0, got: 1, .. }), "{error}");
    store.describe(stream, 0, &[load("x")]).unwrap();
    let error = store.commit(frame(1, &key)).unwrap_err();
    assert!(matches!(error, StoreError::NotDescribed { number: 1, .. }), "{error}");
    store.describe(stream, 1, &[load("y")]).unwrap();

    // The collector lost the first record; its agent gives the key frame by itself.
    store.skip(stream, 1..=1);
    let error = store.commit(frame(2, &delta)).unwrap_err();
    assert!(matches!(error, StoreError::Frame { sequence: 2, .. }), "{error}");
    assert!(store.reference(stream, 1, b"nonsense").is_err());
    store.reference(stream, 1, &key).unwrap();
    store.commit(frame(2, &delta)).unwrap();
    let mut model = Model::default();
    model.add(&load("x"), 10, 1.0);
    model.add(&load("y"), 10, 3.0);
    model.check(&store);
    drop(store);
    model.check(&open(folder.path()));
}

#[test]
fn a_renamed_host_keeps_its_past_under_the_old_name() {
    let folder = folder();
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    let store = open(folder.path());
    let row = [("load", 1.0), ("temperature", 20.5)];
    agent.commit(&store, &mut model, 0, &row);
    agent.instance = "db1".to_owned();
    agent.describe(&store);
    agent.commit(&store, &mut model, 1_000, &row);
    model.check(&store);
    drop(store);
    let store = open(folder.path());
    model.check(&store);
    store.seal_all(5_000).unwrap();
    agent.instance = "db2".to_owned();
    agent.describe(&store);
    agent.commit(&store, &mut model, 2_000, &row);
    store.seal(SPAN_END).unwrap();
    agent.commit(&store, &mut model, SPAN_END + 1, &row);
    drop(store);
    let store = open(folder.path());
    model.check(&store);
    assert_eq!(store.label_values("instance", &[], -1, SPAN_END).unwrap(), ["db1", "db2", "host1"]);
    assert_eq!(store.damage(), []);
}

const SPAN_END: i64 = crate::fixture::SPAN_MS;

#[test]
fn epochs_and_homes_of_one_label_set_become_one_series() {
    let folder = folder();
    let mut model = Model::default();
    let store = open(folder.path());
    let (mut first, mut second) = (Agent::new(1, 1), Agent::new(1, 2));
    let mut replacement = Agent::new(9, 1);
    replacement.instance.clone_from(&first.instance);
    first.commit(&store, &mut model, 10, &[("load", 1.0)]);
    second.commit(&store, &mut model, 5, &[("load", 2.0)]);
    replacement.commit(&store, &mut model, 20, &[("load", 3.0)]);
    store.seal_all(100).unwrap();
    second.commit(&store, &mut model, 10, &[("load", 4.0)]);
    second.commit(&store, &mut model, 15, &[("load", stale_marker())]);
    model.check(&store);
    let load = Matcher::new("__name__", MatchOperator::Equal, "load").unwrap();
    let got = samples(store.select(std::slice::from_ref(&load), 5, 15).unwrap());
    assert_eq!(got, model.select(&[load], 5, 15));
    assert_eq!(got.values().next().unwrap().len(), 2);
}

#[test]
fn submissions_are_told_in_order_and_the_last_ones_that_it_is_closed() {
    let folder = folder();
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    let store = open(folder.path());
    let (sender, told) = mpsc::channel();
    for step in 0..100 {
        let frame = agent.frame(&store, &mut model, step, &[("load", step as f64)]);
        let sender = sender.clone();
        store.submit(
            vec![frame],
            Box::new(move |result| sender.send((step, result.is_ok())).unwrap()),
        );
    }
    let all: Vec<_> = told.iter().take(100).collect();
    assert_eq!(all, (0..100).map(|step| (step, true)).collect::<Vec<_>>());
    assert_eq!(store.committed(agent.stream).prefix(), 100);
    store.close().unwrap();
    store.submit(vec![], Box::new(move |result| sender.send((-1, result.is_ok())).unwrap()));
    assert_eq!(told.recv(), Ok((-1, false)));
}

#[test]
fn many_descriptions_at_once_are_told_in_several_groups() {
    let folder = folder();
    let hold = Duration::from_millis(200);
    // A segment ends where a group does.
    let settings = Options { hold, longest_hold: hold, segment_bytes: 1024 * 1024, ..options() };
    let store = Store::open(folder.path(), settings).unwrap();
    let mut model = Model::default();
    let name = "long".repeat(1024 * 1024);
    let row = [(name.as_str(), 1.0)];
    let mut frame = |number| Agent::new(number, 1).frame(&store, &mut model, 1, &row);
    let frames: Vec<Append> = (1..=6).map(&mut frame).collect();
    let (sender, told) = mpsc::channel();
    for frame in frames {
        let sender = sender.clone();
        store.submit(vec![frame], Box::new(move |result| sender.send(result.is_ok()).unwrap()));
    }
    assert_eq!(told.iter().take(6).collect::<Vec<_>>(), [true; 6]);
    store.close().unwrap();
    let journal = std::fs::read_dir(folder.path().join("journal")).unwrap();
    let segments = journal.filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|extension| extension == "segment")
    });
    assert!(segments.count() > 1);
    drop(store);
    model.check(&open(folder.path()));
}
