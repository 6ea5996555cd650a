//! Small files that are replaced durably and belong to the agent's user alone.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::path::Path;

use atomic_write_file::AtomicWriteFile;

use super::IdentityError;

/// Makes the folder for its owner alone, if it is not there.
pub(super) fn prepare_folder(path: &Path) -> Result<(), IdentityError> {
    if path.is_dir() {
        return Ok(());
    }
    let mut folder = DirBuilder::new();
    close_to_others(folder.recursive(true));
    folder.create(path).map_err(|source| failed("make", path, source))?;
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

#[cfg(unix)]
fn close_to_others(folder: &mut DirBuilder) {
    std::os::unix::fs::DirBuilderExt::mode(folder, 0o700);
}

/// Such systems give a new folder the rights of the one it is made in.
#[cfg(not(unix))]
fn close_to_others(_folder: &mut DirBuilder) {}

/// Closes a new file to others. An administrator enrolls as root, while the agent runs as the
/// folder's owner.
#[cfg(unix)]
fn give_to_owner_of(folder: &Path, file: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use rustix::fs::{Gid, Uid};

    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(folder)?;
    let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    Ok(rustix::fs::fchown(file, Some(user), Some(group))?)
}

/// Such systems give a new file the rights of its folder.
#[cfg(not(unix))]
fn give_to_owner_of(_folder: &Path, _file: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

/// Such systems cannot open a folder; they log what changes in it by themselves.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> IdentityError {
    IdentityError::File { action, path: path.to_owned(), source }
}
