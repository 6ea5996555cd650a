//! Small files that are replaced durably and belong to the agent's user alone.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use atomic_write_file::AtomicWriteFile;
use rustix::fs::{Gid, Uid};

use super::IdentityError;

/// Makes the folder for its owner alone, if it is not there.
pub(super) fn prepare_folder(path: &Path) -> Result<(), IdentityError> {
    if path.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| failed("make", path, source))?;
    path.parent()
        .map_or(Ok(()), |parent| sync_folder(parent).map_err(|e| failed("sync", parent, e)))
}

/// A file's text; `None` if it is not there.
pub(super) fn read(path: &Path) -> Result<Option<String>, IdentityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("read", path, source)),
    }
}

/// Replaces a file durably.
pub(super) fn write(path: &Path, text: &str) -> Result<(), IdentityError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let replace = || -> io::Result<()> {
        let mut draft = AtomicWriteFile::open(path)?;
        draft.set_permissions(Permissions::from_mode(0o600))?;
        give_to_owner_of(folder, &draft)?;
        draft.write_all(text.as_bytes())?;
        draft.commit()?;
        sync_folder(folder)
    };
    replace().map_err(|source| failed("write", path, source))
}

/// Removes a file durably, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), IdentityError> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|source| failed("remove", path, source))
}

/// An administrator enrolls as root, while the agent runs as the folder's owner.
fn give_to_owner_of(folder: &Path, file: &File) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(folder)?;
    let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    Ok(rustix::fs::fchown(file, Some(user), Some(group))?)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> IdentityError {
    IdentityError::File { action, path: path.to_owned(), source }
}
