//! How cost and memory grow with the number of live series.

use std::sync::Arc;
use std::time::Duration;

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
use super::{RUNS, now_ms, remote_ingest};

/// Hosts that are live at each size: 60 k, 300 k and 1 M series. Each sends so many steps that all sizes have
/// about as many samples, for the kernel counts the processor's time in hundredths of a second.
const SIZES: [(usize, usize); 3] = [(200, 360), (1000, 72), (3334, 24)];

/// Of these the first brings the series, and is not counted; after so many the memory is looked at.
const STEPS: usize = 24;

/// Frames of one message.
const A_MESSAGE: usize = 6;

/// Hosts whose frames serve all, and hosts of which so many samples are sent to the peers.
const KINDS_OF_HOSTS: usize = 50;

/// What ours at the smallest size is called beside the larger ones.
const SMALLEST: &str = "upkeep, 60 k series";

/// What is measured at one size.
struct AtSize {
    hosts: usize,
    steps: usize,
    sample: Figure,
    new_series: Figure,
    memory: Figure,
}

impl AtSize {
    fn new((hosts, steps): (usize, usize)) -> Self {
        let series = format!("{} k series", hosts * SERIES / 1000);
        let [smallest, _, largest] = SIZES.map(|(hosts, _)| hosts);
        let grows = (hosts != smallest).then_some(Aim::Share(1.2, SMALLEST));
        let shares = (hosts != largest).then_some(Aim::Share(0.5, VICTORIA));
        Self {
            hosts,
            steps,
            sample: Figure::new(format!("{series}, a sample"), "ns of CPU", grows),
            new_series: Figure::new(format!("{series}, a new series"), "µs of CPU", None),
            memory: Figure::new(format!("{series}, peak memory"), "MiB", shares),
        }
    }

    /// Measures a collector of its own. Returns what a sample cost.
    async fn note_ours(&mut self, frames: &[Arc<Vec<Bytes>>]) -> Result<f64> {
        let series: Arc<Vec<_>> = Arc::new(all().into_iter().map(|one| one.series).collect());
        let subject = Subject::collector().await?;
        let enrolled = enroll(subject.collector_itself()?, 0..self.hosts).await?;
        let agents = connect(enrolled, Duration::from_millis(STEP_MS as u64)).await?;
        let begun = subject.cpu()?;
        self.memory.note("upkeep, all connected", subject.peak()?);
        let agents = deliver(agents, &series, frames, 1).await?;
        let described = subject.cpu()?;
        self.memory.note("upkeep, after the first step", subject.peak()?);
        let agents = deliver(agents, &series, frames, STEPS).await?;
        self.memory.note(OURS, subject.peak()?);
        drop(deliver(agents, &series, frames, self.steps).await?);
        let taken = subject.cpu()? - described;
        let live = self.hosts * SERIES;
        let cost = 1e9 * taken / (live * (self.steps - 1)) as f64;
        self.sample.note(OURS, cost);
        self.new_series.note(OURS, 1e6 * (described - begun) / live as f64);
        Ok(cost)
    }

    async fn note_peer(&mut self) -> Result<()> {
        let Some(peer) = Subject::peer(PeerKind::VictoriaMetrics).await? else { return Ok(()) };
        let size = Size::ending(now_ms()?, self.hosts, STEPS);
        if remote_ingest::ingest(&peer, size, 1).await?.is_some() {
            self.memory.note(VICTORIA, peer.peak()?);
        }
        Ok(())
    }
}

/// Ours at all sizes in one life each, and VictoriaMetrics beside it.
pub(super) async fn growth() -> Result<String> {
    let most = SIZES.map(|(_, steps)| steps).into_iter().max().unwrap_or(STEPS);
    let frames = all_frames(Size::ending(now_ms()?, KINDS_OF_HOSTS, most)).await?;
    let mut sizes = SIZES.map(AtSize::new);
    for _ in 0..RUNS {
        let mut smallest = None;
        for size in &mut sizes {
            let cost = size.note_ours(&frames).await?;
            match smallest {
                Some(cost) => size.sample.note(SMALLEST, cost),
                None => smallest = Some(cost),
            }
            size.note_peer().await?;
        }
    }
    let figures: Vec<_> =
        sizes.into_iter().flat_map(|size| [size.sample, size.new_series, size.memory]).collect();
    let notes = "Hosts of 300 series, 6 frames a message; what the first step takes is told apart. Memory is that of 24 steps, ours with a \
                 connection for each host, the peer's with 64 in all.";
    table("Growth", notes, &figures)
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
