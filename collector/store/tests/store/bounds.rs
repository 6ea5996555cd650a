//! Bounds of readings and of how many series there are.

use std::time::Instant;

use upkeep_model::{Epoch, StreamKey};
use upkeep_store::{Append, Options, Reading, Store, StoreError};

use crate::fixture::{folder, host, labels, options};

#[test]
fn a_reading_is_refused_before_it_takes_more_than_it_may() {
    let folder = folder();
    let store = Store::open(folder.path(), options()).unwrap();
    let points = |at: std::ops::Range<i64>| {
        let series = ["a", "b"].map(|name| labels(&[("__name__", name)]));
        at.flat_map(|at_ms| series.clone().map(|labels| (labels, at_ms, 1.0))).collect()
    };
    let check = |max_samples, (after_ms, through_ms), expect: Option<usize>| {
        let reading = Reading { max_samples, ..Reading::of(&[], after_ms, through_ms) };
        match (store.read(&reading), expect) {
            (Ok(series), Some(expect)) => {
                assert_eq!(series.iter().map(|one| one.values.len()).sum::<usize>(), expect);
            }
            (Err(StoreError::TooManySamples { limit }), None) => assert_eq!(limit, max_samples),
            (result, expect) => panic!("{result:?} instead of {expect:?}"),
        }
    };
    let check_all = |per_series: usize, stretch| {
        check(2 * per_series, stretch, Some(2 * per_series));
        check(2 * per_series - 1, stretch, None);
        check(2, (0, 1), Some(2));
        check(1, (0, 1), None);
    };
    store.commit(vec![Append::Points { home: host(1), points: points(1..101) }]).unwrap();
    check_all(100, (0, 100));
    store.seal_all(1_000).unwrap();
    check_all(100, (0, 100));
    store.commit(vec![Append::Points { home: host(1), points: points(101..111) }]).unwrap();
    check_all(110, (0, 200));

    let deadline = Some(Instant::now());
    let late = store.read(&Reading { deadline, ..Reading::of(&[], 0, 200) });
    assert!(matches!(late, Err(StoreError::Timeout)), "{late:?}");
}

#[test]
fn there_are_no_more_series_than_there_may_be() {
    let folder = folder();
    let store = Store::open(folder.path(), Options { max_series: 3, ..options() }).unwrap();
    let set = |name: &str| labels(&[("__name__", name)]);
    let stream = |number| StreamKey { host: host(number), epoch: Epoch([0; 16]) };
    let points = |names: &[&str]| {
        let points = names.iter().map(|name| (set(name), 1, 1.0)).collect();
        vec![Append::Points { home: host(9), points }]
    };
    store.describe(stream(1), 0, &[set("a"), set("b")]).unwrap();
    let error = store.describe(stream(2), 0, &[set("c"), set("d")]).unwrap_err();
    let words =
        format!("home {}: with 2 more there would be 4 series in all, the limit is 3", host(2));
    assert_eq!(error.to_string(), words);
    // Nothing of what was refused is there, so that there is room for one.
    store.commit(points(&["c"])).unwrap();
    let error = store.commit(points(&["c", "d"])).unwrap_err();
    assert!(matches!(error, StoreError::TooManySeries { new: 1, count: 4, .. }), "{error}");
    // What is known is taken as before.
    store.describe(stream(1), 0, &[set("a"), set("b")]).unwrap();
    store.commit(points(&["c"])).unwrap();
    assert_eq!(store.label_values("__name__", &[], 0, 9).unwrap(), ["c"]);
    assert_eq!((store.usage().series, store.usage().max_series), (3, 3));
}
