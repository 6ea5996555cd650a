use proptest::prelude::*;
use upkeep_model::stale_marker;

use super::*;

const FIVE: Resolution = Resolution::FiveMinutes;

/// The summary of samples of one window, which lie ten seconds apart and begin behind an instant.
fn summary(from_ms: i64, values: &[f64]) -> Option<Summary> {
    let times: Vec<i64> = (0..values.len() as i64).map(|at| from_ms + 1 + at * 10_000).collect();
    let windows = windows_of(Resolution::OneHour, &times, values);
    assert!(windows.len() <= 1);
    windows.first()?.summary
}

#[test]
fn windows_are_open_to_the_left() {
    let check = |at_ms, expect| assert_eq!(FIVE.end_of(at_ms), expect, "{at_ms}");
    check(0, 0);
    check(1, 300_000);
    check(300_000, 300_000);
    check(300_001, 600_000);
    check(-1, 0);
    check(-300_000, -300_000);
    let times = [1, 300_000, 300_001, 700_000];
    let windows = windows_of(FIVE, &times, &[1.0, 2.0, 3.0, stale_marker()]);
    let counts: Vec<Option<u64>> =
        windows.iter().map(|window| window.summary.map(|summary| summary.count)).collect();
    assert_eq!(counts, [Some(2), Some(1), None]);
    assert_eq!(windows[2].ended_at, Some(700_000));
}

#[test]
fn a_marker_counts_only_behind_all_samples() {
    let stale = stale_marker();
    let check = |values: &[f64], expect| {
        let times: Vec<i64> = (1..=values.len() as i64).collect();
        let window = windows_of(FIVE, &times, values)[0];
        let count = window.summary.map_or(0, |summary| summary.count);
        assert_eq!((count, window.ended_at), expect);
    };
    check(&[1.0, stale], (1, Some(2)));
    check(&[1.0, stale, 2.0], (2, None));
    check(&[stale], (0, Some(1)));
    check(&[stale, 2.0, 3.0], (2, None));
    // What comes later goes on.
    let ended = Window { summary: None, ended_at: Some(50) };
    let late = windows_of(FIVE, &[40, 60], &[1.0, 2.0])[0];
    assert_eq!(ended.merged(late).ended_at, None);
    let early = windows_of(FIVE, &[40], &[1.0])[0];
    assert_eq!(early.merged(ended).ended_at, Some(50));
}

#[test]
fn what_a_counter_rose_by_is_told_with_its_resets() {
    let check = |values: &[f64], expect: f64| {
        let Summary { first, last, lost, .. } = summary(0, values).unwrap();
        assert!((last - first + lost - expect).abs() < 1e-9, "{values:?}");
    };
    check(&[3.0, 5.0, 9.0], 6.0);
    check(&[3.0, 5.0, 1.0, 2.0], 4.0);
    check(&[3.0, 0.0, 7.0, 2.0, 2.0], 9.0);
    check(&[5.0], 0.0);
}

#[test]
fn what_is_not_a_number_counts_as_in_prometheus() {
    let nan = f64::NAN;
    let check = |values: &[f64], min: f64, max: f64| {
        let found = summary(0, values).unwrap();
        assert_eq!((found.min.to_bits(), found.max.to_bits()), (min.to_bits(), max.to_bits()));
        assert!(found.sum.is_nan());
    };
    check(&[1.0, nan, 4.0], 1.0, 4.0);
    check(&[nan, 2.0, nan], 2.0, 2.0);
    check(&[nan, nan], nan, nan);
}

#[test]
fn of_what_overlaps_everything_but_the_resets_between_is_exact() {
    let long = summary(0, &[10.0, 20.0, 5.0, 15.0]).unwrap();
    let late = Summary { first_at: 5_000, last_at: 15_000, ..summary(0, &[15.0, 22.0]).unwrap() };
    let merged = long.merged(late);
    assert_eq!(merged, late.merged(long));
    assert_eq!((merged.min, merged.max, merged.sum, merged.count), (5.0, 22.0, 87.0, 6));
    assert_eq!((merged.first, merged.last, merged.lost), (10.0, 15.0, 20.0));
    let later = Summary { first_at: 25_000, last_at: 45_000, ..summary(0, &[8.0, 3.0]).unwrap() };
    let merged = long.merged(later);
    // It fell from 20 to 5, and from 15 to 3.
    assert_eq!((merged.last, merged.last_at, merged.lost), (3.0, 45_000, 35.0));
}

fn is_near(one: f64, other: f64, scale: f64) -> bool {
    one.to_bits() == other.to_bits() || (one - other).abs() <= 1e-12 * scale.max(1.0)
}

/// Samples that a shape makes of a summary.
fn made(shape: Shape, summary: Summary) -> (Vec<i64>, Vec<f64>) {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    let window = Window { summary: Some(summary), ended_at: None };
    shape.put(&window, &mut times, &mut values);
    assert_eq!((times.len(), values.len()), (shape.len(&window), shape.len(&window)));
    assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
    (times, values)
}

fn check_shapes(expect: &Summary) {
    let scale = expect.min.abs().max(expect.max.abs()) * expect.count as f64;
    let again = |shape| {
        let (times, values) = made(shape, *expect);
        window_of(&times.into_iter().zip(values).collect::<Vec<_>>()).summary.unwrap()
    };
    let is_same_ends = |found: &Summary| {
        (found.first.to_bits(), found.first_at) == (expect.first.to_bits(), expect.first_at)
            && (found.last.to_bits(), found.last_at) == (expect.last.to_bits(), expect.last_at)
    };
    let level = again(Shape::Level);
    assert!(is_same_ends(&level), "{expect:?} {level:?}");
    assert!(is_near(level.sum, expect.sum, scale), "{expect:?} {level:?}");
    assert_eq!((level.min, level.max, level.count), (expect.min, expect.max, expect.count));
    let counter = again(Shape::Counter);
    assert!(is_same_ends(&counter), "{expect:?} {counter:?}");
    assert_eq!(counter.count, expect.count);
    assert!(is_near(counter.lost, expect.lost, scale), "{expect:?} {counter:?}");
    for within_ms in [1, 25_000, i64::MAX] {
        let shape = Shape::Sparse { within_ms };
        let sparse = again(shape);
        assert!(is_same_ends(&sparse), "{expect:?} {sparse:?}");
        assert_eq!((sparse.min, sparse.max), (expect.min, expect.max));
        let (times, _) = made(shape, *expect);
        let widest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        // They lie ten seconds apart where they were measured.
        assert!(widest <= within_ms.max(10_000), "{widest} of {within_ms}");
        assert!(times.len() <= expect.count as usize);
    }
    assert!(made(Shape::Sparse { within_ms: i64::MAX }, *expect).0.len() <= 4);
}

fn values() -> impl Strategy<Value = Vec<f64>> {
    let counter = prop::collection::vec((0_u32..50, 0_u8..8), 1..40).prop_map(|steps| {
        let mut value = 1_000.0;
        let next = |(step, chance): (u32, u8)| {
            value = if chance == 0 { 0.0 } else { value } + f64::from(step) / 4.0;
            value
        };
        steps.into_iter().map(next).collect::<Vec<_>>()
    });
    let gauge = prop::collection::vec(0.0..1e6, 1..40);
    let level = (0.0..1e3, 1_usize..40).prop_map(|(value, count)| vec![value; count]);
    prop_oneof![counter, gauge, level]
}

proptest! {
    #[test]
    fn a_summary_of_all_is_that_of_its_parts(values in values(), cut in 0_usize..40) {
        let (one, next) = values.split_at(cut.min(values.len()));
        let all = summary(0, &values).unwrap();
        let parts = [summary(0, one), summary(one.len() as i64 * 10_000, next)];
        let merged = parts.into_iter().flatten().reduce(Summary::merged).unwrap();
        let scale = all.max.abs() * values.len() as f64;
        prop_assert!(is_near(merged.sum, all.sum, scale) && is_near(merged.lost, all.lost, scale));
        let (sum, lost) = (all.sum, all.lost);
        prop_assert_eq!(Summary { sum, lost, ..merged }, all);
    }

    #[test]
    fn every_shape_agrees_with_its_summary(values in values()) {
        check_shapes(&summary(0, &values).unwrap());
    }
}

#[test]
fn what_has_but_two_values_keeps_them() {
    let check = |values: &[f64], expect: &[f64]| {
        let (_, found) = made(Shape::Level, summary(0, values).unwrap());
        assert_eq!(found, expect, "{values:?}");
    };
    check(&[0.0, 0.0, 1.0, 1.0, 1.0], &[0.0, 0.0, 1.0, 1.0, 1.0]);
    check(&[0.0, 1.0, 0.0, 1.0], &[0.0, 0.0, 1.0, 1.0]);
    check(&[1.0, 1.0, 0.0, 1.0, 1.0], &[1.0, 1.0, 0.0, 1.0, 1.0]);
    check(&[0.0, 1.0, 1.0, 0.0], &[0.0, 1.0, 1.0, 0.0]);
    check(&[1.0, 0.0, 1.0], &[1.0, 0.0, 1.0]);
    let (before, after) = (1_790_000_000.25, 1_790_000_731.5);
    let mut boots = vec![before; 11];
    boots.extend([after; 19]);
    check(&boots, &boots);
    // Three values that two would explain as well do no harm, and others keep their mean.
    check(&[0.0, 3.0, 3.0, 0.0, 6.0], &[0.0, 0.0, 0.0, 6.0, 6.0]);
    check(&[0.0, 3.0, 3.0, 1.0, 6.0], &[0.0, 7.0 / 3.0, 7.0 / 3.0, 7.0 / 3.0, 6.0]);
}

#[test]
fn odd_values_keep_what_can_be_kept() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    for values in [
        vec![1.0, nan, 3.0, 0.5, 9.0],
        vec![nan, 1.0, 2.0],
        vec![1.0, inf, 2.0, 3.0, 4.0],
        vec![-inf, inf, 1.0, 2.0],
        vec![nan, nan, nan],
        vec![-3.0, -1.0, -2.0, -7.0],
    ] {
        let expect = summary(0, &values).unwrap();
        let (times, found) = made(Shape::Level, expect);
        let found = window_of(&times.into_iter().zip(found).collect::<Vec<_>>()).summary.unwrap();
        assert_eq!((found.count, found.last_at), (expect.count, expect.last_at), "{values:?}");
        let bits = |summary: &Summary| {
            (summary.min.to_bits(), summary.max.to_bits(), summary.sum.is_nan())
        };
        assert_eq!(bits(&found), bits(&expect), "{values:?}");
        assert!(expect.sum.is_nan() || found.sum == expect.sum, "{values:?}");
        made(Shape::Counter, expect);
        made(Shape::Sparse { within_ms: 1 }, expect);
    }
}
