//! How cost and memory grow with the number of live series.

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use tokio::task::JoinSet;
use upkeep_tests::PeerKind;

use super::data::{STEP_MS, Size};
use super::figures::{Aim, Figure, OURS, VICTORIA, table};
use super::native::{Agent, connect, enroll};
use super::native_ingest::all_frames;
use super::series::{SERIES, all};
use super::subject::Subject;
use super::{now_ms, remote_ingest};

/// Hosts that are live at each size: 60 k, 300 k and 1 M series. Each sends so many steps that all sizes have
/// about as many samples, for the kernel counts the processor's time in hundredths of a second.
const SIZES: [(usize, usize); 3] = [(200, 360), (1000, 72), (3334, 24)];

/// Of these the first brings the series, and is not counted; after so many the memory is looked at.
const STEPS: usize = 24;

/// Frames of one message.
const A_MESSAGE: usize = 6;

/// Hosts whose frames serve all, and hosts of which so many samples are sent to the peers.
const KINDS_OF_HOSTS: usize = 50;

/// Ours at all sizes in one life each, and VictoriaMetrics at the first two.
pub(super) async fn growth() -> Result<String> {
    let most = SIZES.map(|(_, steps)| steps).into_iter().max().unwrap_or(STEPS);
    let size = Size::ending(now_ms()?, KINDS_OF_HOSTS, most);
    let frames = all_frames(size).await?;
    let series: Arc<Vec<_>> = Arc::new(all().into_iter().map(|one| one.series).collect());
    let mut figures = Vec::new();
    let mut first = None;
    for (hosts, steps) in SIZES {
        let subject = Subject::collector().await?;
        let enrolled = enroll(subject.collector_itself()?, 0..hosts).await?;
        let agents = connect(enrolled, std::time::Duration::from_millis(STEP_MS as u64)).await?;
        let (begun, connected) = (subject.cpu()?, subject.peak()?);
        let agents = deliver(agents, &series, &frames, 1).await?;
        let described = subject.cpu()?;
        let bytes_before = subject.peak()?;
        let agents = deliver(agents, &series, &frames, STEPS).await?;
        let peak = subject.peak()?;
        drop(deliver(agents, &series, &frames, steps).await?);
        let taken = subject.cpu()? - described;
        let samples = (hosts * (steps - 1) * SERIES) as f64;
        let cost = 1e9 * taken / samples;
        let thousands = hosts * SERIES / 1000;
        let aim = first.map(|first: f64| Aim::Most(1.2 * first));
        first.get_or_insert(cost);
        figures.push(of_ours(format!("{thousands} k series, a sample"), "ns of CPU", aim, cost));
        let a_series = 1e6 * (described - begun) / (hosts * SERIES) as f64;
        figures.push(of_ours(
            format!("{thousands} k series, a new series"),
            "µs of CPU",
            None,
            a_series,
        ));
        let mut memory = Figure::new(
            format!("{thousands} k series, peak memory"),
            "MiB",
            (hosts != SIZES[2].0).then_some(Aim::Share(0.5, VICTORIA)),
        );
        memory.note(OURS, peak);
        memory.note("upkeep, all connected", connected);
        memory.note("upkeep, after the first step", bytes_before);
        drop(subject);
        if let Some(peer) = Subject::peer(PeerKind::VictoriaMetrics).await? {
            let size = Size::ending(now_ms()?, hosts, STEPS);
            if remote_ingest::ingest(&peer, size, 1).await?.is_some() {
                memory.note(VICTORIA, peer.peak()?);
            }
        }
        figures.push(memory);
    }
    let notes = "Hosts of 300 series, 6 frames a message; what the first step takes is told apart. Memory is that of 24 steps, ours with a \
                 connection for each host, the peer's with 64 in all.";
    table("Growth", notes, &figures)
}

fn of_ours(what: String, unit: &'static str, aim: Option<Aim>, value: f64) -> Figure {
    let mut figure = Figure::new(what, unit, aim);
    figure.note(OURS, value);
    figure
}

/// Lets each host send up to so many of its frames.
async fn deliver(
    agents: Vec<Agent>,
    series: &Arc<Vec<upkeep_model::Series>>,
    frames: &[Arc<Vec<Bytes>>],
    steps: usize,
) -> Result<Vec<Agent>> {
    let mut delivering = JoinSet::new();
    for (mut agent, frames) in agents.into_iter().zip(frames.iter().cycle().cloned()) {
        let series = Arc::clone(series);
        delivering.spawn(async move {
            if steps == 1 {
                agent.describe(&series).await?;
            }
            agent.deliver(frames.get(..steps).unwrap_or(&frames), A_MESSAGE).await?;
            Ok::<_, anyhow::Error>(agent)
        });
    }
    let mut agents = Vec::new();
    while let Some(agent) = delivering.join_next().await {
        agents.push(agent??);
    }
    Ok(agents)
}
