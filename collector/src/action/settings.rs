//! How an action is set.

use std::path::PathBuf;
use std::time::Duration;

use super::argument::Argument;
use super::limit::Limit;
use crate::notify::{HttpSettings, Secret};

/// One action of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// By which rules ask for it.
    pub name: String,
    /// What is done.
    pub deed: Deed,
    /// How often.
    pub limit: Limit,
    /// How long it may take.
    pub timeout: Duration,
}

/// What an action does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Runs a command of the allow-list.
    Command {
        /// The program, by its absolute path.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<Argument>,
    },
    /// Sends a request.
    Webhook {
        /// Where to.
        url: Secret,
        /// How; its timeout is the action's.
        http: HttpSettings,
    },
}

impl Deed {
    /// The word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Command { .. } => "command",
            Self::Webhook { .. } => "webhook",
        }
    }
}
