//! The buffer after power cuts: what was confirmed is there, whole, and nothing else is invented.
//!
//! A life of the buffer is recorded by a file system of the test's own; from points of it states
//! are drawn in which a disk may be found after a cut, also after a cut while such a state was being
//! opened.

use std::path::Path;

use rand::RngExt;
use rand::rngs::StdRng;
use upkeep_agent::buffer::{Buffer, Draft, KeepFree, Options, Portion, Record};
use upkeep_disk::{Durable, Ordering, Recording, survives_power_cuts};
use upkeep_model::{Epoch, Event, EventKind, HostFacts, Lane, Observation};

const NOW: i64 = 1_700_000_000_000;
const EVERYTHING: Portion = Portion { records: 1_000_000, bytes: usize::MAX };

/// States that are tried unless told otherwise.
const FEW: u64 = 26;

/// Appends in a life.
const TICKS: u64 = 60;

/// What was true when the buffer confirmed something.
#[derive(Clone, Debug)]
struct Confirmed {
    epoch: Epoch,
    /// Samples, events: the last confirmed sequence number.
    last: [u64; 2],
}

/// A recorded life.
struct Life {
    confirmed: Vec<Confirmed>,
    /// Samples, events: every record as it was read back, by sequence number from 1.
    records: [Vec<Record>; 2],
    /// Samples, events: up to here the collector had acknowledged, with the place in `confirmed`.
    acknowledged: Vec<(u64, [u64; 2])>,
}

fn open(folder: &Path) -> Buffer {
    let keep_free = KeepFree { percent: 0, bytes: 0 };
    Buffer::open(&folder.join("buffer"), Options { limit_bytes: 64 << 20, keep_free }, NOW).unwrap()
}

fn observation(tick: u64) -> Draft {
    let tick = i64::try_from(tick).unwrap();
    let mut observation = Observation::at(NOW + tick * 10_000);
    for cpu in 0..20 + tick / 10 {
        let label = cpu.to_string();
        observation.counter("cpu_seconds_total", "", &[("cpu", &label)], (tick * 7 + cpu) as f64);
    }
    Draft::Observation(observation)
}

fn facts(length: usize) -> Draft {
    let facts = HostFacts { kernel: "k".repeat(length), ..HostFacts::default() };
    Draft::Event(Event { at_ms: NOW, kind: EventKind::Facts(Box::new(facts)) })
}

/// Lives for a while: appends, forgets, ends and begins again.
fn live(recording: &Recording, random: &mut StdRng) -> Life {
    let mut buffer = open(recording.path());
    let mut life =
        Life { confirmed: Vec::new(), records: [Vec::new(), Vec::new()], acknowledged: Vec::new() };
    for tick in 0..TICKS {
        let mut drafts = vec![observation(tick)];
        if random.random_range(0..4) == 0 {
            drafts.push(facts([10, 5_000, 40_000, 200_000][random.random_range(0..4)]));
        }
        buffer.append(&drafts).unwrap();
        for (lane, records) in Lane::ALL.into_iter().zip(&mut life.records) {
            let known = records.len() as u64;
            records.extend(buffer.pending(lane, known, EVERYTHING).unwrap());
        }
        let last = Lane::ALL.map(|lane| buffer.lane(lane).next_sequence - 1);
        recording.mark(life.confirmed.len() as u64);
        life.confirmed.push(Confirmed { epoch: buffer.epoch(), last });
        match random.random_range(0..12) {
            0..4 => {
                let lane = random.random_range(0..2);
                let through = random.random_range(0..=last[lane]);
                buffer.forget_through(Lane::ALL[lane], through).unwrap();
                let acknowledged = Lane::ALL.map(|lane| buffer.lane(lane).acknowledged);
                life.acknowledged.push((tick, acknowledged));
            }
            4 => {
                drop(buffer);
                buffer = open(recording.path());
            }
            5 if random.random() => {
                // Everything was delivered: the next append finds an empty queue.
                for (lane, last) in Lane::ALL.into_iter().zip(last) {
                    buffer.forget_through(lane, last).unwrap();
                }
                life.acknowledged.push((tick, last));
            }
            _ => {}
        }
    }
    life
}

/// Opens a state and holds it against what was confirmed before the cut.
fn check(life: &Life, mark: Option<u64>, folder: &Path) {
    let mut buffer = open(folder);
    let confirmed = mark.map(|mark| life.confirmed[usize::try_from(mark).unwrap()].clone());
    let acknowledged = life
        .acknowledged
        .iter()
        .rfind(|(tick, _)| mark.is_some_and(|mark| *tick <= mark))
        .map_or([0, 0], |(_, acknowledged)| *acknowledged);
    if let Some(confirmed) = &confirmed {
        assert_eq!(buffer.epoch(), confirmed.epoch, "the epoch is another one");
    }
    for (place, lane) in Lane::ALL.into_iter().enumerate() {
        let found = buffer.pending(lane, 0, EVERYTHING).unwrap();
        let last = confirmed.as_ref().map_or(0, |confirmed| confirmed.last[place]);
        let state = buffer.lane(lane);
        assert!(state.next_sequence > last, "{lane}: {state:?} after {last} was confirmed");
        assert!(state.acknowledged <= acknowledged[place], "{lane}: {state:?} {acknowledged:?}");
        assert_eq!(state.lost_through, 0, "{lane}: something was declared lost");
        let numbers: Vec<u64> = found.iter().map(|record| record.sequence).collect();
        let expected: Vec<u64> = (state.acknowledged + 1..state.next_sequence).collect();
        assert_eq!(numbers, expected, "{lane}");
        for record in &found {
            let at = usize::try_from(record.sequence - 1).unwrap();
            let is_same = life.records[place].get(at).is_some_and(|known| known == record);
            assert!(is_same, "{lane}: record {} is not what was appended", record.sequence);
            if let Some(key) = record.key {
                assert!(buffer.key_frame(key).unwrap().is_some(), "{lane}: no key frame {key}");
            }
        }
    }
    buffer.append(&[observation(TICKS)]).unwrap();
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
