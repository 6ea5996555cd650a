//! Damage to the state's files: no row is served that was not written, and what is lost is declared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use upkeep_disk::{Harm, Wary, survives_damage};
use upkeep_model::{
    Epoch, Event, EventKind, HostId, InstalledPackage, PackageInventory, StreamKey, state_hash,
};

use super::{
    By, DamagedPart, EventRecord, FILE_NAME, State, enrolled_host, lock, numbered_event, row_sum,
    tide,
};

/// Damages that are tried unless told otherwise.
const FEW: u64 = 125;

const HOSTS: u128 = 4;

const LIFE: upkeep_model::Life = upkeep_model::Life([1; 16]);

/// Rows of a table, as text.
type Rows = BTreeMap<String, BTreeSet<String>>;

struct Life {
    /// Every version of every row that ever was.
    ever: Rows,
    /// The rows as they were last.
    last: Rows,
}

/// Every row, but for those that opening writes itself.
fn rows(connection: &Connection) -> Rows {
    let mut rows = Rows::new();
    for table in row_sum::tables(connection).unwrap() {
        if table == "commits" || table == "damage" {
            continue;
        }
        let columns = row_sum::columns(connection, &table).unwrap();
        let sql = format!("SELECT {} FROM {table}", columns.join(", "));
        let mut reading = connection.prepare(&sql).unwrap();
        let row = |row: &rusqlite::Row<'_>| {
            (0..columns.len()).map(|at| row.get::<_, Value>(at)).collect::<Result<Vec<_>, _>>()
        };
        let found = reading.query_map([], row).unwrap();
        rows.insert(table, found.map(|row| format!("{:?}", row.unwrap())).collect());
    }
    rows
}

fn minus(one: &Rows, other: &Rows) -> Vec<String> {
    let none = BTreeSet::new();
    let of = |table: &String| other.get(table).unwrap_or(&none);
    one.iter().flat_map(|(table, rows)| rows.difference(of(table)).cloned()).collect()
}

fn event(sequence: u64) -> EventRecord {
    numbered_event(sequence, format!("{sequence:300}"))
}

/// Leaves the log as it is when the database is closed, as a process that is killed does.
fn keep_log(state: &State) {
    for connection in [&state.connections.writer, &state.connections.reader] {
        let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        lock(connection).set_db_config(keep, true).unwrap();
    }
}

struct Database;

impl Wary for Database {
    type Life = Life;

    fn fill(&self, folder: &Path, random: &mut StdRng) -> Life {
        let path = folder.join(FILE_NAME);
        let state = State::open(&path).unwrap();
        let hosts: Vec<HostId> =
            (1..=HOSTS).map(|id| enrolled_host(&state, id, &format!("web{id}"))).collect();
        let mut sequences = vec![0; hosts.len()];
        // A log that is written over and over again, or one that has all.
        let pages = if random.random() { 20 } else { 10_000 };
        lock(&state.connections.writer).pragma_update(None, "wal_autocheckpoint", pages).unwrap();
        let mut ever = rows(&lock(&state.connections.reader));
        for step in 0..random.random_range(5..40) {
            let chosen = random.random_range(0..hosts.len());
            let stream = StreamKey { host: hosts[chosen], epoch: Epoch([3; 16]) };
            let first = sequences[chosen] + 1;
            sequences[chosen] = first + random.random_range(0..9);
            let events: Vec<_> = (first..=sequences[chosen]).map(event).collect();
            state.commit_events(stream, &events, step).unwrap();
            if random.random_range(0..8) == 0 {
                let by = By { actor: "command-line:uid 0".into(), at_ms: step };
                state.rename_host(hosts[chosen], &format!("db{step}"), &by).unwrap();
            }
            for (table, rows) in rows(&lock(&state.connections.reader)) {
                ever.entry(table).or_default().extend(rows);
            }
        }
        let last = rows(&lock(&state.connections.reader));
        if random.random() {
            keep_log(&state);
        }
        Life { ever, last }
    }

    fn check(&self, life: &Life, folder: &Path, _: &Path) -> Harm {
        let path = folder.join(FILE_NAME);
        let state = State::open_checked(&path, 1).unwrap();
        let served = rows(&lock(&state.connections.reader));
        assert_eq!(minus(&served, &life.ever), [""; 0], "never written");
        let (missing, old) = (minus(&life.last, &served), minus(&served, &life.last));
        let declared = state.damage(u32::MAX).unwrap();
        let is_lost = !missing.is_empty() || !old.is_empty();
        assert!(!is_lost || !declared.is_empty(), "not declared: {missing:?}, old: {old:?}");
        assert!(declared.iter().all(|one| one.part == DamagedPart::State));
        let aside = folder.join("quarantine").join("state.1.db");
        assert_eq!(aside.exists(), !declared.is_empty(), "{declared:?}");

        enrolled_host(&state, 99, "new");
        let after = rows(&lock(&state.connections.reader));
        drop(state);
        let state = State::open_checked(&path, 2).unwrap();
        assert_eq!(rows(&lock(&state.connections.reader)), after);
        assert_eq!(state.damage(u32::MAX).unwrap(), declared, "found again");
        if is_lost { Harm::Declared } else { Harm::None }
    }
}

#[test]
fn damage_anywhere_serves_no_wrong_row_and_is_declared() {
    survives_damage(&Database, FEW);
}

/// What is told of the database that [`flipped`] makes.
const TOLD: [&str; 2] = [
    "of changes: 1 rows that do not pass their checksum",
    "set aside: 1 rows of changes do not pass their checksum",
];

/// A database of two hosts with three changes and a package each, of which one letter flipped.
fn flipped(folder: &Path) -> PathBuf {
    let path = folder.join(FILE_NAME);
    let state = State::open(&path).unwrap();
    let package = InstalledPackage {
        name: "bash".to_owned(),
        version: "5.2".to_owned(),
        architecture: "amd64".to_owned(),
    };
    let packages = EventKind::Packages(PackageInventory {
        manager: "dpkg".to_owned(),
        base: None,
        hash: state_hash([&package]),
        installed: vec![package],
        removed: Vec::new(),
    });
    let packages = EventRecord { sequence: 4, event: Ok(Event { at_ms: 4, kind: packages }) };
    for (id, name) in [(1, "web1"), (2, "web2")] {
        let stream = StreamKey { host: enrolled_host(&state, id, name), epoch: Epoch([3; 16]) };
        let events: Vec<_> = (1..=3).map(event).chain([packages.clone()]).collect();
        state.commit_events(stream, &events, 0).unwrap();
        state.accept_life(stream, LIFE).unwrap();
    }
    drop(state);
    let mut bytes = fs::read(&path).unwrap();
    let wanted = b"package-2";
    let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
    bytes[at] ^= 0x20;
    fs::write(&path, bytes).unwrap();
    path
}

fn lost(state: &State) -> Vec<String> {
    state.damage(9).unwrap().into_iter().map(|one| one.lost).collect()
}

#[test]
fn a_flipped_letter_costs_its_row_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open_checked(&flipped(folder.path()), 7).unwrap();
    assert_eq!(state.changes(&Default::default(), 9).unwrap().len(), 5);
    assert_eq!(lost(&state), TOLD);
    let hosts = state.hosts().unwrap();
    assert_eq!(hosts.len(), 2);
    for host in hosts {
        let hash = state.package_states(host.id).unwrap().remove(0).hash;
        assert_eq!(hash, "", "which its agent takes for being asked for everything");
        let stream = StreamKey { host: host.id, epoch: Epoch([3; 16]) };
        assert_eq!(state.life(stream).unwrap(), None);
    }
}

#[test]
fn an_index_that_does_not_agree_is_made_anew_and_costs_no_row() {
    let (folder, state) = super::temporary();
    enrolled_host(&state, 1, "web1");
    let path = folder.path().join(FILE_NAME);
    drop(state);
    let mut bytes = fs::read(&path).unwrap();
    // An entry of the index: three bytes of header, a text of four bytes, the number 1.
    let entry = b"\x03\x15\x09web1";
    let at = bytes.windows(entry.len()).position(|window| window == entry).unwrap();
    bytes[at + 3] ^= 0x02;
    fs::write(&path, bytes).unwrap();
    let state = State::open_checked(&path, 7).unwrap();
    assert!(
        lost(&state)[0].contains("the index sqlite_autoindex_hosts_2 does not agree with hosts")
    );
    assert_eq!(state.find_host("web1").unwrap().unwrap().instance, "web1");
}

#[test]
fn a_definition_that_is_another_is_made_anew_and_costs_no_row() {
    let (folder, state) = super::temporary();
    enrolled_host(&state, 1, "web1");
    drop(state);
    let path = folder.path().join(FILE_NAME);
    let mut bytes = fs::read(&path).unwrap();
    let trigger = b"hosts_insert_sum AFTER INSERT";
    let at = bytes.windows(trigger.len()).position(|window| window == trigger).unwrap();
    bytes[at..at + trigger.len()].copy_from_slice(b"hosts_insert_sum AFTER DELETE");
    fs::write(&path, bytes).unwrap();
    let state = State::open_checked(&path, 7).unwrap();
    let told = "set aside: the definition of hosts_insert_sum on hosts is another";
    assert_eq!(lost(&state), [told]);
    enrolled_host(&state, 2, "web2");
    assert_eq!(state.hosts().unwrap().len(), 2);
}

#[test]
fn a_salvage_that_was_cut_off_is_finished_at_the_next_start() {
    let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let path = flipped(folder.path());
    let done = flipped(other.path());
    drop(State::open_checked(&done, 7).unwrap());
    let work = folder.path().join("state.db.salvaged");
    fs::create_dir(&work).unwrap();
    // The log of the damaged database is none of the new one's.
    let killed = State::open(&path).unwrap();
    enrolled_host(&killed, 3, "web3");
    keep_log(&killed);
    drop(killed);
    assert!(folder.path().join("state.db-wal").exists());
    fs::rename(&done, work.join(FILE_NAME)).unwrap();
    let state = State::open_checked(&path, 8).unwrap();
    assert_eq!((state.hosts().unwrap().len(), lost(&state)), (2, TOLD.map(str::to_owned).to_vec()));
    assert_eq!(state.damage(1).unwrap()[0].found_at_ms, 7);
    assert_eq!((work.exists(), folder.path().join("quarantine").exists()), (false, false));
}

#[test]
fn a_salvage_waits_for_others_who_may_still_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = flipped(folder.path());
    let other = State::open(&path).unwrap();
    let (opening, opened) = mpsc::channel();
    let server = thread::spawn(move || {
        let state = State::open_checked(&path, 7);
        opening.send(()).unwrap();
        state
    });
    assert!(opened.recv_timeout(Duration::from_millis(300)).is_err());
    enrolled_host(&other, 3, "web3");
    drop(other);
    opened.recv().unwrap();
    let state = server.join().unwrap().unwrap();
    assert_eq!((state.hosts().unwrap().len(), lost(&state)), (3, TOLD.map(str::to_owned).to_vec()));
}

#[test]
fn damage_is_found_while_the_database_is_in_use() {
    let (folder, state) = super::temporary();
    enrolled_host(&state, 1, "web1");
    state.check(5).unwrap();
    assert_eq!(state.damage(9).unwrap(), []);
    let writer = lock(&state.connections.writer);
    writer.execute_batch("DROP TRIGGER hosts_update_sum").unwrap();
    writer.execute_batch("UPDATE hosts SET instance = 'web7'").unwrap();
    drop(writer);
    state.check(6).unwrap();
    let found = state.damage(9).unwrap();
    assert!(found[0].lost.contains("1 rows of hosts do not pass their checksum"), "{found:?}");
    assert_eq!(found[0].place, folder.path().join(FILE_NAME).display().to_string());
    // It is told once: nothing is written by the next look.
    let written = |state: &State| {
        let reader = lock(&state.connections.reader);
        let count = reader.query_row("SELECT confirmed FROM commits", [], |row| row.get(0));
        count.unwrap()
    };
    let before: i64 = written(&state);
    state.check(7).unwrap();
    assert_eq!(written(&state), before);
}

#[test]
fn where_changes_are_missing_no_life_is_believed() {
    let (folder, state) = super::temporary();
    let stream = StreamKey { host: enrolled_host(&state, 1, "web1"), epoch: Epoch([3; 16]) };
    state.accept_life(stream, LIFE).unwrap();
    drop(state);
    let path = folder.path().join(FILE_NAME);
    let state = State::open_checked(&path, 7).unwrap();
    assert_eq!(state.life(stream).unwrap(), Some(LIFE));
    drop(state);
    tide::note(&path, tide::read(&path).unwrap() + 2).unwrap();
    let state = State::open_checked(&path, 8).unwrap();
    assert_eq!(lost(&state), ["the last 2 changes, at least in part"]);
    assert_eq!(state.life(stream).unwrap(), None);
}

#[test]
fn the_tide_says_nothing_when_it_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    assert_eq!(tide::read(&path), None);
    tide::note(&path, 7).unwrap();
    tide::note(&path, 300).unwrap();
    assert_eq!(tide::read(&path), Some(300));
    let mut bytes = fs::read(tide::path(&path)).unwrap();
    bytes[0] ^= 1;
    fs::write(tide::path(&path), bytes).unwrap();
    assert_eq!(tide::read(&path), None);
}
