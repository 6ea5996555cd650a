//! Debian's node_exporter, run beside the agent on the same machine.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::process::{Running, run, until};

const PROGRAM: &str = "prometheus-node-exporter";

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// So many ports are tried, since one that was free may be taken before it listens.
const PORTS: usize = 5;

/// A node_exporter that listens; it ends with this.
pub struct NodeExporter {
    url: String,
    client: reqwest::Client,
    /// It stands before the folder of its log, so that it ends first.
    _running: Running,
    _folder: TempDir,
}

impl NodeExporter {
    /// The program, fetched as `packaging/peers` does; `None`, with the reason printed, where it
    /// cannot be had.
    ///
    /// # Errors
    /// When the script cannot be run.
    pub fn program() -> Result<Option<PathBuf>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/peers");
        let output = run(Command::new(script).arg(PROGRAM), "")?;
        let program = Path::new(output.stdout.trim()).join("usr/bin").join(PROGRAM);
        if program.is_file() {
            return Ok(Some(program));
        }
        eprintln!("SKIPPED: {PROGRAM} cannot be had on this machine: {}", output.stderr.trim());
        Ok(None)
    }

    /// Starts the program with these arguments beside the address that it listens on.
    ///
    /// # Errors
    /// When it does not listen.
    pub async fn start(program: &Path, arguments: &[String]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("log");
        // Without one the client cannot be built, although it asks over plain HTTP.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build()?;
        for _ in 0..PORTS {
            let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let url = format!("http://{address}/metrics");
            let mut command = Command::new(program);
            command.args(arguments).arg(format!("--web.listen-address={address}"));
            let mut running = Running::start(&mut command, &log)?;
            let listens = until("node_exporter", PATIENCE, || {
                let (ended, answer) = (running.has_ended(), client.get(&url).send());
                async move {
                    let listens = answer.await.is_ok();
                    Ok(if ended? { Some(false) } else { listens.then_some(true) })
                }
            });
            if listens.await? {
                return Ok(Self { url, client, _running: running, _folder: folder });
            }
        }
        bail!("node_exporter does not listen: {}", std::fs::read_to_string(&log)?)
    }

    /// Where it is scraped.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it says now.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn page(&self) -> Result<String> {
        let response = self.client.get(&self.url).send().await?.error_for_status()?;
        Ok(response.text().await?)
    }
}
