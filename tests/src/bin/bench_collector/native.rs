//! Agents as the collector sees them: each with a certificate, a connection and a stream of its own. Their
//! frames are made before, so that sending them costs little beside what the collector does.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rand::RngExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use upkeep_model::{Lane, Series};
use upkeep_tests::{Collector, Enrolled};
use upkeep_wire::v1;
use upkeep_wire::v1::agent_message::Message;
use upkeep_wire::v1::collector_message::Message as Answer;
use upkeep_wire::v1::delivery_client::DeliveryClient;

use super::data::host_name;
use super::now_ms;

/// Connections that are begun at once.
const AT_ONCE: usize = 16;

/// A host that has a certificate, and no connection yet.
pub(super) struct Host {
    enrolled: Enrolled,
    epoch: [u8; 16],
}

/// Enrolls so many hosts, in the order of their numbers.
pub(super) async fn enroll(collector: &Collector, numbers: Range<usize>) -> Result<Vec<Host>> {
    let names: Vec<String> = numbers.map(host_name).collect();
    let enrolled = Enrolled::all(collector, &names).await?.into_iter();
    Ok(enrolled.map(|enrolled| Host { enrolled, epoch: rand::rng().random() }).collect())
}

/// Opens a stream for each host.
pub(super) async fn connect(hosts: Vec<Host>, interval: Duration) -> Result<Vec<Agent>> {
    let mut agents = Vec::with_capacity(hosts.len());
    let mut waiting = hosts.into_iter();
    let mut connecting = JoinSet::new();
    loop {
        while connecting.len() < AT_ONCE
            && let Some(host) = waiting.next()
        {
            connecting.spawn(async move { host.open(interval).await });
        }
        let Some(agent) = connecting.join_next().await else { return Ok(agents) };
        agents.push(agent??);
    }
}

impl Host {
    async fn open(self, interval: Duration) -> Result<Agent> {
        let channel = self.enrolled.connect().await?;
        let (outgoing, queue) = mpsc::channel(4);
        let open = Message::Open(self.opening(interval)?);
        outgoing.send(v1::AgentMessage { message: Some(open) }).await?;
        let stream = DeliveryClient::new(channel).stream(ReceiverStream::new(queue)).await?;
        let mut incoming = stream.into_inner();
        let first = incoming.message().await?.and_then(|first| first.message);
        let Some(Answer::Accepted(_)) = first else { bail!("the first was not Accepted") };
        Ok(Agent { outgoing, incoming, sent: 0 })
    }

    /// All that it observes is live.
    fn opening(&self, interval: Duration) -> Result<v1::Open> {
        let lanes = [Lane::Samples, Lane::Events].map(|lane| v1::LaneState {
            lane: v1::Lane::from(lane).into(),
            next_sequence: 1,
            acknowledged: 0,
            kept_from: 1,
            life_from: 1,
        });
        Ok(v1::Open {
            epoch: self.epoch.to_vec().into(),
            lanes: lanes.to_vec(),
            boot_id: "bench".to_owned(),
            wall_time_ms: now_ms()?,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            interval_ms: u32::try_from(interval.as_millis())?,
            live_from: 1,
            uptime_ms: 86_400_000,
            clock_synchronized: Some(true),
            life: self.epoch.to_vec().into(),
        })
    }
}

/// A host with an open stream.
pub(super) struct Agent {
    outgoing: mpsc::Sender<v1::AgentMessage>,
    incoming: tonic::Streaming<v1::CollectorMessage>,
    /// So many frames were sent, and all were acknowledged.
    sent: usize,
}

/// So many series are described in a message, about as many as an agent does.
const DESCRIBED: usize = 32;

impl Agent {
    /// Describes the series of a host.
    pub(super) async fn describe(&self, series: &[Series]) -> Result<()> {
        for (part, first_number) in series.chunks(DESCRIBED).zip((0..).step_by(DESCRIBED)) {
            let series = part.iter().map(Into::into).collect();
            self.send(Message::Describe(v1::Describe { first_number, series })).await?;
        }
        Ok(())
    }

    /// Sends the frames after those that were sent, so many a message, each message after the one before
    /// was acknowledged.
    pub(super) async fn deliver(&mut self, frames: &[Bytes], a_message: usize) -> Result<()> {
        while self.sent < frames.len() {
            let last = (self.sent + a_message).min(frames.len());
            self.batch(frames, last).await?;
        }
        Ok(())
    }

    /// Sends a frame at each of so many beats, until all frames are sent.
    pub(super) async fn keep_pace(
        &mut self,
        frames: &[Bytes],
        first: Instant,
        beat: Duration,
    ) -> Result<()> {
        let mut at = first;
        while self.sent < frames.len() {
            sleep_until(at).await;
            self.batch(frames, self.sent + 1).await?;
            at += beat;
        }
        Ok(())
    }

    async fn batch(&mut self, frames: &[Bytes], last: usize) -> Result<()> {
        let due = frames.get(self.sent..last).context("no such frames")?;
        let record =
            |(frame, sequence): (&Bytes, u64)| v1::Record { sequence, body: frame.clone() };
        let records = due.iter().zip(self.sent as u64 + 1..).map(record).collect();
        self.send(Message::Batch(v1::Batch { lane: v1::Lane::Samples.into(), records })).await?;
        loop {
            match self.incoming.message().await?.and_then(|answer| answer.message) {
                Some(Answer::Acknowledge(told)) if told.lane() != v1::Lane::Samples => {}
                Some(Answer::Acknowledge(told)) if told.through >= last as u64 => break,
                Some(Answer::Acknowledge(_)) => {}
                other => bail!("unexpected: {other:?}"),
            }
        }
        self.sent = last;
        Ok(())
    }

    async fn send(&self, message: Message) -> Result<()> {
        let message = v1::AgentMessage { message: Some(message) };
        self.outgoing.send(message).await.context("the stream ended")
    }
}
