//! A store's naive double: what was appended, by label set and time.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use upkeep_codec::{Encoder, KeyFrame, decode};
use upkeep_model::MatchOperator::Equal;
use upkeep_model::{Epoch, HostId, Labels, Matcher, SeriesSamples, StreamKey};
use upkeep_store::{Append, Options, Reading, Store};
use uuid::Uuid;

pub(crate) const SPAN_MS: i64 = 60_000;

/// No waiting, no sealing by itself, short spans.
pub(crate) fn options() -> Options {
    Options {
        hold: Duration::ZERO,
        span: Duration::from_millis(SPAN_MS as u64),
        seal_every: Duration::from_hours(1),
        compact_every: Duration::from_hours(1),
        compact_after: Duration::from_millis(1),
        free_bytes: 0,
        cold_span: Duration::from_millis(3 * SPAN_MS as u64),
        cache_bytes: 1024 * 1024,
        ..Options::default()
    }
}

/// A folder that is gone when dropped; in memory where there is a file system for that, since
/// these tests sync thousands of times and none of them cuts the power.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn open(folder: &Path) -> Store {
    Store::open(folder, options()).unwrap()
}

pub(crate) fn host(number: u128) -> HostId {
    HostId(Uuid::from_u128(number))
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().copied())
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Samples by label set; values as bits, since NaN is not equal to itself.
pub(crate) type Samples = BTreeMap<Labels, BTreeMap<i64, u64>>;

/// What a store holds, or should hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model(pub(crate) Samples);

impl Model {
    pub(crate) fn add(&mut self, labels: &Labels, at_ms: i64, value: f64) {
        self.0.entry(labels.clone()).or_default().entry(at_ms).or_insert(value.to_bits());
    }

    pub(crate) fn select(&self, matchers: &[Matcher], after_ms: i64, through_ms: i64) -> Samples {
        let matching =
            self.0.iter().filter(|(labels, _)| matchers.iter().all(|m| m.matches(labels)));
        let samples = matching.map(|(labels, samples)| {
            let inside = samples.iter().filter(|(at, _)| **at > after_ms && **at <= through_ms);
            (labels.clone(), inside.map(|(at, bits)| (*at, *bits)).collect::<BTreeMap<_, _>>())
        });
        samples.filter(|(_, samples)| !samples.is_empty()).collect()
    }

    /// Holds a store against the model, over all time.
    pub(crate) fn check(&self, store: &Store) {
        let got = samples(store.select(&[], i64::MIN, i64::MAX).unwrap());
        assert_eq!(got, self.select(&[], i64::MIN, i64::MAX));
        let mut times: Vec<i64> =
            self.0.values().flat_map(|samples| samples.keys().copied()).collect();
        times.sort_unstable();
        let middle_ms = times.get(times.len() / 2).copied().unwrap_or_default();
        for through_ms in [middle_ms, i64::MAX] {
            let reading = Reading { only_last: true, ..Reading::of(&[], i64::MIN, through_ms) };
            let expect = last_of_each(self.select(&[], i64::MIN, through_ms));
            assert_eq!(last_of_each(samples(store.read(&reading).unwrap())), expect);
        }
        self.check_together(store, middle_ms);
    }

    /// Holds readings that are done together, some of which want the same, against those done alone.
    fn check_together(&self, store: &Store, middle_ms: i64) {
        let names: BTreeSet<&str> = self.0.keys().filter_map(Labels::metric_name).take(3).collect();
        let equal = |name: &&str| vec![Matcher::new("__name__", Equal, *name).unwrap()];
        let mut wanted: Vec<Vec<Matcher>> = names.iter().map(equal).collect();
        wanted.insert(wanted.len() / 2, Vec::new());
        let mut readings = Vec::new();
        for matchers in wanted.iter().chain(wanted.first()) {
            for (after_ms, through_ms) in [(i64::MIN, middle_ms), (middle_ms, i64::MAX)] {
                readings.push(Reading::of(matchers, after_ms, through_ms));
            }
        }
        let found = store.read_all(&readings).unwrap();
        assert_eq!(found.len(), readings.len());
        for (reading, found) in readings.into_iter().zip(found) {
            let Reading { matchers, after_ms, through_ms, .. } = reading;
            assert_eq!(samples(found), self.select(matchers, after_ms, through_ms), "{matchers:?}");
        }
    }
}

fn last_of_each(mut all: Samples) -> Samples {
    all.values_mut().for_each(|samples| {
        let last = samples.pop_last();
        *samples = last.into_iter().collect();
    });
    all
}

/// What a store answered, and that it is in order.
pub(crate) fn samples(series: Vec<SeriesSamples>) -> Samples {
    let mut all = Samples::new();
    for one in series {
        assert!(one.timestamps.is_sorted_by(|a, b| a < b), "{}: {:?}", one.labels, one.timestamps);
        assert_eq!(one.timestamps.len(), one.values.len());
        let bits = one.values.iter().map(|value| value.to_bits());
        let before = all.insert(one.labels, one.timestamps.iter().copied().zip(bits).collect());
        assert!(before.is_none(), "a label set was given twice");
    }
    all
}

/// An agent: numbers its series and frames as a real one does.
pub(crate) struct Agent {
    pub(crate) stream: StreamKey,
    pub(crate) instance: String,
    pub(crate) sequence: u64,
    /// Frames that wait to be delivered behind those that are live, and what is in them.
    pub(crate) backlog: VecDeque<(u64, Bytes, Model)>,
    /// What was committed.
    pub(crate) delivered: BTreeSet<u64>,
    encoder: Encoder,
    keys: HashMap<u64, (KeyFrame, Bytes)>,
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Agent {
    pub(crate) fn new(number: u128, epoch: u8) -> Self {
        let stream = StreamKey { host: host(number), epoch: Epoch([epoch; 16]) };
        Self {
            stream,
            instance: format!("host{number}"),
            sequence: 0,
            backlog: VecDeque::new(),
            delivered: BTreeSet::new(),
            encoder: Encoder::default(),
            keys: HashMap::new(),
            numbers: HashMap::new(),
            names: Vec::new(),
        }
    }

    pub(crate) fn labels(&self, name: &str) -> Labels {
        labels(&[("__name__", name), ("instance", &self.instance), ("job", "node")])
    }

    /// The descriptions of all series, as a new connection brings them.
    pub(crate) fn describe(&self, store: &Store) {
        let series: Vec<Labels> = self.names.iter().map(|name| self.labels(name)).collect();
        store.describe(self.stream, 0, &series).unwrap();
    }

    /// The next frame, which the model is told of too. New series are described first.
    pub(crate) fn frame(
        &mut self,
        store: &Store,
        model: &mut Model,
        at_ms: i64,
        row: &[(&str, f64)],
    ) -> Append {
        let known = self.names.len();
        let mut numbered = Vec::new();
        for &(name, value) in row {
            let next = self.names.len() as u32;
            let number = *self.numbers.entry(name.to_owned()).or_insert_with(|| {
                self.names.push(name.to_owned());
                next
            });
            numbered.push((number, value));
        }
        if self.names.len() > known {
            let series: Vec<Labels> =
                self.names[known..].iter().map(|name| self.labels(name)).collect();
            store.describe(self.stream, known as u32, &series).unwrap();
        }
        let body = self.encode(at_ms, numbered, model);
        Append::Frame { stream: self.stream, sequence: self.sequence, body }
    }

    fn encode(&mut self, at_ms: i64, row: Vec<(u32, f64)>, model: &mut Model) -> Bytes {
        self.sequence += 1;
        let encoded = self.encoder.encode(self.sequence, at_ms, row);
        // A frame may also end series, so the model learns from what is in it.
        let base = |key| self.keys.get(&key).map(|(frame, _)| frame);
        let frame = decode(&encoded.bytes, base).unwrap();
        if frame.is_key {
            let body = Bytes::copy_from_slice(&encoded.bytes);
            self.keys.insert(self.sequence, (frame.to_key(), body));
        }
        for (number, value) in frame.numbers.iter().zip(&frame.values) {
            model.add(&self.labels(&self.names[*number as usize]), at_ms, *value);
        }
        encoded.bytes.into()
    }

    /// Appends a frame and waits for it.
    pub(crate) fn commit(
        &mut self,
        store: &Store,
        model: &mut Model,
        at_ms: i64,
        row: &[(&str, f64)],
    ) {
        let append = self.frame(store, model, at_ms, row);
        self.delivered.insert(self.sequence);
        store.commit(vec![append]).unwrap();
    }

    /// Observes without delivering, and lets what is observed next be live.
    pub(crate) fn fall_behind(&mut self, store: &Store, at_ms: i64, row: &[(&str, f64)]) -> bool {
        let mut held = Model::default();
        let Append::Frame { sequence, body, .. } = self.frame(store, &mut held, at_ms, row) else {
            unreachable!()
        };
        self.backlog.push_back((sequence, body, held));
        self.begin_live(store)
    }

    /// Announces that the next frame is live, and gives the key frame that it may lean on.
    pub(crate) fn begin_live(&self, store: &Store) -> bool {
        if let Some((key, (_, body))) = self.keys.iter().max_by_key(|(key, _)| **key) {
            store.reference(self.stream, *key, body).unwrap();
        }
        store.begin_at(self.stream, self.sequence + 1)
    }

    /// Delivers so much of the backlog.
    pub(crate) fn catch_up(&mut self, store: &Store, model: &mut Model, frames: usize) {
        for (sequence, body, held) in self.backlog.drain(..frames.min(self.backlog.len())) {
            if let Some(key) = upkeep_codec::peek(&body).unwrap().key {
                store.reference(self.stream, key, &self.keys[&key].1).unwrap();
            }
            for (labels, samples) in held.0 {
                for (at_ms, bits) in samples {
                    model.add(&labels, at_ms, f64::from_bits(bits));
                }
            }
            self.delivered.insert(sequence);
            store.commit(vec![Append::Frame { stream: self.stream, sequence, body }]).unwrap();
        }
    }

    /// Holds what the store says of its records against what was delivered.
    pub(crate) fn check_delivered(&self, store: &Store) {
        let committed: Vec<u64> = store.committed(self.stream).iter().flatten().collect();
        assert_eq!(committed, self.delivered.iter().copied().collect::<Vec<_>>());
    }
}
