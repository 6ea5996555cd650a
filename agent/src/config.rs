//! The agent's configuration file: what it may say, its defaults and its bounds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use upkeep_config::{ConfigError, Fault};

use crate::helper::Verb;
use crate::inventory;
use crate::probe::{self, Sysctl, UnitPattern};

/// Where the configuration lies unless an option says otherwise.
pub const DEFAULT_FILE: &str = "/etc/upkeep/agent.toml";

/// The shortest and longest time between observations.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));

/// The shortest time between looks at pending updates, which start programs.
const SHORTEST_UPDATES_INTERVAL: Duration = Duration::from_secs(60);

/// The shortest and longest time between readings of disks: asking one takes it some time from its
/// work, and what is older than a day says little.
const SMART_INTERVALS: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(24 * 3600));

/// The smallest buffer that holds a day's events and some minutes of samples.
const SMALLEST_BUFFER_BYTES: u64 = 1024 * 1024;

/// Everything that the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The folder of the identity, the buffer and the status file.
    pub state_dir: StateFolder,
    /// How often the host is observed, at whole multiples of it by the wall clock.
    pub interval: Interval,
    /// How often pending updates are looked up.
    pub updates_interval: UpdatesInterval,
    /// What is logged, as a filter of the form `level` or `target=level,…`.
    pub log: LogFilter,
    /// The durable queue.
    pub buffer: BufferConfig,
    /// The connection to the collector.
    pub uplink: UplinkConfig,
    /// Where the host's file systems are found.
    pub path: PathConfig,
    /// Which probes run.
    pub probes: ProbesConfig,
    /// What is watched for changes.
    pub changes: ChangesConfig,
    /// What other programs measure and leave in files.
    pub textfile: TextfileConfig,
    /// The health of disks.
    pub smart: SmartConfig,
    /// What the helper answers.
    pub helper: HelperConfig,
}

/// The folder of the agent's state.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct StateFolder(pub PathBuf);

impl Default for StateFolder {
    fn default() -> Self {
        Self("/var/lib/upkeep-agent".into())
    }
}

/// The time between observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Interval(#[serde(deserialize_with = "interval")] pub Duration);

impl Default for Interval {
    fn default() -> Self {
        Self(Duration::from_secs(10))
    }
}

/// The time between looks at pending updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct UpdatesInterval(#[serde(deserialize_with = "updates_interval")] pub Duration);

impl Default for UpdatesInterval {
    fn default() -> Self {
        Self(Duration::from_secs(3600))
    }
}

/// A filter of log messages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct LogFilter(pub String);

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

/// The bounds of the durable queue; what is not given is as the queue's own defaults have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BufferConfig {
    /// What the records may take in bytes; on the disk it is up to four times as much.
    #[serde(deserialize_with = "buffer_limit")]
    pub limit_bytes: Option<u64>,
    /// So much of the disk is left free, in percent.
    #[serde(deserialize_with = "percent")]
    pub keep_free_percent: Option<u8>,
    /// So much of the disk is left free, in bytes; the larger of the two counts.
    pub keep_free_bytes: Option<u64>,
}

/// How the collector is reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct UplinkConfig {
    /// `host:port` in place of the address that the token gave; the collector's certificate must
    /// be valid for it.
    pub address: Option<String>,
    /// The longest time between two attempts to connect, unless the collector asks its hosts to spread over more.
    #[serde(deserialize_with = "period")]
    pub backoff_max: Duration,
}

impl Default for UplinkConfig {
    fn default() -> Self {
        Self { address: None, backoff_max: Duration::from_secs(30) }
    }
}

/// Where the host's file systems are found, as node_exporter's `--path.*`; what is not given is
/// where Linux has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PathConfig {
    /// The root file system.
    pub rootfs: Option<PathBuf>,
    /// The kernel's process file system.
    pub procfs: Option<PathBuf>,
    /// The kernel's device file system.
    pub sysfs: Option<PathBuf>,
    /// What udev knows about devices.
    pub udev_data: Option<PathBuf>,
}

/// Which probes run, beside node_exporter's choice.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ProbesConfig {
    /// Those that run although they are off by default.
    #[serde(deserialize_with = "probe_names")]
    pub enable: Vec<String>,
    /// Those that do not run.
    #[serde(deserialize_with = "probe_names")]
    pub disable: Vec<String>,
    /// What the probe `stat` shows.
    pub stat: StatConfig,
    /// What the probe `sysctl` shows.
    pub sysctl: SysctlConfig,
    /// What the probe `systemd` shows.
    pub systemd: SystemdConfig,
}

/// What the probe `stat` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StatConfig {
    /// Whether deferred work is shown by its kind.
    pub softirq: bool,
}

/// What the probe `sysctl` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SysctlConfig {
    /// Kernel settings whose numbers are shown.
    #[serde(deserialize_with = "kernel_settings")]
    pub include: Vec<Sysctl>,
    /// Kernel settings whose words are shown.
    #[serde(deserialize_with = "kernel_settings")]
    pub include_info: Vec<Sysctl>,
}

/// What the probe `systemd` shows.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SystemdConfig {
    /// Only units whose whole names match one of these are told of; all of them unless given.
    #[serde(deserialize_with = "unit_patterns")]
    pub include: Vec<UnitPattern>,
    /// Units whose whole names match one of these are not told of.
    #[serde(deserialize_with = "some_unit_patterns")]
    pub exclude: Option<Vec<UnitPattern>>,
}

/// What is watched for changes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ChangesConfig {
    /// How often it is looked for changes.
    #[serde(deserialize_with = "interval")]
    pub interval: Duration,
    /// The files that configure the host, as patterns of absolute paths. Only whether they changed
    /// is told, never what they contain.
    #[serde(deserialize_with = "file_patterns")]
    pub files: Vec<String>,
}

impl Default for ChangesConfig {
    fn default() -> Self {
        let files = inventory::DEFAULT_FILES.map(str::to_owned).to_vec();
        Self { interval: Duration::from_secs(60), files }
    }
}

/// Where other programs leave files of metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TextfileConfig {
    /// The folders, or patterns of folders, whose `*.prom` files are read.
    #[serde(alias = "directory", deserialize_with = "one_or_more")]
    pub directories: Vec<String>,
}

/// What the helper with more privileges than the agent may answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HelperConfig {
    /// The verbs that are not switched off.
    pub verbs: Vec<Verb>,
}

impl Default for HelperConfig {
    fn default() -> Self {
        Self { verbs: Verb::ALL.into() }
    }
}

/// The health of disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SmartConfig {
    /// How often the disks are asked.
    #[serde(deserialize_with = "smart_interval")]
    pub interval: Duration,
}

impl Default for SmartConfig {
    fn default() -> Self {
        Self { interval: probe::smart::Settings::default().interval }
    }
}

/// Reads the configuration. Without a file given, one that is not at the usual place is no fault:
/// the defaults then hold.
///
/// # Errors
/// All faults at once, each with its file, line and key.
pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    if file.is_none() && !path.exists() {
        return Ok(Config::default());
    }
    let config: Config = upkeep_config::load(path)?;
    let interval = config.interval.0;
    if config.updates_interval.0 < interval {
        let fault = Fault::of_key(path, "updates_interval", &"must not be shorter than interval");
        return Err(ConfigError::one(fault));
    }
    Ok(config)
}

fn period<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        serde::de::Error::custom(format!("{text:?} is not a time such as \"10s\": {error}"))
    })
}

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let (shortest, longest) = INTERVALS;
    let period = period(deserializer)?;
    if (shortest..=longest).contains(&period) {
        Ok(period)
    } else {
        Err(serde::de::Error::custom("must be between 100ms and 1h"))
    }
}

fn updates_interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let period = period(deserializer)?;
    if period >= SHORTEST_UPDATES_INTERVAL {
        Ok(period)
    } else {
        Err(serde::de::Error::custom("must be at least 1m"))
    }
}

fn smart_interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let (period, (shortest, longest)) = (period(deserializer)?, SMART_INTERVALS);
    if (shortest..=longest).contains(&period) {
        Ok(period)
    } else {
        Err(serde::de::Error::custom("must be between 1m and 1d"))
    }
}

fn buffer_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let bytes = u64::deserialize(deserializer)?;
    if bytes >= SMALLEST_BUFFER_BYTES {
        Ok(Some(bytes))
    } else {
        Err(serde::de::Error::custom(format!("must be at least {SMALLEST_BUFFER_BYTES}")))
    }
}

fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    let percent = u8::deserialize(deserializer)?;
    if percent <= 90 {
        Ok(Some(percent))
    } else {
        Err(serde::de::Error::custom("must be at most 90"))
    }
}

fn probe_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let (names, known) = (Vec::<String>::deserialize(deserializer)?, probe::names());
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(names),
        Some(name) => Err(serde::de::Error::custom(format!(
            "there is no probe {name:?}; there are {}",
            known.join(", ")
        ))),
    }
}

fn kernel_settings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Sysctl>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

fn unit_patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<UnitPattern>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

fn some_unit_patterns<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<UnitPattern>>, D::Error> {
    unit_patterns(deserializer).map(Some)
}

fn file_patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let patterns = Vec::<String>::deserialize(deserializer)?;
    for pattern in &patterns {
        if !pattern.starts_with('/') {
            return Err(serde::de::Error::custom(format!("{pattern:?} is not an absolute path")));
        }
        glob::Pattern::new(pattern).map_err(|error| {
            serde::de::Error::custom(format!("{pattern:?} is not a pattern: {error}"))
        })?;
    }
    Ok(patterns)
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Folders {
        One(String),
        More(Vec<String>),
    }
    Ok(match Folders::deserialize(deserializer)? {
        Folders::One(folder) => vec![folder],
        Folders::More(folders) => folders,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, text).unwrap();
        load(Some(&path)).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_read_and_the_rest_is_the_default() {
        let config = read("interval = \"1s\"\n[uplink]\nbackoff_max = \"2m\"\n").unwrap();
        assert_eq!(config.interval.0, Duration::from_secs(1));
        assert_eq!(config.uplink.backoff_max, Duration::from_secs(120));
        assert_eq!(read("").unwrap(), Config::default());
        let config =
            read("[probes]\ndisable = [\"time\"]\n[textfile]\ndirectory = \"/a\"\n").unwrap();
        assert_eq!(config.probes.disable, ["time"]);
        assert_eq!(config.textfile.directories, ["/a"]);
        let config = read("[textfile]\ndirectories = [\"/a\", \"/b\"]\n").unwrap();
        assert_eq!(config.textfile.directories, ["/a", "/b"]);
        let text =
            "[probes.stat]\nsoftirq = true\n[probes.sysctl]\ninclude = [\"fs.file-nr:a,b,c\"]\n";
        let config = read(text).unwrap();
        assert!(config.probes.stat.softirq);
        let text = "[probes.systemd]\ninclude = [\"ssh.*\"]\nexclude = []\n";
        let systemd = read(text).unwrap().probes.systemd;
        assert_eq!(systemd.include, ["ssh.*".parse().unwrap()]);
        assert_eq!(systemd.exclude, Some(Vec::new()));
        assert_eq!(config.probes.sysctl.include, ["fs.file-nr:a,b,c".parse().unwrap()]);
    }

    #[test]
    fn faults_name_their_line_and_key() {
        let check = |text: &str, expect: &[&str]| {
            let error = read(text).unwrap_err();
            for part in expect {
                assert!(error.contains(part), "{part} is not in {error}");
            }
        };
        check("intervall = \"1s\"", &["agent.toml:1", "intervall"]);
        check("\ninterval = \"soon\"", &["agent.toml:2", "interval", "soon"]);
        check("interval = \"10ms\"", &["100ms"]);
        check("updates_interval = \"2s\"", &["at least 1m"]);
        check("interval = \"1h\"\nupdates_interval = \"2m\"", &["updates_interval", "shorter"]);
        check("[probes]\nenable = [\"tiem\"]", &["agent.toml:2", "enable", "\"tiem\"", ", time"]);
        check("[probes.sysctl]\ninclude = [\"a/../b\"]", &["agent.toml:2", "a/../b"]);
        let pattern = "[probes.systemd]\ninclude = [\"a\"]\nexclude = [\"ssh(\"]";
        check(pattern, &["agent.toml:3", "probes.systemd.exclude", "\"ssh(\" is not a regular"]);
        check("[smart]\ninterval = \"5s\"", &["agent.toml:2", "between 1m and 1d"]);
        check("[changes]\nfiles = [\"etc/x\"]", &["agent.toml:2", "files", "absolute"]);
        check("[changes]\nfiles = [\"/etc/[x\"]", &["/etc/[x", "pattern"]);
        check("[textfile]\ndirectory = 5", &["agent.toml:2", "directory"]);
        check("[helper]\nverbs = [\"dmi\", \"shell\"]", &["agent.toml:2", "verbs", "`shell`"]);
        check("[buffer]\nlimit_bytes = 5\nkeep_free_percent = 99", &[":2", ":3", "at most 90"]);
    }

    #[test]
    fn a_file_that_was_asked_for_must_be_there() {
        assert!(load(Some(Path::new("/nonexistent/agent.toml"))).is_err());
    }
}
