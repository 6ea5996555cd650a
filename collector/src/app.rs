//! Wiring: what is made of what, what is started after what, and how it all ends.
//!
//! Everything that runs is a stage. Stages are stopped in the reverse order of their start, each
//! with its share of the time, so that none loses what it needs while it still works.

mod alerting;
mod retention;
mod signals;
mod stage;
mod store_meters;
mod tolerance;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;
use upkeep_store::{Options, Store};

use crate::alert::Desk;
use crate::archive::STORE_FOLDER;
use crate::ca::{self, Authority, ServerKey, agents_config, browsers_config};
use crate::clock::{Clock, ClockWatch};
use crate::config::Config;
use crate::control::{self, Held};
use crate::damage::{self, Declarer};
use crate::digest::{self, Digester};
use crate::fleet::{self, Fleet};
use crate::forward::Forwarding;
use crate::http::{self, Meters, Readiness, StateGaps};
use crate::ingest::{self, Arrivals};
use crate::ledger::Ledger;
use crate::query::Engine;
use crate::reload::Reloader;
use crate::remote::{self, WriteIn};
use crate::rule::{ArrivalMeters, Board, ReloadMeters};
use crate::state::{self, Ending, Occurrence, State};
use crate::tolerance::ChartBoard;

use alerting::{
    Alerting, external_url, reloader, start_alerts, start_digests, start_forwarding,
    start_heartbeat, start_ledger, start_rules,
};
use retention::Retention;
use signals::Signals;
use stage::Stages;
use store_meters::StoreMeters;
use tolerance::start_tolerance;

/// The file in the data folder that tells where the running server listens.
pub const ADDRESSES_FILE: &str = "addresses.json";

/// So many connections wait in the kernel's queue until they are accepted.
const CONNECTIONS_WAITING: u32 = 1024;

/// An agent whose connection waits for so many seconds would soon give it up; where all handshakes of
/// the queue take longer, the kernel makes those at its end try again.
const WAIT_FOR_HANDSHAKE: u32 = 5;

/// How often old samples are dropped, the collector's certificate is looked at and the state checked;
/// and how soon when the clock was set.
const UPKEEP: Duration = Duration::from_hours(1);
const CLOCK_LOOK: Duration = Duration::from_secs(1);

/// How long work on the disk that has begun may go on when everything else has ended.
const DISK_WORK_ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Runs the server until a signal says to stop.
///
/// # Errors
/// When it cannot start, or a part of it fails.
pub fn serve(config_file: &Path) -> Result<()> {
    log_to_stderr();
    let config = Config::load(config_file)?;
    let clock = Clock::system();
    let parts = Parts::open(&config, clock)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let store = Arc::clone(&parts.store);
    let result = runtime.block_on(run(&config, parts));
    // A backup may be copying; what it leaves is removed at the next start.
    runtime.shutdown_timeout(DISK_WORK_ENDS_WITHIN);
    let closed = store.close().context("closing the samples");
    tracing::info!("stopped");
    result.and(closed)
}

/// What the stages share.
#[derive(Clone)]
struct Parts {
    clock: Clock,
    state: State,
    store: Arc<Store>,
    authority: Arc<Authority>,
    server_key: Arc<ServerKey>,
    fleet: Arc<Fleet>,
    declarer: Arc<Declarer>,
}

impl Parts {
    fn open(config: &Config, clock: Clock) -> Result<Self> {
        let folder = &config.data_dir;
        let now_ms = clock.now_ms();
        let authority = Authority::open(folder, config.certificates.host_lifetime.0)?;
        let server_key = ServerKey::new(authority.server_certificate(now_ms)?)?;
        let state = State::open_checked(&folder.join(state::FILE_NAME), now_ms)?;
        let followed_from = remote::followed_from(&state, &config.remote_write)?;
        let options = Options { followed_from, ..config.storage.options(&config.limits) };
        let store = Arc::new(Store::open(&folder.join(STORE_FOLDER), options)?);
        if followed_from.is_none() {
            store.keep_from(None)?;
        }
        // What was set aside just now is not found again, so it is declared before all else.
        let declarer = Declarer::new(state.clone(), Arc::clone(&store));
        declarer.declare(now_ms)?;
        let fleet = Fleet::load(&state, now_ms)?;
        Ok(Self {
            clock,
            state,
            store,
            authority: Arc::new(authority),
            server_key,
            fleet: Arc::new(fleet),
            declarer: Arc::new(declarer),
        })
    }
}

async fn run(config: &Config, parts: Parts) -> Result<()> {
    let mut signals = Signals::listen()?;
    let addresses = config.data_dir.join(ADDRESSES_FILE);
    // What an earlier run left would mislead whoever waits for this one.
    drop(std::fs::remove_file(&addresses));
    let waiting = config.grpc.handshakes_per_second.saturating_mul(WAIT_FOR_HANDSHAKE);
    let grpc = bind("grpc.listen", config.grpc.listen, waiting.min(CONNECTIONS_WAITING))?;
    let http = bind("http.listen", config.http.listen, CONNECTIONS_WAITING)?;
    let (grpc_address, http_address) = (grpc.local_addr()?, http.local_addr()?);
    begin_run(&parts);

    let mut stages = Stages::default();
    let readiness = Arc::new(Readiness::default());
    readiness.hold("start", "the parts of the collector are being started");
    let (failure, mut failures) = mpsc::channel(1);
    let board = Arc::new(Board::default());
    let mut registry = Registry::default();
    registry.register_collector(Box::new(StoreMeters(Arc::clone(&parts.store))));
    start_fleet(&mut stages, &parts);
    start_damage(&mut stages, &parts, damage::Meters::register(&mut registry));
    start_certificate(&mut stages, &parts, ca::Meters::register(&mut registry));
    start_control(&mut stages, &parts, &config.data_dir);
    start_upkeep(&mut stages, &parts, Retention::load(&config.data_dir));
    let url = external_url(config, &parts, http_address)?;
    let (reporter, ledger) = start_ledger(&mut stages, &parts, &mut registry)?;
    let alerting = start_alerts(&mut stages, &parts, config, &url, reporter.clone())?;
    let Alerting { queue: alerts, desk, courier } = alerting;
    let engine = engine(config, &parts);
    let digester = Digester::new(digest::Parts {
        board: Arc::clone(&board),
        ledger: ledger.clone(),
        engine: engine.clone(),
        clock: parts.clock.clone(),
        courier,
        external_url: url.clone(),
    });
    start_digests(&mut stages, &parts, config, digester.clone());
    let (arrivals, arrived) = Arrivals::register(&mut registry);
    let reload_meters = ReloadMeters::register(&mut registry);
    let meters = (reload_meters.clone(), ArrivalMeters::register(&mut registry));
    let (forwarded, forwarding) = start_forwarding(&mut stages, &parts, config, alerts.clone())?;
    let told = (forwarded, reporter);
    let shown = (Arc::clone(&board), meters);
    let rules = start_rules(&mut stages, &parts, config, url.clone(), told, shown, arrived)?;
    let reloader = reloader(config, &url, (rules, desk.clone()), reload_meters);
    start_heartbeat(&mut stages, &parts, config, alerts, Arc::clone(&board));
    let charts = start_tolerance(&mut stages, &parts, config, desk.clone())?;
    start_remote_write(&mut stages, &parts, config, remote::OutMeters::register(&mut registry));
    let told = (arrivals, failure);
    start_ingest(&mut stages, &parts, config, grpc, &mut registry, told)?;
    let readiness_of_http = Arc::clone(&readiness);
    let shown = Shown {
        rules: board,
        reloader: reloader.clone(),
        forwarding,
        ledger,
        digester,
        engine,
        desk,
        charts,
        readiness: readiness_of_http,
    };
    start_http(&mut stages, &parts, config, http, shown, registry)?;
    readiness.release("start");

    announce(&addresses, grpc_address, http_address, config.http.tls)?;
    let outcome = tokio::select! {
        name = signals.next(&reloader) => {
            tracing::info!(signal = name, "stopping");
            Ok(name)
        }
        Some(reason) = failures.recv() => Err(anyhow::anyhow!(reason)),
        (name, result) = stages.first_to_end() => match result {
            Ok(()) => Err(anyhow::anyhow!("{name} ended by itself")),
            Err(error) => Err(error.context(name)),
        },
    };
    stages.stop().await;
    end_run(&parts, &outcome);
    drop(std::fs::remove_file(&addresses));
    outcome.map(drop)
}

/// Notes the start, and says in the log how the run before ended.
fn begin_run(parts: &Parts) {
    match parts.state.note_alive(parts.fleet.since_ms(), parts.clock.now_ms()) {
        Ok(Some(Occurrence::CollectorStarted { ended: Some(Ending::Unclean), .. })) => {
            tracing::warn!("the run before this one was not stopped in order");
        }
        Ok(_) => {}
        // The watch over the fleet notes it as soon as it can.
        Err(error) => tracing::warn!(%error, "the start cannot be noted yet"),
    }
}

/// Notes that the collector was stopped in order, which the next start tells from a crash.
fn end_run(parts: &Parts, outcome: &Result<&'static str>) {
    let reason = match outcome {
        Ok(signal) => (*signal).to_owned(),
        Err(error) => format!("{error:#}"),
    };
    if let Err(error) = parts.state.end_run(parts.fleet.since_ms(), &reason, parts.clock.now_ms()) {
        tracing::warn!(%error, "the next start will take this end for a crash");
    }
}

fn start_fleet(stages: &mut Stages, parts: &Parts) {
    let Parts { fleet, state, store, clock, .. } = parts.clone();
    stages.start("the watch over the fleet", |stop| async move {
        fleet::watch(fleet, state, store, clock, stop).await;
        Ok(())
    });
}

fn start_damage(stages: &mut Stages, parts: &Parts, meters: damage::Meters) {
    let Parts { declarer, clock, .. } = parts.clone();
    stages.start("the watch for damage", |stop| async move {
        damage::watch(declarer, meters, clock, stop).await;
        Ok(())
    });
}

fn start_certificate(stages: &mut Stages, parts: &Parts, meters: ca::Meters) {
    let Parts { server_key, store, clock, .. } = parts.clone();
    stages.start("the watch over the certificate", |stop| async move {
        ca::watch(server_key, store, meters, clock, stop).await;
        Ok(())
    });
}

fn start_control(stages: &mut Stages, parts: &Parts, data_dir: &Path) {
    let Parts { state, store, fleet, declarer, clock, .. } = parts.clone();
    let held = Held::new(data_dir, state, store, declarer, Some(fleet));
    stages.start("the door for commands", |stop| async move {
        Ok(control::serve(held, clock, stop).await?)
    });
}

fn start_upkeep(stages: &mut Stages, parts: &Parts, retention: Retention) {
    let parts = parts.clone();
    let retention = Arc::new(retention);
    stages.start("retention and renewal", |stop| async move {
        let mut hourly = tokio::time::interval(UPKEEP);
        let mut clock_watch = ClockWatch::begin(&parts.clock);
        let mut is_due = async || loop {
            tokio::select! {
                _ = hourly.tick() => return,
                () = tokio::time::sleep(CLOCK_LOOK) => {}
            }
            if clock_watch.look(&parts.clock).is_some() {
                return;
            }
        };
        while stop.run_until_cancelled(is_due()).await.is_some() {
            let (parts, retention) = (parts.clone(), Arc::clone(&retention));
            let done = tokio::task::spawn_blocking(move || look_after(&parts, &retention)).await;
            // A full disk, say: the next hour is another chance.
            if let Err(error) = done.map_err(anyhow::Error::from).and_then(|result| result) {
                tracing::warn!("{error:#}");
            }
        }
        Ok(())
    });
}

fn look_after(parts: &Parts, retention: &Retention) -> Result<()> {
    let now_ms = parts.clock.now_ms();
    if retention.may_drop(&parts.clock) {
        parts.store.retain(now_ms).context("old samples cannot be dropped")?;
    }
    let certificate = parts
        .authority
        .server_certificate(now_ms)
        .context("the collector's certificate cannot be renewed")?;
    if certificate.renewed {
        parts.server_key.replace(certificate)?;
        tracing::info!("the collector's certificate was renewed");
    }
    Ok(parts.state.check(now_ms)?)
}

fn start_ingest(
    stages: &mut Stages,
    parts: &Parts,
    config: &Config,
    listener: TcpListener,
    registry: &mut Registry,
    (arrivals, failure): (Arrivals, mpsc::Sender<String>),
) -> Result<()> {
    let tls = Arc::new(agents_config(&parts.authority, Arc::clone(&parts.server_key))?);
    let Parts { clock, state, store, authority, fleet, .. } = parts.clone();
    let limits = ingest::Limits { series_per_host: config.limits.series_per_host };
    let (window, disk_work) = (ingest::Window::default(), ingest::DiskWork::OnThreads);
    let services = ingest::Services {
        authority,
        state,
        store,
        fleet,
        clock,
        limits,
        handshakes_per_second: config.grpc.handshakes_per_second,
        meters: ingest::Meters::register(registry),
        window,
        disk_work,
        arrivals,
        failure,
    };
    stages.start("the door for agents", |stop| async move {
        Ok(ingest::serve(listener, tls, services, stop).await?)
    });
    Ok(())
}

/// Sends samples to others. What is not sent when it stops is sent after the next start.
fn start_remote_write(
    stages: &mut Stages,
    parts: &Parts,
    config: &Config,
    meters: remote::OutMeters,
) {
    if config.remote_write.is_empty() {
        return;
    }
    let Parts { state, store, .. } = parts.clone();
    let targets = config.remote_write.clone();
    stages.start("remote write", |stop| async move {
        Ok(remote::run(targets, store, state, meters, stop).await?)
    });
}

/// What the API shows of the other stages.
struct Shown {
    rules: Arc<Board>,
    reloader: Reloader,
    ledger: Ledger,
    digester: Digester,
    engine: Engine,
    desk: Desk,
    forwarding: Forwarding,
    charts: Arc<ChartBoard>,
    readiness: Arc<Readiness>,
}

fn start_http(
    stages: &mut Stages,
    parts: &Parts,
    config: &Config,
    listener: TcpListener,
    shown: Shown,
    mut registry: Registry,
) -> Result<()> {
    let tls = if config.http.tls {
        Some(Arc::new(browsers_config(Arc::clone(&parts.server_key))?))
    } else {
        None
    };
    let limits = remote::Limits {
        series_per_sender: config.limits.series_per_sender,
        series_of_all_senders: config.limits.series_of_all_senders,
    };
    let write_in = WriteIn::new(
        (Arc::clone(&parts.store), parts.state.clone()),
        Arc::clone(&parts.fleet),
        limits,
        config.storage.retention(),
        remote::Meters::register(&mut registry),
    );
    let meters = Meters::register(&mut registry);
    let services = http::Services {
        clock: parts.clock.clone(),
        state: parts.state.clone(),
        fleet: Arc::clone(&parts.fleet),
        engine: shown.engine,
        write_in: Arc::new(write_in),
        rules: shown.rules,
        reloader: shown.reloader,
        ledger: shown.ledger,
        digester: shown.digester,
        alerts: shown.desk,
        alertmanagers: shown.forwarding,
        charts: shown.charts,
        readiness: shown.readiness,
        registry: Arc::new(registry),
        meters,
    };
    stages.start("the HTTP API", |stop| async move {
        Ok(http::serve(listener, tls, services, stop).await?)
    });
    Ok(())
}

fn engine(config: &Config, parts: &Parts) -> Engine {
    Engine::new(Arc::clone(&parts.store), config.query.settings())
        .with_gaps(Arc::new(StateGaps::new(parts.state.clone())))
}

fn bind(key: &str, address: SocketAddr, queue: u32) -> Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(queue)
    };
    listen().with_context(|| format!("{key}: cannot listen on {address}"))
}

/// Says where the server listens, in the log and in a file that appears as a whole.
fn announce(path: &Path, grpc: SocketAddr, http: SocketAddr, tls: bool) -> Result<()> {
    let scheme = if tls { "https" } else { "http" };
    tracing::info!("agents connect to {grpc}");
    tracing::info!("the HTTP API is at {scheme}://{http}");
    let text = json!({ "grpc": grpc.to_string(), "http": http.to_string(), "tls": tls });
    let write = || {
        let mut file = atomic_write_file::AtomicWriteFile::open(path)?;
        std::io::Write::write_all(&mut file, text.to_string().as_bytes())?;
        file.commit()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The journal adds the time by itself, and people at a terminal want colours.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let set = if std::env::var_os("JOURNAL_STREAM").is_some() {
        lines.without_time().try_init()
    } else {
        lines.try_init()
    };
    // Only a second logger in one process is refused, and the first goes on.
    drop(set);
}
