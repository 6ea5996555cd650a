//! Points by the numbers of their series, and values that contradict each other.

use upkeep_store::{Append, SeriesNumber, Store, StoreError};

use crate::fixture::{Agent, Model, SPAN_MS, folder, host, labels, open};

fn commit(
    store: &Store,
    home: u128,
    points: &[(SeriesNumber, i64, f64)],
) -> Result<(), StoreError> {
    store.commit(vec![Append::Numbered { home: host(home), points: points.to_vec() }])
}

#[test]
fn numbered_points_are_found_at_once_after_sealing_and_after_reopening() {
    let folder = folder();
    let (store, mut model) = (open(folder.path()), Model::default());
    let sets: Vec<_> =
        (0..700).map(|number| labels(&[("__name__", "x"), ("n", &number.to_string())])).collect();
    let numbers: Vec<_> = sets.iter().map(|set| store.number(host(9), set)).collect();
    for step in 0..20 {
        let mut points = Vec::new();
        for (place, (set, number)) in sets.iter().zip(&numbers).enumerate() {
            let (at_ms, value) = (step * SPAN_MS / 7, (place as i64 * step) as f64 / 3.0);
            model.add(set, at_ms, value);
            points.push((*number, at_ms, value));
        }
        commit(&store, 9, &points).unwrap();
        match step {
            5 => store.seal(step * SPAN_MS / 7).unwrap(),
            12 => store.seal_all(step * SPAN_MS / 7).unwrap(),
            _ => {}
        }
        if step % 6 == 0 {
            model.check(&store);
        }
    }
    model.check(&store);
    drop(store);
    let store = open(folder.path());
    model.check(&store);
    assert_eq!((store.damage(), store.conflicts()), (Vec::new(), 0));
}

#[test]
fn a_number_that_does_not_hold_is_refused_and_written_to_no_other_series() {
    let folder = folder();
    let store = open(folder.path());
    let day_ms = 24 * 60 * 60 * 1000;
    let [one, other] = ["one", "other"].map(|name| labels(&[("__name__", name)]));
    let number = store.number(host(1), &one);
    commit(&store, 1, &[(number, 0, 1.0)]).unwrap();
    store.seal_all(0).unwrap();
    let now_ms = 40 * day_ms;
    store.retain(now_ms).unwrap();
    let fresh = store.number(host(1), &other);
    assert_ne!(fresh, number);
    let refused = commit(&store, 1, &[(fresh, now_ms, 1.0), (number, now_ms, 2.0)]).unwrap_err();
    assert!(matches!(refused, StoreError::SeriesGone { .. }), "{refused}");
    let of_another_home = commit(&store, 2, &[(fresh, now_ms, 1.0)]).unwrap_err();
    assert!(matches!(of_another_home, StoreError::SeriesGone { .. }), "{of_another_home}");
    Model::default().check(&store);

    let mut model = Model::default();
    let again = store.number(host(1), &one);
    for (set, number) in [(&one, again), (&other, fresh)] {
        commit(&store, 1, &[(number, now_ms, 2.0)]).unwrap();
        model.add(set, now_ms, 2.0);
    }
    model.check(&store);
}

#[test]
fn a_series_that_lives_is_not_removed_between_two_points() {
    let folder = folder();
    let store = open(folder.path());
    let day_ms = 24 * 60 * 60 * 1000;
    let (set, mut model) = (labels(&[("__name__", "x")]), Model::default());
    let number = store.number(host(1), &set);
    for day in 0..40 {
        let at_ms = day * day_ms;
        commit(&store, 1, &[(number, at_ms, day as f64)]).unwrap();
        store.seal_all(at_ms).unwrap();
        store.retain(at_ms).unwrap();
        if day > 23 {
            model.add(&set, at_ms, day as f64);
        }
    }
    let recent = store.select(&[], 23 * day_ms, i64::MAX).unwrap();
    assert_eq!(crate::fixture::samples(recent), model.0);
}

#[test]
fn another_value_for_an_instant_is_left_out_and_counted_once() {
    let folder = folder();
    let (store, mut model) = (open(folder.path()), Model::default());
    let set = labels(&[("__name__", "x")]);
    let number = store.number(host(1), &set);
    let points = [(10, 1.0), (10, 2.0), (20, f64::NAN), (20, f64::NAN), (10, 3.0), (10, 1.0)];
    for (at_ms, value) in points {
        model.add(&set, at_ms, value);
        commit(&store, 1, &[(number, at_ms, value)]).unwrap();
    }
    // The last but one is seen only when all of them are brought into the order of time.
    assert_eq!(store.conflicts(), 1);
    model.check(&store);
    let mut agent = Agent::new(2, 1);
    for value in [1.0, 1.0, 2.0] {
        agent.commit(&store, &mut model, 30, &[("load", value), ("same", 5.0)]);
    }
    store.seal_all(100).unwrap();
    assert_eq!(store.conflicts(), 3);
    model.check(&store);
    store.seal_all(100).unwrap();
    assert_eq!(store.conflicts(), 3);
}
