//! What was last told about a host, on disk: what is found later is compared with it, also after a
//! restart of the agent or the host.
//!
//! A file is one line of JSON:
//!
//! | key | what |
//! |---|---|
//! | `version` | 1; a file of another version is not understood, and what is there is told as the beginning |
//! | `origin` | 16 random hexadecimal digits, made with the file's first writing |
//! | `occurrence` | how often it was written before |
//! | `at_ms` | when it was written, in milliseconds since 1970 |
//! | `state` | what was told |
//!
//! It is replaced as a whole, and only after the events that lead to its state are durable in the
//! buffer. Before they are appended, a file beside it, `NAME.telling.json`, holds them and the state
//! that they lead to. If the agent ends in between, it tells them at its next start, however the host
//! is by then, and then looks what differs from that state: what was taken back meanwhile is a change
//! of its own. What is told twice has the same name twice, and the collector takes it once: the name is
//! made of the origin, the occurrence and the change itself. When the same thing happens again later,
//! the file was written in between, and the name is another.
//!
//! A file of what is being told counts only if it follows on the writing of the other one that is
//! there; one that was left behind does not.

use std::fs;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tracing::warn;
use upkeep_model::{Change, Event, EventKind};

/// The version of the files.
const VERSION: u32 = 1;

/// So many bytes of a hash name a change.
const NAME_BYTES: usize = 16;

/// A file of the memory cannot be used.
#[derive(Debug, Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct MemoryError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// What was told, and as of when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told<T> {
    version: u32,
    origin: String,
    occurrence: u64,
    /// When it was told, in milliseconds since 1970.
    pub(super) at_ms: i64,
    /// What was told.
    pub(super) state: T,
}

/// Changes that are being told, and what will have been told with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Telling<T> {
    /// When each happened, in milliseconds since 1970, and what it is.
    pub(super) changes: Vec<(i64, Change)>,
    pub(super) told: Told<T>,
}

impl<T> Telling<T> {
    /// The changes among events; `None` where there are none.
    pub(super) fn of(events: &[Event], told: Told<T>) -> Option<Self> {
        let changes = events.iter().filter_map(|event| match &event.kind {
            EventKind::Change(change) => Some((event.at_ms, change.clone())),
            _ => None,
        });
        let changes: Vec<_> = changes.collect();
        (!changes.is_empty()).then_some(Self { changes, told })
    }

    /// The changes as events.
    pub(super) fn events(&self) -> Vec<Event> {
        let event = |(at_ms, change): &(i64, Change)| Event {
            at_ms: *at_ms,
            kind: EventKind::Change(change.clone()),
        };
        self.changes.iter().map(event).collect()
    }
}

impl<T> Told<T> {
    /// The beginning, before anything was told.
    pub(super) fn first(state: T, at_ms: i64) -> Self {
        let origin = format!("{:016x}", rand::random::<u64>());
        Self { version: VERSION, origin, occurrence: 0, at_ms, state }
    }

    /// What follows on this once changes have been told.
    pub(super) fn next(&self, state: T, at_ms: i64) -> Self {
        let (origin, occurrence) = (self.origin.clone(), self.occurrence + 1);
        Self { version: VERSION, origin, occurrence, at_ms, state }
    }

    /// Whether this is what follows once changes against the other were told.
    fn follows(&self, other: &Self) -> bool {
        self.version == VERSION
            && self.origin == other.origin
            && self.occurrence == other.occurrence + 1
    }

    /// Names a change against this.
    pub(super) fn name(&self, change: &mut Change) {
        let mut digest = Sha256::new();
        digest.update(&self.origin);
        digest.update(self.occurrence.to_le_bytes());
        for part in [change.kind.as_str(), &change.subject, &change.before, &change.after] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        change.id = hexadecimal(digest.finalize().iter().take(NAME_BYTES));
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hexadecimal<'byte>(bytes: impl IntoIterator<Item = &'byte u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what was told; `None` where nothing was, or the file is not understood, which is logged.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<Told<T>>, MemoryError> {
    let told = read::<Told<T>>(path)?;
    Ok(told.filter(|told| {
        if told.version != VERSION {
            warn!(version = told.version, "{} is of another version; begun anew", path.display());
        }
        told.version == VERSION
    }))
}

/// Replaces a file durably. What was being told has been told then.
pub(super) fn store<T: Serialize>(path: &Path, told: &Told<T>) -> Result<(), MemoryError> {
    replace(path, told)?;
    // One that stays does not follow on what was just written.
    let _left = fs::remove_file(telling_beside(path));
    Ok(())
}

/// Writes durably what is about to be told.
pub(super) fn announce<T: Serialize>(path: &Path, telling: &Telling<T>) -> Result<(), MemoryError> {
    replace(&telling_beside(path), telling)
}

/// Reads what was being told when the agent ended, against what was told before.
pub(super) fn announced<T: DeserializeOwned>(
    path: &Path,
    before: &Told<T>,
) -> Result<Option<Telling<T>>, MemoryError> {
    let telling = read::<Telling<T>>(&telling_beside(path))?;
    Ok(telling.filter(|telling| telling.told.follows(before)))
}

fn telling_beside(path: &Path) -> PathBuf {
    path.with_extension("telling.json")
}

/// Reads a file; `None` where it is not there, or not understood, which is logged.
fn read<D: DeserializeOwned>(path: &Path) -> Result<Option<D>, MemoryError> {
    let failed = |source| MemoryError { action: "read", path: path.to_owned(), source };
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    match serde_json::from_reader(BufReader::new(file)) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.is_io() => Err(failed(error.into())),
        Err(error) => {
            warn!("{} is not understood and begun anew: {error}", path.display());
            Ok(None)
        }
    }
}

fn replace(path: &Path, content: &impl Serialize) -> Result<(), MemoryError> {
    let replace = || -> io::Result<()> {
        let mut out = BufWriter::new(AtomicWriteFile::open(path)?);
        serde_json::to_writer(&mut out, content)?;
        out.write_all(b"\n")?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.commit()?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    replace().map_err(|source| MemoryError { action: "write", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use upkeep_model::ChangeKind;

    use super::*;

    fn name(told: &Told<u32>, after: &str) -> String {
        let mut change = Change {
            id: String::new(),
            kind: ChangeKind::Kernel,
            subject: String::new(),
            before: "6.1".to_owned(),
            after: after.to_owned(),
        };
        told.name(&mut change);
        change.id
    }

    #[test]
    fn the_same_change_has_another_name_when_it_happens_again() {
        let first = Told::first(1, 5);
        assert_eq!(name(&first, "6.2"), name(&first.clone(), "6.2"));
        assert_eq!(name(&first, "6.2").len(), 2 * NAME_BYTES);
        assert_ne!(name(&first, "6.2"), name(&first, "6.3"));
        assert_ne!(name(&first, "6.2"), name(&first.next(2, 6), "6.2"));
        assert_ne!(name(&first, "6.2"), name(&Told::first(1, 5), "6.2"));
    }

    #[test]
    fn what_was_told_comes_back_and_what_is_damaged_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changes.json");
        assert_eq!(load::<u32>(&path).unwrap(), None);
        let told = Told::first(7, 5).next(8, 6);
        store(&path, &told).unwrap();
        assert_eq!(load(&path).unwrap(), Some(told.clone()));
        store(&path, &Told { version: 2, ..told }).unwrap();
        assert_eq!(load::<u32>(&path).unwrap(), None);
        for damaged in ["", "{\"version\":1", "{\"version\":1,\"state\":7}", "\u{0}\u{0}"] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(load::<u32>(&path).unwrap(), None, "{damaged:?}");
        }
        assert!(store(&folder.path().join("none/changes.json"), &Told::first(7, 5)).is_err());
    }

    #[test]
    fn what_was_being_told_counts_only_against_what_was_told_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changes.json");
        let first = Told::first(1, 5);
        let next = first.next(2, 6);
        assert_eq!(announced(&path, &first).unwrap(), None);
        let telling = Telling { changes: Vec::new(), told: next.clone() };
        announce(&path, &telling).unwrap();
        assert_eq!(announced(&path, &first).unwrap(), Some(telling.clone()));
        for other in &[next.clone(), Told::first(1, 5)] {
            assert_eq!(announced(&path, other).unwrap(), None, "{other:?}");
        }
        let newer = Telling { told: Told { version: 2, ..next.clone() }, ..telling };
        announce(&path, &newer).unwrap();
        assert_eq!(announced(&path, &first).unwrap(), None);
        store(&path, &next).unwrap();
        assert!(!telling_beside(&path).exists());
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod power_cut {
    use rand::rngs::StdRng;
    use upkeep_disk::{Durable, Ordering, Recording, survives_power_cuts};

    use super::*;

    /// States that are tried of each kind of disk unless told otherwise.
    const FEW: u64 = 26;

    struct Memory;

    fn file(folder: &Path) -> PathBuf {
        folder.join("told.json")
    }

    impl Durable for Memory {
        /// What was told, from the first on. Each is confirmed twice: as it was announced, and as it
        /// was stored.
        type Life = Vec<Told<String>>;

        fn live(&self, recording: &Recording, _: &mut StdRng) -> Self::Life {
            let mut life = vec![Told::first("0".repeat(9000), 0)];
            let file = file(recording.path());
            for round in 0..12_u8 {
                let told = life.last().unwrap().next(round.to_string().repeat(5000), round.into());
                announce(&file, &Telling { changes: Vec::new(), told: told.clone() }).unwrap();
                recording.mark(2 * u64::from(round));
                store(&file, &told).unwrap();
                recording.mark(2 * u64::from(round) + 1);
                life.push(told);
            }
            life
        }

        fn open(&self, folder: &Path) {
            if let Some(told) = load::<String>(&file(folder)).unwrap() {
                announced(&file(folder), &told).unwrap();
            }
        }

        fn check(&self, life: &Self::Life, mark: Option<u64>, folder: &Path) {
            let marks = mark.map_or(0, |mark| usize::try_from(mark + 1).unwrap());
            let (stored, is_announced) = (marks / 2, marks % 2 == 1);
            let found = load::<String>(&file(folder)).unwrap();
            let told = found.as_ref().unwrap_or(&life[0]);
            let place = life.iter().position(|known| known == told).expect("what was told once");
            assert!((stored..=stored + 1).contains(&place), "{place} of {stored} after {mark:?}");
            let telling = announced::<String>(&file(folder), told).unwrap();
            if is_announced && place == stored {
                assert!(telling.is_some(), "what was announced is gone after {mark:?}");
            }
            if let Some(telling) = telling {
                assert_eq!(Some(&telling.told), life.get(place + 1));
            }
        }
    }

    #[test]
    fn what_was_told_survives_power_cuts() {
        survives_power_cuts(&Memory, Ordering::Journalled, FEW);
    }

    #[test]
    fn what_was_told_survives_power_cuts_where_nothing_is_ordered() {
        survives_power_cuts(&Memory, Ordering::Loose, FEW);
    }
}
