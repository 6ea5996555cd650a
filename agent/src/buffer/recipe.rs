//! Opening the database, and writing to it, so that it survives power cuts: the recipe of the
//! module's documentation, step by step.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::BufferError;
use super::entry::{Entry, FIRST_KEY, Join, Kind, LAST_KEY, first_key, last_key};
use super::folder::{Marker, Root, settle_snapshots, sync_folder};
use super::spare::Spare;
use super::tree::{Batch, Tree};

/// The file in the buffer's folder that keeps a second process out.
const LOCK: &str = "lock";

/// How long the lock of a process that just ended, or of a handle that was just dropped, is waited
/// for.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// How often the lock is tried meanwhile.
pub(super) const LOCK_RETRY: Duration = Duration::from_millis(50);

/// An open database whose content is durable.
pub(super) struct Database {
    number: u64,
    tree: Tree,
}

/// What opening found.
pub(super) enum Opening {
    /// The marker names a database that opened and has its sentinel.
    Sound(Database),
    /// Nothing was ever confirmed here. The number is that of the folder to make.
    Fresh(u64),
    /// A database was here and is lost; it was put aside. The number is that of the folder to make.
    Lost {
        /// The number of the folder to make.
        next: u64,
        /// What was found, in words for an operator.
        reason: String,
    },
}

/// Whether a process has the buffer of a folder open.
///
/// # Errors
/// When there is no buffer, or it may not be looked at.
pub fn is_open(folder: &Path) -> Result<bool, BufferError> {
    let path = folder.join(LOCK);
    let file = File::open(&path).map_err(|error| BufferError::file("open", &path, error))?;
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(BufferError::file("lock", &path, error)),
    }
}

/// Takes the lock of the folder, so that no second process settles what the first is writing.
pub(super) fn lock(root: &Root) -> Result<File, BufferError> {
    let path = root.path().join(LOCK);
    let file = File::create(&path).map_err(|error| BufferError::file("make", &path, error))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_PATIENCE => {
                thread::sleep(LOCK_RETRY);
            }
            Err(TryLockError::WouldBlock) => return Err(BufferError::Locked(path)),
            Err(TryLockError::Error(error)) => return Err(BufferError::file("lock", &path, error)),
        }
    }
}

/// Steps 1 to 4 and 6: opens what the marker names, or says what to make instead.
pub(super) fn open(root: &Root) -> Result<Opening, BufferError> {
    let number = match root.marker()? {
        Marker::Names(number) => number,
        Marker::Missing => {
            Spare::discard(root)?;
            for number in root.numbers()? {
                root.remove(number)?;
            }
            return Ok(Opening::Fresh(1));
        }
        Marker::Unreadable => {
            Spare::discard(root)?;
            // Of two folders the lower is the one that counts, or as good as the one that does.
            return lose(root, root.numbers()?.first().copied(), "its marker cannot be read");
        }
    };
    for other in root.numbers()? {
        if other != number {
            root.remove(other)?;
        }
    }
    let folder = root.folder(number);
    if !folder.is_dir() && !Spare::is_there(root) {
        return lose(root, Some(number), "its folder is gone");
    }
    let spare = Spare::prepare(root, number)?;
    let opened = settle_snapshots(&folder).and_then(|()| Database::start(root, number));
    if matches!(opened, Ok(_) | Err(BufferError::Damaged(_))) {
        spare.give_up()?;
    }
    match opened {
        Ok(database) if database.has_sentinel()? => Ok(Opening::Sound(database)),
        Ok(database) => {
            drop(database);
            lose(root, Some(number), "it opened empty")
        }
        Err(BufferError::Damaged(reason)) => lose(root, Some(number), &reason),
        Err(error) => Err(error),
    }
}

/// Puts a database aside that cannot be used.
pub(super) fn lose(root: &Root, number: Option<u64>, why: &str) -> Result<Opening, BufferError> {
    let number = number.unwrap_or_default();
    root.quarantine(number)?;
    let next = root.numbers()?.last().map_or(number, |last| number.max(*last)) + 1;
    Ok(Opening::Lost { next, reason: format!("the buffer's database was lost: {why}") })
}

impl Database {
    /// Makes a database of the given entries. The marker is written last, so that until then the
    /// one that it names remains the one that counts.
    pub(super) fn create(
        root: &Root,
        number: u64,
        entries: impl IntoIterator<Item = Result<Entry, BufferError>>,
    ) -> Result<Self, BufferError> {
        root.remove(number)?;
        let folder = root.folder(number);
        std::fs::create_dir(&folder).map_err(|error| BufferError::file("make", &folder, error))?;
        sync_folder(root.path())?;
        let database = Self { number, tree: Tree::open(root, number)? };
        for entry in entries {
            let mut batch = Batch::default();
            entry?.put(&mut batch);
            database.apply(batch)?;
        }
        database.sync_all(root)?;
        root.mark(number)?;
        Ok(database)
    }

    fn start(root: &Root, number: u64) -> Result<Self, BufferError> {
        let database = Self { number, tree: Tree::open(root, number)? };
        database.sync_all(root)?;
        Ok(database)
    }

    /// Step 4: what the database itself leaves unsynced after it opened.
    fn sync_all(&self, root: &Root) -> Result<(), BufferError> {
        let folder = root.folder(self.number);
        self.tree.sync()?;
        self.tree.sync_settings(&folder)?;
        sync_folder(&folder)?;
        sync_folder(root.path())
    }

    /// Step 5: one batch, on the disk when this returns. After an error the database must be
    /// dropped: it stays poisoned.
    pub(super) fn commit(&self, batch: Batch) -> Result<(), BufferError> {
        self.tree.apply(batch)?;
        self.tree.sync()
    }

    /// One batch that becomes durable with the next commit. It may be lost as a whole before.
    pub(super) fn apply(&self, batch: Batch) -> Result<(), BufferError> {
        self.tree.apply(batch)
    }

    /// The number of the database's folder.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// How long the file is that the database appends to.
    pub(super) fn file_bytes(&self) -> u64 {
        self.tree.file_bytes()
    }

    /// The entries of a kind from one number through another, in order.
    pub(super) fn entries(
        &self,
        kind: Kind,
        first: u64,
        last: u64,
    ) -> impl Iterator<Item = Result<Entry, BufferError>> {
        Join::new(self.tree.scan(first_key(kind, first)..=last_key(kind, last)))
    }

    /// All entries, in order of kind and number.
    pub(super) fn all(&self) -> impl Iterator<Item = Result<Entry, BufferError>> {
        Join::new(self.tree.scan(FIRST_KEY..=LAST_KEY))
    }

    /// One entry, if it is there.
    pub(super) fn entry(&self, kind: Kind, number: u64) -> Result<Option<Entry>, BufferError> {
        self.entries(kind, number, number).next().transpose()
    }

    fn has_sentinel(&self) -> Result<bool, BufferError> {
        match self.tree.contains(first_key(Kind::Sentinel, 0)) {
            Err(BufferError::Damaged(_)) => Ok(false),
            other => other,
        }
    }
}

impl From<sled::Error> for BufferError {
    /// Errors that say that the files are not what was written count as damage; others, such as a
    /// full disk, leave the files as they are.
    fn from(error: sled::Error) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
        match error {
            sled::Error::Corruption { at, .. } => {
                Self::Damaged(format!("the database is corrupted at {at:?}"))
            }
            sled::Error::Unsupported(reason) | sled::Error::ReportableBug(reason) => {
                Self::Damaged(reason)
            }
            sled::Error::Io(error)
                if matches!(
                    error.kind(),
                    InvalidData | InvalidInput | NotFound | UnexpectedEof
                ) =>
            {
                Self::Damaged(error.to_string())
            }
            other => Self::Database(other),
        }
    }
}
