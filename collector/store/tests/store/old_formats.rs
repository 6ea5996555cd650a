//! A store that an earlier version of the code left is read in full.
//!
//! `tests/data/vN/` holds one of each version of the disk format, and beside it the answer of the naive
//! double that lived beside the store when it was made.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use redb::{Database, ReadableTable, TableDefinition};
use upkeep_disk::{Durable, Ordering, Recording, survives_power_cuts};
use upkeep_model::{HostId, Ranges, StreamKey};
use upkeep_store::{Append, Options, Store};

use crate::fixture::{Agent, Model, Samples, copy, folder, host, labels, options, samples};

/// The version that the code writes now.
const VERSION: u32 = 2;

/// Midnight of 2026-01-01, UTC.
const BEGIN_MS: i64 = 1_767_225_600_000;
const STEP_MS: i64 = 5_000;

/// So many steps of a life are there: five spans and a half.
const STEPS: i64 = 66;

/// After this step sealing is done, the later one finds what came late to spans that are sealed.
const SEALED_AFTER: [i64; 2] = [38, 56];

/// The second host is away at these steps, and delivers what it missed after the last of them.
const AWAY: std::ops::RangeInclusive<i64> = 20..=40;

/// From this step on the first host has another name.
const RENAMED_AT: i64 = 45;

/// From this step on the first host's buffer is a new one.
const NEW_EPOCH_AT: i64 = 60;

/// The collector's own samples.
const COLLECTOR: u128 = 9;

#[test]
fn stores_of_every_version_are_read_in_full() {
    for version in 1..=VERSION {
        let kept = data(version);
        let place = folder();
        copy(&kept.join("store"), place.path());
        let answer = fs::read_to_string(kept.join("answer.txt")).unwrap();
        let check = |store: &Store, when: &str| {
            assert_eq!(told(store, &streams_of(&answer)), answer, "version {version}, {when}");
            store.verify().unwrap();
            assert_eq!(store.damage(), [], "version {version}, {when}");
        };
        let store = open(place.path());
        check(&store, "opened");
        check_lists(&store, &answer);
        store.seal_all(BEGIN_MS + STEPS * STEP_MS).unwrap();
        check(&store, "sealed");
        store.compact(i64::MAX).unwrap();
        check(&store, "compacted");
        drop(store);
        check(&open(place.path()), "opened again");
    }
}

/// Makes the folder of the version that the code writes now. `tests/data/README.md` says when.
#[test]
#[ignore = "writes test data into the source tree, once a version"]
fn write_the_store_of_this_version() {
    let kept = data(VERSION);
    assert!(!kept.exists(), "{} is there, and what is kept is not changed", kept.display());
    let place = folder();
    let store = open(place.path());
    let (model, streams) = live(&store);
    model.check(&store);
    let answer = text(&model.0, &streams);
    assert_eq!(told(&store, &keys(&streams)), answer);
    store.close().unwrap();
    drop(store);
    // Pages that are free are not worth keeping.
    while Database::open(place.path().join("samples.redb")).unwrap().compact().unwrap() {}
    copy(place.path(), &kept.join("store"));
    fs::write(kept.join("answer.txt"), answer).unwrap();
}

fn data(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/v{version}"))
}

fn open(folder: &Path) -> Store {
    // Nothing goes by age, whenever the test runs.
    let retention = std::time::Duration::from_secs(1_000 * 365 * 86_400);
    Store::open(folder, Options { retention, ..options() }).unwrap()
}

/// A stream, the records of it that are durable or skipped, and its latest time.
type Marks = Vec<(StreamKey, Ranges, Option<i64>)>;

fn keys(streams: &Marks) -> Vec<StreamKey> {
    streams.iter().map(|(stream, ..)| *stream).collect()
}

/// Two hosts, one away for a while, the other renamed and then with a new buffer; samples of the
/// collector's own; a record that never came. The last spans are in the journal only.
fn live(store: &Store) -> (Model, Marks) {
    let mut model = Model::default();
    let (mut first, mut second) = (Agent::new(1, 1), Agent::new(2, 1));
    let old_stream = first.stream;
    for step in 0..STEPS {
        let at_ms = BEGIN_MS + step * STEP_MS;
        if step == RENAMED_AT {
            first.instance = "renamed".to_owned();
            first.describe(store);
        }
        if step == NEW_EPOCH_AT {
            let instance = first.instance;
            first = Agent::new(1, 2);
            first.instance = instance;
        }
        first.commit(store, &mut model, at_ms, &row(step, 1.0));
        if AWAY.contains(&step) {
            assert!(second.fall_behind(store, at_ms, &row(step, 1.5)));
        } else {
            second.commit(store, &mut model, at_ms, &row(step, 1.5));
        }
        if step == *AWAY.end() + 1 {
            second.catch_up(store, &mut model, usize::MAX);
        }
        points(store, &mut model, &first, at_ms, step);
        if SEALED_AFTER.contains(&step) {
            store.seal(at_ms).unwrap();
        }
    }
    assert!(store.skip(second.stream, second.sequence + 2..=second.sequence + 2));
    let marks = |stream, last| (stream, store.committed(stream), Some(last));
    let last_ms = BEGIN_MS + (STEPS - 1) * STEP_MS;
    let before_ms = BEGIN_MS + (NEW_EPOCH_AT - 1) * STEP_MS;
    let streams = vec![
        marks(old_stream, before_ms),
        marks(first.stream, last_ms),
        marks(second.stream, last_ms),
    ];
    let skipped = second.sequence + 2;
    let count = |index: usize| streams[index].1.iter().flatten().count() as u64;
    assert_eq!([count(0), count(1), count(2)], [60, 6, second.sequence + 1]);
    assert!(streams[2].1.contains(skipped) && !streams[2].1.contains(skipped - 1));
    (model, streams)
}

/// What a host reports: constants, counters, gauges, one that comes and goes, and odd values.
fn row(step: i64, scale: f64) -> Vec<(&'static str, f64)> {
    let at = step as f64;
    let odd =
        [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE / 8.0, 1e300];
    let mut row = vec![
        ("node_boot_time_seconds", 1_767_000_123.0),
        ("node_memory_MemTotal_bytes", 8_589_934_592.0 * scale),
        ("node_memory_MemFree_bytes", 4096.0 * (300_000.0 + (at * scale).sin() * 9_000.0).round()),
        ("node_network_receive_bytes_total", (1e9 + at * 12_345.0 * scale + at * at).round()),
        ("node_cpu_seconds_total", ((at * 4.93 * scale + 812_734.0) * 100.0).round() / 100.0),
        ("node_load1", ((1.0 + (at * 0.3 * scale).sin()) * 100.0).round() / 100.0),
        ("odd", odd[step.unsigned_abs() as usize % odd.len()]),
    ];
    if step % 17 < 11 {
        row.push(("node_hwmon_temp_celsius", 41.0 + (at % 5.0) * 0.25));
    }
    row
}

fn points(store: &Store, model: &mut Model, agent: &Agent, at_ms: i64, step: i64) {
    let mut points = vec![(agent.labels("up"), at_ms, 1.0)];
    if step % 3 == 0 {
        let recorded = labels(&[("__name__", "fleet:load:avg"), ("tier", "café \"a\"")]);
        points.push((recorded, at_ms, (step as f64).sqrt()));
    }
    for (set, at_ms, value) in &points {
        model.add(set, *at_ms, *value);
    }
    let (own, of_host) = points.into_iter().partition(|(set, ..)| set.get("job").is_none());
    let appends = [(HostId(agent.stream.host.0), of_host), (host(COLLECTOR), own)];
    let appends = appends.map(|(home, points)| Append::Points { home, points });
    store.commit(appends.to_vec()).unwrap();
}

/// What a store has, in words.
fn told(store: &Store, streams: &[StreamKey]) -> String {
    let all = samples(store.select(&[], i64::MIN, i64::MAX).unwrap());
    let marks: Marks = streams
        .iter()
        .map(|stream| (*stream, store.committed(*stream), store.latest_ms(*stream)))
        .collect();
    text(&all, &marks)
}

/// One line a stream, then one a series with all of its samples: seconds since the begin, and a value
/// such that each bit of it can be read back.
fn text(samples: &Samples, streams: &Marks) -> String {
    let mut text = String::new();
    for (stream, committed, latest_ms) in streams {
        let ranges: Vec<String> = committed.iter().map(|range| format!("{range:?}")).collect();
        let (host, epoch) = (stream.host.0.as_u128(), stream.epoch.0[0]);
        let latest = latest_ms.map(|at_ms| at_ms - BEGIN_MS);
        writeln!(text, "stream {host} {epoch}: {}, latest {latest:?}", ranges.join(" ")).unwrap();
    }
    for (labels, points) in samples {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        write!(text, "{}:", labels.join(",")).unwrap();
        for (at_ms, bits) in points {
            let value = f64::from_bits(*bits);
            let after = (at_ms - BEGIN_MS) / 1000;
            match value.is_nan() {
                true => write!(text, " {after}=NaN:{bits:x}").unwrap(),
                false => write!(text, " {after}={value:?}").unwrap(),
            }
        }
        text.push('\n');
    }
    text
}

/// The streams that an answer tells of.
fn streams_of(answer: &str) -> Vec<StreamKey> {
    let lines = answer.lines().filter_map(|line| line.strip_prefix("stream "));
    let stream = |line: &str| {
        let mut words = line.split([' ', ':']);
        let host_number: u128 = words.next().unwrap().parse().unwrap();
        let epoch: u8 = words.next().unwrap().parse().unwrap();
        Agent::new(host_number, epoch).stream
    };
    lines.map(stream).collect()
}

/// The label index says of names, values and series what the answer has.
fn check_lists(store: &Store, answer: &str) {
    let series = answer.lines().filter(|line| !line.starts_with("stream ")).count();
    let all = store.label_sets(&[], i64::MIN, i64::MAX).unwrap();
    assert_eq!(all.len(), series);
    let instances = store.label_values("instance", &[], i64::MIN, i64::MAX).unwrap();
    assert_eq!(instances, ["host1", "host2", "renamed"]);
    let names = store.label_names(&[], i64::MIN, i64::MAX).unwrap();
    assert_eq!(names, ["__name__", "instance", "job", "tier"]);
}

/// Brings the kept store of version 1 to the version of now.
struct Migration;

impl Durable for Migration {
    type Life = String;

    fn live(&self, recording: &Recording, _: &mut StdRng) -> String {
        let place = recording.path().join("samples");
        copy(&data(1).join("store"), &place);
        for folder in [&place, &place.join("journal")] {
            for entry in fs::read_dir(folder).unwrap() {
                fs::File::open(entry.unwrap().path()).unwrap().sync_all().unwrap();
            }
            fs::File::open(folder).unwrap().sync_all().unwrap();
        }
        fs::File::open(recording.path()).unwrap().sync_all().unwrap();
        recording.mark(0);
        let store = open(&place);
        recording.mark(1);
        store.compact(i64::MAX).unwrap();
        fs::read_to_string(data(1).join("answer.txt")).unwrap()
    }

    fn open(&self, folder: &Path) {
        drop(open(&folder.join("samples")));
    }

    fn check(&self, answer: &String, mark: Option<u64>, folder: &Path) {
        if mark.is_none() {
            return;
        }
        let place = folder.join("samples");
        let store = open(&place);
        assert_eq!(&told(&store, &streams_of(answer)), answer);
        store.compact(i64::MAX).unwrap();
        store.verify().unwrap();
        assert_eq!(store.damage(), []);
        drop(store);
        assert_eq!(&told(&open(&place), &streams_of(answer)), answer);
    }
}

#[test]
fn a_power_cut_while_an_old_store_is_brought_up_loses_nothing() {
    survives_power_cuts(&Migration, Ordering::Journalled, 20);
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_stays_as_it_is() {
    const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");
    let place = folder();
    copy(&data(1).join("store"), place.path());
    drop(open(place.path()));
    let path = place.path().join("samples.redb");
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction.open_table(STATE).unwrap();
    let mut record = table.get("state").unwrap().unwrap().value().to_vec();
    assert_eq!(record[0], 2, "the version");
    record[0] = 3;
    record.truncate(record.len() - 4);
    let sum = crc32fast::hash(&[b"state", record.as_slice()].concat());
    record.extend_from_slice(&sum.to_le_bytes());
    table.insert("state", record.as_slice()).unwrap();
    drop(table);
    transaction.commit().unwrap();
    drop(database);

    for _ in 0..2 {
        let error = Store::open(place.path(), options()).unwrap_err().to_string();
        assert!(error.contains("a newer version has written it"), "{error}");
    }
    assert!(path.exists() && !place.path().join("quarantine").exists());
}
