//! Snapshots and deletions, and what a power cut makes of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering as Memory};
use std::thread;

use rand::RngExt;
use rand::rngs::StdRng;
use upkeep_disk::{Durable, Ordering, Recording, survives_power_cuts};
use upkeep_model::{HostId, Ranges};
use upkeep_store::{Append, Options, Store};

use crate::fixture::{Agent, Model, SPAN_MS, copy, folder, host, labels, open, options, samples};
use crate::recovery::filled;

/// States that are tried of each kind of disk unless told otherwise.
const FEW: u64 = 26;

/// Operations in a life, and the time between them.
const OPERATIONS: i64 = 50;
const STEP_MS: i64 = 9_001;

/// The host that is deleted now and then.
const DOOMED: u128 = 5;

/// What was done, one operation after the other.
struct Life {
    /// What the store had after each operation, from none on.
    models: Vec<Model>,
    /// The snapshots: after which operation each was there, under which name, and what it has.
    snapshots: Vec<(usize, String, Model)>,
}

struct CaredStore;

fn open_small(folder: &Path) -> Store {
    let options = Options { segment_bytes: 450, ..options() };
    Store::open(&folder.join("samples"), options).unwrap()
}

/// What is left without a host.
fn without(model: &Model, host: u128) -> Model {
    let instance = format!("host{host}");
    let mut model = model.clone();
    model.0.retain(|labels, _| labels.get("instance") != Some(&instance));
    model
}

/// A frame of each agent and a point about the doomed one, all to be confirmed at once.
fn tick(store: &Store, agents: &mut [Agent; 2], model: &mut Model, at_ms: i64, value: f64) {
    let mut appends: Vec<Append> = agents
        .iter_mut()
        .map(|agent| agent.frame(store, model, at_ms, &[("load", value), ("x", 1.0)]))
        .collect();
    let up = labels(&[("__name__", "up"), ("instance", &format!("host{DOOMED}"))]);
    model.add(&up, at_ms, 1.0);
    appends.push(Append::Points { home: host(DOOMED), points: vec![(up, at_ms, 1.0)] });
    store.commit(appends).unwrap();
}

impl Durable for CaredStore {
    type Life = Life;

    fn live(&self, recording: &Recording, random: &mut StdRng) -> Life {
        let mut store = open_small(recording.path());
        let mut agents = [Agent::new(1, 1), Agent::new(DOOMED, 1)];
        let mut life = Life { models: vec![Model::default()], snapshots: Vec::new() };
        for operation in 0..OPERATIONS {
            let now_ms = operation * STEP_MS + 10 * SPAN_MS;
            let mut model = life.models.last().unwrap().clone();
            match random.random_range(0..14) {
                0 => store.seal(now_ms).unwrap(),
                1 => store.seal_all(now_ms).unwrap(),
                2 | 3 => {
                    store.delete_home(host(DOOMED)).unwrap();
                    model = without(&model, DOOMED);
                    agents[1] = Agent::new(DOOMED, 1);
                }
                4 if life.snapshots.len() < 3 => {
                    let name = format!("copy{operation}");
                    let damage = store.snapshot(&recording.path().join(&name)).unwrap();
                    assert_eq!(damage, []);
                    life.snapshots.push((life.models.len(), name, model.clone()));
                }
                5 => {
                    drop(store);
                    store = open_small(recording.path());
                    agents.iter().for_each(|agent| agent.describe(&store));
                }
                _ => tick(&store, &mut agents, &mut model, now_ms, f64::from(operation as i32)),
            }
            life.models.push(model);
            recording.mark(life.models.len() as u64 - 1);
        }
        life
    }

    fn open(&self, folder: &Path) {
        drop(open_small(folder));
    }

    fn check(&self, life: &Life, mark: Option<u64>, folder: &Path) {
        let store = open_small(folder);
        let done = usize::try_from(mark.unwrap_or_default()).unwrap();
        assert_eq!(store.damage(), []);
        let got = samples(store.select(&[], i64::MIN, i64::MAX).unwrap());
        let expected = life.models.iter().skip(done).take(2);
        let is_one = expected.clone().any(|model| model.0 == got);
        assert!(
            is_one,
            "after operation {done}: {got:?}, not one of {:?}",
            expected.collect::<Vec<_>>()
        );
        for (after, name, model) in &life.snapshots {
            let path = folder.join(name);
            assert!(path.exists() || *after > done, "{name} was finished");
            if path.exists() {
                whole(&path, model);
            }
        }
        let mut model = Model(got);
        store.delete_home(host(DOOMED)).unwrap();
        model = without(&model, DOOMED);
        model.check(&store);
        assert_eq!(store.verify().unwrap().damage, []);
        drop(store);
        model.check(&open_small(folder));
    }
}

/// A snapshot is a store that has all of this, and nothing more.
fn whole(path: &Path, model: &Model) {
    let store = open(path);
    assert_eq!(store.damage(), []);
    model.check(&store);
    assert_eq!(store.verify().unwrap().damage, []);
}

#[test]
fn snapshots_and_deletions_survive_power_cuts() {
    survives_power_cuts(&CaredStore, Ordering::Journalled, FEW);
}

#[test]
fn snapshots_and_deletions_survive_power_cuts_where_nothing_is_ordered() {
    survives_power_cuts(&CaredStore, Ordering::Loose, FEW);
}

#[test]
fn a_deleted_host_is_gone_and_begins_anew() {
    let folder = folder();
    let mut store = open(folder.path());
    let (mut model, mut gone) = (Model::default(), Model::default());
    let mut agents = [Agent::new(1, 1), Agent::new(DOOMED, 1)];
    tick(&store, &mut agents, &mut gone, 1_000, 1.0);
    store.seal_all(SPAN_MS).unwrap();
    tick(&store, &mut agents, &mut gone, SPAN_MS + 1, 2.0);
    let snapshot = folder.path().join("before");
    store.snapshot(&snapshot).unwrap();
    store.delete_home(host(DOOMED)).unwrap();
    model.0 = without(&gone, DOOMED).0;

    let names = |store: &Store| store.label_values("instance", &[], i64::MIN, i64::MAX).unwrap();
    for _ in 0..2 {
        model.check(&store);
        assert_eq!(names(&store), ["host1"]);
        assert_eq!(store.committed(agents[1].stream), Ranges::default());
        assert_eq!(store.latest_ms(agents[1].stream), None);
        drop(store);
        store = open(folder.path());
    }
    agents[1] = Agent::new(DOOMED, 1);
    agents[0].describe(&store);
    tick(&store, &mut agents, &mut model, SPAN_MS + 2, 3.0);
    // What is sealed now must not be taken for what was deleted, nor what is not sealed yet.
    store.seal(SPAN_MS).unwrap();
    for _ in 0..2 {
        model.check(&store);
        assert_eq!(store.committed(agents[1].stream).prefix(), 1);
        drop(store);
        store = open(folder.path());
    }
    assert_eq!(store.verify().unwrap().damage, []);
    whole(&snapshot, &gone);
}

#[test]
fn a_snapshot_under_ingest_has_what_was_confirmed_and_no_hole() {
    let folder = folder();
    let store = open(folder.path());
    let (is_over, mut agent) = (AtomicBool::new(false), Agent::new(1, 1));
    let mut model = Model::default();
    for step in 0..20 {
        agent.commit(&store, &mut model, step, &[("load", step as f64)]);
    }
    let stream = agent.stream;
    thread::scope(|scope| {
        let (store, is_over) = (&store, &is_over);
        let writer = scope.spawn(move || {
            let mut at_ms = 20;
            while !is_over.load(Memory::Acquire) {
                agent.commit(store, &mut model, at_ms, &[("load", at_ms as f64)]);
                at_ms += 1;
                if at_ms % 50 == 0 {
                    store.seal_all(at_ms).unwrap();
                }
            }
            model
        });
        let mut copies = Vec::new();
        for number in 0..8 {
            let confirmed = store.committed(stream).prefix();
            let path = folder.path().join(format!("copy{number}"));
            assert_eq!(store.snapshot(&path).unwrap(), []);
            copies.push((path, confirmed, store.committed(stream).prefix()));
        }
        is_over.store(true, Memory::Release);
        let model = writer.join().unwrap();
        for (path, before, after) in copies {
            let copied = open(&path);
            let prefix = copied.committed(stream).prefix();
            assert!((before..=after).contains(&prefix), "{prefix} of {before} to {after}");
            let through = prefix as i64 - 1;
            let got = samples(copied.select(&[], i64::MIN, i64::MAX).unwrap());
            assert_eq!(got, model.select(&[], i64::MIN, through));
            assert_eq!(copied.verify().unwrap().damage, []);
        }
    });
}

#[test]
fn a_snapshot_takes_no_name_that_is_taken_and_leaves_nothing_half() {
    let folder = folder();
    let store = open(&folder.path().join("store"));
    let path = folder.path().join("copy");
    fs::create_dir(&path).unwrap();
    let error = store.snapshot(&path).unwrap_err().to_string();
    assert!(error.contains("copy") && error.contains("exists"), "{error}");
    fs::write(folder.path().join("file"), "").unwrap();
    store.snapshot(&folder.path().join("file/below")).unwrap_err();
    let mut left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["copy", "file", "store"]);
}

/// Flips a bit in the middle of the journal's first segment.
fn damage_journal(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|one| one == "segment");
    let path = entries.filter(is_segment).min().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn what_is_damaged_while_the_store_runs_is_told_by_verify_and_by_a_snapshot() {
    let folder = folder();
    filled(folder.path());
    let store = open(folder.path());
    let read = store.verify().unwrap();
    assert_eq!(read.damage, []);
    assert!(
        read.chunks > 0 && read.series == 7 && read.streams == 2 && read.entries > 10,
        "{read:?}"
    );
    let path = damage_journal(folder.path());
    let found = store.verify().unwrap().damage;
    let place = path.display().to_string();
    assert!(found.len() == 1 && found[0].place.contains(&place), "{found:?}");
    let to = folder.path().join("copy");
    assert_eq!(store.snapshot(&to).unwrap(), found);
    assert_eq!(open(&to).damage().len(), 1);
}

#[test]
fn a_store_of_before_deletions_were_noted_opens() {
    const DELETED: redb::TableDefinition<'_, &[u8; 16], &[u8]> =
        redb::TableDefinition::new("deleted");
    let from = folder();
    let model = filled(from.path());
    let database = redb::Database::open(from.path().join("samples.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    assert!(transaction.delete_table(DELETED).unwrap());
    transaction.commit().unwrap();
    drop(database);
    let to = folder();
    copy(from.path(), to.path());
    let store = open(to.path());
    model.check(&store);
    store.delete_home(HostId(uuid::Uuid::from_u128(1))).unwrap();
    drop(store);
    without(&model, 1).check(&open(to.path()));
}
