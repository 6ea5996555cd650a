//! The buffer after power cuts: what was confirmed is there, whole, and nothing else is invented.
//!
//! A life of the buffer is recorded by a file system of the test's own; from points of it states
//! are drawn in which a disk may be found after a cut, also after a cut while such a state was being
//! opened.
#![expect(clippy::indexing_slicing, reason = "a test that fails panics")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use upkeep_agent::buffer::{Buffer, Draft, Record};
use upkeep_codec::{KeyFrame, decode};
use upkeep_disk::{Durable, Ordering, Recording, survives_power_cuts};
use upkeep_model::{Epoch, Labels, Lane, Observation, Ranges};

use super::{EVERYTHING, NOW, facts};

/// Both lanes, in the order of the arrays here.
const LANES: [Lane; 2] = [Lane::Samples, Lane::Events];

/// States that are tried unless told otherwise.
const FEW: u64 = 26;

/// Appends in a life.
const TICKS: u64 = 60;

/// So many series of an observation are others after every so many ticks.
const LEASES: i64 = 400;
const LEASED_TICKS: i64 = 4;

/// The time between two ticks, as the buffer is told.
const TICK: Duration = Duration::from_secs(40);

/// What was true when the buffer confirmed something.
#[derive(Clone, Debug)]
struct Confirmed {
    epoch: Epoch,
    /// Samples, events: the last confirmed sequence number.
    last: [u64; 2],
    /// Samples, events: the first record that is still there, acknowledged or not.
    kept_from: [u64; 2],
}

/// What one sample says: its values by series, which hold whatever numbers the series have.
type Values = BTreeMap<Labels, u64>;

/// A recorded life.
struct Life {
    confirmed: Vec<Confirmed>,
    /// Samples, events: every record as it was read back, by sequence number from 1.
    records: [Vec<Record>; 2],
    /// What each sample says, by sequence number from 1.
    values: Vec<Values>,
    /// What the collector acknowledged and what was kept then, with the place in `confirmed`.
    settled: Vec<(u64, Settled)>,
}

/// How far the lanes, samples and events, are settled.
#[derive(Clone, Copy, Debug, Default)]
struct Settled {
    /// All up to here is acknowledged.
    acknowledged: [u64; 2],
    /// All from here on is there.
    kept_from: [u64; 2],
}

impl Settled {
    fn of(buffer: &Buffer) -> Self {
        Self {
            acknowledged: LANES.map(|lane| buffer.lane(lane).acknowledged),
            kept_from: LANES.map(|lane| buffer.kept_from(lane)),
        }
    }
}

fn open(folder: &Path) -> Buffer {
    super::open(&folder.join("buffer"))
}

fn observation(tick: u64) -> Draft {
    let tick = i64::try_from(tick).unwrap();
    let mut observation = Observation::at(NOW + tick * 10_000);
    for cpu in 0..20 + tick / 10 {
        let label = cpu.to_string();
        observation.counter("cpu_seconds_total", "", &[("cpu", &label)], (tick * 7 + cpu) as f64);
    }
    // So many that the series are numbered anew when everything was delivered.
    for lease in 0..LEASES {
        let label = (tick / LEASED_TICKS * LEASES + lease).to_string();
        observation.gauge("lease", "", &[("number", &label)], (tick + lease) as f64);
    }
    Draft::Observation(observation)
}

/// Lives for a while: appends, has records acknowledged, ends and begins again.
fn live(recording: &Recording, random: &mut StdRng) -> Life {
    let mut buffer = open(recording.path());
    let begin = Instant::now();
    let mut life = Life {
        confirmed: Vec::new(),
        records: [Vec::new(), Vec::new()],
        values: Vec::new(),
        settled: Vec::new(),
    };
    for tick in 0..TICKS {
        let mut drafts = vec![observation(tick)];
        if random.random_range(0..4) == 0 {
            drafts.push(facts([10, 5_000, 40_000, 200_000][random.random_range(0..4)]));
        }
        buffer.append(&drafts).unwrap();
        life.read_back(&mut buffer);
        let last = LANES.map(|lane| buffer.lane(lane).next_sequence - 1);
        let kept_from = Settled::of(&buffer).kept_from;
        recording.mark(life.confirmed.len() as u64);
        life.confirmed.push(Confirmed { epoch: buffer.epoch(), last, kept_from });
        let now = begin + TICK * u32::try_from(tick).unwrap();
        match random.random_range(0..12) {
            0..3 => {
                let lane = random.random_range(0..2);
                let through = random.random_range(0..=last[lane]);
                buffer.acknowledge(LANES[lane], 1..=through, now).unwrap();
            }
            3 => {
                drop(buffer);
                buffer = open(recording.path());
            }
            4 => {
                let through = random.random_range(0..=last[0]);
                buffer.forget_through(Lane::Samples, through).unwrap();
            }
            5 if random.random() => {
                // Everything was delivered, and nothing is kept: the next append finds an empty queue.
                for (lane, last) in LANES.into_iter().zip(last) {
                    buffer.forget_through(lane, last).unwrap();
                }
            }
            6 | 7 => buffer.acknowledge(Lane::Samples, 1..=last[0], now).unwrap(),
            _ => {}
        }
        life.settled.push((tick, Settled::of(&buffer)));
    }
    life
}

impl Life {
    /// Notes what was appended since, as the buffer gives it.
    fn read_back(&mut self, buffer: &mut Buffer) {
        for (lane, records) in LANES.into_iter().zip(&mut self.records) {
            let known = records.len() as u64;
            records.extend(buffer.pending(lane, known, EVERYTHING).unwrap());
        }
        let new = self.records[0].get(self.values.len()..).unwrap().to_vec();
        self.values.extend(read(buffer, &new));
    }
}

/// What samples say, by the key frames and the dictionary that the buffer has now.
fn read(buffer: &mut Buffer, records: &[Record]) -> Vec<Values> {
    let known = buffer.series_since(0).to_vec();
    let mut keys: BTreeMap<u64, KeyFrame> = BTreeMap::new();
    let mut found = Vec::new();
    for record in records {
        if let Some(key) = record.key.filter(|key| !keys.contains_key(key)) {
            let body = buffer.key_frame(key).unwrap().unwrap();
            keys.insert(key, decode(&body, |_| None).unwrap().to_key());
        }
        let frame = decode(&record.body, |key| keys.get(&key)).unwrap();
        if frame.is_key {
            keys.insert(record.sequence, frame.to_key());
        }
        let values = frame.numbers.iter().zip(&frame.values);
        let named = |(number, value): (&u32, &f64)| {
            (known[*number as usize].labels.clone(), value.to_bits())
        };
        found.push(values.map(named).collect());
    }
    found
}

/// Opens a state and holds it against what was confirmed before the cut.
fn check(life: &Life, mark: Option<u64>, folder: &Path) {
    let mut buffer = open(folder);
    let confirmed = mark.map(|mark| life.confirmed[usize::try_from(mark).unwrap()].clone());
    let settled = life.settled.iter().rfind(|(tick, _)| mark.is_some_and(|mark| *tick <= mark));
    let settled = settled.map_or(Settled { kept_from: [1, 1], ..Settled::default() }, |one| one.1);
    let next = life.confirmed.get(mark.map_or(0, |mark| usize::try_from(mark).unwrap() + 1));
    if let Some(confirmed) = &confirmed {
        assert_eq!(buffer.epoch(), confirmed.epoch, "the epoch is another one");
    }
    for (place, lane) in LANES.into_iter().enumerate() {
        let last = confirmed.as_ref().map_or(0, |confirmed| confirmed.last[place]);
        let state = buffer.lane(lane);
        assert!(state.next_sequence > last, "{lane}: {state:?} after {last} was confirmed");
        let acknowledged = settled.acknowledged[place];
        assert!(state.acknowledged <= acknowledged, "{lane}: {state:?} {acknowledged}");
        assert_eq!(state.lost_through, 0, "{lane}: something was declared lost");
        check_records(life, &mut buffer, lane, state.acknowledged + 1);
        // The append that was cut off may have let go of some that were kept.
        let unconfirmed = next.filter(|_| state.next_sequence > last + 1);
        let unconfirmed = unconfirmed.map_or(0, |next| next.kept_from[place]);
        let (kept_from, expect) =
            (buffer.kept_from(lane), settled.kept_from[place].max(unconfirmed));
        assert!(kept_from <= expect, "{lane}: kept from {kept_from} on, not {expect}");
        // A collector that was restored asks for all that is kept.
        let committed = Ranges::through(kept_from - 1);
        buffer.reconcile(lane, &committed, Instant::now()).unwrap();
        check_records(life, &mut buffer, lane, kept_from);
    }
    buffer.append(&[observation(TICKS)]).unwrap();
}

/// Holds the pending records of a lane against those that were appended.
fn check_records(life: &Life, buffer: &mut Buffer, lane: Lane, first: u64) {
    let found = buffer.pending(lane, 0, EVERYTHING).unwrap();
    let numbers: Vec<u64> = found.iter().map(|record| record.sequence).collect();
    let expected: Vec<u64> = (first..buffer.lane(lane).next_sequence).collect();
    assert_eq!(numbers, expected, "{lane}");
    let place = usize::from(lane == Lane::Events);
    for record in &found {
        let at = usize::try_from(record.sequence - 1).unwrap();
        let is_same = life.records[place].get(at).is_some_and(|known| known == record);
        assert!(is_same, "{lane}: record {} is not what was appended", record.sequence);
    }
    if lane == Lane::Samples {
        for (record, values) in found.iter().zip(read(buffer, &found)) {
            let at = usize::try_from(record.sequence - 1).unwrap();
            assert!(life.values[at] == values, "sample {} says something else", record.sequence);
        }
    }
}

struct Queue;

impl Durable for Queue {
    type Life = Life;

    fn live(&self, recording: &Recording, random: &mut StdRng) -> Life {
        live(recording, random)
    }

    fn open(&self, folder: &Path) {
        drop(open(folder));
    }

    fn check(&self, life: &Life, mark: Option<u64>, folder: &Path) {
        check(life, mark, folder);
    }
}

#[test]
fn confirmed_records_survive_power_cuts() {
    survives_power_cuts(&Queue, Ordering::Journalled, FEW);
}

#[test]
fn confirmed_records_survive_power_cuts_where_nothing_is_ordered() {
    survives_power_cuts(&Queue, Ordering::Loose, FEW);
}
