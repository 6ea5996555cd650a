//! What was acknowledged stays for a while, for a collector that is restored from a backup.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use upkeep_agent::buffer::Buffer;
use upkeep_model::{Lane, Ranges, is_stale};

use super::{NOW, all, churn, facts, frames, gaps, numbers, observation, open, options};

/// Appends so many observations and gives the buffer.
fn filled(folder: &Path, ticks: i64) -> Buffer {
    let mut buffer = open(folder);
    for tick in 0..ticks {
        buffer.append(&[observation(tick), facts(10)]).unwrap();
    }
    buffer
}

#[test]
fn what_was_acknowledged_is_kept_and_can_be_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = filled(folder.path(), 80);
    let now = Instant::now();
    for lane in Lane::ALL {
        buffer.acknowledge(lane, 1..=79, now).unwrap();
        assert_eq!((buffer.kept_from(lane), buffer.lane(lane).acknowledged), (1, 79));
    }
    let pending = numbers(&all(&mut buffer, Lane::Samples));
    assert_eq!((pending, buffer.statistics().samples), (vec![80], 1));
    assert!(buffer.statistics().bytes < 2_000, "{:?}", buffer.statistics());
    buffer.append(&[observation(80), facts(10)]).unwrap();
    drop(buffer);

    let mut buffer = open(folder.path());
    assert_eq!(buffer.kept_from(Lane::Samples), 1);
    assert_eq!(numbers(&all(&mut buffer, Lane::Samples)), [80, 81]);
    // The collector was restored from a backup, and had taken live samples beside a backlog then.
    let committed: Ranges = [1..=70, 75..=76].into_iter().collect();
    buffer.reconcile(Lane::Samples, &committed, now).unwrap();
    buffer.reconcile(Lane::Events, &Ranges::through(60), now).unwrap();
    assert_eq!(numbers(&all(&mut buffer, Lane::Samples)), (71..=81).collect::<Vec<_>>());
    assert_eq!(numbers(&all(&mut buffer, Lane::Events)), (61..=81).collect::<Vec<_>>());
    let statistics = buffer.statistics();
    assert_eq!((statistics.samples, statistics.events), (9, 21));
    assert_eq!(frames(&mut buffer).len(), 11);
    buffer.acknowledge(Lane::Samples, 77..=81, now).unwrap();
    assert_eq!((buffer.lane(Lane::Samples).acknowledged, buffer.statistics().samples), (70, 4));
    buffer.acknowledge(Lane::Samples, 1..=74, now).unwrap();
    assert_eq!((buffer.lane(Lane::Samples).acknowledged, buffer.statistics().samples), (81, 0));
    drop(buffer);
    assert_eq!(gaps(&mut open(folder.path())), []);
}

#[test]
fn what_was_acknowledged_goes_after_a_quarter_of_an_hour() {
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = filled(folder.path(), 70);
    let begin = Instant::now();
    let mut check = |minutes: u64, through: u64, expect: u64| {
        let now = begin + Duration::from_mins(minutes);
        buffer.acknowledge(Lane::Samples, 1..=through, now).unwrap();
        assert_eq!(buffer.kept_from(Lane::Samples), expect, "after {minutes} minutes");
    };
    check(0, 10, 1);
    check(2, 65, 1);
    check(14, 66, 1);
    check(15, 67, 11);
    check(16, 68, 11);
    check(17, 69, 66);
    buffer.append(&[observation(70)]).unwrap();
    drop(buffer);
    let mut buffer = open(folder.path());
    // Record 65 is the key frame of those behind it.
    assert_eq!((buffer.kept_from(Lane::Samples), buffer.kept_from(Lane::Events)), (65, 1));
    let before = Ranges::through(65);
    buffer.reconcile(Lane::Samples, &before, begin).unwrap();
    assert_eq!(frames(&mut buffer).len(), 6);
    // What is no longer there cannot be pending again.
    buffer.reconcile(Lane::Samples, &Ranges::through(20), begin).unwrap();
    assert_eq!(numbers(&all(&mut buffer, Lane::Samples)), (65..=71).collect::<Vec<_>>());
}

#[test]
fn what_is_kept_goes_before_anything_is_lost() {
    const LIMIT: u64 = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = Buffer::open(folder.path(), options(LIMIT), NOW).unwrap();
    let now = Instant::now();
    for tick in 0..1500 {
        buffer.append(&[observation(tick), facts(10)]).unwrap();
        for lane in Lane::ALL {
            buffer.acknowledge(lane, 1..=tick as u64 + 1, now).unwrap();
        }
    }
    for lane in Lane::ALL {
        let kept = 1501 - buffer.kept_from(lane);
        assert!((10..150).contains(&kept), "{kept} records of lane {lane}");
    }
    // Now nothing is delivered, and all that is kept goes before the first loss.
    let mut tick = 1500;
    while buffer.statistics().dropped_samples == 0 {
        assert_eq!(gaps(&mut buffer), []);
        buffer.append(&[observation(tick)]).unwrap();
        assert!(buffer.statistics().bytes <= LIMIT);
        tick += 1;
    }
    let lost: Vec<_> = gaps(&mut buffer).into_iter().map(|gap| (gap.first, gap.last)).collect();
    assert_eq!(lost, [(1501, buffer.kept_from(Lane::Samples) - 1)]);
    assert_eq!(buffer.kept_from(Lane::Events), 1501);
    drop(buffer);
    let mut buffer = Buffer::open(folder.path(), options(LIMIT), NOW).unwrap();
    let pending = numbers(&all(&mut buffer, Lane::Samples));
    assert_eq!(pending, (lost[0].1 + 1..=tick as u64).collect::<Vec<_>>());
}

/// A limit that little more than [`FILLED`] observations take.
const SMALL: u64 = 30_000;
const FILLED: i64 = 60;

fn nearly_full(folder: &Path) -> Buffer {
    let mut buffer = Buffer::open(folder, options(SMALL), NOW).unwrap();
    for tick in 0..FILLED {
        buffer.append(&[observation(tick)]).unwrap();
    }
    buffer
}

/// Observes on until something that was there went to make room.
fn overfill(buffer: &mut Buffer) {
    let kept_from = buffer.kept_from(Lane::Samples);
    for tick in FILLED.. {
        buffer.append(&[observation(tick)]).unwrap();
        if buffer.kept_from(Lane::Samples) > kept_from {
            return;
        }
    }
}

#[test]
fn what_the_collector_has_is_not_declared_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = nearly_full(folder.path());
    buffer.acknowledge(Lane::Samples, 11..=20, Instant::now()).unwrap();
    overfill(&mut buffer);
    let lost: Vec<_> = gaps(&mut buffer).into_iter().map(|gap| (gap.first, gap.last)).collect();
    assert_eq!(lost, [(1, 10), (21, buffer.kept_from(Lane::Samples) - 1)]);
    assert!(frames(&mut buffer).len() > 10);
}

#[test]
fn a_buffer_that_was_opened_again_declares_what_it_drops() {
    let folder = tempfile::tempdir().unwrap();
    drop(nearly_full(folder.path()));
    let mut buffer = Buffer::open(folder.path(), options(SMALL), NOW).unwrap();
    overfill(&mut buffer);
    let lost: Vec<_> = gaps(&mut buffer).into_iter().map(|gap| (gap.first, gap.last)).collect();
    assert_eq!(lost, [(1, buffer.kept_from(Lane::Samples) - 1)]);
}

#[test]
fn what_is_kept_goes_when_its_series_are_numbered_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = open(folder.path());
    let now = Instant::now();
    let mut anew = Vec::new();
    for tick in 0..20 {
        let before = buffer.numbering();
        buffer.append(&[churn(tick), facts(10)]).unwrap();
        let last = buffer.lane(Lane::Samples).next_sequence - 1;
        if buffer.numbering() != before {
            assert_eq!(buffer.kept_from(Lane::Samples), last, "tick {tick}");
            anew.push(last);
        }
        buffer.acknowledge(Lane::Samples, 1..=last, now).unwrap();
    }
    assert!(anew.len() > 2, "{anew:?}");
    buffer.append(&[churn(20)]).unwrap();
    let kept_from = buffer.kept_from(Lane::Samples);
    assert_eq!((Some(&kept_from), buffer.kept_from(Lane::Events)), (anew.last(), 1));
    let bytes = buffer.statistics().bytes;
    drop(buffer);

    let mut buffer = open(folder.path());
    assert_eq!((buffer.kept_from(Lane::Samples), buffer.statistics().bytes), (kept_from, bytes));
    // A collector of before all that gets what is there, and reads it by the numbers that hold now.
    buffer.reconcile(Lane::Samples, &Ranges::through(1), now).unwrap();
    assert_eq!(numbers(&all(&mut buffer, Lane::Samples)), (kept_from..=21).collect::<Vec<_>>());
    let known = buffer.series_since(0).to_vec();
    for (frame, tick) in frames(&mut buffer).iter().zip(kept_from as i64 - 1..) {
        let values = frame.numbers.iter().zip(&frame.values);
        let alive = values.filter(|(_, value)| !is_stale(**value));
        let devices = alive.map(|(number, value)| {
            assert_eq!((*value, frame.timestamp_ms), (tick as f64, NOW + tick * 10_000));
            known[*number as usize].labels.get("device").unwrap().parse::<i64>().unwrap()
        });
        let expect = (0..200).chain(1000 * (tick + 1)..1000 * (tick + 1) + 300);
        assert_eq!(devices.collect::<BTreeSet<_>>(), expect.collect(), "tick {tick}");
    }
}

#[test]
fn a_full_buffer_numbers_its_series_anew_and_counts_right() {
    const LIMIT: u64 = 40_000;
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = Buffer::open(folder.path(), options(LIMIT), NOW).unwrap();
    while buffer.statistics().bytes < LIMIT - 4_000 {
        buffer.append(&[facts(1_000)]).unwrap();
    }
    let (now, mut numberings) = (Instant::now(), BTreeSet::new());
    for tick in 0..40 {
        buffer.append(&[churn(tick), facts(100)]).unwrap();
        numberings.insert(buffer.numbering());
        let bytes = buffer.statistics().bytes;
        assert!(bytes <= LIMIT, "{bytes} at tick {tick}");
        if tick % 4 == 3 {
            drop(buffer);
            buffer = Buffer::open(folder.path(), options(LIMIT), NOW).unwrap();
            assert_eq!(buffer.statistics().bytes, bytes, "tick {tick}");
        }
        let last = buffer.lane(Lane::Samples).next_sequence - 1;
        buffer.acknowledge(Lane::Samples, 1..=last, now).unwrap();
    }
    // Ten of them only because it was opened again.
    assert!(numberings.len() > 14, "{numberings:?}");
    assert_eq!(buffer.statistics().dropped_samples, 0);
    assert!(gaps(&mut buffer).iter().all(|gap| gap.lane == Lane::Events));
}
