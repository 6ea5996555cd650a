//! Why a question has no answer.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::Verb;
use crate::host::HostError;

/// A question has no answer.
#[derive(Debug, Error)]
pub enum HelperError {
    /// The helper does not listen.
    #[error(
        "the helper is switched off: {} is not there; enable upkeep-agent-{}.socket",
        socket.display(),
        socket.file_stem().unwrap_or_default().display()
    )]
    Off {
        /// Where it would listen.
        socket: PathBuf,
    },
    /// The helper may not be asked or does not take questions.
    #[error("the helper at {} cannot be asked: {source}", socket.display())]
    Connect {
        /// Where it listens.
        socket: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection with the helper broke: {0}")]
    Exchange(#[from] io::Error),
    /// The other side took too long.
    #[error("the other side of the helper's socket was silent for {} s", after.as_secs_f64())]
    Deadline {
        /// How long was waited.
        after: Duration,
    },
    /// The other side sent more than can be honest.
    #[error("the other side of the helper's socket sent more than {limit} bytes")]
    TooLong {
        /// The most that is taken, in bytes.
        limit: usize,
    },
    /// The other side sent something else than was agreed.
    #[error("what came through the helper's socket cannot be used: {0}")]
    Malformed(String),
    /// The helper answered something else.
    #[error("the helper was asked for {asked} and answered {got}")]
    OtherVerb {
        /// What was asked.
        asked: Verb,
        /// What came.
        got: Verb,
    },
    /// The helper did not want to answer.
    #[error("the helper refuses: {0}")]
    Refused(String),
    /// The host does not have what the answer would be about.
    #[error("{0}")]
    Absent(String),
    /// What the answer would be about could not be read.
    #[error("{0}")]
    Failed(String),
}

impl HelperError {
    /// Whether the host simply does not have what was asked for, `smartctl` say.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent(_))
    }
}

impl From<HostError> for HelperError {
    fn from(error: HostError) -> Self {
        if error.is_absent() {
            Self::Absent(error.to_string())
        } else {
            Self::Failed(error.to_string())
        }
    }
}
