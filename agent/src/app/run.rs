//! `run`: starts the parts, waits for a signal, and ends them in reverse order.

use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::certificate::CertificateProbe;
use super::{BUFFER_FOLDER, VERSION, life, now_ms, status};
use crate::buffer::{Buffer, KeepFree, Options, SharedBuffer};
use crate::config::Config;
use crate::host::Host;
use crate::identity::IdentityFolder;
use crate::scheduler::{self, Scheduler};
use crate::uplink::{self, Link};
use crate::{inventory, probe};

/// How long each part may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Threads for what blocks on the disk are kept so long without work, so that ordinary intervals
/// do not start one each time.
const THREADS_KEPT: Duration = Duration::from_secs(120);

/// So many threads wait for the disk: one for delivery and one for all else, which is short.
const DISK_THREADS: usize = 2;

/// Observes and delivers until SIGTERM or SIGINT.
pub(super) fn run(config: &Config, probes: &probe::Settings, host: Host) -> Result<()> {
    let folder = IdentityFolder::new(&config.state_dir.0);
    let identity = folder.identity()?;
    let buffer = Buffer::open(&config.state_dir.0.join(BUFFER_FOLDER), options(config), now_ms())
        .context("the buffer cannot be opened")?;
    let buffer = SharedBuffer::new(buffer);
    info!(
        host = %identity.host_id,
        instance = identity.instance,
        epoch = %buffer.lock().epoch(),
        "upkeep-agent {VERSION} starts"
    );
    life::tell_beginning(&config.state_dir.0, &buffer);
    let settings = uplink::Settings {
        address: config.uplink.address.clone().unwrap_or(identity.address),
        backoff_max: config.uplink.backoff_max,
        interval: config.interval.0,
        boot_id: inventory::facts(&host).boot_id,
        host: host.clone(),
        agent_version: VERSION.to_owned(),
        ground: uplink::Ground::System,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(THREADS_KEPT)
        .max_blocking_threads(DISK_THREADS)
        .build()?;
    let outcome = runtime.block_on(serve(config, probes, host, buffer, folder, settings));
    // A thread that hangs in the kernel must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

async fn serve(
    config: &Config,
    probes: &probe::Settings,
    host: Host,
    buffer: SharedBuffer,
    folder: IdentityFolder,
    settings: uplink::Settings,
) -> Result<()> {
    let mut stop_signal = stop_signal()?;
    let (link, link_seen) = watch::channel(Link::Starting);
    let (held, held_seen) = watch::channel(None);

    let mut probes = probe::chosen(probes);
    probes.push(Box::new(CertificateProbe(folder.clone())));

    let stop_uplink = CancellationToken::new();
    let deliver = uplink::run(settings, folder, buffer.clone(), link, held, stop_uplink.clone());
    let mut uplink = tokio::spawn(deliver);
    let ended = CancellationToken::new();
    let scheduler = Scheduler::start(
        &host,
        probes,
        &buffer,
        &scheduler::Settings {
            interval: config.interval.0,
            updates_interval: config.updates_interval.0,
            agent_version: VERSION.to_owned(),
        },
        scheduler::WatchSettings {
            interval: config.changes.interval,
            folder: config.state_dir.0.clone(),
            files: config.changes.files.clone(),
            held: held_seen,
        },
        &ended,
    )?;
    let stop_status = CancellationToken::new();
    let status = tokio::spawn(status::keep(
        config.state_dir.0.clone(),
        buffer.clone(),
        config.interval.0,
        link_seen.clone(),
        scheduler.failures(),
        stop_status.clone(),
    ));

    let failure = tokio::select! {
        () = &mut stop_signal => None,
        () = ended.cancelled() => Some("a thread that observes the host ended by itself"),
        _ = &mut uplink => Some("the task that delivers ended by itself"),
    };

    info!("upkeep-agent ends");
    stop_status.cancel();
    await_end("the status file", status).await;
    await_end("the scheduler", tokio::task::spawn_blocking(move || scheduler.stop())).await;
    if failure.is_none() {
        life::tell_end(&host, &buffer, &link_seen).await;
    }
    stop_uplink.cancel();
    if !uplink.is_finished() {
        await_end("the uplink", uplink).await;
    }
    match failure {
        None => Ok(()),
        Some(what) => bail!(what),
    }
}

/// Ends when SIGTERM or SIGINT comes; what comes from now on is not missed.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<Pin<Box<impl Future<Output = ()>>>> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }))
}

/// Ends when the console asks for it, or is closed.
#[cfg(windows)]
fn stop_signal() -> std::io::Result<Pin<Box<impl Future<Output = ()>>>> {
    use tokio::signal::windows::{ctrl_c, ctrl_close, ctrl_shutdown};

    let (mut interrupt, mut close, mut shutdown) = (ctrl_c()?, ctrl_close()?, ctrl_shutdown()?);
    Ok(Box::pin(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = close.recv() => {}
            _ = shutdown.recv() => {}
        }
    }))
}

async fn await_end(what: &str, task: tokio::task::JoinHandle<()>) {
    if tokio::time::timeout(STOP_PATIENCE, task).await.is_err() {
        warn!("{what} did not end within {STOP_PATIENCE:?}");
    }
}

fn options(config: &Config) -> Options {
    let (usual, given) = (Options::default(), config.buffer);
    let percent = given.keep_free_percent.unwrap_or(usual.keep_free.percent);
    let bytes = given.keep_free_bytes.unwrap_or(usual.keep_free.bytes);
    Options {
        limit_bytes: given.limit_bytes.unwrap_or(usual.limit_bytes),
        keep_free: KeepFree { percent, bytes },
    }
}
