//! Files and folders around the database: the marker, unfinished snapshots, what must be synced.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;

use super::BufferError;
use super::memory::Memory;

/// Stands beside the database's folder and names it, once all that is in it was synced: the version,
/// the folder's name and the CRC-32 of those two lines in hexadecimal digits, a line each.
const MARKER: &str = "marker";

/// The first line of a marker of this version.
const MARKER_VERSION: &str = "upkeep buffer 1";

/// Database folders are named by this and a number that grows.
const PREFIX: &str = "records.";

/// Where a damaged database is kept for whoever wants to look at it; a newer one replaces it.
const QUARANTINE: &str = "quarantine";

/// A snapshot of the database ends with the length of its text and a checksum.
const SNAPSHOT_TAIL_BYTES: usize = 12;

/// What the marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// There is none: nothing was ever confirmed here.
    Missing,
    /// The number of the database's folder.
    Names(u64),
    /// There is one that cannot be understood.
    Unreadable,
}

/// The folder that holds the marker, the database's folder and the quarantine.
#[derive(Clone, Debug)]
pub(super) struct Root {
    path: PathBuf,
    /// Where the databases are that are not in their folders.
    memory: Option<Memory>,
}

impl Root {
    /// Makes sure that the folder exists, durably.
    pub(super) fn prepare(path: &Path) -> Result<Self, BufferError> {
        if !path.is_dir() {
            fs::create_dir_all(path).map_err(|error| BufferError::file("make", path, error))?;
        }
        // Also where it exists: who made it may have been cut off before this.
        if let Some(parent) = path.parent() {
            sync_folder(parent)?;
        }
        Ok(Self { path: path.to_owned(), memory: None })
    }

    /// The same, for databases that are in memory.
    pub(super) fn prepare_in_memory(path: &Path, memory: &Memory) -> Result<Self, BufferError> {
        Ok(Self { memory: Some(memory.clone()), ..Self::prepare(path)? })
    }

    pub(super) fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the database's folder of a number.
    pub(super) fn folder(&self, number: u64) -> PathBuf {
        self.path.join(format!("{PREFIX}{number}"))
    }

    /// Reads the marker.
    pub(super) fn marker(&self) -> Result<Marker, BufferError> {
        let path = self.path.join(MARKER);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(parse_marker(&text).map_or(Marker::Unreadable, Marker::Names)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Marker::Missing),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Marker::Unreadable),
            Err(error) => Err(BufferError::file("read", &path, error)),
        }
    }

    /// Writes the marker durably; from then on the folder of this number is the one that counts.
    pub(super) fn mark(&self, number: u64) -> Result<(), BufferError> {
        let path = self.path.join(MARKER);
        let text = marker_text(number);
        let write = || -> io::Result<()> {
            let mut file = AtomicWriteFile::open(&path)?;
            file.write_all(text.as_bytes())?;
            file.commit()
        };
        write().map_err(|error| BufferError::file("write", &path, error))?;
        sync_folder(&self.path)
    }

    /// The numbers of the database folders that exist, ascending.
    pub(super) fn numbers(&self) -> Result<Vec<u64>, BufferError> {
        let mut numbers: Vec<u64> =
            names(&self.path)?.iter().filter_map(|name| number_of(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes a database folder durably, if it is there.
    pub(super) fn remove(&self, number: u64) -> Result<(), BufferError> {
        remove_folder(&self.folder(number))?;
        if let Some(memory) = &self.memory {
            memory.remove(number);
        }
        sync_folder(&self.path)
    }

    /// Puts a database folder aside, if it is there; one that was put aside before is removed.
    pub(super) fn quarantine(&self, number: u64) -> Result<(), BufferError> {
        let (from, to) = (self.folder(number), self.path.join(QUARANTINE));
        if let Some(memory) = &self.memory {
            memory.remove(number);
        }
        if !from.exists() {
            return Ok(());
        }
        remove_folder(&to)?;
        fs::rename(&from, &to).map_err(|error| BufferError::file("put aside", &from, error))?;
        sync_folder(&self.path)
    }
}

/// Finishes or removes the snapshots that the database was writing when it was cut off.
pub(super) fn settle_snapshots(folder: &Path) -> Result<(), BufferError> {
    for name in names(folder)? {
        let Some(finished) = name.strip_suffix(".generating") else { continue };
        if !name.starts_with("snap.") {
            continue;
        }
        let path = folder.join(&name);
        let settle = || -> io::Result<()> {
            let mut file = File::open(&path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            if is_whole_snapshot(&bytes) {
                file.sync_all()?;
                fs::rename(&path, folder.join(finished))
            } else {
                fs::remove_file(&path)
            }
        };
        settle().map_err(|error| BufferError::file("settle", &path, error))?;
    }
    sync_folder(folder)
}

/// Syncs a file through a handle of our own.
pub(super) fn sync_file(path: &Path) -> Result<File, BufferError> {
    let file = File::open(path).map_err(|error| BufferError::file("open", path, error))?;
    file.sync_all().map_err(|error| BufferError::file("sync", path, error))?;
    Ok(file)
}

/// Syncs a folder, so that the names in it are durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), BufferError> {
    // The parent of a relative name without folders is empty, and means the current folder.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    sync_file(path).map(drop)
}

fn is_whole_snapshot(bytes: &[u8]) -> bool {
    let Some(body) = bytes.len().checked_sub(SNAPSHOT_TAIL_BYTES).filter(|body| *body > 0) else {
        return false;
    };
    let (body, tail) = bytes.split_at(body);
    tail.last_chunk::<4>().is_some_and(|sum| crc32fast::hash(body) == u32::from_le_bytes(*sum))
}

fn parse_marker(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once('\n')?;
    let number = number_of(rest.split_once('\n')?.0)?;
    (text == marker_text(number)).then_some(number)
}

fn marker_text(number: u64) -> String {
    let content = format!("{MARKER_VERSION}\n{PREFIX}{number}\n");
    let sum = crc32fast::hash(content.as_bytes());
    format!("{content}{sum:08x}\n")
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

fn names(folder: &Path) -> Result<Vec<String>, BufferError> {
    let failed = |error| BufferError::file("list", folder, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Removes a folder with all that is in it, if it is there.
pub(super) fn remove_folder(path: &Path) -> Result<(), BufferError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(BufferError::file("remove", path, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(body: &[u8]) -> Vec<u8> {
        let mut bytes = body.to_vec();
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
        bytes
    }

    #[test]
    fn whole_snapshots_are_finished_and_torn_ones_removed() {
        let check = |name: &str, bytes: &[u8], expect: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(name), bytes).unwrap();
            settle_snapshots(folder.path()).unwrap();
            assert_eq!(names(folder.path()).unwrap(), expect, "{name} of {} bytes", bytes.len());
        };
        let whole = snapshot(b"body");
        let mut flipped = whole.clone();
        flipped[1] ^= 1;
        check("snap.0A.generating", &whole, &["snap.0A"]);
        check("snap.0A.generating", &whole[..whole.len() - 1], &[]);
        check("snap.0A.generating", &flipped, &[]);
        check("snap.0A.generating", b"", &[]);
        check("snap.0A.generating", &[0; 12], &[]);
        check("snap.0A", b"torn", &["snap.0A"]);
        check("db", b"", &["db"]);
        check("other.generating", b"", &["other.generating"]);
    }

    #[test]
    fn a_marker_names_a_folder_or_is_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::prepare(folder.path()).unwrap();
        assert_eq!(root.marker().unwrap(), Marker::Missing);
        root.mark(12).unwrap();
        assert_eq!(root.marker().unwrap(), Marker::Names(12));
        let good = marker_text(12);
        let altered = good.replace("records.12", "records.13");
        for text in
            ["", "upkeep buffer 1\nrecords.1\n", "x\ny\nz\n", &altered, &good[..good.len() - 1]]
        {
            fs::write(folder.path().join(MARKER), text).unwrap();
            assert_eq!(root.marker().unwrap(), Marker::Unreadable, "{text:?}");
        }
    }
}
