//! What a backup consists of, written last: a folder with a manifest is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ArchiveError;

/// Its name in the backup's folder.
pub(super) const FILE_NAME: &str = "manifest.json";

/// The only format there is so far.
const FORMAT: u32 = 1;

/// So much of a file is in memory at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// A backup's list of contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The version of the program that made it.
    pub version: String,
    /// When it was begun, milliseconds since 1970; everything acknowledged before is in it.
    pub made_at_ms: i64,
    /// Every file but this one.
    pub files: Vec<ArchivedFile>,
    /// What was damaged already when it was copied.
    pub damage: Vec<String>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedFile {
    /// Relative to the backup's folder.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Of its content, in hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// The manifest of what is in a folder now.
    pub(super) fn of(
        folder: &Path,
        made_at_ms: i64,
        damage: Vec<String>,
    ) -> Result<Self, ArchiveError> {
        let mut files = Vec::new();
        for path in files_in(folder)? {
            let whole = folder.join(&path);
            let (bytes, sha256) = digest(&whole).map_err(ArchiveError::file("read", &whole))?;
            files.push(ArchivedFile { path, bytes, sha256 });
        }
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Self { format: FORMAT, version, made_at_ms, files, damage })
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), ArchiveError> {
        let path = folder.join(FILE_NAME);
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()
        };
        write().map_err(ArchiveError::file("write", &path))
    }

    pub(super) fn read(folder: &Path) -> Result<Self, ArchiveError> {
        let path = folder.join(FILE_NAME);
        let text = fs::read(&path).map_err(ArchiveError::file("read", &path))?;
        let faulty = |problem: String| ArchiveError::Manifest { path: path.clone(), problem };
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|error| faulty(error.to_string()))?;
        if manifest.format != FORMAT {
            let found = manifest.format;
            return Err(faulty(format!("format {found} is not {FORMAT}; use a newer version")));
        }
        let is_inside =
            |path: &Path| path.components().all(|one| matches!(one, Component::Normal(_)));
        match manifest.files.iter().find(|file| !is_inside(&file.path)) {
            Some(file) => Err(faulty(format!("{} lies outside", file.path.display()))),
            None => Ok(manifest),
        }
    }

    /// Holds what is in a folder against the manifest, and tells every difference.
    pub(super) fn check(&self, folder: &Path) -> Result<(), ArchiveError> {
        let mut faults = Vec::new();
        let mut unknown = files_in(folder)?;
        unknown.retain(|path| path != Path::new(FILE_NAME));
        for file in &self.files {
            unknown.retain(|path| *path != file.path);
            let path = folder.join(&file.path);
            let name = file.path.display();
            match digest(&path) {
                Ok((bytes, _)) if bytes != file.bytes => {
                    faults.push(format!("{name} has {bytes} bytes and not {}", file.bytes));
                }
                Ok((_, sha256)) if sha256 != file.sha256 => {
                    faults.push(format!("{name} is not what was written"));
                }
                Ok(_) => {}
                Err(error) => faults.push(format!("{name}: {error}")),
            }
        }
        faults.extend(unknown.iter().map(|path| format!("{} is not listed", path.display())));
        if faults.is_empty() {
            return Ok(());
        }
        Err(ArchiveError::NotWhole { folder: folder.to_owned(), faults: faults.join("; ") })
    }
}

/// The files in a folder and those below, relative to it, in the order of their names.
pub(super) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut files = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(place) = waiting.pop() {
        let whole = folder.join(&place);
        let failed = || ArchiveError::file("list", &whole);
        for entry in fs::read_dir(&whole).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let path = place.join(entry.file_name());
            if entry.file_type().map_err(failed())?.is_dir() {
                waiting.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn digest(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok((bytes, HEXLOWER.encode(hash.finalize().as_slice())));
        }
        hash.update(piece.get(..length).unwrap_or_default());
        bytes += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_told() {
        let check = |change: fn(&Path), expect: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            fs::create_dir(path.join("data")).unwrap();
            fs::write(path.join("data/one"), "first").unwrap();
            fs::write(path.join("two"), "second").unwrap();
            Manifest::of(path, 7, Vec::new()).unwrap().write(path).unwrap();
            change(path);
            let checked = Manifest::read(path).and_then(|manifest| manifest.check(path));
            let told = checked.map_or_else(|error| error.to_string(), |()| "whole".to_owned());
            assert!(told.contains(expect), "{told:?} does not contain {expect:?}");
        };
        check(|_| {}, "whole");
        check(|path| fs::write(path.join("data/one"), "First").unwrap(), "data/one is not what");
        check(|path| fs::write(path.join("two"), "sec").unwrap(), "two has 3 bytes and not 6");
        check(|path| fs::remove_file(path.join("two")).unwrap(), "two: No such file");
        check(|path| fs::write(path.join("data/more"), "").unwrap(), "data/more is not listed");
        check(|path| fs::remove_file(path.join(FILE_NAME)).unwrap(), "manifest.json: No such file");
        check(|path| fs::write(path.join(FILE_NAME), "{}").unwrap(), "missing field");
        check(
            |path| {
                let text = fs::read_to_string(path.join(FILE_NAME)).unwrap();
                fs::write(path.join(FILE_NAME), text.replace("\"two\"", "\"../two\"")).unwrap();
            },
            "../two lies outside",
        );
        check(
            |path| {
                let text = fs::read_to_string(path.join(FILE_NAME)).unwrap();
                fs::write(path.join(FILE_NAME), text.replace("\"format\": 1", "\"format\": 2"))
                    .unwrap();
            },
            "format 2 is not 1",
        );
    }
}
