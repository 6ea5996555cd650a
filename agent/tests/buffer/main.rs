//! The buffer keeps what it confirmed, in order, whatever happens to it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

#[cfg(target_os = "linux")]
mod damage;
mod kept;
mod lives;
#[cfg(target_os = "linux")]
mod power_cut;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use upkeep_agent::buffer::{Buffer, Draft, KeepFree, Options, Portion, Record};
use upkeep_codec::{Frame, KeyFrame, decode};
use upkeep_model::{Event, EventKind, Gap, HostFacts, Lane, Observation, is_stale};
use upkeep_wire::decode_event;

const NOW: i64 = 1_700_000_000_000;
const EVERYTHING: Portion = Portion { records: 1_000_000, bytes: usize::MAX };

/// Set in the child processes that append until they are killed.
const CHILD: &str = "UPKEEP_TEST_BUFFER";

fn options(limit_bytes: u64) -> Options {
    Options { limit_bytes, keep_free: KeepFree { percent: 0, bytes: 0 } }
}

fn open(folder: &Path) -> Buffer {
    Buffer::open(folder, options(64 << 20), NOW).unwrap()
}

fn observation(tick: i64) -> Draft {
    let mut observation = Observation::at(NOW + tick * 10_000);
    for cpu in 0..20 {
        let label = cpu.to_string();
        observation.counter("cpu_seconds_total", "", &[("cpu", &label)], (tick * 7 + cpu) as f64);
    }
    Draft::Observation(observation)
}

fn facts(length: usize) -> Draft {
    let facts = HostFacts { kernel: "k".repeat(length), ..HostFacts::default() };
    Draft::Event(Event { at_ms: NOW, kind: EventKind::Facts(Box::new(facts)) })
}

fn all(buffer: &mut Buffer, lane: Lane) -> Vec<Record> {
    buffer.pending(lane, 0, EVERYTHING).unwrap()
}

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.sequence).collect()
}

fn gaps(buffer: &mut Buffer) -> Vec<Gap> {
    let events = all(buffer, Lane::Events);
    let gap = |record: &Record| match decode_event(&record.body).unwrap().kind {
        EventKind::Gap(gap) => Some(gap),
        _ => None,
    };
    events.iter().filter_map(gap).collect()
}

/// Decodes all pending samples as a collector would that has nothing but them and the key frames.
fn frames(buffer: &mut Buffer) -> Vec<Frame> {
    let mut key: Option<(u64, KeyFrame)> = None;
    let mut frames = Vec::new();
    for record in all(buffer, Lane::Samples) {
        if let Some(wanted) = record.key
            && key.as_ref().is_none_or(|(sequence, _)| *sequence != wanted)
        {
            let body = buffer.key_frame(wanted).unwrap().expect("the key frame is kept");
            key = Some((wanted, decode(&body, |_| None).unwrap().to_key()));
        }
        let base = key.as_ref().map(|(_, key)| key);
        let frame = decode(&record.body, |_| base).unwrap();
        if frame.is_key {
            key = Some((record.sequence, frame.to_key()));
        }
        frames.push(frame);
    }
    frames
}

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = open(folder.path());
    let epoch = buffer.epoch();
    for tick in 0..5 {
        buffer.append(&[observation(tick), facts(10)]).unwrap();
    }
    let before = (all(&mut buffer, Lane::Samples), all(&mut buffer, Lane::Events));
    buffer.forget_through(Lane::Samples, 2).unwrap();
    drop(buffer);

    let mut buffer = open(folder.path());
    assert_eq!(buffer.epoch(), epoch);
    assert_eq!(all(&mut buffer, Lane::Events), before.1);
    assert_eq!(all(&mut buffer, Lane::Samples), before.0[2..]);
    buffer.append(&[observation(9)]).unwrap();
    assert_eq!(numbers(&all(&mut buffer, Lane::Samples)), [3, 4, 5, 6]);
    let times: Vec<i64> = frames(&mut buffer).iter().map(|frame| frame.timestamp_ms).collect();
    assert_eq!(times, [2, 3, 4, 9].map(|tick| NOW + tick * 10_000));
    assert_eq!(buffer.series_since(0).len(), 20);
    assert_eq!(buffer.series_since(19)[0].labels.get("cpu"), Some("19"));
    assert_eq!(gaps(&mut buffer), []);
}

/// 200 series that stay and 300 that are only in this observation.
fn churn(tick: i64) -> Draft {
    let mut observation = Observation::at(NOW + tick * 10_000);
    for number in (0..200).chain(1000 * (tick + 1)..1000 * (tick + 1) + 300) {
        observation.gauge("device_bytes", "", &[("device", &number.to_string())], tick as f64);
    }
    Draft::Observation(observation)
}

#[test]
fn series_that_ended_lose_their_numbers_once_everything_was_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = open(folder.path());
    let devices = |buffer: &Buffer| -> Vec<String> {
        let series = buffer.series_since(0).iter();
        series.map(|one| one.labels.get("device").unwrap().to_owned()).collect()
    };
    let (mut alive, mut numberings, mut most) = (BTreeSet::new(), BTreeSet::new(), 0);
    for tick in 0..30 {
        buffer.append(&[churn(tick)]).unwrap();
        if tick % 10 == 7 {
            let before = devices(&buffer);
            drop(buffer);
            buffer = open(folder.path());
            assert_eq!(devices(&buffer), before, "tick {tick}");
        } else {
            numberings.insert(buffer.numbering());
        }
        let known = devices(&buffer);
        most = most.max(known.len());
        // As the collector sees it: a series is alive until a frame ends it.
        for frame in frames(&mut buffer) {
            for (number, value) in frame.numbers.iter().zip(&frame.values) {
                let device = known[*number as usize].clone();
                if is_stale(*value) {
                    alive.remove(&device)
                } else {
                    alive.insert(device)
                };
            }
        }
        let seen: BTreeSet<String> = (0..200)
            .chain(1000 * (tick + 1)..1000 * (tick + 1) + 300)
            .map(|number: i64| number.to_string())
            .collect();
        if tick % 10 != 8 {
            assert_eq!(alive, seen, "tick {tick}");
        } else {
            // The first frame after a start ends nothing, since nobody knows what was before.
            alive = seen;
        }
        let last = buffer.lane(Lane::Samples).next_sequence - 1;
        buffer.forget_through(Lane::Samples, last).unwrap();
    }
    assert!((1500..2100).contains(&most), "{most} series at once, of 9200 in all");
    assert!(numberings.len() > 4, "{numberings:?}");

    // What waits is read by its numbers, so they stay.
    buffer.append(&[churn(30)]).unwrap();
    let numbering = buffer.numbering();
    let before = buffer.series_since(0).len();
    for tick in 31..45 {
        buffer.append(&[churn(tick)]).unwrap();
    }
    assert_eq!(frames(&mut buffer).len(), 15);
    let more = buffer.series_since(0).len() - before;
    assert!(buffer.numbering() == numbering && more == 14 * 300, "{more}");
}

#[test]
fn records_of_every_length_come_back_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = open(folder.path());
    let lengths = [0, 4_000, 4_096, 5_000, 300_000];
    for length in lengths {
        buffer.append(&[facts(length)]).unwrap();
    }
    drop(buffer);
    let mut buffer = open(folder.path());
    let found: Vec<usize> = all(&mut buffer, Lane::Events)
        .iter()
        .map(|record| match decode_event(&record.body).unwrap().kind {
            EventKind::Facts(facts) => facts.kernel.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(found, lengths);
    buffer.forget_through(Lane::Events, 99).unwrap();
    assert_eq!(all(&mut buffer, Lane::Events), []);
    assert_eq!((buffer.statistics().bytes, buffer.lane(Lane::Events).acknowledged), (0, 5));
    assert!(buffer.append(&[facts(3 << 20)]).is_err());
    buffer.append(&[facts(1)]).unwrap();
    assert_eq!(numbers(&all(&mut buffer, Lane::Events)), [6]);
}

#[test]
fn a_portion_ends_at_either_bound_and_is_never_empty() {
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = open(folder.path());
    for _ in 0..6 {
        buffer.append(&[facts(1000)]).unwrap();
    }
    let mut check = |after: u64, records: u64, bytes: usize, expect: &[u64]| {
        let found = buffer.pending(Lane::Events, after, Portion { records, bytes }).unwrap();
        assert_eq!(numbers(&found), expect, "after {after}, {records} records, {bytes} bytes");
    };
    check(0, 3, usize::MAX, &[1, 2, 3]);
    check(4, 3, usize::MAX, &[5, 6]);
    check(0, 9, 2_800, &[1, 2]);
    check(2, 9, 1, &[3]);
    check(6, 9, 1, &[]);
    check(7, 9, 1, &[]);
    buffer.forget_through(Lane::Events, 4).unwrap();
    let found = buffer.pending(Lane::Events, 0, EVERYTHING).unwrap();
    assert_eq!(numbers(&found), [5, 6]);
}

#[test]
fn a_full_buffer_drops_its_oldest_samples_and_declares_each() {
    const LIMIT: u64 = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = Buffer::open(folder.path(), options(LIMIT), NOW).unwrap();
    buffer.append(&[facts(20_000)]).unwrap();
    for tick in 0..1500 {
        buffer.append(&[observation(tick)]).unwrap();
        assert!(buffer.statistics().bytes <= LIMIT);
    }
    drop(buffer);
    let mut buffer = Buffer::open(folder.path(), options(LIMIT), NOW).unwrap();
    let pending = all(&mut buffer, Lane::Samples);
    let gaps = gaps(&mut buffer);
    assert!((2..40).contains(&gaps.len()), "{} gaps", gaps.len());
    let mut lost = Vec::new();
    for gap in &gaps {
        assert_eq!(gap.lane, Lane::Samples);
        assert_eq!(gap.from_ms, Some(NOW + (gap.first as i64 - 1) * 10_000));
        assert_eq!(gap.to_ms, Some(NOW + (gap.last as i64 - 1) * 10_000));
        lost.extend(gap.first..=gap.last);
    }
    let accounted: Vec<u64> = lost.iter().copied().chain(numbers(&pending)).collect();
    assert_eq!(accounted, (1..=1500).collect::<Vec<u64>>());
    assert_eq!(frames(&mut buffer).len(), pending.len());
    let last = frames(&mut buffer).pop().unwrap();
    assert_eq!((last.timestamp_ms, last.values[1]), (NOW + 14_990_000, 10_494.0));
    assert_eq!(buffer.statistics().oldest_ms, Some(NOW));
}

#[test]
fn events_go_last_and_leave_a_gap_in_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = Buffer::open(folder.path(), options(50_000), NOW).unwrap();
    for _ in 0..5 {
        buffer.append(&[observation(1)]).unwrap();
        buffer.append(&[facts(20_000)]).unwrap();
    }
    let events = all(&mut buffer, Lane::Events);
    assert_eq!(numbers(&events), (1..=events.len() as u64).collect::<Vec<_>>());
    let lost: Vec<Gap> =
        gaps(&mut buffer).into_iter().filter(|gap| gap.lane == Lane::Events).collect();
    assert!(!lost.is_empty() && lost.iter().all(|gap| gap.first == gap.last), "{lost:?}");
    assert_eq!(lost.len() as u64, buffer.statistics().dropped_events);
    assert!(buffer.statistics().bytes <= 50_000);
    assert!(events.iter().any(|event| event.body.len() > 20_000), "the newest is kept");
}

#[test]
fn a_key_frame_stays_while_a_record_may_lean_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = open(folder.path());
    for tick in 0..3 {
        buffer.append(&[observation(tick)]).unwrap();
    }
    buffer.forget_through(Lane::Samples, 3).unwrap();
    assert_eq!(all(&mut buffer, Lane::Samples), []);
    assert!(buffer.key_frame(1).unwrap().is_some());
    assert_eq!(buffer.key_frame(2).unwrap(), None);
    for tick in 3..70 {
        buffer.append(&[observation(tick)]).unwrap();
    }
    assert_eq!(frames(&mut buffer).len(), 67);
    drop(buffer);
    let mut buffer = open(folder.path());
    assert_eq!(frames(&mut buffer).len(), 67);
    buffer.forget_through(Lane::Samples, 63).unwrap();
    assert!(buffer.key_frame(1).unwrap().is_some(), "record 64 leans on it");
    buffer.forget_through(Lane::Samples, 64).unwrap();
    assert_eq!(buffer.key_frame(1).unwrap(), None);
    assert_eq!(frames(&mut buffer).len(), 6);
}

#[test]
fn a_drained_buffer_moves_to_a_fresh_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = open(folder.path());
    let epoch = buffer.epoch();
    buffer.append(&[observation(0)]).unwrap();
    for _ in 0..12 {
        buffer.append(&[facts(1_900_000)]).unwrap();
    }
    buffer.forget_through(Lane::Samples, 1).unwrap();
    assert!(folder.path().join("records.1").exists());
    buffer.forget_through(Lane::Events, 12).unwrap();
    assert!(!folder.path().join("records.1").exists());
    let length = fs::metadata(folder.path().join("records.2/db")).unwrap().len();
    assert!(length < 2 << 20, "{length} bytes");
    buffer.append(&[observation(1)]).unwrap();
    drop(buffer);
    let mut buffer = open(folder.path());
    assert_eq!((buffer.epoch(), buffer.lane(Lane::Events).next_sequence), (epoch, 13));
    assert_eq!(frames(&mut buffer).len(), 1);
}

/// A small file system of its own that goes when this is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(folder.path());
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_confirmed() {
    let Some(disk) = SmallDisk::mount("6m") else {
        eprintln!("SKIPPED: only root can mount the small disk that this test fills");
        return;
    };
    let folder = disk.0.path().join("buffer");
    let ballast = disk.0.path().join("ballast");
    let mut buffer = open(&folder);
    let epoch = buffer.epoch();
    let mut confirmed = Vec::new();
    let mut failed = 0;
    for tick in 0..60 {
        if tick == 20 {
            // Whatever is left is taken by somebody else.
            let mut file = fs::File::create(&ballast).unwrap();
            while file.write_all(&[1; 4096]).is_ok() {}
        }
        if tick == 40 {
            fs::remove_file(&ballast).unwrap();
        }
        match buffer.append(&[observation(tick), facts(20_000)]) {
            Ok(()) => confirmed.push(NOW + tick * 10_000),
            Err(_) => failed += 1,
        }
    }
    assert!(failed > 0, "the disk was never full");
    assert_eq!(buffer.statistics().refused, failed);
    drop(buffer);
    let mut buffer = open(&folder);
    assert_eq!(buffer.epoch(), epoch);
    let times: Vec<i64> = frames(&mut buffer).iter().map(|frame| frame.timestamp_ms).collect();
    assert_eq!(times, confirmed);
    let declared = gaps(&mut buffer).pop().expect("the last loss is declared");
    assert!(declared.from_ms.unwrap() >= NOW + 20 * 10_000, "{declared:?}");
    assert_eq!(declared.to_ms, Some(NOW + 39 * 10_000), "{declared:?}");
}

/// Not a test by itself: as a child process it appends and prints what was confirmed.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let mut buffer = open(Path::new(&folder));
    let mut tick = buffer.lane(Lane::Samples).next_sequence;
    let mut out = std::io::stdout();
    loop {
        buffer.append(&[observation(tick as i64), facts(6_000)]).unwrap();
        writeln!(out, "confirmed {tick}").unwrap();
        if tick.is_multiple_of(40) {
            buffer.forget_through(Lane::Events, tick - 10).unwrap();
        }
        tick += 1;
    }
}

#[test]
fn kill_9_loses_nothing_that_was_confirmed() {
    let rounds = 25;
    let folder = tempfile::tempdir().unwrap();
    let mut confirmed = BTreeSet::new();
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_appends_until_it_is_killed", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let number = |line: String| line.strip_prefix("confirmed ")?.parse::<u64>().ok();
        let wanted = 1 + round * 7 % 30;
        let mut seen = 0;
        for line in &mut lines {
            let Some(number) = number(line.unwrap()) else { continue };
            confirmed.insert(number);
            seen += 1;
            if seen == wanted {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen, wanted, "the child ended by itself");
        confirmed.extend(lines.map_while(Result::ok).filter_map(number));
    }
    let mut buffer = open(folder.path());
    let present: BTreeSet<u64> = numbers(&all(&mut buffer, Lane::Samples)).into_iter().collect();
    let lost: Vec<_> = confirmed.difference(&present).collect();
    assert!(lost.is_empty(), "{lost:?} were confirmed and are gone");
    assert_eq!(frames(&mut buffer).len(), present.len());
    assert_eq!(gaps(&mut buffer), []);
}
