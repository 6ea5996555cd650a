//! The bounded durable queue of what was gathered and is not yet committed at the collector: the
//! only module that knows the database beneath, sled 0.34.7.
//!
//! # Guarantees
//! - What [`Buffer::append`] returned `Ok` for is on the disk and survives kills and power cuts.
//! - A record leaves only once it was acknowledged, or to make room; then a gap event declares it.
//! - What was acknowledged is kept for a quarter of an hour, for a collector that is restored from a
//!   backup, as far as the room is not needed and the series keep their numbers.
//! - Sequence numbers of a lane have no holes, and none is used twice within an epoch. A buffer
//!   that had to be made anew has a new epoch and begins with a gap event.
//! - A pending record's key frame is there as long as the record is.
//! - Nothing here panics or loses what was confirmed when the disk is full.
//!
//! # Lives
//! A life of the buffer lasts from one opening to the next and has a name that is drawn at random and
//! kept in memory only: of two copies of a disk, each goes on as a life of its own. It begins behind
//! every record that a former life may have sent. A collector that is told of a life, and has records
//! of another one from there on, thereby knows that this is another copy of the buffer that it knows.
//! Records are sent once it is durable that the collector was told; a life that came to its end
//! before that sent nothing, and the next one begins where it did.
//!
//! # Files
//! In the buffer's folder stand `lock`, the file that keeps a second process out; `records.N`, the
//! database's folder; `marker`, which names the folder that counts; `tide`, how far confirmed records
//! reach (module `tide`); while the database is opened, `spare`, a copy of its folder (module `spare`);
//! and at most one `quarantine`, a database that was damaged.
//!
//! # The recipe
//! sled's `flush` does not sync files on Linux, it never syncs `conf`, and a snapshot that was cut
//! off reads as corruption. What makes a power cut harmless is:
//!
//! 1. The marker stands outside the database's folder. Without it the folder is removed and made
//!    anew, and the parent is synced.
//! 2. For each `snap.X.generating`: if it is longer than 12 bytes and the CRC-32 of all but its
//!    last 12 bytes equals its last 4 (little endian), it is synced and renamed to `snap.X`, else
//!    deleted. Then the folder is synced.
//! 3. The database is opened; a lock that is still held is waited for. Steps 2 to 4 have a spare copy
//!    to fall back to, for file systems that do not keep the order of what is done to names.
//! 4. `flush`; sync of `db` and `conf` on handles of our own; sync of the folder and its parent;
//!    then the marker is written and synced, where it did not name this folder already.
//! 5. An append is one batch, `flush`, and a sync of `db` on our handle; only then is it confirmed.
//!    After any error the handle is dropped and the database opened again, since it stays poisoned.
//!    A sync is never repeated on the same file: where one failed, all entries are copied to a
//!    fresh folder.
//! 6. A sentinel entry is always there. Marker present and sentinel gone means that a damaged file
//!    opened as an empty database: it is put aside, the epoch is new, and the loss is declared.
//!
//! A fresh folder is made by the same steps under the next number; writing the marker switches to
//! it. So a cut at any point leaves one folder that counts, and the other is removed at the next
//! opening. It is also made when all records were delivered and the file is over 16 MiB, since it
//! hardly shrinks by itself.
//!
//! # Format of the entries, version 1
//! A key is one byte of kind, the entry's number (eight bytes, big endian) and the part (two bytes,
//! big endian). A value is at most 4 KiB, and longer payloads take several parts of one batch:
//!
//! | bytes | what (integers little endian) |
//! |---|---|
//! | 1 | version, 1 |
//! | 1, 8, 2 | kind, number and part, as in the key |
//! | 2 | how many parts the entry has |
//! | 4 | CRC-32 of the bytes before and the payload |
//! | rest | this part of the payload |
//!
//! | kind | number | payload |
//! |---|---|---|
//! | 1 sentinel | 0 | the epoch, 16 bytes |
//! | 2 counters | 0 | samples, then events: next sequence, acknowledged, lost through, 8 bytes each; then the life |
//! | 3 series | of its first series | series of the dictionary, see the module `series` |
//! | 4 samples | sequence | timestamp in ms (8), sequence of the key frame or 0 (8), frame |
//! | 5 events | sequence | timestamp in ms (8), 0 (8), event as it goes over the wire |
//!
//! The life is where it begins in samples and in events, 8 bytes each, or 0 and 0 once a collector was
//! told of it. Counters of before there were lives end without it, which means the same.
//!
//! Series that ended are kept for the sake of records that name them by number. When they are most
//! of the dictionary and no record of samples waits, an append begins a new one: its batch removes all
//! series and writes those of its observation, and those that it ends, under new numbers. The samples
//! that were kept although they were acknowledged were written under the old ones, and the same batch
//! removes them with their key frames: a record that is there can be read by the dictionary that is.
//!
//! Acknowledged records are removed when they were kept for long enough (module `kept`), together with
//! the counters and in batches that become durable with the next append; an acknowledgement by itself
//! writes nothing. The counters on the disk may thus be behind, and the collector's word counts as the
//! next connection is made. The first kept record is found as the buffer is opened: all from there to
//! the first pending one are there, without a hole.

mod change;
mod entry;
mod folder;
mod history;
mod kept;
mod losses;
mod memory;
mod pace;
mod queue;
mod recipe;
mod room;
mod series;
mod shared;
#[cfg(target_os = "linux")]
mod slack;
#[cfg(not(target_os = "linux"))]
#[path = "no_slack.rs"]
mod slack;
mod spare;
mod state;
mod tide;
mod tree;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use upkeep_model::{Event, Lane, Observation};

pub use losses::{Loss, LossCause};
pub use memory::Memory;
pub use pace::{Pace, RoomBound, RoomLasts, room_lasts};
pub use queue::Buffer;
pub use recipe::is_open;
pub use room::KeepFree;
pub use shared::{Heads, SharedBuffer};
pub use state::LaneState;

/// What the records may take unless configured otherwise. At 300 bytes a record every ten seconds
/// it is about three weeks; on the disk the database takes up to four times as much.
pub const DEFAULT_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// Why the buffer cannot do what was asked.
#[derive(Debug, Error)]
pub enum BufferError {
    /// A file or folder cannot be used.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has the buffer open.
    #[error("{0} is locked by another process")]
    Locked(PathBuf),
    /// The database cannot do it; what was confirmed before is not touched by that.
    #[error("the buffer's database: {0}")]
    Database(sled::Error),
    /// What was written could not be made durable.
    #[error("the buffer's file cannot be synced: {0}")]
    Sync(io::Error),
    /// The files are not what was written.
    #[error("the buffer is damaged: {0}")]
    Damaged(String),
    /// One record is longer than the collector would take.
    #[error("a record of lane {lane} has {bytes} bytes, which is too long to be delivered")]
    TooLong {
        /// Its lane.
        lane: Lane,
        /// Its length.
        bytes: usize,
    },
    /// An event cannot be written as bytes.
    #[error("an event cannot be encoded: {0}")]
    Event(#[source] upkeep_wire::WireError),
}

impl BufferError {
    fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }

    /// Whether what the database's file holds is in doubt, although it can be read: a write or sync
    /// that failed for another reason than a lack of room.
    fn leaves_doubt(&self) -> bool {
        match self {
            Self::Sync(_) => true,
            Self::Database(sled::Error::Io(error)) => {
                !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

/// How large the buffer may become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// What the records may take in bytes, without the database's own overhead.
    pub limit_bytes: u64,
    /// What is to be left free of the disk.
    pub keep_free: KeepFree,
}

impl Default for Options {
    fn default() -> Self {
        Self { limit_bytes: DEFAULT_LIMIT_BYTES, keep_free: KeepFree::default() }
    }
}

/// Something to be delivered, before it has a sequence number.
#[derive(Clone, Debug)]
pub enum Draft {
    /// Measurements, for the lane of samples.
    Observation(Observation),
    /// Anything else, for the lane of events.
    Event(Event),
}

impl Draft {
    fn at_ms(&self) -> i64 {
        match self {
            Self::Observation(observation) => observation.timestamp_ms,
            Self::Event(event) => event.at_ms,
        }
    }
}

/// A record as it waits to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number in its lane.
    pub sequence: u64,
    /// Wall clock of the observation or event in milliseconds since 1970.
    pub at_ms: i64,
    /// The key frame that it leans on; `None` for key frames and events.
    pub key: Option<u64>,
    /// The frame or event as it goes over the wire.
    pub body: Vec<u8>,
}

/// How many records are read at once: whichever bound is met first ends the reading, but one
/// record is always read.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    /// How many records.
    pub records: u64,
    /// How many bytes of bodies.
    pub bytes: usize,
}

/// What the buffer tells about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Pending records of the samples lane.
    pub samples: u64,
    /// Pending records of the events lane.
    pub events: u64,
    /// What the records that are not delivered take in bytes.
    pub bytes: u64,
    /// What of that the events take.
    pub event_bytes: u64,
    /// What they may take at the moment; less than configured while the disk is short of room.
    pub limit_bytes: u64,
    /// What may still be written to the disk until it is short of room; `None` where it cannot be
    /// looked at.
    pub disk_left_bytes: Option<u64>,
    /// What was appended since the start, in bytes.
    pub appended_bytes: u64,
    /// The timestamp of the oldest pending record in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
    /// Samples records dropped since the start to make room.
    pub dropped_samples: u64,
    /// Events dropped since the start to make room.
    pub dropped_events: u64,
    /// Observations since the start that could not be written at all.
    pub refused: u64,
    /// Those of them that are not declared yet, since nothing could be written after them.
    pub undeclared: u64,
    /// What the last observation took in bytes; 0 before the first.
    pub last_observation_bytes: u64,
}
