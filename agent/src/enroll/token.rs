//! Where the token comes from: a file or standard input, never an argument that `ps` would show.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;
use upkeep_wire::{Token, TokenError};

/// More than the longest token has.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Why there is no token.
#[derive(Debug, Error)]
pub enum TokenFileError {
    /// The file cannot be read.
    #[error("cannot read the token from {path}: {source}")]
    File {
        /// The file, or `-` for standard input.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be deleted.
    #[error("{path}: {source}")]
    Remove {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What is in it is not a token.
    #[error("the token in {path} cannot be used: {source}")]
    Token {
        /// The file, or `-` for standard input.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenError,
    },
}

/// What stands for standard input.
const STANDARD_INPUT: &str = "-";

/// The permissions of a file that let others than its owner read it.
#[cfg(unix)]
const READABLE_BY_OTHERS: u32 = 0o044;

/// Reads a token from a file, or from standard input where the path is `-`. A file that others may
/// read is used with a warning: the token in it may be known to them.
///
/// # Errors
/// When there is none, or it is not one.
pub fn read_token(path: &Path) -> Result<Token, TokenFileError> {
    let mut text = String::new();
    let read = if path == Path::new(STANDARD_INPUT) {
        io::stdin().lock().take(MAX_TOKEN_BYTES).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| {
            warn_if_open(path, &file)?;
            file.take(MAX_TOKEN_BYTES).read_to_string(&mut text)
        })
    };
    read.map_err(|source| TokenFileError::File { path: path.to_owned(), source })?;
    text.parse().map_err(|source| TokenFileError::Token { path: path.to_owned(), source })
}

#[cfg(unix)]
fn warn_if_open(path: &Path, file: &File) -> io::Result<()> {
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata()?);
    if mode & READABLE_BY_OTHERS != 0 {
        let (path, mode) = (path.display(), mode & 0o7777);
        tracing::warn!(
            "others can read {path} (mode {mode:04o}): a token belongs into a file of mode 0600"
        );
    }
    Ok(())
}

/// Such systems have other rights, which their folders pass on.
#[cfg(not(unix))]
fn warn_if_open(_path: &Path, _file: &File) -> io::Result<()> {
    Ok(())
}

/// Deletes the file of a token that is used up. What is no ordinary file is left alone: standard
/// input, a pipe, a link to where somebody else keeps it.
///
/// # Errors
/// When the file is there and cannot be deleted.
pub fn remove_token(path: &Path) -> Result<(), TokenFileError> {
    let remove = || -> io::Result<()> {
        if path == Path::new(STANDARD_INPUT) || !fs::symlink_metadata(path)?.is_file() {
            return Ok(());
        }
        fs::remove_file(path)
    };
    remove().map_err(|source| TokenFileError::Remove { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let error = read_token(&path).unwrap_err();
        assert!(error.to_string().contains("token: No such file"), "{error}");
        fs::write(&path, "upkeep1.AAAA\n").unwrap();
        let error = read_token(&path).unwrap_err();
        assert!(error.to_string().contains("mistyped or cut"), "{error}");
    }

    #[test]
    fn only_ordinary_files_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("token"), folder.path().join("link"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        remove_token(&link).unwrap();
        remove_token(Path::new("-")).unwrap();
        assert!(file.exists() && link.exists());
        remove_token(&file).unwrap();
        assert!(!file.exists());
        assert!(remove_token(&file).unwrap_err().to_string().contains("No such file"));
    }
}
