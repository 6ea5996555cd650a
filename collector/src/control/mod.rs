//! What operators ask of the data as a whole, from the shell: a copy, a check, the deletion of a host.
//!
//! Samples are open in one process at a time. While the server runs, commands ask it through a socket
//! in the data folder, which only the owner of the data can reach: one line of JSON there, one back.
//! While it does not, the command opens the data and does the same itself.

mod act;
mod serve;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use upkeep_model::HostId;
use upkeep_store::{Damage, StoreError, Verification};

pub use act::Held;
pub use serve::serve;

use crate::archive::ArchiveError;
use crate::state::StateError;

/// The socket in the data folder.
const SOCKET: &str = "control.sock";

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Put a backup together in the data folder.
    Backup,
    /// Read all samples and check them.
    Verify,
    /// Delete a host and all that is known of it.
    DeleteHost {
        /// Which.
        host: HostId,
        /// Who asks for it.
        actor: String,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The backup is put together.
    Staged {
        /// Where.
        folder: PathBuf,
        /// What was found damaged.
        damage: Vec<String>,
    },
    /// Everything was read.
    Verified(Box<Verified>),
    /// The host is deleted.
    Deleted,
    /// It was not done.
    Failed(String),
}

/// What was read, and what of it is damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Sealed chunks.
    pub chunks: u64,
    /// Label sets.
    pub series: u64,
    /// How far each buffer of a host is committed.
    pub streams: u64,
    /// What the numbers of series mean.
    pub dictionaries: u64,
    /// Segments of the journal.
    pub segments: u64,
    /// Entries in them.
    pub entries: u64,
    /// What was found.
    pub damage: Vec<Finding>,
}

/// Something damaged, and what is lost by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// File and place in it.
    pub place: String,
    /// What is lost.
    pub lost: String,
    /// Whose samples may be missing; null where it may be anybody's.
    pub host: Option<HostId>,
    /// Not before this, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Not after this.
    pub through_ms: Option<i64>,
}

impl From<Verification> for Verified {
    fn from(read: Verification) -> Self {
        let Verification { chunks, series, streams, dictionaries, segments, entries, damage } =
            read;
        let finding = |Damage { place, lost, affected }| Finding {
            place,
            lost,
            host: affected.host,
            from_ms: affected.from_ms,
            through_ms: affected.through_ms,
        };
        let damage = damage.into_iter().map(finding).collect();
        Self { chunks, series, streams, dictionaries, segments, entries, damage }
    }
}

/// Why it was not done.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The server cannot be asked.
    #[error("cannot ask the collector at {}: {source}", path.display())]
    Socket {
        /// Its socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The server's answer is none.
    #[error("the collector's answer cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
    /// The server did not do it.
    #[error("{0}")]
    Refused(String),
    /// There is no such host.
    #[error("there is no such host")]
    NoSuchHost,
    /// The samples cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is no backup.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// Asks the server; `None` if none runs.
///
/// # Errors
/// When it runs and does not do it.
pub fn ask(data_dir: &Path, request: &Request) -> Result<Option<Answer>, ControlError> {
    let path = data_dir.join(SOCKET);
    let failed = |source| ControlError::Socket { path: path.clone(), source };
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(source) => return Err(failed(source)),
    };
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    match serde_json::from_str(&answer)? {
        Answer::Failed(reason) => Err(ControlError::Refused(reason)),
        answer => Ok(Some(answer)),
    }
}
