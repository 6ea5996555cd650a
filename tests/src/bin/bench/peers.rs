//! node_exporter and vmagent as they are used: one that is scraped every ten seconds from outside,
//! and one that vmagent scrapes and pushes on.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::StatusCode;
use tempfile::TempDir;

/// How often the peers are scraped.
const INTERVAL: Duration = Duration::from_secs(10);

const NODE_EXPORTER: &str = "prometheus-node-exporter";
const VMAGENT: &str = "vmagent";

/// The peers that run; they end with this.
pub(super) struct Peers {
    running: Vec<(&'static str, Child)>,
    exporter: Option<String>,
    folder: TempDir,
}

impl Peers {
    /// Starts the peers that are in the folder of `UPKEEP_PEERS`, and says which are not.
    pub(super) async fn start() -> Result<Self> {
        let mut peers = Self { running: Vec::new(), exporter: None, folder: tempfile::tempdir()? };
        let Some(exporter) = program(NODE_EXPORTER) else { return Ok(peers) };
        let address = peers.exporter(&exporter, "node_exporter")?;
        tokio::spawn(scrape(address.clone()));
        peers.exporter = Some(address);
        let Some(vmagent) = program(VMAGENT) else { return Ok(peers) };
        let target = peers.exporter(&exporter, "node_exporter of vmagent")?;
        peers.vmagent(&vmagent, &target).await?;
        Ok(peers)
    }

    /// The name and process of each.
    pub(super) fn processes(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.running.iter().map(|(name, child)| (*name, child.id()))
    }

    /// How many series node_exporter has on this machine.
    pub(super) async fn series(&self) -> Result<Option<usize>> {
        let Some(address) = &self.exporter else { return Ok(None) };
        let page = reqwest::get(format!("http://{address}/metrics")).await?.text().await?;
        let is_series = |line: &&str| !line.is_empty() && !line.starts_with('#');
        Ok(Some(page.lines().filter(is_series).count()))
    }

    fn exporter(&mut self, program: &Path, name: &'static str) -> Result<String> {
        let address = free_address()?;
        let listen = format!("--web.listen-address={address}");
        self.running.push((name, quietly(program).arg(listen).spawn()?));
        Ok(address)
    }

    async fn vmagent(&mut self, program: &Path, target: &str) -> Result<()> {
        let folder = self.folder.path();
        let file = folder.join("scrape.yml");
        let jobs = format!(
            "global: {{scrape_interval: 10s}}\n\
             scrape_configs: [{{job_name: node, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        std::fs::write(&file, jobs)?;
        let child = quietly(program)
            .arg(format!("-promscrape.config={}", file.display()))
            .arg(format!("-remoteWrite.url=http://{}/write", sink().await?))
            .arg(format!("-remoteWrite.tmpDataPath={}", folder.join("queue").display()))
            .arg(format!("-httpListenAddr={}", free_address()?))
            .spawn()?;
        self.running.push((VMAGENT, child));
        Ok(())
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for (name, child) in &mut self.running {
            if let Err(error) = child.kill().and_then(|()| child.wait()) {
                eprintln!("bench: {name} did not end: {error}");
            }
        }
    }
}

/// A peer's program; none, with a word about it, where it is not there.
fn program(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("UPKEEP_PEERS").unwrap_or_default());
    let found = ["usr/bin", ""].map(|below| folder.join(below).join(name));
    let found = found.into_iter().find(|path| path.is_absolute() && path.is_file());
    if found.is_none() {
        println!("  {name} is not available, so it is left out");
    }
    found
}

fn quietly(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// An address that nobody listens on now.
fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Scrapes as Prometheus does, for as long as this process runs.
async fn scrape(address: String) {
    let client = reqwest::Client::new();
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let request = client.get(format!("http://{address}/metrics"));
        let request = request.header("Accept-Encoding", "gzip");
        // The first comes before node_exporter listens.
        if let Ok(response) = request.send().await {
            drop(response.bytes().await);
        }
    }
}

/// Takes whatever is pushed, and keeps nothing.
async fn sink() -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr().context("the sink's address")?.to_string();
    let router = Router::new().fallback(async |_body: axum::body::Bytes| StatusCode::NO_CONTENT);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}
