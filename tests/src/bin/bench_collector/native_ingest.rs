//! How much the way in costs: native frames beside remote write of one step a request.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;
use upkeep_model::Series;
use upkeep_tests::PeerKind;

use super::data::{STEP_MS, Size, frames};
use super::figures::{Aim, Figure, OURS, VICTORIA, table};
use super::native::{connect, enroll};
use super::remote_ingest;
use super::series::{SERIES, all};
use super::subject::Subject;
use super::{RUNS, now_ms};

/// Frames that are under way at once where many may be.
pub(super) const WINDOW: usize = 16;

/// A host observes every ten seconds.
const INTERVAL: Duration = Duration::from_millis(STEP_MS as u64);

/// So many hosts send a frame a second, for so long; what is measured begins after the first ones.
const PACED_HOSTS: usize = 2000;
const PACED_FRAMES: usize = 40;
const PACED_WARM_UP: usize = 10;

/// The frames of all hosts, made in as many threads as there are processors.
pub(super) async fn all_frames(size: Size) -> Result<Vec<Arc<Vec<Bytes>>>> {
    let mut made = JoinSet::new();
    let threads = std::thread::available_parallelism()?.get();
    for thread in 0..threads {
        made.spawn_blocking(move || {
            let mine = (thread..size.hosts).step_by(threads);
            mine.map(|host| (host, Arc::new(frames(host, size)))).collect::<Vec<_>>()
        });
    }
    let mut all: Vec<(usize, Arc<Vec<Bytes>>)> =
        made.join_all().await.into_iter().flatten().collect();
    all.sort_by_key(|(host, _)| *host);
    Ok(all.into_iter().map(|(_, frames)| frames).collect())
}

/// The made hosts' frames into a fresh collector: seconds of processor, from the first description to the
/// last acknowledgement. The collector goes on running.
pub(super) async fn ingest(
    subject: &Subject,
    frames: &[Arc<Vec<Bytes>>],
    window: usize,
) -> Result<f64> {
    let series = all().into_iter().map(|one| one.series).collect();
    ingest_series(subject, series, frames, window).await
}

/// The same, of hosts that have these series.
pub(super) async fn ingest_series(
    subject: &Subject,
    series: Vec<Series>,
    frames: &[Arc<Vec<Bytes>>],
    window: usize,
) -> Result<f64> {
    let enrolled = enroll(subject.collector_itself()?, 0..frames.len()).await?;
    let agents = connect(enrolled, INTERVAL).await?;
    let series = Arc::new(series);
    let before = subject.cpu()?;
    let mut delivering = JoinSet::new();
    for (mut agent, frames) in agents.into_iter().zip(frames.iter().cloned()) {
        let series = Arc::clone(&series);
        delivering.spawn(async move {
            agent.describe(&series).await?;
            agent.deliver(&frames, window).await?;
            Ok::<_, anyhow::Error>(agent)
        });
    }
    let mut agents = Vec::new();
    while let Some(agent) = delivering.join_next().await {
        agents.push(agent??);
    }
    Ok(subject.cpu()? - before)
}

/// Both windows beside VictoriaMetrics, in turn.
pub(super) async fn bulk() -> Result<String> {
    let size = Size::ending(now_ms()?, 200, 360);
    let frames = all_frames(size).await?;
    let samples = size.samples() as f64;
    let unit = "samples a CPU second";
    let mut figures = [
        Figure::new("window of 16 frames", unit, Some(Aim::Times(20.0, VICTORIA))),
        Figure::new("one frame in flight", unit, Some(Aim::Times(10.0, VICTORIA))),
        Figure::new("peak memory, 60 k series", "MiB", Some(Aim::Share(0.5, VICTORIA))),
    ];
    let [wide, narrow, memory] = &mut figures;
    for _ in 0..RUNS {
        for (figure, window) in [(&mut *wide, WINDOW), (&mut *narrow, 1)] {
            let subject = Subject::collector().await?;
            figure.note(OURS, samples / ingest(&subject, &frames, window).await?);
            memory.note(OURS, subject.peak()?);
        }
        let Some(peer) = Subject::peer(PeerKind::VictoriaMetrics).await? else { continue };
        let Some(seconds) = remote_ingest::ingest(&peer, size, 1).await? else { continue };
        wide.note(VICTORIA, samples / seconds);
        narrow.note(VICTORIA, samples / seconds);
        memory.note(VICTORIA, peer.peak()?);
    }
    let notes = "200 hosts × 300 series × 360 steps = 21.6 M samples. Ours: a stream of frames a host over mutual TLS, decoded, \
                 synced before they are acknowledged, with `up` written beside; the peer: remote write over plain HTTP, one \
                 step of one host a request, which it answers without a sync.";
    table("Way in: native frames", notes, &figures)
}

/// Many hosts that send a frame a second each, beside VictoriaMetrics in bulk.
pub(super) async fn paced() -> Result<String> {
    let mut figures = [
        Figure::new(
            "2,000 hosts, a frame a second",
            "samples a CPU second",
            Some(Aim::Times(10.0, VICTORIA)),
        ),
        Figure::new("share of a core", "%", None),
        Figure::new("peak memory, 600 k series", "MiB", None),
    ];
    let [rate, share, memory] = &mut figures;
    for _ in 0..RUNS {
        let subject = Subject::collector().await?;
        let (taken, time) = pace(&subject).await?;
        rate.note(OURS, (PACED_HOSTS * SERIES) as f64 * time / taken);
        share.note(OURS, 100.0 * taken / time);
        memory.note(OURS, subject.peak()?);
        drop(subject);
        let Some(peer) = Subject::peer(PeerKind::VictoriaMetrics).await? else { continue };
        let size = Size::ending(now_ms()?, 200, 360);
        let Some(seconds) = remote_ingest::ingest(&peer, size, 1).await? else { continue };
        rate.note(VICTORIA, size.samples() as f64 / seconds);
    }
    let notes = "The peer's figure is of 200 hosts in bulk, as above.";
    table("Way in: many hosts at their pace", notes, &figures)
}

/// The seconds of processor that a collector took, and in how many seconds, once all hosts were at it.
async fn pace(subject: &Subject) -> Result<(f64, f64)> {
    let beat = Duration::from_secs(1);
    let size = Size::ending(now_ms()?, 20, PACED_FRAMES);
    // A few hosts' frames serve all: what differs are the connections.
    let frames = all_frames(size).await?;
    let enrolled = enroll(subject.collector_itself()?, 0..PACED_HOSTS).await?;
    let agents = connect(enrolled, beat).await?;
    let series: Arc<Vec<_>> = Arc::new(all().into_iter().map(|one| one.series).collect());
    let begin = Instant::now() + Duration::from_secs(2);
    let mut delivering = JoinSet::new();
    for ((mut agent, frames), number) in
        agents.into_iter().zip(frames.iter().cycle().cloned()).zip(0..)
    {
        let series = Arc::clone(&series);
        // They come spread over the beat.
        let first = begin + beat * number / PACED_HOSTS as u32;
        delivering.spawn(async move {
            agent.describe(&series).await?;
            agent.keep_pace(&frames, first, beat).await
        });
    }
    tokio::time::sleep_until(begin + beat * PACED_WARM_UP as u32).await;
    let (before, from) = (subject.cpu()?, Instant::now());
    tokio::time::sleep_until(begin + beat * (PACED_FRAMES as u32 - 1)).await;
    let measured = (subject.cpu()? - before, from.elapsed().as_secs_f64());
    while let Some(delivered) = delivering.join_next().await {
        delivered??;
    }
    Ok(measured)
}
