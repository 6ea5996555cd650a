//! After power cuts the store has what it confirmed, and nothing that was not appended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use upkeep_disk::{Durable, Ordering, Recording, survives_power_cuts};
use upkeep_model::Ranges;
use upkeep_store::{Append, Options, Place, Store};

use crate::fixture::{Agent, Model, SPAN_MS, host, labels, options, samples};
use crate::follow::told_samples;

/// States that are tried of each kind of disk unless told otherwise.
const FEW: u64 = 26;

/// Commits in a life, and the time between them.
const TICKS: i64 = 60;
const TICK_MS: i64 = 7_001;

const RETENTION_MS: i64 = 3 * SPAN_MS;

const NAMES: [&str; 6] = ["load", "up", "temperature", "entropy", "threads", "files"];

/// What was committed, a frame of each agent and points of the collector's own at every tick.
struct Life {
    agents: [Agent; 2],
    /// An agent that is away now and then, and delivers what it missed beside what is live.
    straggler: Agent,
    /// What is in each of the straggler's frames.
    held: BTreeMap<u64, Model>,
    /// What had been appended after each tick, from none on.
    models: Vec<Model>,
    confirmed: Vec<Confirmed>,
}

/// What holds from one mark to the next.
#[derive(Clone)]
struct Confirmed {
    ticks: u64,
    /// The straggler's frames.
    delivered: BTreeSet<u64>,
    /// Retention may have dropped what is older.
    horizon_ms: i64,
}

/// Before all time that is told.
const NEVER_MS: i64 = 0;

const NOTHING_CONFIRMED: Confirmed =
    Confirmed { ticks: 0, delivered: BTreeSet::new(), horizon_ms: NEVER_MS };

struct SampleStore;

/// The folder is made by the store, in one that is there; a segment takes a few ticks.
fn open(folder: &Path) -> Store {
    let retention = Duration::from_millis(RETENTION_MS as u64);
    let followed_from = Some(0);
    let options = Options { segment_bytes: 700, retention, followed_from, ..options() };
    Store::open(&folder.join("samples"), options).unwrap()
}

impl Life {
    /// One tick's appends, all to be confirmed at once.
    fn tick(&mut self, store: &Store, at_ms: i64, random: &mut StdRng) -> Vec<Append> {
        let mut model = self.models.last().unwrap().clone();
        let mut appends = Vec::new();
        for agent in &mut self.agents {
            let mut row = Vec::new();
            for name in NAMES {
                if random.random_range(0..5) > 0 {
                    row.push((name, f64::from(random.random_range(0..1000)) / 8.0));
                }
            }
            appends.push(agent.frame(store, &mut model, at_ms, &row));
        }
        let set = labels(&[("__name__", "recorded"), ("tick", &(at_ms % 5).to_string())]);
        let value = f64::from(random.random_range(0..1000));
        model.add(&set, at_ms, value);
        // As rules do, and as those who know their series by number.
        appends.push(if self.models.len().is_multiple_of(2) {
            Append::Points { home: host(9), points: vec![(set, at_ms, value)] }
        } else {
            let points = vec![(store.number(host(9), &set), at_ms, value)];
            Append::Numbered { home: host(9), points }
        });
        self.models.push(model);
        appends
    }
}

impl Life {
    /// The straggler's tick: it is away, or delivers what is live and some of what it missed.
    fn straggle(&mut self, store: &Store, at_ms: i64, random: &mut StdRng) {
        let name = NAMES[random.random_range(0..NAMES.len())];
        let row = [(name, f64::from(random.random_range(0..1000)))];
        if random.random_range(0..5) < 3 {
            let begins = self.straggler.fall_behind(store, at_ms, &row);
            let (sequence, _, held) = self.straggler.backlog.back().unwrap();
            self.held.insert(*sequence, held.clone());
            if !begins {
                self.straggler.catch_up(store, &mut Model::default(), usize::MAX);
            }
            return;
        }
        let mut held = Model::default();
        self.straggler.commit(store, &mut held, at_ms, &row);
        self.held.insert(self.straggler.sequence, held);
        self.straggler.catch_up(store, &mut Model::default(), random.random_range(0..4));
    }

    /// What a store must have that took so many ticks, and these frames of the straggler.
    fn model(&self, ticks: u64, delivered: &Ranges) -> Model {
        let mut model = self.models[usize::try_from(ticks).unwrap()].clone();
        for held in delivered.iter().flatten().map(|sequence| &self.held[&sequence]) {
            for (labels, samples) in &held.0 {
                for (at_ms, bits) in samples {
                    model.add(labels, *at_ms, f64::from_bits(*bits));
                }
            }
        }
        model
    }
}

impl Durable for SampleStore {
    type Life = Life;

    fn live(&self, recording: &Recording, random: &mut StdRng) -> Life {
        let mut store = open(recording.path());
        let mut life = Life {
            agents: [Agent::new(1, 1), Agent::new(2, 7)],
            straggler: Agent::new(4, 2),
            held: BTreeMap::new(),
            models: vec![Model::default()],
            confirmed: Vec::new(),
        };
        let mut horizon_ms = NEVER_MS;
        for tick in 0..TICKS {
            let now_ms = tick * TICK_MS + 10 * SPAN_MS;
            // Mostly live, at times from long ago.
            let late = if random.random_range(0..8) == 0 { 4 * SPAN_MS } else { 0 };
            life.straggle(&store, now_ms + 1, random);
            let appends = life.tick(&store, now_ms - late, random);
            store.commit(appends).unwrap();
            recording.mark(life.confirmed.len() as u64);
            let action = random.random_range(0..14);
            if action == 3 {
                horizon_ms = now_ms - RETENTION_MS;
            }
            let delivered = life.straggler.delivered.clone();
            life.confirmed.push(Confirmed { ticks: tick as u64 + 1, delivered, horizon_ms });
            match action {
                0 | 1 => store.seal(now_ms).unwrap(),
                2 => store.seal_all(now_ms).unwrap(),
                3 => store.retain(now_ms).unwrap(),
                4 => {
                    drop(store);
                    store = open(recording.path());
                    for agent in &life.agents {
                        agent.describe(&store);
                    }
                    life.straggler.describe(&store);
                    life.straggler.begin_live(&store);
                }
                5 | 6 => store.compact(now_ms).unwrap(),
                _ => {}
            }
        }
        life
    }

    fn open(&self, folder: &Path) {
        drop(open(folder));
    }

    fn check(&self, life: &Life, mark: Option<u64>, folder: &Path) {
        let store = open(folder);
        let confirmed = mark.map_or(NOTHING_CONFIRMED, |mark| {
            life.confirmed[usize::try_from(mark).unwrap()].clone()
        });
        let [ticks, others] =
            life.agents.each_ref().map(|agent| store.committed(agent.stream).prefix());
        assert!(ticks >= confirmed.ticks, "{ticks} of {}", confirmed.ticks);
        assert_eq!(ticks, others, "what was committed at once is there in part");
        let delivered = store.committed(life.straggler.stream);
        let is_there = |sequence| delivered.contains(sequence);
        assert!(confirmed.delivered.iter().copied().all(is_there), "{delivered:?}");
        let mut model = life.model(ticks, &delivered);
        let check = |store: &Store, model: &Model, when: &str| {
            assert_eq!(store.damage(), [], "{when}");
            let got = samples(store.select(&[], i64::MIN, i64::MAX).unwrap());
            let recent = samples(store.select(&[], confirmed.horizon_ms - 1, i64::MAX).unwrap());
            assert_eq!(recent, model.select(&[], confirmed.horizon_ms - 1, i64::MAX), "{when}");
            for (labels, samples) in got {
                let known = &model.0[&labels];
                let is_known = |(at_ms, bits)| known.get(&at_ms) == Some(&bits);
                assert!(samples.into_iter().all(is_known), "{when}: {labels} has other values");
            }
        };
        check(&store, &model, "after the cut");
        // Who follows the journal misses nothing of it, also of what was sealed and dropped since.
        let followed = told_samples(&mut store.follow(Some(Place::default())));
        assert_eq!(followed, model.0, "followed after the cut");
        // And on it goes.
        let at_ms = TICKS * TICK_MS + 10 * SPAN_MS;
        Agent::new(3, 1).commit(&store, &mut model, at_ms, &[("load", 1.0)]);
        store.seal_all(at_ms).unwrap();
        store.verify().unwrap();
        check(&store, &model, "after sealing");
        store.compact(i64::MAX).unwrap();
        store.verify().unwrap();
        check(&store, &model, "after compaction");
        drop(store);
        check(&open(folder), &model, "opened again");
    }
}

#[test]
fn confirmed_samples_survive_power_cuts() {
    survives_power_cuts(&SampleStore, Ordering::Journalled, FEW);
}

#[test]
fn confirmed_samples_survive_power_cuts_where_nothing_is_ordered() {
    survives_power_cuts(&SampleStore, Ordering::Loose, FEW);
}
