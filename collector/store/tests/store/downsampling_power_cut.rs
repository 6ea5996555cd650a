//! After power cuts a day of a host is there as samples or as summaries, never as both or as neither.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use upkeep_disk::{Durable, Ordering, Recording, survives_power_cuts};
use upkeep_model::Labels;
use upkeep_store::{Downsampling, Options, Shape, Store};

use crate::downsampling::{BEGIN_MS, DAY_MS, HOSTS, HOUR_MS, days, points, read, settings};
use crate::fixture::{Model, labels};

/// States that are tried of each kind of disk unless told otherwise.
const FEW: u64 = 20;

/// A life in which days become summaries, with the power cut.
struct OldDays;

/// What had been appended after each operation, and how many of these were confirmed is the mark.
struct Life(Vec<Model>);

const OPERATIONS: i64 = 40;

impl OldDays {
    fn open(folder: &Path) -> Store {
        let downsampling = Downsampling { five_minutes_after: days(1), one_hour_after: days(2) };
        let options = Options {
            span: Duration::from_hours(4),
            segment_bytes: 1_000,
            ..settings(downsampling)
        };
        Store::open(&folder.join("samples"), options).unwrap()
    }
}

/// How many samples there are of each series and day, and their sum.
fn by_day(
    lists: impl IntoIterator<Item = (Labels, Vec<(i64, f64)>)>,
) -> BTreeMap<(Labels, i64), (usize, f64)> {
    let mut days: BTreeMap<(Labels, i64), (usize, f64)> = BTreeMap::new();
    for (labels, samples) in lists {
        for (at_ms, value) in samples {
            let day = days.entry((labels.clone(), at_ms.div_euclid(DAY_MS))).or_default();
            *day = (day.0 + 1, day.1 + value);
        }
    }
    days
}

impl Durable for OldDays {
    type Life = Life;

    fn live(&self, recording: &Recording, random: &mut StdRng) -> Life {
        let mut store = Self::open(recording.path());
        let mut life = Life(vec![Model::default()]);
        let mut taken = BTreeSet::new();
        for operation in 0..OPERATIONS {
            let now_ms = BEGIN_MS + operation * 3 * HOUR_MS;
            let mut model = life.0.last().unwrap().clone();
            match random.random_range(0..10) {
                0 => store.seal_all(now_ms).unwrap(),
                1 => store.compact(now_ms + HOUR_MS).unwrap(),
                2 | 3 => store.downsample(now_ms).unwrap(),
                4 => {
                    drop(store);
                    store = Self::open(recording.path());
                }
                _ => {
                    let mut appends = Vec::new();
                    for home in HOSTS {
                        let set =
                            labels(&[("__name__", "x"), ("instance", &format!("host{home}"))]);
                        // Some of it comes late, to days that were summarised.
                        let from_ms = now_ms - random.random_range(0..9) * 8 * HOUR_MS;
                        let samples = (0..20).map(|step| {
                            let at_ms =
                                from_ms + step * 211_000 + i64::from(random.random_range(0..99));
                            (at_ms, f64::from(random.random_range(0..1_000)))
                        });
                        let samples: Vec<_> =
                            samples.filter(|(at_ms, _)| taken.insert((home, *at_ms))).collect();
                        samples.iter().for_each(|(at, value)| model.add(&set, *at, *value));
                        appends.push(points(home, &set, &samples));
                    }
                    store.commit(appends).unwrap();
                }
            }
            life.0.push(model);
            recording.mark(life.0.len() as u64 - 1);
        }
        life
    }

    fn open(&self, folder: &Path) {
        drop(Self::open(folder));
    }

    fn check(&self, life: &Life, mark: Option<u64>, folder: &Path) {
        let mut store = Self::open(folder);
        let done = usize::try_from(mark.unwrap_or_default()).unwrap();
        let expected: Vec<_> = life.0[done..]
            .iter()
            .take(2)
            .map(|model| {
                let lists = model.0.iter().map(|(labels, samples)| {
                    let samples = samples.iter().map(|(at, bits)| (*at, f64::from_bits(*bits)));
                    (labels.clone(), samples.collect())
                });
                by_day(lists.collect::<Vec<_>>())
            })
            .collect();
        let later_ms = BEGIN_MS + (OPERATIONS + 90) * DAY_MS;
        for what in ["after the cut", "sealed", "compacted", "summarised", "opened again"] {
            match what {
                "sealed" => store.seal_all(later_ms).unwrap(),
                "compacted" => store.compact(later_ms + DAY_MS).unwrap(),
                "summarised" => store.downsample(later_ms).unwrap(),
                "opened again" => {
                    drop(store);
                    store = Self::open(folder);
                }
                _ => {}
            }
            let found = by_day(read(&store, Shape::Level, i64::MIN, i64::MAX).0);
            let is_one = expected.iter().any(|days| {
                days.keys().eq(found.keys())
                    && days.values().zip(found.values()).all(|(expect, found)| {
                        expect.0 == found.0 && (expect.1 - found.1).abs() < 1e-6
                    })
            });
            assert!(is_one, "{what}: {found:?} {:?}", expected.first());
            assert_eq!(store.verify().unwrap().damage, [], "{what}");
        }
    }
}

#[test]
fn a_day_is_there_as_samples_or_as_summaries_after_a_power_cut() {
    survives_power_cuts(&OldDays, Ordering::Journalled, FEW);
}

#[test]
fn a_day_is_there_as_samples_or_as_summaries_where_nothing_is_ordered() {
    survives_power_cuts(&OldDays, Ordering::Loose, FEW);
}
