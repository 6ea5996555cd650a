//! After power cuts the state has every event that it confirmed, once, with the mark that goes with
//! them.

use std::path::Path;

use rand::RngExt;
use rand::rngs::StdRng;
use rusqlite::{Connection, OpenFlags};
use upkeep_disk::{Durable, Ordering, Recording, survives_power_cuts};
use upkeep_model::{Epoch, HostId, StreamKey};

use super::{ChangeFilter, EventRecord, FILE_NAME, State, enrolled_host, numbered_event};

/// States that are tried unless told otherwise.
const FEW: u64 = 26;

/// Batches in a life.
const BATCHES: u64 = 60;

const HOST: u128 = 7;

/// The mark of the events lane after each batch.
struct Life {
    marks: Vec<u64>,
}

struct Events;

/// By `unix-excl`, SQLite reads, writes and syncs as ever, but keeps the index of its write-ahead log
/// in memory instead of a mapped file. Such a mapping can stop this process for ever, since it serves
/// the file system itself; and nothing of that file outlives a cut.
fn open(folder: &Path) -> State {
    let flags = OpenFlags::default();
    State::open_by(&folder.join(FILE_NAME), |path| {
        Connection::open_with_flags_and_vfs(path, flags, c"unix-excl")
    })
    .unwrap()
}

fn stream() -> StreamKey {
    StreamKey { host: HostId(uuid::Uuid::from_u128(HOST)), epoch: Epoch([3; 16]) }
}

fn event(sequence: u64) -> EventRecord {
    numbered_event(sequence, format!("{sequence:3000}"))
}

impl Durable for Events {
    type Life = Life;

    fn live(&self, recording: &Recording, random: &mut StdRng) -> Life {
        let mut state = open(recording.path());
        enrolled_host(&state, HOST, "web1");
        let mut life = Life { marks: Vec::new() };
        let mut sequence = 0;
        for _ in 0..BATCHES {
            let last = sequence + random.random_range(1..=12);
            let records: Vec<EventRecord> = (sequence + 1..=last).map(event).collect();
            let committed = state.commit_events(stream(), &records, 0).unwrap();
            assert_eq!(committed.through, last);
            sequence = last;
            recording.mark(life.marks.len() as u64);
            life.marks.push(last);
            if random.random_range(0..10) == 0 {
                drop(state);
                state = open(recording.path());
            }
        }
        life
    }

    fn open(&self, folder: &Path) {
        drop(open(folder));
    }

    fn check(&self, life: &Life, mark: Option<u64>, folder: &Path) {
        let state = open(folder);
        let confirmed = mark.map_or(0, |mark| life.marks[usize::try_from(mark).unwrap()]);
        let through = state.event_mark(stream()).unwrap();
        assert!(through >= confirmed, "{through} of {confirmed}");
        assert!(through == 0 || life.marks.contains(&through), "{through} is within a batch");
        let mut changes: Vec<i64> = state
            .changes(&ChangeFilter::default(), u32::MAX)
            .unwrap()
            .iter()
            .map(|seen| seen.at_ms)
            .collect();
        changes.reverse();
        let expected: Vec<i64> = (1..=through)
            .filter(|number| !number.is_multiple_of(5))
            .map(|number| number as i64)
            .collect();
        assert_eq!(changes, expected);
        assert_eq!(state.gaps(stream().host, u32::MAX).unwrap().len() as u64, through / 5);
        if mark.is_some() {
            let records: Vec<EventRecord> = (through + 1..through + 5).map(event).collect();
            assert_eq!(state.commit_events(stream(), &records, 0).unwrap().through, through + 4);
        }
    }
}

#[test]
fn confirmed_events_survive_power_cuts() {
    survives_power_cuts(&Events, Ordering::Journalled, FEW);
}

#[test]
fn confirmed_events_survive_power_cuts_where_nothing_is_ordered() {
    survives_power_cuts(&Events, Ordering::Loose, FEW);
}
