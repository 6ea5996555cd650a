//! What is set from outside, and where states are tried.

use tempfile::TempDir;

use crate::error::DiskError;

/// A number in the environment.
pub(crate) fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// In memory where there is a file system for that: what is synced there is durable already.
pub(crate) fn folder_in_memory() -> Result<TempDir, DiskError> {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .map_err(|source| DiskError::File { path: std::env::temp_dir(), source })
}
