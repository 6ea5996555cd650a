//! What changed on a host: the markers on its graphs, and what happened before something broke.

use serde::{Deserialize, Serialize};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Names this very change of this host, so that one which is told twice counts once.
    pub id: String,
    /// What kind of thing changed.
    pub kind: ChangeKind,
    /// The thing: a package, a file, a unit; empty where the kind says it all.
    pub subject: String,
    /// What it was: a version, a hash, a state; empty if it was not there.
    pub before: String,
    /// What it is now; empty if it is not there any more.
    pub after: String,
}

/// The kinds of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A package is there that was not.
    PackageInstalled,
    /// A package has another version.
    PackageUpdated,
    /// A package is gone.
    PackageRemoved,
    /// Another kernel runs.
    Kernel,
    /// The host was started.
    Boot,
    /// A watched file of the configuration has another content.
    Configuration,
    /// The agent has another version.
    AgentVersion,
    /// A unit of systemd failed.
    UnitFailed,
    /// The agent was stopped in order, and the host goes on.
    AgentStopped,
    /// The host is being shut down, which stopped the agent in order.
    Shutdown,
    /// The agent's run before this one ended without having been stopped.
    AgentInterrupted,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::PackageInstalled,
        Self::PackageUpdated,
        Self::PackageRemoved,
        Self::Kernel,
        Self::Boot,
        Self::Configuration,
        Self::AgentVersion,
        Self::UnitFailed,
        Self::AgentStopped,
        Self::Shutdown,
        Self::AgentInterrupted,
    ];

    /// The word for it, as in JSON and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PackageInstalled => "package_installed",
            Self::PackageUpdated => "package_updated",
            Self::PackageRemoved => "package_removed",
            Self::Kernel => "kernel",
            Self::Boot => "boot",
            Self::Configuration => "configuration",
            Self::AgentVersion => "agent_version",
            Self::UnitFailed => "unit_failed",
            Self::AgentStopped => "agent_stopped",
            Self::Shutdown => "shutdown",
            Self::AgentInterrupted => "agent_interrupted",
        }
    }
}
