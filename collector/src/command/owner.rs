//! Commands that root gives go on as the owner of the data, since the service must be able to read
//! and write whatever they leave.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const ROOT: u32 = 0;

/// Replaces this process by the same command under the folder's user and group. Returns only where
/// there is nothing to change: root did not give it, or the folder is root's own or not there yet.
///
/// # Errors
/// When the program cannot be started as that user.
pub(super) fn go_on_as_owner_of(folder: &Path) -> io::Result<()> {
    if !folder.exists() || std::fs::metadata("/proc/self")?.uid() != ROOT {
        return Ok(());
    }
    let owner = std::fs::metadata(folder)?;
    if owner.uid() == ROOT {
        return Ok(());
    }
    let mut same = Command::new(std::env::current_exe()?);
    same.args(std::env::args_os().skip(1)).uid(owner.uid()).gid(owner.gid());
    Err(same.exec())
}
