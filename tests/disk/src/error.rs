//! What can go wrong around a recording.

use std::io;
use std::path::PathBuf;

/// Why a recording or a state cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Mounting takes root and `/dev/fuse`.
    #[error("cannot mount a file system of the test's own at {path}: {source}")]
    Mount {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file or folder of a state cannot be written or read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}
