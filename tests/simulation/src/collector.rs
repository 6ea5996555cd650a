//! The collector: the one that ships, from its door for agents to its disk, without TLS.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use turmoil::net::TcpListener;
use upkeep_collector::ca::{Authority, PeerIdentity};
use upkeep_collector::clock::Clock;
use upkeep_collector::fleet::Fleet;
use upkeep_collector::ingest::{
    Arrivals, Connection, DiskWork, Limits, Meters, Services, Window, serve_connections,
};
use upkeep_collector::state::{FILE_NAME, State};
use upkeep_model::HostId;
use upkeep_store::{Options, Store};
use uuid::Uuid;

use crate::template::{self, BEGIN_MS, LIFETIME, SAMPLES};
use crate::trace::Traced;

/// The name of the collector's host.
pub const NAME: &str = "collector";

/// Where it listens.
pub const PORT: u16 = 443;

/// A collector's disk and what runs on it.
pub struct Collector {
    root: PathBuf,
    window: Window,
    /// The number of the folder that counts; a crash makes another.
    generation: RefCell<u32>,
    services: RefCell<Option<Services>>,
    has_backup: RefCell<bool>,
}

impl Collector {
    /// A collector in a folder of its own, as the template has it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(root: &Path, from: &Path, window: (u32, u32)) -> Result<Self> {
        let (records, bytes) = window;
        let collector = Self {
            root: root.to_owned(),
            window: Window { records, bytes },
            generation: RefCell::new(0),
            services: RefCell::new(None),
            has_backup: RefCell::new(false),
        };
        template::copy(&template::collector(from), &collector.folder())?;
        Ok(collector)
    }

    fn folder(&self) -> PathBuf {
        self.root.join(format!("collector-{}", self.generation.borrow()))
    }

    fn backup_folder(&self) -> PathBuf {
        self.root.join("backup")
    }

    /// What it works with while it runs.
    pub fn services(&self) -> Option<Services> {
        self.services.borrow().clone()
    }

    /// Copies what is on its disk.
    ///
    /// # Errors
    /// When the folder cannot be copied.
    pub fn back_up(&self) -> Result<()> {
        let backup = self.backup_folder();
        if *self.has_backup.borrow() {
            fs::remove_dir_all(&backup)?;
        }
        template::copy(&self.folder(), &backup)?;
        self.has_backup.replace(true);
        Ok(())
    }

    /// Takes the disk away from it, as it is at this moment or at the last backup. What it writes as
    /// it ends counts for nothing. Says whether there was a backup.
    ///
    /// # Errors
    /// When the folder cannot be copied.
    pub fn pull_disk(&self, from_backup: bool) -> Result<(bool, impl FnOnce())> {
        let restores = from_backup && *self.has_backup.borrow();
        let old = self.folder();
        *self.generation.borrow_mut() += 1;
        let from = if restores { self.backup_folder() } else { old.clone() };
        template::copy(&from, &self.folder())?;
        let services = self.services.take();
        let remove = move || {
            drop(services);
            // What is left of it is gone with the simulation's folder.
            drop(fs::remove_dir_all(old));
        };
        Ok((restores, remove))
    }

    /// Serves agents, whose hosts are told apart by their addresses.
    ///
    /// # Errors
    /// When it cannot go on.
    pub async fn serve(&self, host_of: impl Fn(std::net::IpAddr) -> usize) -> Result<()> {
        let (failure, mut failed) = mpsc::channel(1);
        let services = self.open(failure)?;
        self.services.replace(Some(services.clone()));
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        let accept = async |listener: TcpListener| {
            let (stream, address) = listener.accept().await.ok()?;
            let identity = PeerIdentity {
                host: host_id(host_of(address.ip())),
                serial: String::new(),
                expires_at_ms: i64::MAX,
            };
            let connection = Connection::new(Traced(stream), address, Some(identity));
            Some((Ok(connection), listener))
        };
        let connections = stream::unfold(listener, accept);
        let served = serve_connections(connections, services, CancellationToken::new());
        tokio::select! {
            biased;
            Some(reason) = failed.recv() => anyhow::bail!("the store takes nothing more: {reason}"),
            served = served => Ok(served?),
        }
    }

    fn open(&self, failure: mpsc::Sender<String>) -> Result<Services> {
        let folder = self.folder();
        let clock = Clock::new(|| BEGIN_MS + elapsed_ms());
        let state = State::open(&folder.join(FILE_NAME))?;
        // Sealing by the real clock would come at another moment each time.
        let options = Options {
            hold: Duration::ZERO,
            seal_every: Duration::from_hours(1_000),
            cache_bytes: 1 << 20,
            ..Options::default()
        };
        let fleet = Fleet::load(&state, clock.now_ms())?;
        Ok(Services {
            authority: Arc::new(Authority::open(&folder, LIFETIME)?),
            state,
            store: Arc::new(Store::open(&folder.join(SAMPLES), options)?),
            fleet: Arc::new(fleet),
            clock,
            limits: Limits { series_per_host: 100 },
            handshakes_per_second: u32::MAX,
            meters: Meters::default(),
            window: self.window,
            disk_work: DiskWork::InPlace,
            arrivals: Arrivals::default(),
            failure,
        })
    }
}

/// The identity of an agent's host.
pub fn host_id(agent: usize) -> HostId {
    HostId(Uuid::from_u128(agent as u128 + 1))
}

/// How long the simulation has been running.
pub fn elapsed_ms() -> i64 {
    turmoil::sim_elapsed().unwrap_or_default().as_millis() as i64
}
