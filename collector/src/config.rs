//! The collector's settings, `/etc/upkeep/collector.toml` and `conf.d/*.toml` beside it.

mod actions;
mod alertmanagers;
mod alerts;
mod digest;
mod flapping;
mod query;
mod tolerance;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use upkeep_config::{ConfigError, Fault};
use upkeep_store::{Downsampling, Options};

pub use actions::Action;
pub use alertmanagers::Alertmanager;
pub use alerts::{Alerts, DEFAULT_ROUTING, Heartbeat};
pub use digest::{Day, Digest};
pub use flapping::Flapping;
pub use query::Query;
pub use tolerance::{OwnSignal, Tolerance};

use crate::action;
use crate::forward;
use crate::remote::TargetSettings;

/// The folder of rule files that is used where the settings name none.
pub const DEFAULT_RULES: &str = "/etc/upkeep/rules.d";

/// The shortest life of a host's certificate: hosts renew at half of it, and must not do little
/// else.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(60);

/// What is younger, in days, is looked at closely, and some of it may still come.
const SOONEST_DOWNSAMPLING_DAYS: u32 = 2;

/// Every setting; each has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Where keys and data are.
    pub data_dir: PathBuf,
    /// The door for agents.
    pub grpc: Grpc,
    /// The door for people and programs.
    pub http: Http,
    /// How samples are kept.
    pub storage: Storage,
    /// What queries may take.
    pub query: Query,
    /// Rules.
    pub rules: Rules,
    /// Where alerts go.
    pub alerts: Alerts,
    /// What rules may ask for beside telling people.
    pub actions: Vec<Action>,
    /// Whom alerts are sent on to.
    pub alertmanagers: Vec<Alertmanager>,
    /// The request that stops when the way of the data is broken.
    pub heartbeat: Heartbeat,
    /// Who reads digests, and when.
    pub digest: Digest,
    /// Control charts.
    pub tolerance: Tolerance,
    /// What one host or sender may ask of the collector.
    pub limits: Limits,
    /// The certificates of hosts.
    pub certificates: Certificates,
    /// Where samples are sent to.
    pub remote_write: Vec<TargetSettings>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/upkeep-collector"),
            grpc: Grpc::default(),
            http: Http::default(),
            storage: Storage::default(),
            query: Query::default(),
            rules: Rules::default(),
            alerts: Alerts::default(),
            actions: Vec::new(),
            alertmanagers: Vec::new(),
            heartbeat: Heartbeat::default(),
            digest: Digest::default(),
            tolerance: Tolerance::default(),
            limits: Limits::default(),
            certificates: Certificates::default(),
            remote_write: Vec::new(),
        }
    }
}

/// The door for agents.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Grpc {
    /// Where it listens; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// What tokens tell agents to connect to, `host:port`; unset: the first name of the collector's
    /// certificate, and the port that it listens on.
    pub address: Option<String>,
    /// How many TLS handshakes may begin within a second.
    pub handshakes_per_second: u32,
}

impl Default for Grpc {
    fn default() -> Self {
        Self { listen: everywhere(8443), address: None, handshakes_per_second: 200 }
    }
}

/// The door for people and programs.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Http {
    /// Where it listens; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Whether it speaks TLS; without, it listens on loopback only.
    pub tls: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: everywhere(9443), tls: true }
    }
}

/// How samples are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Storage {
    /// For how many days.
    pub retention_days: u32,
    /// Once they take more bytes than this, the oldest go before their time.
    pub retention_bytes: Option<u64>,
    /// After so many days only summaries of five minutes are kept of a day; never by default.
    pub downsample_5m_after_days: Option<u32>,
    /// After so many days only summaries of an hour are kept of a day; never by default.
    pub downsample_1h_after_days: Option<u32>,
    /// So much memory keeps pages of what is sealed, in MiB.
    pub cache_mib: u32,
    /// When the journal has so many MiB, and what of it is in memory about as many, it is sealed at once.
    pub journal_mib: u32,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            retention_days: 15,
            retention_bytes: None,
            downsample_5m_after_days: None,
            downsample_1h_after_days: None,
            cache_mib: 64,
            journal_mib: 512,
        }
    }
}

impl Storage {
    /// How long samples are kept.
    pub fn retention(&self) -> Duration {
        days(self.retention_days)
    }

    /// What is wrong with when samples become summaries, by key.
    fn downsampling_faults(&self) -> Vec<(&'static str, String)> {
        let five_minutes = ("storage.downsample_5m_after_days", self.downsample_5m_after_days);
        let one_hour = ("storage.downsample_1h_after_days", self.downsample_1h_after_days);
        let mut faults = Vec::new();
        for (key, after) in [five_minutes, one_hour] {
            let Some(after) = after else { continue };
            if after < SOONEST_DOWNSAMPLING_DAYS {
                faults.push((key, format!("it must be at least {SOONEST_DOWNSAMPLING_DAYS}")));
            }
            if after >= self.retention_days {
                let kept = self.retention_days;
                faults.push((key, format!("it must be less than storage.retention_days, {kept}")));
            }
        }
        if let ((key, Some(five_minutes)), (later, Some(one_hour))) = (five_minutes, one_hour)
            && one_hour <= five_minutes
        {
            faults.push((later, format!("it must be more than {key}, {five_minutes}")));
        }
        faults
    }

    /// What the store is opened with.
    pub fn options(&self, limits: &Limits) -> Options {
        const MIB: u64 = 1024 * 1024;
        let cache_bytes = u64::from(self.cache_mib) * MIB;
        Options {
            retention: self.retention(),
            retention_bytes: self.retention_bytes,
            downsampling: Downsampling {
                five_minutes_after: self.downsample_5m_after_days.map(days),
                one_hour_after: self.downsample_1h_after_days.map(days),
            },
            cache_bytes: usize::try_from(cache_bytes).unwrap_or(usize::MAX),
            journal_bytes: u64::from(self.journal_mib) * MIB,
            max_series: usize::try_from(limits.series).unwrap_or(usize::MAX),
            ..Options::default()
        }
    }
}

/// Rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// The folder of the rule files, `*.yml`.
    pub folder: PathBuf,
    /// How often groups that do not say otherwise are evaluated.
    pub interval: Span,
    /// Whether only rules with `action` and `outcome`, and above the severity `info`, notify.
    pub require_outcome: bool,
    /// Files of that folder, by name, whose rules notify without.
    pub require_outcome_except: Vec<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            folder: PathBuf::from(DEFAULT_RULES),
            interval: Span(Duration::from_secs(15)),
            require_outcome: true,
            require_outcome_except: Vec::new(),
        }
    }
}

impl Rules {
    /// The folder, unless it is the one that may be missing and is.
    pub fn folder_if_any(&self) -> Vec<PathBuf> {
        let missing = self.folder == Path::new(DEFAULT_RULES) && !self.folder.exists();
        if missing { Vec::new() } else { vec![self.folder.clone()] }
    }
}

/// What one host or sender may ask of the collector.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// How many series a host may have.
    pub series_per_host: u32,
    /// How many series one who sends by remote write may have within an hour.
    pub series_per_sender: u32,
    /// How many all of them may have together.
    pub series_of_all_senders: u32,
    /// How many series there may be in all.
    pub series: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series_per_host: 2_000,
            series_per_sender: 500_000,
            series_of_all_senders: 1_000_000,
            series: 5_000_000,
        }
    }
}

/// The certificates of hosts.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Certificates {
    /// How long they are good; hosts renew them at half of it.
    pub host_lifetime: Span,
}

impl Default for Certificates {
    fn default() -> Self {
        Self { host_lifetime: Span(crate::ca::HOST_LIFETIME) }
    }
}

/// A duration as people write it, such as `15s` or `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(formatter)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Config {
    /// Reads the main file and its drop-ins.
    ///
    /// # Errors
    /// All faults of all files, or all contradictions.
    pub fn load(main: &Path) -> Result<Self, ConfigError> {
        let config: Self = upkeep_config::load(main)?;
        let faults = config.contradictions(main);
        if faults.is_empty() { Ok(config) } else { Err(ConfigError { faults }) }
    }

    /// The actions that rules may ask for.
    ///
    /// # Errors
    /// With everything that is wrong with them; of a configuration that was loaded nothing is.
    pub fn actions(&self) -> Result<Vec<action::Settings>, Vec<String>> {
        actions::settings(&self.actions, &self.alerts)
    }

    /// The Alertmanagers that alerts are sent on to.
    ///
    /// # Errors
    /// With everything that is wrong with them; of a configuration that was loaded nothing is.
    pub fn alertmanagers(&self) -> Result<Vec<forward::Settings>, Vec<String>> {
        alertmanagers::settings(&self.alertmanagers, &self.alerts)
    }

    /// The names of the actions that rules may ask for.
    pub fn action_names(&self) -> BTreeSet<String> {
        self.actions.iter().map(|action| action.name.clone()).collect()
    }

    fn contradictions(&self, main: &Path) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !self.http.tls && !self.http.listen.ip().is_loopback() {
            let listen = self.http.listen;
            let message = format!("without TLS, listen must be a loopback address, not {listen}");
            faults.push(Fault::of_key(main, "http.tls", &message));
        }
        for (key, zero) in [
            ("grpc.handshakes_per_second", self.grpc.handshakes_per_second == 0),
            ("storage.retention_days", self.storage.retention_days == 0),
            ("storage.cache_mib", self.storage.cache_mib == 0),
            ("storage.journal_mib", self.storage.journal_mib == 0),
            ("query.max_samples", self.query.max_samples == 0),
            ("query.timeout", self.query.timeout.0.is_zero()),
            ("query.concurrent", self.query.concurrent == 0),
            ("storage.retention_bytes", self.storage.retention_bytes == Some(0)),
            ("rules.interval", self.rules.interval.0.is_zero()),
            ("limits.series_per_host", self.limits.series_per_host == 0),
            ("limits.series", self.limits.series == 0),
            ("limits.series_per_sender", self.limits.series_per_sender == 0),
            ("limits.series_of_all_senders", self.limits.series_of_all_senders == 0),
        ] {
            if zero {
                faults.push(Fault::of_key(main, key, &"it must not be 0"));
            }
        }
        let of_alerts = [self.heartbeat.faults(), self.alerts.flapping.faults()].concat();
        let of_parts = [of_alerts, self.digest.faults(), self.tolerance.faults()].concat();
        for (key, message) in self.storage.downsampling_faults().into_iter().chain(of_parts) {
            faults.push(Fault::of_key(main, key, &message));
        }
        if self.certificates.host_lifetime.0 < SHORTEST_LIFETIME {
            let message = format!("it must be at least {}", Span(SHORTEST_LIFETIME));
            faults.push(Fault::of_key(main, "certificates.host_lifetime", &message));
        }
        for fault in self.actions().err().into_iter().flatten() {
            faults.push(Fault::of_key(main, "actions", &fault));
        }
        for fault in self.alertmanagers().err().into_iter().flatten() {
            faults.push(Fault::of_key(main, "alertmanagers", &fault));
        }
        for (index, target) in self.remote_write.iter().enumerate() {
            if let Err(fault) = target.check() {
                faults.push(Fault::of_key(main, "remote_write", &fault));
            }
            let others = self.remote_write.get(..index).unwrap_or_default();
            if others.iter().any(|other| other.name == target.name) {
                let message = format!("the name {:?} is given twice", target.name);
                faults.push(Fault::of_key(main, "remote_write", &message));
            }
        }
        faults
    }
}

fn days(days: u32) -> Duration {
    Duration::from_hours(24 * u64::from(days))
}

fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

#[cfg(test)]
mod tests;
