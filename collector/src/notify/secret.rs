//! Texts that never show in logs.

use std::fmt;
use std::path::PathBuf;

use super::NotifyError;

/// A secret, or the file that holds it. Files are read at each use, so that a secret can be
/// replaced while the server runs.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// As it stands in the configuration.
    Inline(String),
    /// In a file; white space around it does not count.
    File(PathBuf),
}

impl Secret {
    /// The secret itself.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub async fn read(&self) -> Result<String, NotifyError> {
        match self {
            Self::Inline(text) => Ok(text.clone()),
            Self::File(path) => {
                let read = tokio::fs::read_to_string(path).await;
                let text =
                    read.map_err(|source| NotifyError::File { path: path.clone(), source })?;
                Ok(text.trim().to_owned())
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => formatter.write_str("Secret"),
            Self::File(path) => write!(formatter, "Secret({})", path.display()),
        }
    }
}
