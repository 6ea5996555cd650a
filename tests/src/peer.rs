//! Debian's prometheus, prometheus-alertmanager and victoria-metrics, run beside the collector on the same machine.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;

use crate::RemoteWriter;
use crate::process::{Running, run, until};

/// How long a peer may take to answer, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where Debian's Alertmanager looks for its templates.
const TEMPLATES: &str = "/usr/share/prometheus/alertmanager/default.tmpl";

/// The file of a peer's configuration in its folder.
const CONFIGURATION: &str = "configuration.yml";

/// So many ports are tried, since one that was free may be taken before it listens.
const PORTS: usize = 5;

/// Which peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// `prometheus`, as a receiver of remote write.
    Prometheus,
    /// `victoria-metrics`, of one node.
    VictoriaMetrics,
    /// `prometheus-alertmanager`, by itself.
    Alertmanager,
}

/// A program of those that `packaging/peers` fetches; `None`, with the reason printed, where it cannot
/// be had.
///
/// # Errors
/// When the script cannot be run.
pub fn peer_program(name: &str) -> Result<Option<PathBuf>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/peers");
    let output = run(Command::new(script).arg(name), "")?;
    let program = Path::new(output.stdout.trim()).join("usr/bin").join(name);
    if program.is_file() {
        return Ok(Some(program));
    }
    eprintln!("SKIPPED: {name} cannot be had on this machine: {}", output.stderr.trim());
    Ok(None)
}

impl PeerKind {
    /// The program, fetched as `packaging/peers` does; `None`, with the reason printed, where it
    /// cannot be had.
    ///
    /// # Errors
    /// When the script cannot be run.
    pub fn program(self) -> Result<Option<PathBuf>> {
        peer_program(self.name())
    }

    /// The program's and its package's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::VictoriaMetrics => "victoria-metrics",
            Self::Alertmanager => "prometheus-alertmanager",
        }
    }

    /// The path that says whether it serves.
    pub fn ready(self) -> &'static str {
        match self {
            Self::Prometheus | Self::Alertmanager => "/-/ready",
            Self::VictoriaMetrics => "/health",
        }
    }

    /// The program. Debian's Alertmanager wants its templates at the place where the package would have
    /// installed them, so it sees them there, and nobody else does.
    fn command(self, program: &Path) -> Command {
        if self != Self::Alertmanager || Path::new(TEMPLATES).exists() {
            return Command::new(program);
        }
        let share = program.ancestors().nth(2).unwrap_or(program).join("share");
        let mount = format!(
            "mount -t overlay overlay -o lowerdir={}:/usr/share /usr/share",
            share.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c"]);
        command.arg(format!("{mount} && exec \"$0\" \"$@\"")).arg(program);
        command
    }

    fn arguments(self, folder: &Path, address: &str) -> Vec<String> {
        let data = folder.join("data");
        match self {
            Self::Prometheus => vec![
                format!("--config.file={}", folder.join(CONFIGURATION).display()),
                format!("--storage.tsdb.path={}", data.display()),
                format!("--web.listen-address={address}"),
                "--web.enable-remote-write-receiver".to_owned(),
                "--web.enable-admin-api".to_owned(),
                "--log.level=warn".to_owned(),
            ],
            Self::Alertmanager => vec![
                format!("--config.file={}", folder.join(CONFIGURATION).display()),
                format!("--storage.path={}", data.display()),
                format!("--web.listen-address={address}"),
                "--cluster.listen-address=".to_owned(),
                "--log.level=warn".to_owned(),
            ],
            Self::VictoriaMetrics => vec![
                format!("-storageDataPath={}", data.display()),
                format!("-httpListenAddr={address}"),
                "-loggerLevel=WARN".to_owned(),
            ],
        }
    }
}

/// A peer that listens, with its data in a folder of its own; it ends with this.
pub struct Peer {
    kind: PeerKind,
    program: PathBuf,
    arguments: Vec<String>,
    address: String,
    client: Client,
    /// It stands before the folder, so that it ends first.
    running: Option<Running>,
    folder: TempDir,
}

impl Peer {
    /// Starts a peer with these arguments beside those that every one gets, and with a configuration,
    /// which VictoriaMetrics does not take; for Prometheus, empty is the default.
    ///
    /// # Errors
    /// When it does not listen.
    pub async fn start(
        kind: PeerKind,
        program: &Path,
        configuration: &str,
        arguments: &[String],
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join(CONFIGURATION), configuration)?;
        // Without one the client cannot be built, although it asks over plain HTTP.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut peer = Self {
            kind,
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            address: String::new(),
            client: Client::builder().no_proxy().build()?,
            running: None,
            folder,
        };
        peer.launch().await?;
        Ok(peer)
    }

    /// Starts it again on what it has, on the port that it had unless that was taken meanwhile.
    ///
    /// # Errors
    /// When it does not listen.
    pub async fn launch(&mut self) -> Result<()> {
        let log = self.log_path();
        for attempt in 0..PORTS {
            if attempt > 0 || self.address.is_empty() {
                self.address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
            }
            let mut command = self.kind.command(&self.program);
            command.args(self.kind.arguments(self.folder.path(), &self.address));
            let mut running = Running::start(command.args(&self.arguments), &log)?;
            let (client, url) = (self.client.clone(), self.url(self.kind.ready()));
            let listens = until(self.kind.name(), PATIENCE, || {
                let (ended, answer) = (running.has_ended(), client.get(&url).send());
                async move {
                    let is_ready = answer.await.is_ok_and(|answer| answer.status().is_success());
                    Ok(if ended? { Some(false) } else { is_ready.then_some(true) })
                }
            });
            if listens.await? {
                self.running = Some(running);
                return Ok(());
            }
        }
        bail!("{} does not listen: {}", self.kind.name(), std::fs::read_to_string(&log)?)
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn stop(&mut self) -> Result<()> {
        let mut running = self.running.take().context("the peer does not run")?;
        running.stop(PATIENCE).await?;
        Ok(())
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn kill(&mut self) -> Result<()> {
        self.running.take().context("the peer does not run")?.kill()
    }

    /// Which one it is.
    pub fn kind(&self) -> PeerKind {
        self.kind
    }

    /// Its process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn id(&self) -> Result<u32> {
        Ok(self.running.as_ref().context("the peer does not run")?.id())
    }

    /// A path on it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What it wrote, for whoever wants to know why.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.log_path())?)
    }

    /// Sends to it by remote write.
    ///
    /// # Errors
    /// When the client cannot be built.
    pub fn writer(&self) -> Result<RemoteWriter> {
        RemoteWriter::new(&self.url("/api/v1/write"))
    }

    /// Lets queries see at once what was sent, which VictoriaMetrics otherwise does within seconds.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn flush(&self) -> Result<()> {
        self.tell_victoria_metrics("/internal/force_flush").await
    }

    /// Begins to merge all it has into as few files as it can, which only VictoriaMetrics does when told.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn merge(&self) -> Result<()> {
        self.tell_victoria_metrics("/internal/force_merge").await
    }

    async fn tell_victoria_metrics(&self, path: &str) -> Result<()> {
        if self.kind == PeerKind::VictoriaMetrics {
            self.client.get(self.url(path)).send().await?.error_for_status()?;
        }
        Ok(())
    }

    /// The JSON of a successful GET with these parameters.
    ///
    /// # Errors
    /// When the status says failure.
    pub async fn json(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let text = self.text(path, parameters).await?;
        serde_json::from_str(&text).with_context(|| format!("GET {path}: {text}"))
    }

    /// The body of a successful GET with these parameters.
    ///
    /// # Errors
    /// When the status says failure.
    pub async fn text(&self, path: &str, parameters: &[(&str, &str)]) -> Result<String> {
        let answer = self.client.get(self.url(path)).query(parameters).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            bail!("GET {path} of {}: {status}: {text}", self.kind.name());
        }
        Ok(text)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}
