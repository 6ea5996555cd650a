//! Where alerts go, and what the routing file may not decide by itself.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use crate::alert::Allowed;

/// The routing file that is used where the settings name none.
pub const DEFAULT_ROUTING: &str = "/etc/upkeep/routing.yml";

/// Where alerts go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Alerts {
    /// The routing file; unset: [`DEFAULT_ROUTING`] where it exists.
    pub routing: Option<PathBuf>,
    /// Networks that requests may reach although they are private or this very machine.
    pub allow_networks: Vec<IpNet>,
    /// Programs that may be run to tell of alerts, by their absolute paths.
    pub allow_commands: Vec<PathBuf>,
    /// What links in notifications begin with; unset: the collector's first name and HTTP port.
    pub external_url: Option<String>,
}

impl Alerts {
    /// The routing file, if there is to be one.
    pub fn routing_file(&self) -> Option<PathBuf> {
        let default = || Some(PathBuf::from(DEFAULT_ROUTING)).filter(|path| path.exists());
        self.routing.clone().or_else(default)
    }

    /// What the routing file may make use of.
    pub fn allowed(&self) -> Allowed {
        Allowed { networks: self.allow_networks.clone(), commands: self.allow_commands.clone() }
    }
}
