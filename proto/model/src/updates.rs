//! Pending updates and whether a restart is due. What is not known says why, and never reads as
//! "up to date".

use serde::{Deserialize, Serialize};

/// A thing that is known, or the reason why it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Knowledge<T> {
    /// The thing.
    Known(T),
    /// Why it could not be found out, in words for an operator.
    Unknown(String),
}

impl<T> Knowledge<T> {
    /// The thing, if it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(thing) => Some(thing),
            Self::Unknown(_) => None,
        }
    }
}

/// Everything a host says about its patches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateReport {
    /// When it was found out, in milliseconds since 1970.
    pub checked_at_ms: i64,
    /// One report a package manager that the host has. Empty: no known manager was found.
    pub managers: Vec<ManagerReport>,
    /// Whether a restart of the host is due.
    pub reboot: Knowledge<RebootReport>,
}

/// What one package manager says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerReport {
    /// The manager's name, such as `apt`.
    pub manager: String,
    /// When the manager's package lists were last refreshed, in milliseconds since 1970, where known.
    pub lists_refreshed_at_ms: Option<i64>,
    /// The pending updates.
    pub updates: Knowledge<Vec<PackageUpdate>>,
}

/// One package that could be updated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageUpdate {
    /// The package's name.
    pub package: String,
    /// Its architecture, as the manager names it.
    pub architecture: String,
    /// The installed version; empty for a package that the update would newly install.
    pub installed: String,
    /// The version that is offered.
    pub offered: String,
    /// Where it comes from, as the manager names it.
    pub origin: String,
    /// Whether its origin is one for security updates.
    pub security: bool,
    /// Whether the manager would not install it now: held, kept back or phased.
    pub held: bool,
}

/// Whether a restart is due, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebootReport {
    /// The reasons; none means that no restart is due.
    pub reasons: Vec<RestartReason>,
}

impl RebootReport {
    /// Whether a restart is due.
    pub fn required(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// One reason for a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartReason {
    /// What is the matter, in words for an operator.
    pub reason: String,
    /// The packages that asked for it, where known.
    pub packages: Vec<String>,
}
