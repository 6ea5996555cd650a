//! Who is measured: the collector, and the peers that can be had.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use upkeep_tests::{
    Collector, CollectorOptions, Peer, PeerKind, RemoteWriter, peak_memory, processor_time,
};

use super::figures::OURS;

/// Handshakes are no part of what is measured.
const SETTINGS: &str = "[grpc]\nhandshakes_per_second = 2000\n[limits]\nseries_per_host = 2000\n";

/// The token of remote write is made by this.
const CREATE_WRITER: [&str; 5] = ["api-token", "create", "bench", "--scope", "write"];

/// One that runs.
pub(super) enum Subject {
    Collector(Box<Collector>),
    Peer(Box<Peer>),
}

impl Subject {
    /// A collector without rules.
    pub(super) async fn collector() -> Result<Self> {
        Self::collector_with(Vec::new()).await
    }

    /// A collector with rule files: their names and texts.
    pub(super) async fn collector_with(rules: Vec<(String, String)>) -> Result<Self> {
        let options = CollectorOptions {
            rules,
            settings: SETTINGS.to_owned(),
            ..CollectorOptions::default()
        };
        Ok(Self::Collector(Box::new(Collector::start(&options).await?)))
    }

    /// A peer; `None`, with a word about it, where it cannot be had.
    pub(super) async fn peer(kind: PeerKind) -> Result<Option<Self>> {
        let Some(program) = kind.program()? else { return Ok(None) };
        Ok(Some(Self::Peer(Box::new(Peer::start(kind, &program, "", &[]).await?))))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Collector(_) => OURS,
            Self::Peer(peer) => peer.kind().name(),
        }
    }

    /// The path that says whether it serves.
    pub(super) fn health(&self) -> &'static str {
        match self {
            Self::Collector(_) => "/-/ready",
            Self::Peer(peer) => peer.kind().ready(),
        }
    }

    pub(super) fn id(&self) -> Result<u32> {
        match self {
            Self::Collector(collector) => collector.id(),
            Self::Peer(peer) => peer.id(),
        }
    }

    /// Seconds of processor that it took since its start.
    pub(super) fn cpu(&self) -> Result<f64> {
        Ok(processor_time(self.id()?)?.as_secs_f64())
    }

    /// Its peak memory in MiB.
    pub(super) fn peak(&self) -> Result<f64> {
        Ok(peak_memory(self.id()?)? as f64 / 1_048_576.0)
    }

    /// Where its samples are.
    pub(super) fn data(&self) -> PathBuf {
        match self {
            Self::Collector(collector) => collector.data_dir().join("samples"),
            Self::Peer(peer) => peer.data(),
        }
    }

    /// Where to send by remote write.
    pub(super) fn writer(&self) -> Result<RemoteWriter> {
        match self {
            Self::Collector(collector) => {
                let root = std::fs::read(collector.data_dir().join("ca/root.pem"))?;
                let made = collector.command(&CREATE_WRITER)?;
                // Where no such scope is known yet, the route is not there either.
                let token = made.success().unwrap_or_else(|_| collector.api_token().to_owned());
                RemoteWriter::trusting(&collector.url("/api/v1/write"), &root, token.trim())
            }
            Self::Peer(peer) => peer.writer(),
        }
    }

    /// The body of a successful GET.
    pub(super) async fn text(&self, path: &str, parameters: &[(&str, &str)]) -> Result<String> {
        match self {
            Self::Collector(collector) => {
                let answer = collector.get(path).query(parameters).send().await?;
                Ok(answer.error_for_status()?.text().await?)
            }
            Self::Peer(peer) => peer.text(path, parameters).await,
        }
    }

    /// Lets queries see at once what was sent.
    pub(super) async fn flush(&self) -> Result<()> {
        match self {
            Self::Collector(_) => Ok(()),
            Self::Peer(peer) => peer.flush().await,
        }
    }

    /// Begins to merge all it has into as few files as it can, which only VictoriaMetrics does when told.
    pub(super) async fn merge(&self) -> Result<()> {
        match self {
            Self::Collector(_) => Ok(()),
            Self::Peer(peer) => peer.merge().await,
        }
    }

    pub(super) async fn launch(&mut self) -> Result<()> {
        match self {
            Self::Collector(collector) => collector.launch().await,
            Self::Peer(peer) => peer.launch().await,
        }
    }

    pub(super) async fn stop(&mut self) -> Result<()> {
        match self {
            Self::Collector(collector) => collector.stop().await,
            Self::Peer(peer) => peer.stop().await,
        }
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        match self {
            Self::Collector(collector) => collector.kill(),
            Self::Peer(peer) => peer.kill(),
        }
    }

    pub(super) fn collector_itself(&self) -> Result<&Collector> {
        match self {
            Self::Collector(collector) => Ok(collector),
            Self::Peer(_) => anyhow::bail!("a peer knows no agents"),
        }
    }
}

/// What a folder takes on the disk, in bytes.
pub(super) fn disk_usage(folder: &Path) -> Result<u64> {
    let output = Command::new("du").args(["-s", "-B1"]).arg(folder).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.split_whitespace().next().with_context(|| format!("du of {folder:?}"))?;
    Ok(first.parse()?)
}
