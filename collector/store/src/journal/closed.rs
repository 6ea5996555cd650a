//! Segments that nobody writes any more, held open: they can be read although they are removed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::PathBuf;

use super::scan::Scan;
use super::segment::{JournalFolder, file_name, scan_segment};
use super::tide::{Mark, Tide};
use crate::StoreError;
use crate::folder::sync_folder;

#[derive(Debug)]
pub(crate) struct ClosedSegment {
    pub(crate) path: PathBuf,
    number: u64,
    file: File,
}

impl JournalFolder {
    /// Opens all segments below one that is not begun yet, ascending. Nobody may remove any meanwhile.
    pub(crate) fn closed(&self, below: u64) -> Result<Vec<ClosedSegment>, StoreError> {
        let numbers = self.numbers()?.into_iter().filter(|number| *number < below);
        let open = |number| {
            let path = self.path_of(number);
            match File::open(&path) {
                Ok(file) => Ok(ClosedSegment { path, number, file }),
                Err(source) => Err(StoreError::io("open", &path, source)),
            }
        };
        numbers.map(open).collect()
    }
}

impl ClosedSegment {
    /// Reads all of it.
    pub(crate) fn read(&self) -> Result<(Vec<u8>, Scan), StoreError> {
        let read = || {
            let length = usize::try_from(self.file.metadata()?.len()).unwrap_or(usize::MAX);
            let mut bytes = vec![0; length];
            self.file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| StoreError::io("read", &self.path, source))?;
        let scan = scan_segment(&bytes, self.number, false);
        Ok((bytes, scan))
    }

    /// Writes its bytes, durably, under its name into another journal.
    pub(crate) fn write_to(&self, journal: &NewJournal, bytes: &[u8]) -> Result<(), StoreError> {
        let path = journal.path.join(file_name(self.number));
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            // Its end is no torn one, so whoever opens it takes what is not good there for damage.
            let mark = Mark { segment: self.number, length: bytes.len() as u64 };
            Tide::default().note(&journal.path, mark)
        };
        write().map_err(|source| StoreError::io("write", &path, source))
    }
}

/// A journal that is being made of copies.
#[derive(Debug)]
pub(crate) struct NewJournal {
    path: PathBuf,
}

impl NewJournal {
    pub(crate) fn make(path: PathBuf) -> Result<Self, StoreError> {
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| StoreError::io("create", &path, source))?;
        Ok(Self { path })
    }

    /// Makes durable which segments it has.
    pub(crate) fn finish(&self) -> Result<(), StoreError> {
        sync_folder(&self.path).map_err(|source| StoreError::io("sync", &self.path, source))
    }
}
