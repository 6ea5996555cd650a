//! Following the journal: everything that was committed comes once, in its order, whatever was sealed.

use upkeep_store::{Append, Follower, Options, Place, Store};

use crate::fixture::{Agent, Model, SPAN_MS, Samples, folder, host, labels, options};

fn open(folder: &std::path::Path) -> Store {
    let options = Options { segment_bytes: 2_000, followed_from: Some(0), ..options() };
    Store::open(folder, options).unwrap()
}

/// Everything that a follower still has to tell.
pub(crate) fn told(follower: &mut Follower) -> Vec<(upkeep_model::Labels, i64, f64)> {
    let mut told = Vec::new();
    while let Some(batch) = follower.next_batch().unwrap() {
        assert_eq!(batch.lost, 0);
        told.extend(batch.samples);
    }
    told
}

/// The same, by series and time.
pub(crate) fn told_samples(follower: &mut Follower) -> Samples {
    let mut model = Model::default();
    for (labels, at_ms, value) in told(follower) {
        model.add(&labels, at_ms, value);
    }
    model.0
}

struct Fleet {
    agents: [Agent; 2],
    model: Model,
    at_ms: i64,
}

impl Fleet {
    fn new() -> Self {
        Self { agents: [Agent::new(1, 1), Agent::new(2, 7)], model: Model::default(), at_ms: 0 }
    }

    fn live(&mut self, store: &Store, ticks: i64) {
        for _ in 0..ticks {
            self.at_ms += SPAN_MS / 7;
            let value = (self.at_ms % 1_001) as f64 / 8.0;
            let mut appends = Vec::new();
            for agent in &mut self.agents {
                let row = [("load", value), ("temperature", 20.0)];
                appends.push(agent.frame(store, &mut self.model, self.at_ms, &row));
            }
            let set = labels(&[("__name__", "recorded"), ("tick", &(self.at_ms % 3).to_string())]);
            self.model.add(&set, self.at_ms, value);
            let number = store.number(host(9), &set);
            let points = vec![(number, self.at_ms, value)];
            appends.push(Append::Numbered { home: host(9), points });
            store.commit(appends).unwrap();
        }
    }
}

#[test]
fn what_was_sealed_meanwhile_is_told_all_the_same() {
    let place = folder();
    let store = open(place.path());
    let mut fleet = Fleet::new();
    let mut live = store.follow(Some(Place::default()));
    let mut told_live = Vec::new();
    for _ in 0..6 {
        fleet.live(&store, 5);
        told_live.extend(told(&mut live));
        assert_eq!((told(&mut live), live.behind().unwrap()), (Vec::new(), 0));
        store.seal_all(fleet.at_ms).unwrap();
    }
    assert_eq!(told_live.len(), 6 * 5 * 5);
    let mut late = store.follow(Some(Place::default()));
    assert!(late.behind().unwrap() > 1_000);
    assert_eq!(told_samples(&mut late), fleet.model.0);
    assert_eq!(told(&mut store.follow(None)), []);
}

#[test]
fn a_place_holds_over_a_restart() {
    let place = folder();
    let mut fleet = Fleet::new();
    let store = open(place.path());
    fleet.live(&store, 10);
    let mut follower = store.follow(Some(Place::default()));
    let (mut all, mut rest) = (told(&mut follower), follower.place());
    for round in 0..4 {
        fleet.live(&store, 7);
        if round % 2 == 0 {
            store.seal_all(fleet.at_ms).unwrap();
        }
    }
    drop((follower, store));
    let store = open(place.path());
    for agent in &fleet.agents {
        agent.describe(&store);
    }
    fleet.live(&store, 3);
    for _ in 0..2 {
        // Each batch is told by a follower of its own, from where the one before ended.
        let mut follower = store.follow(Some(rest));
        let batch = follower.next_batch().unwrap().unwrap();
        all.extend(batch.samples);
        rest = batch.next;
    }
    all.extend(told(&mut store.follow(Some(rest))));
    assert_eq!(all.len(), (10 + 4 * 7 + 3) * 5);
    let mut model = Model::default();
    all.iter().for_each(|(labels, at_ms, value)| model.add(labels, *at_ms, *value));
    assert_eq!(model.0, fleet.model.0);
}

#[test]
fn what_nobody_needs_any_more_is_removed() {
    let place = folder();
    let store = open(place.path());
    let mut fleet = Fleet::new();
    let kept = || {
        let folder = std::fs::read_dir(place.path().join("followed"));
        folder.map_or(0, |entries| entries.count())
    };
    for _ in 0..4 {
        fleet.live(&store, 5);
        store.seal_all(fleet.at_ms).unwrap();
    }
    let before = kept();
    assert!(before >= 4, "{before}");
    let mut follower = store.follow(Some(Place::default()));
    // The second batch is of the second segment, so the first one was read.
    follower.next_batch().unwrap();
    follower.next_batch().unwrap();
    store.keep_from(Some(follower.place().segment)).unwrap();
    assert_eq!(kept(), before - 1);
    // What is gone is passed over.
    let rest = told(&mut store.follow(Some(Place::default())));
    assert_eq!(rest.len() + 5 * 5, fleet.model.0.values().map(|one| one.len()).sum::<usize>());
    store.keep_from(None).unwrap();
    assert_eq!(kept(), 0);
    fleet.live(&store, 5);
    store.seal_all(fleet.at_ms).unwrap();
    assert_eq!(kept(), 0);
    fleet.model.check(&store);
}
