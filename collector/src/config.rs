//! The collector's settings, `/etc/upkeep/collector.toml` and `conf.d/*.toml` beside it.

mod alerts;
mod tolerance;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use upkeep_config::{ConfigError, Fault};
use upkeep_store::{Downsampling, Options};

pub use alerts::{Alerts, DEFAULT_ROUTING, Heartbeat};
pub use tolerance::{OwnSignal, Tolerance};

use crate::query::Settings;
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
    /// The request that stops when the way of the data is broken.
    pub heartbeat: Heartbeat,
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
            heartbeat: Heartbeat::default(),
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

/// What queries may take.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Query {
    /// The most samples that one may hold at a time.
    pub max_samples: usize,
    /// How long one may take, its wait for others included.
    pub timeout: Span,
    /// How many run at once.
    pub concurrent: usize,
}

impl Default for Query {
    fn default() -> Self {
        let Settings { max_samples, timeout, concurrency, .. } = Settings::default();
        Self { max_samples, timeout: Span(timeout), concurrent: concurrency }
    }
}

impl Query {
    /// What queries are bounded by.
    pub fn settings(&self) -> Settings {
        let Self { max_samples, timeout, concurrent: concurrency } = *self;
        Settings { max_samples, timeout: timeout.0, concurrency, ..Settings::default() }
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
        let of_parts = [self.heartbeat.faults(), self.tolerance.faults()].concat();
        for (key, message) in self.storage.downsampling_faults().into_iter().chain(of_parts) {
            faults.push(Fault::of_key(main, key, &message));
        }
        if self.certificates.host_lifetime.0 < SHORTEST_LIFETIME {
            let message = format!("it must be at least {}", Span(SHORTEST_LIFETIME));
            faults.push(Fault::of_key(main, "certificates.host_lifetime", &message));
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
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = load("").unwrap();
        assert_eq!(config.grpc.listen.to_string(), "0.0.0.0:8443");
        assert_eq!(config.http.listen.to_string(), "0.0.0.0:9443");
        assert!(config.http.tls);
        assert_eq!(config.rules.interval.to_string(), "15s");
        let Query { max_samples, timeout, concurrent } = config.query;
        assert_eq!((max_samples, concurrent), (50_000_000, 20));
        assert_eq!(timeout.to_string(), "2m");
        let (own, store) = (config.storage.options(&config.limits), Options::default());
        assert_eq!(
            (own.cache_bytes, own.journal_bytes, own.max_series, own.retention),
            (store.cache_bytes, store.journal_bytes, store.max_series, store.retention)
        );
    }

    #[test]
    fn bounds_reach_the_store_and_the_queries() {
        let text = "[storage]\ncache_mib = 8\njournal_mib = 16\n[limits]\nseries = 70\n\
            [query]\nmax_samples = 9\ntimeout = \"3s\"\nconcurrent = 2\n";
        let config = load(text).unwrap();
        let store = config.storage.options(&config.limits);
        let found = (store.cache_bytes, store.journal_bytes, store.max_series);
        assert_eq!(found, (8 << 20, 16 << 20, 70));
        assert_eq!(store.downsampling, Downsampling::default());
        let text = "[storage]\nretention_days = 400\ndownsample_5m_after_days = 2\n\
            downsample_1h_after_days = 90\n";
        let (storage, limits) = (load(text).unwrap().storage, Limits::default());
        let after = storage.options(&limits).downsampling;
        let expect = [after.five_minutes_after, after.one_hour_after];
        assert_eq!(expect, [Some(Duration::from_hours(48)), Some(Duration::from_hours(90 * 24))]);
        let queries = config.query.settings();
        assert_eq!((queries.max_samples, queries.concurrency), (9, 2));
        assert_eq!(queries.timeout, Duration::from_secs(3));
    }

    #[test]
    fn values_are_read() {
        let text = "data_dir = \"/data\"\n[http]\nlisten = \"127.0.0.1:0\"\ntls = false\n\
            [rules]\ninterval = \"1m 30s\"\n[alerts]\nallow_networks = [\"127.0.0.0/8\"]\n\
            keep_silences = \"2 days\"\n";
        let config = load(text).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("/data"));
        assert_eq!(config.rules.interval.0, Duration::from_secs(90));
        assert_eq!(config.alerts.allow_networks.len(), 1);
        assert_eq!(config.alerts.keep_silences.0, Duration::from_hours(48));
        assert!(!config.http.tls);
    }

    #[test]
    fn faults_are_named_all_at_once() {
        let check = |text: &str, expect: &[&str]| {
            let error = load(text).unwrap_err().to_string();
            for part in expect {
                assert!(error.contains(part), "{part:?} is not in {error}");
            }
        };
        check(
            "[grpc]\nhandshakes_per_second = 0\n[http]\ntls = false\n[storage]\nretention_days = 0\nretention_bytes = 0\n",
            &[
                "grpc.handshakes_per_second",
                "http.tls",
                "0.0.0.0:9443",
                "storage.retention_days",
                "storage.retention_bytes",
            ],
        );
        check(
            "[storage]\ncache_mib = 0\njournal_mib = 0\n[query]\nmax_samples = 0\ntimeout = \"0s\"\n\
             concurrent = 0\n[limits]\nseries = 0\n",
            &[
                "storage.cache_mib",
                "storage.journal_mib",
                "query.max_samples",
                "query.timeout",
                "query.concurrent",
                "limits.series: it must not be 0",
            ],
        );
        check(
            "[storage]\nretention_days = 30\ndownsample_5m_after_days = 0\n\
             downsample_1h_after_days = 30\n",
            &[
                "storage.downsample_5m_after_days: it must be at least 2",
                "storage.downsample_1h_after_days: it must be less than storage.retention_days, 30",
            ],
        );
        check(
            "[storage]\ndownsample_5m_after_days = 7\ndownsample_1h_after_days = 7\n",
            &["1h_after_days: it must be more than storage.downsample_5m_after_days, 7"],
        );
        check(
            "[heartbeat]\nurl = \"x\"\nurl_file = \"/y\"\ninterval = \"0s\"\n",
            &["heartbeat.url_file: only one", "heartbeat.url: the URL", "heartbeat.interval"],
        );
        check("[query]\ntimeout = 5\n", &["query", "collector.toml"]);
        check("[storage]\njournal_mb = 5\n", &["journal_mb", "collector.toml"]);
        check("[grcp]\nlisten = \"x\"\n", &["grcp", "collector.toml"]);
        check("[certificates]\nhost_lifetime = \"59s\"\n", &["host_lifetime", "at least 1m"]);
        check(
            "[[remote_write]]\nname = \"a\"\nurl = \"http://192.168.1.5/\"\n\
             [[remote_write]]\nname = \"a\"\nurl = \"https://x/\"\n",
            &["remote_write \"a\": url must begin with https://", "\"a\" is given twice"],
        );
        check("[rules]\ninterval = \"soon\"\n", &["interval", "collector.toml"]);
    }
}
