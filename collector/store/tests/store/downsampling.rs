//! Days become summaries, which answer what is asked of aligned windows as their samples did.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use upkeep_model::{Labels, is_stale, stale_marker};
use upkeep_store::{
    Append, Downsampling, Found, Options, Reading, Resolution, Shape, Store, StoreError, Summaries,
};

use crate::fixture::{folder, host, labels, options};

pub(crate) const HOUR_MS: i64 = 60 * 60 * 1000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// A midnight.
pub(crate) const BEGIN_MS: i64 = 20_000 * DAY_MS;

/// All samples lie before this.
pub(crate) const END_MS: i64 = BEGIN_MS + 2 * DAY_MS + 5 * HOUR_MS;

pub(crate) const HOSTS: [u128; 2] = [1, 2];

pub(crate) fn settings(downsampling: Downsampling) -> Options {
    Options {
        span: Duration::from_hours(1),
        cold_span: Duration::from_hours(4),
        retention: Duration::from_hours(24 * 365),
        downsampling,
        ..options()
    }
}

pub(crate) fn days(days: u64) -> Option<Duration> {
    Some(Duration::from_hours(24 * days))
}

pub(crate) fn five_minutes() -> Downsampling {
    Downsampling { five_minutes_after: days(2), one_hour_after: None }
}

pub(crate) fn both() -> Downsampling {
    Downsampling { one_hour_after: days(4), ..five_minutes() }
}

pub(crate) fn open(folder: &Path, downsampling: Downsampling) -> Store {
    Store::open(folder, settings(downsampling)).unwrap()
}

/// The value of a series of a kind, if it has one then.
fn value(kind: usize, step: i64, before: f64, random: &mut StdRng) -> Option<f64> {
    let chance = random.random_range(0..400);
    match kind {
        // A counter that is reset now and then, and one that hardly moves.
        0 if chance == 0 => Some(f64::from(random.random_range(0..5))),
        0 => Some(before + f64::from(random.random_range(0..90)) / 4.0),
        1 => Some(if chance < 5 { before + 1.0 } else { before }),
        // Gauges; in one something is not a number.
        2 => Some(random.random_range(10.0..9_000.0)),
        3 if chance < 3 => Some(f64::NAN),
        3 => Some(random.random_range(1.0..2.0)),
        4 => Some(7.25),
        // Comes and goes, and says so.
        5 if step % 500 == 499 => Some(stale_marker()),
        5 if step % 500 > 380 => None,
        5 => Some(before + 0.5),
        // Comes seldom.
        _ => (step % 37 == 0).then_some(before + 1.0),
    }
}

/// Samples of two hosts, a minute apart and a little uneven, by label set and time.
fn data() -> BTreeMap<(u128, Labels), Vec<(i64, f64)>> {
    let mut random = StdRng::seed_from_u64(7);
    let mut all = BTreeMap::new();
    for home in HOSTS {
        for kind in 0..7 {
            let name = format!("kind{kind}_total");
            let labels = labels(&[("__name__", &name), ("instance", &format!("host{home}"))]);
            let (mut samples, mut before) = (Vec::new(), 100.0);
            for step in 0..(END_MS - BEGIN_MS) / 60_000 {
                // Of some series samples lie at the very ends of windows and days.
                let uneven = if kind % 2 == 0 { 0 } else { random.random_range(0..9_000) };
                if let Some(value) = value(kind, step, before, &mut random) {
                    samples.push((BEGIN_MS + step * 60_000 + uneven, value));
                    before = if value.is_finite() { value } else { before };
                }
            }
            all.insert((home, labels), samples);
        }
    }
    all
}

pub(crate) fn points(home: u128, labels: &Labels, samples: &[(i64, f64)]) -> Append {
    let point = |(at_ms, value): &(i64, f64)| (labels.clone(), *at_ms, *value);
    Append::Points { home: host(home), points: samples.iter().map(point).collect() }
}

/// A store that has all data sealed and packed.
pub(crate) fn fill(store: &Store) {
    for ((home, labels), samples) in data() {
        store.commit(vec![points(home, &labels, &samples)]).unwrap();
    }
    store.seal_all(END_MS).unwrap();
    store.compact(END_MS + 2 * HOUR_MS).unwrap();
}

/// Samples without markers, by label set.
pub(crate) type Lists = BTreeMap<Labels, Vec<(i64, f64)>>;

pub(crate) fn read(
    store: &Store,
    shape: Shape,
    after_ms: i64,
    through_ms: i64,
) -> (Lists, Option<Summaries>) {
    let reading = Reading { shape, ..Reading::of(&[], after_ms, through_ms) };
    let Found { series, summaries } = store.read_noting(&reading).unwrap();
    let lists = series.into_iter().map(|one| {
        assert!(one.timestamps.is_sorted_by(|one, next| one < next), "{}", one.labels);
        assert!(one.timestamps.iter().all(|at_ms| *at_ms > after_ms && *at_ms <= through_ms));
        let samples = one.timestamps.iter().copied().zip(one.values);
        (one.labels, samples.filter(|(_, value)| !is_stale(*value)).collect())
    });
    (lists.filter(|(_, list): &(_, Vec<_>)| !list.is_empty()).collect(), summaries)
}

/// What functions of a window make of its samples, and how large what they reckon with is.
fn figures(samples: &[(i64, f64)], shape: Shape) -> (Vec<(&'static str, f64)>, f64) {
    let values = || samples.iter().map(|(_, value)| *value);
    let falls = samples.iter().zip(&samples[1..]).filter(|(one, next)| next.1 < one.1);
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    let scale = values().filter(|value| value.is_finite()).map(f64::abs).sum();
    let mut figures = vec![
        ("first", first.1),
        ("first at", first.0 as f64),
        ("last", last.1),
        ("last at", last.0 as f64),
    ];
    let mut more = |name, value: f64| figures.push((name, value));
    if shape != Shape::Counter {
        more("min", values().fold(f64::NAN, f64::min));
        more("max", values().fold(f64::NAN, f64::max));
    }
    if shape == Shape::Level {
        more("sum", values().sum());
    }
    if shape == Shape::Counter {
        more("increase", last.1 - first.1 + falls.map(|(one, _)| one.1).sum::<f64>());
    }
    if !matches!(shape, Shape::Sparse { .. }) {
        more("count", samples.len() as f64);
    }
    (figures, scale)
}

/// Holds a store against one that has all samples, over windows of some widths between two instants.
fn compare(raw: &Store, cold: &Store, widths: &[i64], (from_ms, through_ms): (i64, i64)) {
    for shape in [Shape::Level, Shape::Counter, Shape::Sparse { within_ms: 150_000 }] {
        let (all, _) = read(raw, shape, from_ms, through_ms);
        let (found, _) = read(cold, shape, from_ms, through_ms);
        assert!(all.keys().eq(found.keys()), "{:?}", found.keys());
        for (labels, samples) in &all {
            for &width in widths {
                let by_window = |samples: &[(i64, f64)]| {
                    let mut windows: BTreeMap<i64, Vec<(i64, f64)>> = BTreeMap::new();
                    for sample in samples {
                        let end = (sample.0 - 1).div_euclid(width) + 1;
                        windows.entry(end * width).or_default().push(*sample);
                    }
                    windows
                };
                let (expect, got) = (by_window(samples), by_window(&found[labels]));
                assert!(expect.keys().eq(got.keys()), "{labels}: other windows of {width} ms");
                for (end, window) in &expect {
                    // A counter that is not a number now and then has no increase to speak of.
                    let is_nan = window.iter().any(|(_, value)| value.is_nan());
                    let ((expect, scale), (got, _)) =
                        (figures(window, shape), figures(&got[end], shape));
                    for ((what, expect), (_, got)) in expect.into_iter().zip(got) {
                        let is_same = expect.to_bits() == got.to_bits()
                            || (expect.is_nan() && got.is_nan())
                            || (expect - got).abs() <= 1e-9 * scale
                            || (is_nan && what == "increase");
                        assert!(is_same, "{labels} {what} {width} ms to {end}: {expect}, {got}");
                    }
                }
            }
        }
    }
}

/// The resolution of each day's first hours, as it is told to a reader.
pub(crate) fn resolutions(store: &Store) -> [Option<Resolution>; 3] {
    [0, 1, 2].map(|day| {
        let from_ms = BEGIN_MS + day * DAY_MS;
        let (_, summaries) = read(store, Shape::Level, from_ms, from_ms + 3 * HOUR_MS);
        summaries.map(|one| one.resolution)
    })
}

pub(crate) const FIVE: Resolution = Resolution::FiveMinutes;
pub(crate) const HOUR: Resolution = Resolution::OneHour;

/// All of time that has samples, the one at its very beginning, too.
pub(crate) const ALL: (i64, i64) = (BEGIN_MS - 1, END_MS);

#[test]
fn aligned_windows_say_the_same_when_days_became_summaries() {
    let (raw, cold) = (folder(), folder());
    let raw = open(raw.path(), Downsampling::default());
    fill(&raw);
    let path = cold.path();
    let mut cold = open(path, both());
    fill(&cold);
    let before = cold.size();
    let now_ms = |day: i64| BEGIN_MS + day * DAY_MS;
    let five = [FIVE.ms(), 3 * FIVE.ms(), HOUR.ms(), DAY_MS];
    let hour = [HOUR.ms(), 2 * HOUR.ms(), DAY_MS];

    cold.downsample(now_ms(3) - 1).unwrap();
    assert_eq!((resolutions(&cold), cold.size()), ([None; 3], before), "nothing is old enough");
    cold.downsample(now_ms(3)).unwrap();
    assert_eq!(resolutions(&cold), [Some(FIVE), None, None]);
    compare(&raw, &cold, &five, ALL);
    // A stretch that begins in a day of summaries, and one that ends there.
    compare(&raw, &cold, &five, (BEGIN_MS + 20 * HOUR_MS, BEGIN_MS + 30 * HOUR_MS));
    compare(&raw, &cold, &five, (BEGIN_MS + 7 * HOUR_MS, BEGIN_MS + 9 * HOUR_MS + FIVE.ms()));
    let size = cold.size();
    cold.downsample(now_ms(3)).unwrap();
    assert_eq!(cold.size(), size, "what is done is not done again");

    // The next day, and the first one anew: of its summaries.
    cold.downsample(now_ms(5)).unwrap();
    assert_eq!(resolutions(&cold), [Some(HOUR), Some(FIVE), Some(FIVE)]);
    compare(&raw, &cold, &hour, ALL);
    compare(&raw, &cold, &five, (now_ms(1), END_MS));
    assert!(cold.size().chunk_bytes < before.chunk_bytes, "{before:?} {:?}", cold.size());
    drop(cold);
    cold = open(path, Downsampling::default());
    compare(&raw, &cold, &hour, ALL);
    assert_eq!(resolutions(&cold), [Some(HOUR), Some(FIVE), Some(FIVE)]);
    let through = read(&cold, Shape::Level, ALL.0, BEGIN_MS + 2 * HOUR_MS).1.unwrap();
    assert_eq!(through.through_ms, BEGIN_MS + 2 * HOUR_MS);

    let copy = folder();
    let copy = copy.path().join("copy");
    assert_eq!(cold.snapshot(&copy).unwrap(), []);
    compare(&raw, &open(&copy, both()), &hour, ALL);
    assert_eq!(cold.verify().unwrap().damage, []);
    let (chunks, size) = (cold.verify().unwrap().chunks, cold.size());
    assert_eq!(chunks, size.chunks);

    cold.delete_home(host(1)).unwrap();
    raw.delete_home(host(1)).unwrap();
    compare(&raw, &cold, &hour, ALL);
    assert_eq!(cold.verify().unwrap().damage, []);
}

#[test]
fn days_are_summarised_at_once_if_they_are_old_when_it_is_set() {
    let (raw, cold) = (folder(), folder());
    let raw = open(raw.path(), Downsampling::default());
    fill(&raw);
    copy_of(&raw, &cold.path().join("store"));
    let cold = open(&cold.path().join("store"), both());
    cold.downsample(END_MS + 30 * DAY_MS).unwrap();
    assert_eq!(resolutions(&cold), [Some(HOUR); 3]);
    compare(&raw, &cold, &[HOUR.ms(), DAY_MS], ALL);
}

fn copy_of(store: &Store, to: &Path) {
    assert_eq!(store.snapshot(to).unwrap(), []);
}

#[test]
fn what_comes_late_is_read_and_folded_in() {
    let (raw, cold) = (folder(), folder());
    let raw = open(raw.path(), Downsampling::default());
    let cold = open(cold.path(), both());
    fill(&raw);
    fill(&cold);
    let now_ms = BEGIN_MS + 3 * DAY_MS;
    cold.downsample(now_ms).unwrap();
    // A series that is new, one where it had gone, and one between what was there.
    let kind =
        |kind: usize| labels(&[("__name__", &format!("kind{kind}_total")), ("instance", "host1")]);
    let new = labels(&[("__name__", "new_total"), ("instance", "host3")]);
    let samples = |from_ms: i64, every_ms: i64, count: i64| -> Vec<(i64, f64)> {
        (0..count).map(|step| (from_ms + step * every_ms, 1e4 + step as f64)).collect()
    };
    let late = [
        points(1, &kind(5), &samples(BEGIN_MS + 400 * 60_000, 61_003, 50)),
        points(1, &kind(2), &samples(BEGIN_MS + 30_001, 60_000, 300)),
        points(3, &new, &samples(BEGIN_MS + 5 * HOUR_MS, 7_000, 900)),
    ];
    for store in [&raw, &cold] {
        for append in &late {
            store.commit(vec![append.clone()]).unwrap();
        }
    }
    // The one between is none that rises.
    let check = |width: i64| {
        for shape in [Shape::Level, Shape::Sparse { within_ms: 1 }] {
            let within = (BEGIN_MS - 1, BEGIN_MS + DAY_MS);
            let (all, _) = read(&raw, shape, within.0, within.1);
            let (found, _) = read(&cold, shape, within.0, within.1);
            assert!(all.keys().eq(found.keys()));
            for (labels, samples) in &all {
                for end in (BEGIN_MS..=within.1).step_by(width as usize) {
                    let of = |samples: &[(i64, f64)]| {
                        let inside = samples
                            .iter()
                            .copied()
                            .filter(|one| one.0 > end - width && one.0 <= end);
                        let inside: Vec<_> = inside.collect();
                        (!inside.is_empty()).then(|| figures(&inside, shape))
                    };
                    let (Some(expect), Some(got)) = (of(samples), of(&found[labels])) else {
                        assert_eq!(of(samples), of(&found[labels]), "{labels} to {end}");
                        continue;
                    };
                    for ((what, one), (_, other)) in expect.0.iter().zip(&got.0) {
                        let is_same = one.is_nan() && other.is_nan()
                            || (one - other).abs() <= 1e-9 * expect.1.max(1.0);
                        assert!(is_same, "{labels} {what} to {end}: {one}, {other}");
                    }
                }
            }
        }
    };
    check(FIVE.ms());
    cold.seal_all(now_ms).unwrap();
    check(FIVE.ms());
    let sealed = cold.size();
    cold.compact(now_ms + DAY_MS).unwrap();
    check(FIVE.ms());
    assert!(cold.size().chunks < sealed.chunks, "{sealed:?} {:?}", cold.size());
    let of_new = read(&cold, Shape::Sparse { within_ms: i64::MAX }, ALL.0, BEGIN_MS + DAY_MS);
    assert!(of_new.0[&new].len() < 900 / 5, "{}", of_new.0[&new].len());
    cold.downsample(now_ms + 2 * DAY_MS).unwrap();
    check(HOUR.ms());
    assert_eq!(resolutions(&cold)[0], Some(HOUR));
    assert_eq!(cold.verify().unwrap().damage, []);
}

#[test]
fn a_day_of_summaries_is_dropped_when_all_of_it_is_too_old() {
    let cold = folder();
    let retention = Duration::from_hours(24 * 10);
    let store = Store::open(cold.path(), Options { retention, ..settings(both()) }).unwrap();
    fill(&store);
    store.downsample(BEGIN_MS + 5 * DAY_MS).unwrap();
    let begins = |now_ms: i64| {
        store.retain(now_ms).unwrap();
        let (lists, _) = read(&store, Shape::Level, i64::MIN, i64::MAX);
        lists.values().filter_map(|list| list.first()).map(|(at_ms, _)| *at_ms / DAY_MS).min()
    };
    let day = BEGIN_MS / DAY_MS;
    assert_eq!(begins(BEGIN_MS + 11 * DAY_MS - 1), Some(day));
    assert_eq!(begins(BEGIN_MS + 11 * DAY_MS), Some(day + 1));
    assert_eq!(begins(BEGIN_MS + 13 * DAY_MS), None);
    assert_eq!(store.size().chunk_bytes, 0);
    assert_eq!(store.verify().unwrap().damage, []);
}

#[test]
fn spans_that_are_no_part_of_a_day_are_refused() {
    let folder = folder();
    let options = Options { cold_span: Duration::from_hours(5), ..settings(both()) };
    let error = Store::open(folder.path(), options.clone()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Options { reason } if reason.contains("18000s")),
        "{error}"
    );
    let options = Options { downsampling: Downsampling::default(), ..options };
    Store::open(folder.path(), options).unwrap();
}

#[test]
fn the_store_summarises_by_itself_by_a_clock_that_retention_believes() {
    let folder = folder();
    let options = Options { compact_every: Duration::from_millis(5), ..settings(both()) };
    let store = Store::open(folder.path(), options).unwrap();
    for ((home, labels), samples) in data() {
        store.commit(vec![points(home, &labels, &samples)]).unwrap();
    }
    store.seal_all(END_MS).unwrap();
    store.compact(END_MS + HOUR_MS).unwrap();
    assert_eq!(resolutions(&store), [None; 3], "nobody told the time");
    store.retain(BEGIN_MS + 5 * DAY_MS).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while resolutions(&store) != [Some(HOUR), Some(FIVE), Some(FIVE)] {
        assert!(std::time::Instant::now() < until, "{:?}", resolutions(&store));
        std::thread::yield_now();
    }
    store.close().unwrap();
}
