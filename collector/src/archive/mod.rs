//! Backups: all that a collector needs to go on elsewhere, as one folder.
//!
//! | in the folder | what |
//! |---|---|
//! | `data/samples/` | a snapshot of the samples |
//! | `data/state.db` | the state |
//! | `data/ca/`, `data/retention.json` | keys and certificates; when the clock was believed last |
//! | `configuration/` | the settings, rules and routing as they were; they are not put back |
//! | `manifest.json` | version, time, and every file with its length and checksum |
//!
//! The samples are copied first, and then the state. What the state says of samples (which records are
//! declared lost, which life of a buffer was accepted) is written there before the samples say that
//! they are committed or passed over. So what the copied samples lean on is in the copied state; what
//! that has beyond, such as a gap that the samples do not know yet, is held against them when the host
//! connects. The other way round, records would count as passed over that nothing declares.
//!
//! A backup is put together in the data folder, by whoever has it open, and then moved to its place by
//! the command, since the service may write nowhere else.

mod manifest;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use upkeep_store::{Damage, Store, StoreError};
use uuid::Uuid;

pub use manifest::{ArchivedFile, Manifest};

use crate::state::{self, State, StateError};

/// The folder of the samples in the data folder.
pub const STORE_FOLDER: &str = "samples";

/// What a backup is called while it is put together in the data folder, followed by random digits.
const STAGED: &str = "backup.";

/// What is beside the samples and the state in the data folder, and is kept.
const COPIED: [&str; 2] = ["ca", "retention.json"];

const DATA: &str = "data";
const CONFIGURATION: &str = "configuration";

/// Why there is no backup, or it cannot be restored.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// A file or folder cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A folder that must not be there is, or one that must be empty is not.
    #[error("{}: {problem}; nothing was changed", path.display())]
    InTheWay {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The list of contents cannot be used.
    #[error("{}: {problem}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A backup does not have what it should.
    #[error("{}: the backup is not whole: {faults}", folder.display())]
    NotWhole {
        /// The backup.
        folder: PathBuf,
        /// Everything that differs.
        faults: String,
    },
    /// The samples cannot be copied.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state cannot be copied.
    #[error(transparent)]
    State(#[from] StateError),
}

impl ArchiveError {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// A backup that was put together in the data folder and is not in its place yet.
#[derive(Clone, Debug)]
pub struct Staged {
    /// Where it is.
    pub folder: PathBuf,
    /// What was found damaged.
    pub damage: Vec<String>,
}

/// Puts a backup together in the data folder.
///
/// # Errors
/// When something cannot be read or written; nothing of it is left then.
pub fn stage(data_dir: &Path, store: &Store, state: &State) -> Result<Staged, ArchiveError> {
    let folder = data_dir.join(format!("{STAGED}{}", Uuid::new_v4().simple()));
    let staged = fill(data_dir, &folder, store, state);
    if staged.is_err() {
        // What is left is removed when the collector starts.
        let _ = fs::remove_dir_all(&folder);
    }
    let damage = staged?;
    Ok(Staged { folder, damage })
}

fn fill(
    data_dir: &Path,
    folder: &Path,
    store: &Store,
    state: &State,
) -> Result<Vec<String>, ArchiveError> {
    let data = folder.join(DATA);
    make_folder(&data)?;
    let found = store.snapshot(&data.join(STORE_FOLDER))?;
    let mut damage: Vec<String> = found.iter().map(told).collect();
    let faults = state.copy_to(&data.join(state::FILE_NAME))?;
    damage.extend(faults.iter().map(|fault| format!("{}: {fault}", state::FILE_NAME)));
    for name in COPIED {
        copy(&data_dir.join(name), &data.join(name))?;
    }
    Ok(damage)
}

fn told(damage: &Damage) -> String {
    format!("{}: {}", damage.place, damage.lost)
}

/// Removes backups that were being put together when a process ended.
///
/// # Errors
/// When the folder cannot be read, or something in it not be removed.
pub fn remove_staged(data_dir: &Path) -> Result<(), ArchiveError> {
    let failed = || ArchiveError::file("look for unfinished backups in", data_dir);
    for entry in fs::read_dir(data_dir).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        if entry.file_name().to_string_lossy().starts_with(STAGED) {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(ArchiveError::file("remove", &path))?;
        }
    }
    Ok(())
}

/// Refuses a place where something is.
///
/// # Errors
/// When there is.
pub fn check_free(to: &Path) -> Result<(), ArchiveError> {
    if to.exists() {
        let problem = "there is something of this name already";
        return Err(ArchiveError::InTheWay { path: to.to_owned(), problem });
    }
    Ok(())
}

/// Brings a staged backup to its place, with the configuration and the manifest. It has that name
/// only once it is whole and durable.
///
/// # Errors
/// When something cannot be read or written; then nothing of it is left.
pub fn finish(
    staged: &Staged,
    to: &Path,
    configuration: &[PathBuf],
    made_at_ms: i64,
) -> Result<Manifest, ArchiveError> {
    check_free(to)?;
    let unfinished = unfinished(to);
    let finished = complete(staged, &unfinished, configuration, made_at_ms).and_then(|manifest| {
        fs::rename(&unfinished, to).map_err(ArchiveError::file("rename", &unfinished))?;
        sync(&parent(to))?;
        Ok(manifest)
    });
    for left in [&unfinished, &staged.folder] {
        // The next start of the collector, or the next backup to this place, removes them else.
        let _ = fs::remove_dir_all(left);
    }
    finished
}

fn complete(
    staged: &Staged,
    unfinished: &Path,
    configuration: &[PathBuf],
    made_at_ms: i64,
) -> Result<Manifest, ArchiveError> {
    if unfinished.exists() {
        fs::remove_dir_all(unfinished).map_err(ArchiveError::file("remove", unfinished))?;
    }
    make_folder(unfinished)?;
    let (from, to) = (staged.folder.join(DATA), unfinished.join(DATA));
    // On another file system it cannot be renamed.
    if fs::rename(&from, &to).is_err() {
        copy(&from, &to)?;
    }
    for path in configuration {
        let Some(name) = path.file_name() else { continue };
        let folder = unfinished.join(CONFIGURATION);
        make_folder(&folder)?;
        copy(path, &folder.join(name))?;
    }
    restrict(unfinished)?;
    let manifest = Manifest::of(unfinished, made_at_ms, staged.damage.clone())?;
    manifest.write(unfinished)?;
    sync_all(unfinished)?;
    Ok(manifest)
}

/// Fills an empty data folder, or one that is not there, from a backup that is whole.
///
/// # Errors
/// When the backup is not whole, the folder is not empty, or something cannot be written. Without its
/// keys, which come last, no collector starts in a folder.
pub fn restore(from: &Path, data_dir: &Path) -> Result<Manifest, ArchiveError> {
    let manifest = Manifest::read(from)?;
    if data_dir.exists() {
        let mut entries = fs::read_dir(data_dir).map_err(ArchiveError::file("list", data_dir))?;
        if entries.next().is_some() {
            let problem = "the data folder is not empty";
            return Err(ArchiveError::InTheWay { path: data_dir.to_owned(), problem });
        }
    }
    manifest.check(from)?;
    make_folder(data_dir)?;
    let unfinished = data_dir.join("restore.unfinished");
    make_folder(&unfinished)?;
    for file in &manifest.files {
        let Ok(inside) = file.path.strip_prefix(DATA) else { continue };
        copy(&from.join(&file.path), &unfinished.join(inside))?;
    }
    // What was read a second time may be something else.
    let copied = Manifest::of(&unfinished, 0, Vec::new())?;
    for file in &copied.files {
        let name = Path::new(DATA).join(&file.path);
        let is_same = |one: &ArchivedFile| one.path == name && one.sha256 == file.sha256;
        if !manifest.files.iter().any(is_same) {
            let faults = format!("{} changed while it was read", name.display());
            return Err(ArchiveError::NotWhole { folder: from.to_owned(), faults });
        }
    }
    restrict(&unfinished)?;
    sync_all(&unfinished)?;
    for name in [STORE_FOLDER, "retention.json", state::FILE_NAME, "ca"] {
        let path = unfinished.join(name);
        if path.exists() {
            fs::rename(&path, data_dir.join(name)).map_err(ArchiveError::file("rename", &path))?;
        }
        sync(data_dir)?;
    }
    fs::remove_dir(&unfinished).map_err(ArchiveError::file("remove", &unfinished))?;
    Ok(manifest)
}

/// Copies a file or a folder, if it is there.
fn copy(from: &Path, to: &Path) -> Result<(), ArchiveError> {
    if !from.exists() {
        return Ok(());
    }
    if !from.is_dir() {
        make_folder(&parent(to))?;
        return fs::copy(from, to).map(drop).map_err(ArchiveError::file("copy", from));
    }
    make_folder(to)?;
    for path in manifest::files_in(from)? {
        copy(&from.join(&path), &to.join(&path))?;
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<(), ArchiveError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(ArchiveError::file("create", path))
}

/// Lets nobody else read what is in a folder.
fn restrict(folder: &Path) -> Result<(), ArchiveError> {
    for path in manifest::files_in(folder)? {
        let path = folder.join(path);
        fs::set_permissions(&path, Permissions::from_mode(0o600))
            .map_err(ArchiveError::file("restrict", &path))?;
    }
    Ok(())
}

/// Makes durable all that is in a folder.
fn sync_all(folder: &Path) -> Result<(), ArchiveError> {
    let mut folders = vec![folder.to_owned()];
    for path in manifest::files_in(folder)? {
        sync(&folder.join(&path))?;
        folders.extend(path.ancestors().skip(1).map(|inside| folder.join(inside)));
    }
    folders.sort();
    folders.dedup();
    folders.iter().try_for_each(|folder| sync(folder))
}

fn sync(path: &Path) -> Result<(), ArchiveError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(ArchiveError::file("sync", path))
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn unfinished(to: &Path) -> PathBuf {
    let mut name = OsString::from(to);
    name.push(".unfinished");
    name.into()
}
