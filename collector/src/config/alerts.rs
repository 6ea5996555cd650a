//! Where alerts go, and what the routing file may not decide by itself.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::{Flapping, Span};
use crate::alert::{Allowed, DEFAULT_KEEP_SILENCES};
use crate::heartbeat;
use crate::notify::{HttpSettings, Secret, parse_url};

/// The routing file that is used where the settings name none.
pub const DEFAULT_ROUTING: &str = "/etc/upkeep/routing.yml";

/// Where alerts go.
#[derive(Clone, Debug, Deserialize)]
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
    /// For how long silences are kept that are over.
    pub keep_silences: Span,
    /// When alerts flap.
    pub flapping: Flapping,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            routing: None,
            allow_networks: Vec::new(),
            allow_commands: Vec::new(),
            external_url: None,
            keep_silences: Span(DEFAULT_KEEP_SILENCES),
            flapping: Flapping::default(),
        }
    }
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

/// The request that stops when the way of the data is broken.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    /// Where it goes; none is sent without.
    pub url: Option<String>,
    /// The file that holds the address, in place of the address.
    pub url_file: Option<PathBuf>,
    /// A file of certificates that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// How often it is sent.
    pub interval: Span,
    /// How long a part of the way may stand still.
    pub patience: Span,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            ca_file: None,
            interval: Span(Duration::from_mins(1)),
            patience: Span(Duration::from_mins(5)),
        }
    }
}

impl Heartbeat {
    /// How it is sent, if it is.
    pub fn settings(&self, alerts: &Alerts) -> Option<heartbeat::Settings> {
        let inline = self.url.clone().map(Secret::Inline);
        Some(heartbeat::Settings {
            url: inline.or_else(|| self.url_file.clone().map(Secret::File))?,
            interval: self.interval.0,
            patience: self.patience.0,
            http: HttpSettings {
                ca_file: self.ca_file.clone(),
                allow_networks: alerts.allow_networks.clone(),
                ..HttpSettings::default()
            },
        })
    }

    /// What is wrong with it, by key.
    pub(super) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if self.url.is_some() && self.url_file.is_some() {
            let message = "only one of url and url_file may be set".to_owned();
            faults.push(("heartbeat.url_file", message));
        }
        if let Some(error) = self.url.as_deref().and_then(|url| parse_url(url).err()) {
            faults.push(("heartbeat.url", error.to_string()));
        }
        let spans = [("heartbeat.interval", self.interval), ("heartbeat.patience", self.patience)];
        let zero = spans.into_iter().filter(|(_, span)| span.0.is_zero());
        faults.extend(zero.map(|(key, _)| (key, "it must not be 0".to_owned())));
        faults
    }
}
