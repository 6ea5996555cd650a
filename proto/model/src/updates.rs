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

/// What nobody has said anything about is unknown; so is what an older agent does not report.
impl<T> Default for Knowledge<T> {
    fn default() -> Self {
        Self::Unknown("it was not looked at".to_owned())
    }
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateReport {
    /// When it was found out, in milliseconds since 1970.
    pub checked_at_ms: i64,
    /// One report a package manager that the host has. Empty: no known manager was found.
    pub managers: Vec<ManagerReport>,
    /// Whether a restart of the host is due.
    pub reboot: Knowledge<RebootReport>,
    /// The services that still run code which an update has replaced.
    #[serde(default)]
    pub services: Knowledge<Vec<StaleService>>,
    /// Until when the distribution gets security updates.
    #[serde(default)]
    pub support: Knowledge<Support>,
}

/// What one package manager says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerReport {
    /// The manager's name, such as `apt`.
    pub manager: String,
    /// When the manager's package lists were last refreshed, in milliseconds since 1970, where known.
    pub lists_refreshed_at_ms: Option<i64>,
    /// Whether something on the host refreshes the lists, and with which success.
    #[serde(default)]
    pub refresh: Knowledge<Refresh>,
    /// The pending updates.
    pub updates: Knowledge<Vec<PackageUpdate>>,
    /// The origins among those of the updates that publish no advisories the manager could read,
    /// sorted: what comes from there may be for security or not.
    #[serde(default)]
    pub without_advisories: Vec<String>,
    /// How many installed packages came only because others needed them, and nothing needs them any
    /// more; `None` where the manager does not tell.
    #[serde(default)]
    pub removable: Option<u32>,
}

impl ManagerReport {
    /// Whether an update of this report is for security; `None` where that is not known.
    pub fn is_security(&self, update: &PackageUpdate) -> Option<bool> {
        match update.security {
            false if self.without_advisories.contains(&update.origin) => None,
            security => Some(security),
        }
    }
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
    /// Whether it is known as a security update: by its origin or its advisories, never by its
    /// name. [`ManagerReport::is_security`] tells whether the contrary is known.
    pub security: bool,
    /// How severe it is in the manager's own word, such as `Important`; empty where it has none.
    #[serde(default)]
    pub severity: String,
    /// The advisories and vulnerabilities that it is for, such as `RHSA-2024:1234`, sorted.
    #[serde(default)]
    pub advisories: Vec<String>,
    /// Why the manager would not install it now; `None` if it would.
    #[serde(default)]
    pub stays: Option<Stay>,
}

/// Why a manager leaves an update alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stay {
    /// The administrator put the package on hold.
    Held,
    /// The administrator's preferences or locks prefer another version.
    Pinned,
    /// It is offered to a part of all hosts first, and this one is not among them yet.
    Phased,
    /// It would need other packages to be installed or removed, or the manager does not say why.
    KeptBack,
}

impl Stay {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Held, Self::Pinned, Self::Phased, Self::KeptBack];

    /// The word for it, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Pinned => "pinned",
            Self::Phased => "phased",
            Self::KeptBack => "kept_back",
        }
    }
}

/// How the package lists come to be fresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum Refresh {
    /// Something refreshes them, and the last time it worked.
    Works,
    /// Something tried to refresh them and failed, with the reason.
    Fails(String),
    /// Nothing on the host refreshes them by itself.
    Off,
}

/// A service, or a program outside of any, with old code in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleService {
    /// The unit, such as `ssh.service`; or the program's name where no unit runs it.
    pub name: String,
    /// The replaced files that are still mapped, sorted.
    pub files: Vec<String>,
    /// How many of its processes map them.
    pub processes: u32,
}

/// How long a distribution is looked after. Dates are the first moment without updates, in
/// milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Support {
    /// The release, such as `Debian 12 (bookworm)`.
    pub release: String,
    /// When its makers' ordinary updates end; `None` if that is never, as on rolling releases.
    pub standard_until_ms: Option<i64>,
    /// When the longer support ends that some hosts have; `None` if there is none.
    pub extended_until_ms: Option<i64>,
    /// Whether this host has the longer support: it is for everybody, or the host is set up for it.
    #[serde(default)]
    pub has_extended: bool,
}

impl Support {
    /// When the last support ends that this host has; `None` if that is never.
    pub fn until_ms(&self) -> Option<i64> {
        let extended = self.extended_until_ms.filter(|_| self.has_extended);
        self.standard_until_ms.map(|standard| standard.max(extended.unwrap_or(standard)))
    }
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
