//! Whatever happens to the files, nothing wrong is served and nothing confirmed is forgotten.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::fixture::{Agent, Model, SPAN_MS, copy, folder, host, labels, open, options, samples};
use proptest::prelude::*;
use redb::{Database, Table, TableDefinition};
use upkeep_model::{MatchOperator, Matcher, stale_marker};
use upkeep_store::{Affected, Append, Damage, Options, Store};

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("journal")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    paths.sort();
    paths
}

#[test]
fn a_journal_cut_anywhere_opens_with_whole_groups() {
    let folder = folder();
    let store = open(folder.path());
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    let mut states = Vec::new();
    for step in 0..6 {
        agent.commit(&store, &mut model, step, &[("load", step as f64), ("x", 1.5)]);
        let length = fs::metadata(&segments(folder.path())[0]).unwrap().len();
        states.push((length, agent.sequence, model.clone()));
    }
    drop(store);
    let (begin, ..) = states[3];
    let (end, ..) = states[5];
    let segment = fs::read(&segments(folder.path())[0]).unwrap();
    assert_eq!(segment.len() as u64, end);
    for length in begin..end {
        let torn = crate::fixture::folder();
        copy(folder.path(), torn.path());
        // What a cut tore was never confirmed, so the tide does not tell of it.
        fs::remove_file(torn.path().join("journal/tide")).unwrap();
        fs::write(&segments(torn.path())[0], &segment[..length as usize]).unwrap();
        let store = open(torn.path());
        let (_, committed, expect) = states.iter().rfind(|(at, ..)| *at <= length).unwrap();
        assert_eq!(store.committed(agent.stream).prefix(), *committed, "cut at {length}");
        expect.check(&store);
        assert_eq!(store.damage(), []);
    }
}

#[test]
fn a_store_belongs_to_one_process_and_to_nobody_else_on_the_machine() {
    let parent = folder();
    let path = parent.path().join("samples");
    let store = open(&path);
    let error = Store::open(&path, options()).unwrap_err().to_string();
    assert!(error.contains("samples.redb is in use by another process"), "{error}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    drop(store);
    open(&path);
}

#[test]
fn a_copy_taken_at_any_moment_has_all_that_was_confirmed() {
    let folder = folder();
    let store = open(folder.path());
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    for step in 0..40_i64 {
        let at_ms = step * 7_000;
        agent.commit(&store, &mut model, at_ms, &[("load", step as f64), ("y", 0.25)]);
        if step % 9 == 8 {
            store.seal(at_ms).unwrap();
        }
        if step % 4 == 3 {
            let killed = crate::fixture::folder();
            copy(folder.path(), killed.path());
            let copied = open(killed.path());
            model.check(&copied);
            assert_eq!(copied.committed(agent.stream).prefix(), agent.sequence);
            assert_eq!(copied.damage(), []);
        }
    }
}

#[test]
fn sealed_segments_go_and_later_frames_still_find_their_keys() {
    let folder = folder();
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    let mut store = open(folder.path());
    for round in 0..4 {
        for step in 0..3 {
            let at_ms = round * SPAN_MS + step * 1_000;
            agent.commit(&store, &mut model, at_ms, &[("load", at_ms as f64), ("z", 2.0)]);
        }
        store.seal((round + 1) * SPAN_MS).unwrap();
        assert!(segments(folder.path()).is_empty(), "round {round}");
        drop(store);
        store = open(folder.path());
        model.check(&store);
        assert_eq!(store.committed(agent.stream).prefix(), agent.sequence);
    }
}

#[test]
fn a_staying_frame_finds_its_key_behind_many_newer_ones() {
    let folder = folder();
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    let store = open(folder.path());
    for at_ms in [2 * SPAN_MS, 2 * SPAN_MS + 1] {
        agent.commit(&store, &mut model, at_ms, &[("load", at_ms as f64)]);
    }
    for at_ms in 0..20 {
        let name = if at_ms % 2 == 0 { "odd" } else { "even" };
        agent.commit(&store, &mut model, at_ms, &[(name, 1.0)]);
    }
    store.seal(SPAN_MS).unwrap();
    drop(store);
    let store = open(folder.path());
    model.check(&store);
    assert_eq!(store.damage(), []);
}

#[test]
fn a_running_span_stays_and_the_far_future_does_not() {
    let folder = folder();
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    let store = open(folder.path());
    for at_ms in [10, SPAN_MS + 1, SPAN_MS + 2, 50 * SPAN_MS] {
        agent.commit(&store, &mut model, at_ms, &[("load", at_ms as f64)]);
    }
    store.seal(SPAN_MS + 5).unwrap();
    assert_eq!(segments(folder.path()).len(), 1);
    agent.commit(&store, &mut model, 20, &[("load", -1.0)]);
    drop(store);
    let store = open(folder.path());
    model.check(&store);
    store.seal(2 * SPAN_MS).unwrap();
    assert!(segments(folder.path()).is_empty());
    model.check(&store);
}

#[test]
fn few_samples_of_a_running_span_do_not_keep_a_long_journal() {
    let folder = folder();
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    let store = open(folder.path());
    for at_ms in (0..50).chain([SPAN_MS + 1]) {
        agent.commit(&store, &mut model, at_ms, &[("load", at_ms as f64)]);
    }
    store.seal(SPAN_MS + 5).unwrap();
    assert!(segments(folder.path()).is_empty());
    agent.commit(&store, &mut model, SPAN_MS + 2, &[("load", 0.5)]);
    model.check(&store);
    drop(store);
    model.check(&open(folder.path()));
}

#[test]
fn a_segment_can_be_read_without_the_ones_before_it() {
    let folder = folder();
    let options = Options { segment_bytes: 300, ..options() };
    let (mut model, mut agent) = (Model::default(), Agent::new(1, 1));
    let store = Store::open(folder.path(), options.clone()).unwrap();
    for step in 0..9 {
        agent.commit(&store, &mut model, step, &[("load", step as f64), ("x", 1.0)]);
    }
    drop(store);
    let all = segments(folder.path());
    assert!(all.len() > 1);
    all[..all.len() - 1].iter().for_each(|path| fs::remove_file(path).unwrap());
    fs::remove_file(folder.path().join("samples.redb")).unwrap();
    let store = Store::open(folder.path(), options).unwrap();
    let committed = store.committed(agent.stream);
    let lost = format!("segments 1 to {}", all.len() - 1);
    assert_eq!(store.damage().iter().map(|damage| &damage.lost).collect::<Vec<_>>(), [&lost]);
    let got = samples(store.select(&[], i64::MIN, i64::MAX).unwrap());
    let load = &got[&agent.labels("load")];
    assert!(load.len() < 9 && load.last_key_value() == Some((&8, &8.0_f64.to_bits())));
    let there = 10 - load.len() as u64..=9;
    assert_eq!(committed.iter().collect::<Vec<_>>(), [there]);
    assert_eq!(got[&agent.labels("x")].len(), load.len());
}

/// A store with sealed and journaled samples of two hosts, closed.
pub(crate) fn filled(folder: &Path) -> Model {
    let (mut model, store) = (Model::default(), open(folder));
    let mut agents = [Agent::new(1, 1), Agent::new(2, 1)];
    for step in 0..60_i64 {
        let at_ms = step * SPAN_MS / 20;
        for agent in &mut agents {
            let mut row = vec![("load", step as f64 / 10.0), ("noise", (step as f64).sin())];
            if step > 20 {
                row.push(("late", 1.0));
            }
            agent.commit(&store, &mut model, at_ms, &row);
        }
        let up = labels(&[("__name__", "up"), ("instance", "host1")]);
        model.add(&up, at_ms, 1.0);
        let points = vec![(up, at_ms, 1.0)];
        store.commit(vec![Append::Points { home: host(1), points }]).unwrap();
        if step == 50 {
            store.seal(at_ms).unwrap();
        }
    }
    model
}

#[test]
fn verify_tells_of_chunks_that_no_query_finds() {
    const CHUNKS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("chunks");
    type Damaging = fn(&mut Table<'_, &'static [u8; 32], &'static [u8]>);
    let check = |damage: Damaging, expect: &str, affected: Option<Affected>| {
        let folder = folder();
        drop(filled(folder.path()));
        let database = Database::open(folder.path().join("samples.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        damage(&mut transaction.open_table(CHUNKS).unwrap());
        transaction.commit().unwrap();
        drop(database);
        let store = open(folder.path());
        assert_eq!(store.damage(), []);
        store.verify().unwrap();
        let found = store.damage();
        let is_expected = |one: &Damage| {
            one.lost.contains(expect) && affected.is_none_or(|affected| one.affected == affected)
        };
        assert!(found.iter().any(is_expected), "{found:?}");
    };
    let any = Some(Affected::default());
    check(|table| drop(table.pop_first().unwrap().unwrap()), "1 of ", any);
    check(
        |table| {
            let first = table.pop_first().unwrap().unwrap();
            let (key, mut value) = (*first.0.value(), first.1.value().to_vec());
            drop(first);
            value[60] ^= 0x40;
            table.insert(&key, value.as_slice()).unwrap();
        },
        "the checksum is wrong",
        Some(Affected { host: Some(host(1)), from_ms: Some(0), through_ms: Some(57_000) }),
    );
    // What its first bytes do not tell any more may be all that a chunk ever has.
    check(
        |table| {
            let first = table.pop_first().unwrap().unwrap();
            let (key, mut value) = (*first.0.value(), first.1.value().to_vec());
            drop(first);
            value[9] ^= 0x40;
            table.insert(&key, value.as_slice()).unwrap();
        },
        "the checksum is wrong",
        Some(Affected { host: Some(host(1)), from_ms: Some(0), through_ms: Some(3 * SPAN_MS) }),
    );
    check(
        |table| {
            let first = table.pop_first().unwrap().unwrap();
            let (mut key, value) = (*first.0.value(), first.1.value().to_vec());
            drop(first);
            key[15] ^= 0x40;
            table.insert(&key, value.as_slice()).unwrap();
        },
        "the checksum is wrong",
        None,
    );
}

#[derive(Clone, Debug)]
enum Step {
    Frame { agent: usize, at_ms: i64, row: Vec<(usize, f64)> },
    FallBehind { agent: usize, at_ms: i64, row: Vec<(usize, f64)> },
    CatchUp { agent: usize, frames: usize },
    Point { series: usize, at_ms: i64, value: f64 },
    Seal { now_ms: i64 },
    SealAll,
    Compact,
    Reopen,
    Kill,
    Snapshot { goes_on: bool },
    Delete { host: u128 },
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-100_000_i64..100_000).prop_map(|hundredths| hundredths as f64 / 100.0),
        1 => any::<f64>(),
        1 => Just(f64::NAN),
        1 => Just(stale_marker()),
        1 => Just(-0.0),
        2 => Just(7.0),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    // Few instants, so that many values are for the same one, but never of two streams.
    let time = || prop_oneof![8 => (0..48_i64).prop_map(|n| n * 5_000), 1 => any::<i64>()];
    let row = || prop::collection::btree_map(0..NAMES.len(), value(), 1..NAMES.len());
    prop_oneof![
        6 => (0..3_usize, time(), row()).prop_map(|(agent, at_ms, row)| {
            Step::FallBehind { agent, at_ms, row: row.into_iter().collect() }
        }),
        3 => (0..3_usize, 1..9_usize).prop_map(|(agent, frames)| Step::CatchUp { agent, frames }),
        20 => (0..3_usize, time(), row()).prop_map(|(agent, at_ms, row)| {
            Step::Frame { agent, at_ms, row: row.into_iter().collect() }
        }),
        6 => (0..3_usize, time(), value())
            .prop_map(|(series, at_ms, value)| Step::Point { series, at_ms, value }),
        2 => (0..6 * SPAN_MS).prop_map(|now_ms| Step::Seal { now_ms }),
        1 => Just(Step::SealAll),
        2 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        1 => any::<bool>().prop_map(|goes_on| Step::Snapshot { goes_on }),
        1 => (1..4_u128).prop_map(|host| Step::Delete { host }),
    ]
}

/// A new connection describes everything, and has live frames beside a backlog.
fn reconnect(agents: &[Agent], store: &Store) {
    for agent in agents {
        agent.describe(store);
        if !agent.backlog.is_empty() {
            agent.begin_live(store);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_store_answers_as_its_naive_double(
        steps in prop::collection::vec(step(), 1..120),
        stretch in (0..4 * SPAN_MS, 0..4 * SPAN_MS),
    ) {
        let folder = folder();
        let mut killed = None;
        let mut place = folder.path().to_owned();
        let mut model = Model::default();
        let mut agents = [Agent::new(1, 1), Agent::new(1, 2), Agent::new(2, 1)];
        let mut store = open(&place);
        for step in steps {
            match step {
                Step::Frame { agent, at_ms, row } => {
                    let row: Vec<_> = row.iter().map(|(name, v)| (NAMES[*name], *v)).collect();
                    let at_ms = at_ms.saturating_sub(agent as i64);
                    agents[agent].commit(&store, &mut model, at_ms, &row);
                }
                Step::FallBehind { agent, at_ms, row } => {
                    let row: Vec<_> = row.iter().map(|(name, v)| (NAMES[*name], *v)).collect();
                    let at_ms = at_ms.saturating_sub(agent as i64);
                    let agent = &mut agents[agent];
                    if !agent.fall_behind(&store, at_ms, &row) {
                        agent.catch_up(&store, &mut model, usize::MAX);
                    }
                }
                Step::CatchUp { agent, frames } => agents[agent].catch_up(&store, &mut model, frames),
                Step::Point { series, at_ms, value } => {
                    let set = labels(&[("__name__", "p"), ("n", NAMES[series])]);
                    model.add(&set, at_ms, value);
                    let points = vec![(set, at_ms, value)];
                    store.commit(vec![Append::Points { home: host(3), points }]).unwrap();
                }
                Step::Seal { now_ms } => store.seal(now_ms).unwrap(),
                Step::SealAll => store.seal_all(0).unwrap(),
                Step::Compact => store.compact(i64::MAX).unwrap(),
                Step::Reopen => {
                    drop(store);
                    store = open(&place);
                    reconnect(&agents, &store);
                }
                Step::Snapshot { goes_on } => {
                    let copied = crate::fixture::folder();
                    let path = copied.path().join("copy");
                    prop_assert_eq!(store.snapshot(&path).unwrap(), []);
                    let copy = open(&path);
                    model.check(&copy);
                    agents.iter().for_each(|agent| agent.check_delivered(&copy));
                    if goes_on {
                        (store, place, killed) = (copy, path, Some(copied));
                        reconnect(&agents, &store);
                    }
                }
                Step::Delete { host: number } => {
                    store.delete_home(host(number)).unwrap();
                    let instance = format!("host{number}");
                    for agent in agents.iter_mut().filter(|agent| agent.instance == instance) {
                        *agent = Agent::new(number, agent.stream.epoch.0[0]);
                    }
                    model.0.retain(|labels, _| match labels.get("instance") {
                        Some(name) => name != instance,
                        None => number != 3,
                    });
                }
                Step::Kill => {
                    let copied = crate::fixture::folder();
                    copy(&place, copied.path());
                    store = open(copied.path());
                    place = copied.path().to_owned();
                    killed = Some(copied);
                    reconnect(&agents, &store);
                }
            }
        }
        for agent in &mut agents {
            agent.check_delivered(&store);
            agent.catch_up(&store, &mut model, usize::MAX);
        }
        model.check(&store);
        let matchers = [Matcher::new("instance", MatchOperator::NotEqual, "host2").unwrap()];
        let got = samples(store.select(&matchers, stretch.0, stretch.1).unwrap());
        prop_assert_eq!(got, model.select(&matchers, stretch.0, stretch.1));
        for agent in &agents {
            prop_assert_eq!(store.committed(agent.stream).prefix(), agent.sequence);
        }
        store.verify().unwrap();
        prop_assert_eq!(store.damage(), []);
        drop(store);
        drop(killed);
    }
}
