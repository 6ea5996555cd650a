//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use upkeep_codec::DecodeError;
use upkeep_model::{HostId, StreamKey};

/// Why the store did not do what it was asked. It can be cloned, since one failed sync is told to
/// everyone whose appends it would have made durable.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// A file of the store cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The disk is full: nothing of this append was kept, nothing committed before is lost, and
    /// appends work again once there is room.
    #[error("no room left to write {}", path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// A sync failed earlier, so nobody knows what the disk holds; the store takes nothing more
    /// until it is opened anew.
    #[error("the store takes nothing more until it is opened anew: {reason}")]
    Poisoned {
        /// The error that did it.
        reason: String,
    },
    /// The options do not fit together.
    #[error("the store's options contradict each other: {reason}")]
    Options {
        /// What does not fit.
        reason: String,
    },
    /// Another process has the store open.
    #[error("{} is in use by another process; does the collector run already?", path.display())]
    InUse {
        /// The file that is locked.
        path: PathBuf,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Records are missing before this one.
    #[error("host {}, epoch {}: record {wanted} is missing before {got}", stream.host, stream.epoch)]
    Hole {
        /// Whose record it is.
        stream: StreamKey,
        /// The sequence number that must come next.
        wanted: u64,
        /// The sequence number that came.
        got: u64,
    },
    /// A record is not a frame. It is not taken; [`Store::skip`](crate::Store::skip) passes over it.
    #[error("host {}, epoch {}: record {sequence}: {source}", stream.host, stream.epoch)]
    Frame {
        /// Whose record it is.
        stream: StreamKey,
        /// Its sequence number.
        sequence: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A frame uses a series number that nobody described. It is not taken.
    #[error(
        "host {}, epoch {}: record {sequence} uses series number {number}, which was not described",
        stream.host, stream.epoch
    )]
    NotDescribed {
        /// Whose record it is.
        stream: StreamKey,
        /// Its sequence number.
        sequence: u64,
        /// The first number without a description.
        number: u32,
    },
    /// Descriptions begin after a number that nobody described.
    #[error(
        "host {}, epoch {}: series are described from number {got} on, but {wanted} comes next",
        stream.host, stream.epoch
    )]
    Numbers {
        /// Whose series they are.
        stream: StreamKey,
        /// The number that must come next at the latest.
        wanted: u32,
        /// The number that came.
        got: u32,
    },
    /// There would be more series than there may be.
    #[error(
        "home {home}: with {new} more there would be {count} series in all, the limit is {limit}"
    )]
    TooManySeries {
        /// The host whose they are, or the collector's own identity.
        home: HostId,
        /// How many are not known yet.
        new: usize,
        /// How many there would be.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Sealing cannot keep up, or fails: nothing is taken until there is room again, so that memory
    /// stays bounded. Nothing that was confirmed is lost.
    #[error("{bytes} bytes of the journal wait to be sealed, the limit is {limit}")]
    Overfull {
        /// How many there are.
        bytes: u64,
        /// How many there may be.
        limit: u64,
    },
    /// A reading has more samples than it may have.
    #[error("there are more than {limit} samples to read")]
    TooManySamples {
        /// How many it may have.
        limit: usize,
    },
    /// The time for a reading is over.
    #[error("reading samples took too long")]
    Timeout,
    /// A sample is of a series whose number does not hold any more: retention removed the series, or it
    /// is of another home. Nothing of its append was taken; the number is to be asked for anew.
    #[error("home {home}: a series that samples came for is not there any more")]
    SeriesGone {
        /// Whose series it was taken for.
        home: HostId,
    },
    /// The database of sealed spans has pages that cannot be read; what lies on others still can.
    #[error("cannot {action} {}, which is damaged: {reason}", path.display())]
    Damaged {
        /// What was tried.
        action: &'static str,
        /// The database.
        path: PathBuf,
        /// What the database said.
        reason: String,
    },
    /// The database of sealed spans refuses.
    #[error("cannot {action} the database of sealed samples: {reason}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// What the database said.
        reason: String,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let is_full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        if is_full {
            return Self::Full { path: path.to_owned() };
        }
        Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }
}
