//! Where the token comes from: a file or standard input, never an argument that `ps` would show.

use std::fs::File;
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
    /// What is in it is not a token.
    #[error("the token in {path} cannot be used: {source}")]
    Token {
        /// The file, or `-` for standard input.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenError,
    },
}

/// Reads a token from a file, or from standard input where the path is `-`.
///
/// # Errors
/// When there is none, or it is not one.
pub fn read_token(path: &Path) -> Result<Token, TokenFileError> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_TOKEN_BYTES).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX_TOKEN_BYTES).read_to_string(&mut text))
    };
    read.map_err(|source| TokenFileError::File { path: path.to_owned(), source })?;
    text.parse().map_err(|source| TokenFileError::Token { path: path.to_owned(), source })
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
        std::fs::write(&path, "upkeep1.AAAA\n").unwrap();
        let error = read_token(&path).unwrap_err();
        assert!(error.to_string().contains("mistyped or cut"), "{error}");
    }
}
