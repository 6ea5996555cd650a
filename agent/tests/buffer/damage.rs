//! Damage to the buffer's files: what is served is what was confirmed, and what is lost is declared.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use upkeep_agent::buffer::{Buffer, Record};
use upkeep_disk::{Harm, Wary, survives_damage};
use upkeep_model::{Epoch, Gap, Lane, Ranges};

use super::{all, facts, frames, gaps, observation, open};

/// Damages that are tried unless told otherwise.
const FEW: u64 = 125;

/// How long the database's lock is waited for, and how often it is tried meanwhile.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// What declares that a buffer is lost, by lane and numbers: records of neither have any.
const LOST: [(Lane, u64, u64); 2] = [(Lane::Events, 0, 0), (Lane::Samples, 0, 0)];

fn lane_and_numbers(gap: &Gap) -> (Lane, u64, u64) {
    (gap.lane, gap.first, gap.last)
}

/// What opening makes of a buffer of three confirmed observations after somebody touched it.
#[derive(Debug, PartialEq)]
enum Expect {
    Kept,
    Lost,
    Fresh,
}

#[test]
fn damage_begins_a_new_epoch_with_a_gap() {
    let check = |name: &str, touch: &dyn Fn(&Path), expect: Expect| {
        let folder = tempfile::tempdir().unwrap();
        let mut buffer = open(folder.path());
        let epoch = buffer.epoch();
        for tick in 0..3 {
            buffer.append(&[observation(tick)]).unwrap();
        }
        drop(buffer);
        touch(folder.path());
        for round in ["first", "second"] {
            let mut buffer = open(folder.path());
            let lost = gaps(&mut buffer);
            let found = match (buffer.epoch() == epoch, lost.as_slice()) {
                (true, []) => Expect::Kept,
                (false, [one, other]) if [one, other].map(lane_and_numbers) == LOST => Expect::Lost,
                (false, []) => Expect::Fresh,
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(found, expect, "{name}, {round} opening");
            let records = if expect == Expect::Kept { 3 } else { 0 };
            assert_eq!(all(&mut buffer, Lane::Samples).len(), records, "{name}");
        }
        let quarantine = folder.path().join("quarantine").exists();
        assert_eq!(quarantine, expect == Expect::Lost && name != "no folder", "{name}");
        open(folder.path()).append(&[observation(4)]).unwrap();
    };
    // The database lets go of its lock on a thread of its own, a moment after it was dropped.
    let database = |folder: &Path| {
        let begun = Instant::now();
        loop {
            match sled::open(folder.join("records.1")) {
                Err(_) if begun.elapsed() < LOCK_PATIENCE => thread::sleep(LOCK_RETRY),
                opened => break opened.unwrap(),
            }
        }
    };
    let truncate = |path: &Path, length: u64| {
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
    };
    check("untouched", &|_| (), Expect::Kept);
    check("leftover", &|folder| fs::create_dir(folder.join("records.2")).unwrap(), Expect::Kept);
    check("no marker", &|folder| fs::remove_file(folder.join("marker")).unwrap(), Expect::Fresh);
    check("bad marker", &|folder| fs::write(folder.join("marker"), "?").unwrap(), Expect::Lost);
    check(
        "no folder",
        &|folder| fs::remove_dir_all(folder.join("records.1")).unwrap(),
        Expect::Lost,
    );
    check(
        "no sentinel",
        &|folder| {
            let database = database(folder);
            let (key, _) = database.first().unwrap().unwrap();
            database.remove(key).unwrap().unwrap();
        },
        Expect::Lost,
    );
    check(
        "a record gone",
        &|folder| {
            let database = database(folder);
            let (key, _) = database.last().unwrap().unwrap();
            database.remove(key).unwrap().unwrap();
        },
        Expect::Lost,
    );
    check(
        "a record altered",
        &|folder| {
            let database = database(folder);
            let (key, mut value) = database.last().unwrap().unwrap();
            value[30] ^= 1;
            database.insert(key, value).unwrap().unwrap();
        },
        Expect::Lost,
    );
    check(
        "database empty",
        &|folder| {
            truncate(&folder.join("records.1/db"), 0);
            for entry in fs::read_dir(folder.join("records.1")).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() && path.to_str().unwrap().contains("snap") {
                    fs::remove_file(path).unwrap();
                }
            }
        },
        Expect::Lost,
    );
    check("conf torn", &|folder| truncate(&folder.join("records.1/conf"), 20), Expect::Lost);
}

/// A buffer as it was when it was closed.
struct Life {
    epoch: Epoch,
    /// Samples, events: those that are not acknowledged.
    pending: [Vec<Record>; 2],
    /// Samples, events: all that were ever appended, by sequence number from 1.
    records: [Vec<Record>; 2],
}

/// Both lanes, in the order of the arrays here.
const LANES: [Lane; 2] = [Lane::Samples, Lane::Events];

struct Queue;

impl Wary for Queue {
    type Life = Life;

    fn fill(&self, folder: &Path, random: &mut StdRng) -> Life {
        let mut buffer = open(folder);
        let ticks = random.random_range(1..60);
        let begin = Instant::now();
        let mut records = [Vec::new(), Vec::new()];
        for tick in 0..ticks {
            let mut drafts = vec![observation(tick)];
            if random.random_range(0..4) == 0 {
                // From a few bytes through some that take many parts.
                drafts.push(facts(2 * 10_usize.pow(random.random_range(1..=5))));
            }
            buffer.append(&drafts).unwrap();
            for (lane, records) in LANES.into_iter().zip(&mut records) {
                let known = records.len() as u64;
                records.extend(buffer.pending(lane, known, super::EVERYTHING).unwrap());
            }
            if random.random_range(0..8) == 0 {
                let through = random.random_range(0..=tick as u64);
                let now = begin + Duration::from_mins(tick as u64);
                buffer.acknowledge(Lane::Samples, 1..=through, now).unwrap();
            }
            if random.random_range(0..20) == 0 {
                buffer.forget_through(Lane::Samples, random.random_range(0..=tick as u64)).unwrap();
            }
            if random.random_range(0..20) == 0 {
                drop(buffer);
                buffer = open(folder);
            }
        }
        let pending = LANES.map(|lane| all(&mut buffer, lane));
        Life { epoch: buffer.epoch(), pending, records }
    }

    fn check(&self, life: &Life, folder: &Path, damaged: &Path) -> Harm {
        let mut buffer = open(folder);
        // What is damaged may come to light only when it is read.
        let found = LANES.map(|lane| buffer.pending(lane, 0, super::EVERYTHING));
        let harm = if buffer.epoch() == life.epoch {
            // Records that were acknowledged since the last append may be pending again.
            for (found, pending) in found.into_iter().zip(&life.pending) {
                let found = found.unwrap();
                assert!(found.ends_with(pending), "{} of {}", found.len(), pending.len());
            }
            check_kept(life, &mut buffer);
            Harm::None
        } else {
            let lost = gaps(&mut buffer);
            assert!(lost.iter().all(|gap| !gap.reason.is_empty()), "{lost:?}");
            let declared: Vec<_> = lost.iter().map(lane_and_numbers).collect();
            assert_eq!(declared, LOST);
            assert_eq!(all(&mut buffer, Lane::Events).len(), LOST.len());
            assert_eq!(all(&mut buffer, Lane::Samples), []);
            let within = damaged.strip_prefix("records.1").unwrap_or(Path::new("db"));
            assert!(folder.join("quarantine").join(within).exists(), "it was not set aside");
            Harm::Declared
        };
        buffer.append(&[observation(99)]).unwrap();
        let after = (buffer.epoch(), all(&mut buffer, Lane::Samples));
        drop(buffer);
        let mut buffer = open(folder);
        assert_eq!((buffer.epoch(), all(&mut buffer, Lane::Samples)), after);
        harm
    }
}

/// What is kept is what was appended, and can be read.
fn check_kept(life: &Life, buffer: &mut Buffer) {
    for (lane, records) in LANES.into_iter().zip(&life.records) {
        let committed = Ranges::through(buffer.kept_from(lane) - 1);
        buffer.reconcile(lane, &committed, Instant::now()).unwrap();
        let kept = all(buffer, lane);
        assert_eq!(kept.len() as u64, records.len() as u64 - committed.last(), "of lane {lane}");
        assert!(records.ends_with(&kept), "lane {lane} has other records");
    }
    assert_eq!(frames(buffer).len(), all(buffer, Lane::Samples).len());
}

#[test]
fn damage_anywhere_serves_nothing_wrong_and_is_declared() {
    survives_damage(&Queue, FEW);
}
