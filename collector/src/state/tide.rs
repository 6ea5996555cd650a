//! How many transactions were confirmed, in a file of its own beside the database.
//!
//! A write-ahead log of which a part is damaged looks like one whose writing was cut off: SQLite
//! passes over what comes after. Each transaction therefore counts itself in the database, and the
//! count is noted here after its commit was synced. This file is never synced itself, so after a
//! power cut it may be behind or unreadable, and then says nothing; it is never ahead.
//!
//! Format: the count (u64, little endian), the CRC-32 of it (u32, little endian).

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file beside a database.
pub(super) fn path(database: &Path) -> PathBuf {
    database.with_extension("tide")
}

/// Notes a count.
pub(super) fn note(database: &Path, count: u64) -> io::Result<()> {
    let bytes = count.to_le_bytes();
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path(database))?;
    file.write_all(&[bytes.as_slice(), &crc32fast::hash(&bytes).to_le_bytes()].concat())
}

/// The count that was noted, if it can be read.
pub(super) fn read(database: &Path) -> Option<u64> {
    let bytes = fs::read(path(database)).ok()?;
    let (count, sum) = bytes.split_first_chunk::<8>()?;
    let is_good = crc32fast::hash(count).to_le_bytes() == *sum.first_chunk::<4>()?;
    is_good.then(|| u64::from_le_bytes(*count))
}
