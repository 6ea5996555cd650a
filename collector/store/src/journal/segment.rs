//! The files of the journal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use std::hash::{BuildHasher, Hasher, RandomState};

use bytes::Bytes;

use super::entry::Group;
use super::scan::{Scan, scan};
use super::tide::{self, Mark, Tide};
use crate::StoreError;
use crate::binary::Reader;
use crate::folder::sync_folder;

const MAGIC: &[u8; 8] = b"upkeepJ1";
pub(crate) const HEADER_BYTES: usize = 40;
const EXTENSION: &str = "segment";
/// So many times what a segment has else it may have of descriptions at most.
const MOST_DESCRIBED: u64 = 3;

const COPY_EXTENSION: &str = "copy";

/// Where the segments are. It can be shared: only [`Journal`] writes, and whoever seals removes.
#[derive(Clone, Debug)]
pub(crate) struct JournalFolder {
    path: PathBuf,
    bytes: Arc<AtomicU64>,
}

/// A segment that was read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) scan: Scan,
    /// So much of it is known to have been synced.
    confirmed: usize,
}

impl JournalFolder {
    pub(crate) fn open(path: PathBuf) -> Result<Self, StoreError> {
        fs::create_dir_all(&path).map_err(|source| StoreError::io("create", &path, source))?;
        let folder = Self { path, bytes: Arc::default() };
        for number in folder.numbers()? {
            folder.bytes.fetch_add(folder.length(number), Ordering::Relaxed);
        }
        Ok(folder)
    }

    /// The numbers of the segments in a folder, ascending; none if it is not there.
    pub(crate) fn kept(kept: &Path) -> Result<Vec<u64>, StoreError> {
        if kept.exists() { numbers_in(kept) } else { Ok(Vec::new()) }
    }

    /// Removes a segment that was kept.
    pub(crate) fn remove_kept(number: u64, kept: &Path) -> Result<(), StoreError> {
        let path = kept.join(file_name(number));
        fs::remove_file(&path).map_err(|source| StoreError::io("remove", &path, source))
    }

    /// Opens a segment, which may have been kept elsewhere; `None` if it is in neither place.
    pub(crate) fn find(&self, number: u64, kept: &Path) -> Result<Option<File>, StoreError> {
        // It may be moved just between the two looks, and only that way.
        for path in [self.path_of(number), kept.join(file_name(number))] {
            match File::open(&path) {
                Ok(file) => return Ok(Some(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(StoreError::io("open", &path, source)),
            }
        }
        Ok(None)
    }

    /// How many bytes all segments have together.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The numbers of the segments that are there, ascending.
    pub(crate) fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        numbers_in(&self.path)
    }

    /// Reads a segment. The last one may have a torn tail, behind what was confirmed.
    pub(crate) fn read(&self, number: u64, is_last: bool) -> Result<Segment, StoreError> {
        let path = self.path_of(number);
        let bytes = fs::read(&path).map_err(|source| StoreError::io("read", &path, source))?;
        let mark = tide::read(&self.path, number);
        let confirmed = mark.map_or(0, |mark| usize::try_from(mark.length).unwrap_or(usize::MAX));
        let mut scan = scan_segment(&bytes, number, is_last);
        if scan.end < confirmed {
            // What looks like a torn tail was confirmed.
            scan = scan_segment(&bytes, number, false);
            scan.damage.extend((bytes.len() < confirmed).then_some(bytes.len()..confirmed));
        }
        Ok(Segment { path, bytes, scan, confirmed })
    }

    /// Removes a segment whose entries are all in the database.
    pub(crate) fn remove(&self, number: u64) -> Result<(), StoreError> {
        let path = self.path_of(number);
        let length = self.length(number);
        fs::remove_file(&path).map_err(|source| StoreError::io("remove", &path, source))?;
        self.bytes.fetch_sub(length, Ordering::Relaxed);
        Ok(())
    }

    /// Moves a segment out of the journal, for whoever follows it.
    pub(crate) fn keep(&self, number: u64, kept: &Path) -> Result<(), StoreError> {
        self.move_to(number, kept, "keep")
    }

    /// Moves a damaged segment elsewhere instead of removing it, for somebody to look at.
    pub(crate) fn set_aside(&self, number: u64, quarantine: &Path) -> Result<(), StoreError> {
        self.move_to(number, quarantine, "set aside")
    }

    fn move_to(&self, number: u64, to: &Path, action: &'static str) -> Result<(), StoreError> {
        let path = self.path_of(number);
        let length = self.length(number);
        sync_made(to)
            .and_then(|()| fs::rename(&path, to.join(file_name(number))))
            .and_then(|()| sync_folder(to))
            .map_err(|source| StoreError::io(action, &path, source))?;
        self.bytes.fetch_sub(length, Ordering::Relaxed);
        Ok(())
    }

    /// Makes durable what was read of the last segment, before anything leans on it, and takes away its
    /// torn tail. Bytes that are not known to have been synced are written anew: after a sync that failed
    /// they can be read, and no later sync of the same file brings them to the disk.
    pub(crate) fn settle(&self, number: u64, segment: &Segment) -> Result<(), StoreError> {
        let (path, before) = (&segment.path, self.length(number));
        let good = segment.bytes.get(..segment.scan.end).unwrap_or_default();
        if segment.confirmed < good.len() {
            match self.copy(path, good) {
                Err(StoreError::Full { .. }) => write_in_place(path, good, segment.confirmed)?,
                copied => copied?,
            }
            let mark = Mark { segment: number, length: good.len() as u64 };
            if let Err(error) = Tide::default().note(&self.path, mark) {
                tracing::warn!(%error, "how far the journal reaches cannot be noted");
            }
        } else if good.len() < segment.bytes.len() {
            write_in_place(path, good, good.len())?;
        }
        self.bytes.fetch_sub(before.saturating_sub(good.len() as u64), Ordering::Relaxed);
        Ok(())
    }

    /// Puts a file of these bytes in the place of a segment.
    fn copy(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let copy = path.with_extension(COPY_EXTENSION);
        let written = File::create(&copy)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&copy, path))
            .and_then(|()| sync_folder(&self.path));
        written.map_err(|source| {
            // It is only in the way; the next one replaces it.
            let _ = fs::remove_file(&copy);
            StoreError::io("copy", path, source)
        })
    }

    fn length(&self, number: u64) -> u64 {
        fs::metadata(self.path_of(number)).map_or(0, |metadata| metadata.len())
    }

    pub(super) fn path_of(&self, number: u64) -> PathBuf {
        self.path.join(file_name(number))
    }
}

/// The one writer of the journal.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: JournalFolder,
    segment_bytes: u64,
    next: u64,
    current: Option<Current>,
    tide: Tide,
}

#[derive(Debug)]
struct Current {
    number: u64,
    path: PathBuf,
    file: File,
    seed: u32,
    length: u64,
    /// So many of its bytes describe series.
    described: u64,
    groups: u32,
}

impl Current {
    /// Whether it has so many bytes beside descriptions. Those of a million series are longer than that,
    /// and each segment needs the ones that the database lacks: if they counted, they would follow one
    /// another with nothing else between them. There is an end to it all the same, since a segment is
    /// read as a whole.
    fn is_full(&self, segment_bytes: u64) -> bool {
        let described = self.described.min(MOST_DESCRIBED.saturating_mul(segment_bytes));
        self.length.saturating_sub(described) >= segment_bytes
    }
}

#[cfg(test)]
impl Journal {
    /// A writer whose current segment is some other file, which need not behave like a disk.
    pub(crate) fn onto(folder: JournalFolder, path: &str) -> Self {
        let file = OpenOptions::new().append(true).open(path).unwrap();
        let path = path.into();
        let current =
            Current { number: 1, path, file, seed: 0, length: 0, described: 0, groups: 0 };
        let tide = Tide::default();
        Self { folder, segment_bytes: u64::MAX, next: 2, current: Some(current), tide }
    }
}

/// Why a group was not written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// Nothing of it is in the journal, and another group may be tried.
    Refused(StoreError),
    /// Nobody knows what the disk holds; the journal must not be written any more.
    Uncertain(StoreError),
}

impl Journal {
    /// A writer whose first segment will have this number or a greater one.
    pub(crate) fn new(folder: JournalFolder, segment_bytes: u64, next: u64) -> Self {
        Self { folder, segment_bytes, next, current: None, tide: Tide::default() }
    }

    /// A group to be filled for the current segment, and that segment's number. A new segment is
    /// begun where there is none or the current one is full.
    pub(crate) fn begin(&mut self) -> Result<(u64, Group), StoreError> {
        if self.current.as_ref().is_some_and(|current| current.is_full(self.segment_bytes)) {
            self.current = None;
        }
        let current = match self.current.take() {
            Some(current) => current,
            None => self.create()?,
        };
        let group = Group::new(current.seed, current.groups + 1);
        let number = current.number;
        self.current = Some(current);
        Ok((number, group))
    }

    /// Writes and syncs a group, of which so many bytes describe series.
    pub(crate) fn write(&mut self, group: &Bytes, described: usize) -> Result<(), WriteError> {
        let Some(current) = &mut self.current else {
            return Err(WriteError::Refused(StoreError::Closed));
        };
        if let Err(source) = current.file.write_all(group) {
            let error = StoreError::io("write", &current.path, source);
            let is_full = matches!(error, StoreError::Full { .. });
            let cut = current.file.set_len(current.length).and_then(|()| current.file.sync_all());
            self.current = None;
            return Err(match cut {
                Ok(()) if is_full => WriteError::Refused(error),
                _ => WriteError::Uncertain(error),
            });
        }
        current
            .file
            .sync_data()
            .map_err(|source| WriteError::Uncertain(sync_error(&current.path, source)))?;
        current.length += group.len() as u64;
        current.described += described as u64;
        current.groups += 1;
        self.folder.bytes.fetch_add(group.len() as u64, Ordering::Relaxed);
        let mark = Mark { segment: current.number, length: current.length };
        if let Err(error) = self.tide.note(&self.folder.path, mark) {
            // It only says less than it could; the group is safe.
            tracing::warn!(%error, "how far the journal reaches cannot be noted");
        }
        Ok(())
    }

    /// The current segment and its length.
    pub(crate) fn end(&self) -> Option<(u64, u64)> {
        self.current.as_ref().map(|current| (current.number, current.length))
    }

    /// Ends the current segment and returns the number that the next one will have.
    pub(crate) fn rotate(&mut self) -> u64 {
        self.current = None;
        self.next
    }

    fn create(&mut self) -> Result<Current, StoreError> {
        let number = self.next;
        let path = self.folder.path_of(number);
        let error = |source| StoreError::io("create", &path, source);
        let mut file =
            OpenOptions::new().append(true).create_new(true).open(&path).map_err(error)?;
        let salt = RandomState::new().build_hasher().finish();
        let header = header(number, salt);
        let written = file.write_all(&header);
        if let Err(source) = written.and_then(|()| sync_folder(&self.folder.path)) {
            // A segment without entries is worth nothing, and its number can be given again. Should
            // it stay, it counts as empty when the store next opens.
            if fs::remove_file(&path).is_err() {
                self.next += 1;
            }
            return Err(error(source));
        }
        self.next += 1;
        self.folder.bytes.fetch_add(header.len() as u64, Ordering::Relaxed);
        let seed = seed(number, salt);
        Ok(Current {
            number,
            path,
            file,
            seed,
            length: header.len() as u64,
            described: 0,
            groups: 0,
        })
    }
}

/// Makes a folder, unless it is there, so that it stays.
fn sync_made(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    folder.parent().map_or(Ok(()), sync_folder)
}

fn numbers_in(folder: &Path) -> Result<Vec<u64>, StoreError> {
    let error = |source| StoreError::io("list", folder, source);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let is_segment = path.extension().is_some_and(|extension| extension == EXTENSION);
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        numbers.extend(stem.filter(|_| is_segment).and_then(|stem| stem.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// What a segment's checksums start from, by its first bytes.
pub(crate) fn seed_in(file: &File, number: u64) -> Option<u32> {
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0).ok()?;
    seed_of(&header, number)
}

/// Writes a segment's bytes again from a place on, and cuts off what stands behind them.
fn write_in_place(path: &Path, bytes: &[u8], from: usize) -> Result<(), StoreError> {
    let write = || {
        let file = OpenOptions::new().write(true).open(path)?;
        file.write_all_at(bytes.get(from..).unwrap_or_default(), from as u64)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    };
    write().map_err(|source| StoreError::io("cut", path, source))
}

pub(super) fn scan_segment(bytes: &[u8], number: u64, is_last: bool) -> Scan {
    match seed_of(bytes, number) {
        Some(seed) => scan(bytes, seed, HEADER_BYTES, is_last),
        None if is_last || bytes.is_empty() => Scan::default(),
        None => Scan::lost(bytes.len()),
    }
}

fn sync_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { action: "sync", path: path.to_owned(), source: Arc::new(source) }
}

pub(super) fn file_name(number: u64) -> String {
    format!("{number:020}.{EXTENSION}")
}

fn header(number: u64, salt: u64) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&number.to_le_bytes());
    for _ in 0..2 {
        header.extend_from_slice(&salt.to_le_bytes());
        header.extend_from_slice(&seed(number, salt).to_le_bytes());
    }
    header
}

/// What the checksums of a segment start from, by whichever copy of its salt is good.
fn seed_of(bytes: &[u8], number: u64) -> Option<u32> {
    let mut reader = Reader(bytes);
    reader.take(MAGIC.len() + size_of::<u64>()).ok()?;
    (0..2).find_map(|_| {
        let salt = reader.array().map(u64::from_le_bytes).ok()?;
        let sum = reader.array().map(u32::from_le_bytes).ok()?;
        (seed(number, salt) == sum).then_some(sum)
    })
}

fn seed(number: u64, salt: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&salt.to_le_bytes());
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::journal::Entry;
    use upkeep_model::{Epoch, HostId, StreamKey};
    use uuid::Uuid;

    fn fill(group: &mut Group, through: u64) {
        let stream = StreamKey { host: HostId(Uuid::nil()), epoch: Epoch([0; 16]) };
        group.push(&Entry::Skip { stream, first: through, last: through });
    }

    #[test]
    fn a_segment_is_read_by_either_copy_of_its_salt() {
        let folder = tempfile::tempdir().unwrap();
        let journal = JournalFolder::open(folder.path().join("journal")).unwrap();
        let mut writer = Journal::new(journal.clone(), 100, 7);
        for through in 0..4 {
            let (_, mut group) = writer.begin().unwrap();
            fill(&mut group, through);
            writer.write(&group.finish(), 0).unwrap();
        }
        assert_eq!(journal.numbers().unwrap(), [7, 8]);
        let path = journal.path_of(7);
        let good = fs::read(&path).unwrap();
        assert_eq!(journal.bytes(), 2 * good.len() as u64);
        let check = |damaged: &[usize], bodies, damage: &[Range<usize>]| {
            let mut bytes = good.clone();
            damaged.iter().for_each(|at| bytes[*at] ^= 1);
            fs::write(&path, bytes).unwrap();
            let scan = journal.read(7, false).unwrap().scan;
            assert_eq!((scan.bodies.len(), scan.damage.as_slice()), (bodies, damage));
        };
        check(&[0, 9, 17], 2, &[]);
        check(&[0, 9, 30], 2, &[]);
        check(&[17, 30], 0, std::slice::from_ref(&(0..good.len())));
    }

    #[test]
    fn descriptions_fill_a_segment_late() {
        let check = |length, described, expect| {
            let current = Current {
                number: 1,
                path: PathBuf::new(),
                file: File::open("/dev/null").unwrap(),
                seed: 0,
                length,
                described,
                groups: 0,
            };
            assert_eq!(current.is_full(100), expect, "{length}, {described} of them described");
        };
        check(99, 0, false);
        check(100, 0, true);
        check(199, 100, false);
        check(200, 100, true);
        check(399, 399, false);
        check(400, 400, true);
        check(400, 300, true);
    }

    #[test]
    fn what_cannot_be_undone_or_synced_is_uncertain() {
        let folder = tempfile::tempdir().unwrap();
        let journal = JournalFolder::open(folder.path().join("journal")).unwrap();
        for device in ["/dev/full", "/dev/null"] {
            let mut writer = Journal::onto(journal.clone(), device);
            let (_, mut group) = writer.begin().unwrap();
            fill(&mut group, 1);
            let error = writer.write(&group.finish(), 0).unwrap_err();
            assert!(matches!(error, WriteError::Uncertain(_)), "{device}: {error:?}");
        }
    }
}
