//! Agents that are simulated in everything but what a collector sees of them: each has a certificate of
//! its own, a connection of its own, and the agent's own way to wait before it connects again. What
//! they observe is the same for all, so that thousands fit beside the collector.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use upkeep_agent::uplink::Backoff;
use upkeep_codec::Encoder;
use upkeep_model::{Lane, MetricKind, Ranges, Series};
use upkeep_tests::{Collector, Enrolled};
use upkeep_wire::v1::agent_message::Message;
use upkeep_wire::v1::collector_message::Message as Answer;
use upkeep_wire::v1::delivery_client::DeliveryClient;
use upkeep_wire::{MAX_BATCH_BYTES, v1};

/// Series of a host: about what the agent tells of a small one.
pub const SERIES: u32 = 100;

/// No batch has more records, as with the agent.
const MAX_BATCH_RECORDS: usize = 512;

/// What all agents observed, and go on observing.
pub struct Log {
    frames: Mutex<(Encoder, Vec<Frame>)>,
    count: watch::Sender<u64>,
    interval: Duration,
    /// What `herd_alarm` shows.
    alarm: AtomicI64,
}

#[derive(Clone)]
struct Frame {
    key: Option<u64>,
    body: bytes::Bytes,
}

impl Log {
    /// An hour that ends now, say, observed at an interval. All but the last part of it `herd_alarm` is 1.
    pub fn of_outage(outage: Duration, interval: Duration, calm: Duration) -> Result<Self> {
        let log = Self {
            frames: Mutex::default(),
            count: watch::Sender::new(0),
            interval,
            alarm: AtomicI64::new(1),
        };
        let (now_ms, step_ms) = (now_ms()?, milliseconds(interval));
        let first_ms = now_ms - milliseconds(outage);
        for at_ms in (first_ms.div_euclid(step_ms)..now_ms.div_euclid(step_ms)).map(|n| n * step_ms)
        {
            if at_ms > now_ms - milliseconds(calm) {
                log.alarm.store(0, Ordering::Relaxed);
            }
            log.observe(at_ms);
        }
        log.alarm.store(0, Ordering::Relaxed);
        Ok(log)
    }

    /// How many observations there are.
    pub fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// Goes on observing at whole multiples of the interval.
    pub async fn go_on(self: Arc<Self>) -> Result<()> {
        let step_ms = milliseconds(self.interval);
        loop {
            let next_ms = (now_ms()?.div_euclid(step_ms) + 1) * step_ms;
            let wait = u64::try_from(next_ms - now_ms()?).unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(wait)).await;
            self.observe(next_ms);
        }
    }

    /// Most series stand still, some count, a few move: as on a host.
    fn observe(&self, at_ms: i64) {
        let mut held = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let (encoder, frames) = &mut *held;
        let sequence = frames.len() as u64 + 1;
        let value = |number: u32| match number {
            0 => sequence as f64,
            1 => self.alarm.load(Ordering::Relaxed) as f64,
            number if number % 10 < 6 => f64::from(number),
            number if number % 10 < 9 => (sequence * u64::from(number)) as f64,
            number => (sequence as f64 * f64::from(number)).sin(),
        };
        let row = (0..SERIES).map(|number| (number, value(number))).collect();
        let encoded = encoder.encode(sequence, at_ms, row);
        frames.push(Frame { key: encoded.key, body: encoded.bytes.into() });
        drop(held);
        self.count.send_replace(sequence);
    }

    /// As many as a batch takes of the records from one through another.
    fn batch(&self, first: u64, last: u64) -> Vec<(u64, Frame)> {
        let held = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        let records = (first..=last).filter_map(|number| {
            Some((number, held.1.get(usize::try_from(number - 1).ok()?)?.clone()))
        });
        let fits = |(_, frame): &(u64, Frame)| {
            bytes += frame.body.len();
            bytes <= MAX_BATCH_BYTES - 16 * 1024
        };
        records.take(MAX_BATCH_RECORDS).take_while(fits).collect()
    }

    fn frame(&self, sequence: u64) -> Result<Frame> {
        let held = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(sequence - 1)?;
        held.1.get(index).cloned().context("no such frame")
    }

    fn describe() -> v1::Describe {
        let name = |number| match number {
            0 => "herd_sequence".to_owned(),
            1 => "herd_alarm".to_owned(),
            number => format!("herd_series_{number}"),
        };
        let series = (0..SERIES).map(|number| {
            (&Series::new(MetricKind::Gauge, &name(number), "A series of the herd.", &[])).into()
        });
        v1::Describe { first_number: 0, series: series.collect() }
    }
}

/// What one agent has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// When its first live record since the last outage was acknowledged.
    pub live_at: Option<Instant>,
    /// When all that it had missed was.
    pub drained_at: Option<Instant>,
    /// How often it was connected.
    pub connections: u32,
}

/// A simulated agent.
pub struct Simulated {
    host: Enrolled,
    epoch: [u8; 16],
    random: Mutex<StdRng>,
    progress: Mutex<Progress>,
}

/// Enrolls so many agents with one token.
pub async fn enroll(collector: &Collector, count: usize, seed: u64) -> Result<Vec<Arc<Simulated>>> {
    let names: Vec<String> = (0..count).map(|number| format!("herd{number}")).collect();
    let hosts = Enrolled::all(collector, &names).await?.into_iter().zip(0_u64..);
    let agent = |(host, number)| Arc::new(Simulated::new(host, number, seed));
    Ok(hosts.map(agent).collect())
}

impl Simulated {
    fn new(host: Enrolled, number: u64, seed: u64) -> Self {
        let seed = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = StdRng::seed_from_u64(seed);
        let epoch = random.random();
        Self { host, epoch, random: Mutex::new(random), progress: Mutex::default() }
    }

    pub fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what it has seen, as an outage begins.
    pub fn begin_outage(&self) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Progress::default();
    }

    fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Connects and delivers without end. `failures` attempts went before.
    pub async fn keep_up(self: Arc<Self>, log: Arc<Log>, cap: Duration, failures: u32) {
        let mut backoff = Backoff::new(cap);
        for _ in 0..failures {
            let _: Duration = backoff.next(0.0);
        }
        loop {
            let random = self.random.lock().unwrap_or_else(PoisonError::into_inner).random();
            tokio::time::sleep(backoff.next(random)).await;
            // Why it ended is the collector's to tell; an agent only comes again.
            drop(self.connect(&log, &mut backoff).await);
        }
    }

    /// Connects and delivers nothing, within a time or as soon after it as it can: the collector learns
    /// that the host observes every second, and soon misses it.
    pub async fn greet(self: Arc<Self>, within: Duration) {
        loop {
            let random = self.random.lock().unwrap_or_else(PoisonError::into_inner).random();
            tokio::time::sleep(within.mul_f64(random)).await;
            if self.begin(1, Duration::from_secs(1)).await.is_ok() {
                return;
            }
        }
    }

    /// Opens a stream.
    async fn begin(&self, live_from: u64, interval: Duration) -> Result<Stream> {
        let channel = self.host.connect().await?;
        let (outgoing, queue) = mpsc::channel(4);
        send(&outgoing, Message::Open(self.open(live_from, interval)?)).await?;
        let stream = DeliveryClient::new(channel).stream(ReceiverStream::new(queue)).await?;
        let mut incoming = stream.into_inner();
        let first = incoming.message().await?.and_then(|first| first.message);
        let Some(Answer::Accepted(accepted)) = first else { bail!("the first was not Accepted") };
        Ok(Stream { outgoing, incoming, accepted })
    }

    async fn connect(&self, log: &Log, backoff: &mut Backoff) -> Result<()> {
        let live_from = log.count() + 1;
        let Stream { outgoing, mut incoming, accepted } =
            self.begin(live_from, log.interval).await?;
        backoff.spread_over(Duration::from_millis(u64::from(accepted.retry_after_ms)));
        self.note(|progress| progress.connections += 1);
        let committed = accepted.lanes.iter().find(|mark| mark.lane() == v1::Lane::Samples);
        let committed = committed.map(Ranges::from).unwrap_or_default();
        let missing = committed.missing(1..=live_from - 1);
        let mut delivery = Delivery { log, outgoing, told_key: None };
        delivery.send(Message::Describe(Log::describe())).await?;
        let mut backlog = missing.into_iter();
        let mut hole = delivery.next_of(&mut backlog, None).await?;
        let mut live = (live_from, false);
        let mut appended = log.count.subscribe();
        loop {
            if hole.is_none() {
                self.note(|progress| _ = progress.drained_at.get_or_insert_with(Instant::now));
            }
            if !live.1 && log.count() >= live.0 {
                delivery.batch(live.0, log.count()).await?;
                live.1 = true;
            }
            tokio::select! {
                answer = incoming.message() => match answer?.and_then(|answer| answer.message) {
                    Some(Answer::Acknowledge(told)) if told.lane() != v1::Lane::Samples => {}
                    Some(Answer::Acknowledge(told)) if told.through >= live_from => {
                        backoff.reset();
                        self.note(|progress| _ = progress.live_at.get_or_insert_with(Instant::now));
                        live = (told.through + 1, false);
                    }
                    Some(Answer::Acknowledge(told)) => {
                        backoff.reset();
                        hole = delivery.next_of(&mut backlog, hole.map(|last| (told.through + 1, last))).await?;
                    }
                    other => bail!("unexpected: {other:?}"),
                },
                changed = appended.changed() => changed?,
            }
        }
    }

    fn open(&self, live_from: u64, interval: Duration) -> Result<v1::Open> {
        let lanes = [(Lane::Samples, live_from), (Lane::Events, 1)];
        Ok(v1::Open {
            epoch: self.epoch.to_vec().into(),
            lanes: lanes
                .map(|(lane, next_sequence)| v1::LaneState {
                    lane: v1::Lane::from(lane).into(),
                    next_sequence,
                    acknowledged: 0,
                    kept_from: 1,
                    life_from: 1,
                })
                .to_vec(),
            boot_id: "herd".to_owned(),
            wall_time_ms: now_ms()?,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            interval_ms: u32::try_from(interval.as_millis())?,
            live_from,
            uptime_ms: 86_400_000,
            clock_synchronized: Some(true),
            life: self.epoch.to_vec().into(),
        })
    }
}

/// A stream that was accepted.
struct Stream {
    outgoing: mpsc::Sender<v1::AgentMessage>,
    incoming: tonic::Streaming<v1::CollectorMessage>,
    accepted: v1::Accepted,
}

/// What goes out on one stream.
struct Delivery<'l> {
    log: &'l Log,
    outgoing: mpsc::Sender<v1::AgentMessage>,
    told_key: Option<u64>,
}

impl Delivery<'_> {
    async fn send(&self, message: Message) -> Result<()> {
        send(&self.outgoing, message).await
    }

    /// Sends the next batch of the backlog, from the hole that is being filled or the one after it.
    /// Gives the end of that hole; none if all are filled.
    async fn next_of(
        &mut self,
        holes: &mut impl Iterator<Item = std::ops::RangeInclusive<u64>>,
        filling: Option<(u64, u64)>,
    ) -> Result<Option<u64>> {
        let filling = filling.filter(|(first, last)| first <= last);
        let next = filling.or_else(|| holes.next().map(|hole| (*hole.start(), *hole.end())));
        let Some((first, last)) = next else { return Ok(None) };
        self.batch(first, last).await?;
        Ok(Some(last))
    }

    async fn batch(&mut self, first: u64, last: u64) -> Result<()> {
        let records = self.log.batch(first, last);
        let leans_on = records.first().and_then(|(_, frame)| frame.key);
        if let Some(key) = leans_on.filter(|key| self.told_key != Some(*key)) {
            let frame = self.log.frame(key)?.body;
            self.send(Message::Reference(v1::Reference { sequence: key, frame })).await?;
        }
        self.told_key = records.last().map(|(number, frame)| frame.key.unwrap_or(*number));
        let record = |(sequence, frame): (u64, Frame)| v1::Record { sequence, body: frame.body };
        let records = records.into_iter().map(record).collect();
        self.send(Message::Batch(v1::Batch { lane: v1::Lane::Samples.into(), records })).await
    }
}

async fn send(outgoing: &mpsc::Sender<v1::AgentMessage>, message: Message) -> Result<()> {
    outgoing.send(v1::AgentMessage { message: Some(message) }).await.context("the stream ended")
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn now_ms() -> Result<i64> {
    Ok(milliseconds(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?))
}
