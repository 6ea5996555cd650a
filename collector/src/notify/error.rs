//! Why a notification did not arrive.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a notification did not arrive.
#[derive(Debug, Error)]
pub enum NotifyError {
    /// The destination took the request and answered that it does not want it.
    #[error("{destination} answered {status}{detail}")]
    Answer {
        /// Who answered, without secrets.
        destination: String,
        /// The status of the answer.
        status: u16,
        /// The beginning of the answer, after a colon; may be empty.
        detail: String,
    },
    /// There was no answer.
    #[error("{destination} could not be reached: {reason}")]
    Unreachable {
        /// Who did not answer, without secrets.
        destination: String,
        /// What happened.
        reason: String,
    },
    /// The destination asked, not long ago, to be left alone for a while.
    #[error("{destination} asked not to be told anything for another {seconds} s")]
    Silence {
        /// Who asked, without secrets.
        destination: String,
        /// For how long still.
        seconds: u64,
    },
    /// A command did not do what it was to do.
    #[error("{program} {reason}")]
    Command {
        /// The program.
        program: String,
        /// What happened.
        reason: String,
        /// Whether the same message would fail again.
        is_permanent: bool,
    },
    /// The destination's address is one that nothing may be sent to.
    #[error(
        "{destination} is at {address}, {reason}; if it is meant, list its network in `allow_networks`"
    )]
    Forbidden {
        /// The destination, without secrets.
        destination: String,
        /// Its address.
        address: std::net::IpAddr,
        /// What kind of address that is.
        reason: &'static str,
    },
    /// A file that the channel needs cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The channel's configuration cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// The message could not be put together.
    #[error("the message could not be made: {0}")]
    Message(String),
    /// The receiver is of a kind that this program does not serve.
    #[error("receivers of kind `{0}` are not served")]
    Unsupported(String),
}

impl NotifyError {
    /// Whether the same message would be refused again, so that trying again is of no use before
    /// something changes.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Answer { status, .. } => !matches!(status, 408 | 429 | 500..),
            Self::Command { is_permanent, .. } => *is_permanent,
            Self::Unreachable { .. } | Self::Silence { .. } | Self::File { .. } => false,
            Self::Forbidden { .. }
            | Self::Configuration(_)
            | Self::Message(_)
            | Self::Unsupported(_) => true,
        }
    }
}
