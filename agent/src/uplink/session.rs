//! One stream to the collector: opened, kept busy, and ended by whichever side.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use tracing::{debug, warn};
use upkeep_model::{Epoch, Lane, Ranges};
use upkeep_wire::v1;
use upkeep_wire::v1::collector_message::Message as Received;
use upkeep_wire::v1::delivery_client::DeliveryClient;

use super::lane::{Credit, Next, Part, Progress, Wanted};
use super::shipment::{self, Reach, Shipment, Told};
use super::{ANSWER_PATIENCE, Ground, Settings, UplinkError, now_ms};
use crate::buffer::{Buffer, BufferError, Heads, SharedBuffer};
use crate::inventory::{self, HeldPackages};

/// Messages that wait for the transport: enough to keep it busy, and few enough that records are
/// read from the buffer only when they are about to be sent.
const OUTGOING: usize = 4;

/// A clock that went ahead or back by more than this, beside the time that passed, was set. The collector
/// then has to learn anew how far it is from its own.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// Why a buffer is given up of which the collector knows another copy.
const OLDER_COPY: &str = "the disk is an older copy of itself";

/// Why delivery returned although nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// There is a new certificate, which the next connection shows.
    Renewed,
    /// The buffer began a new epoch, which has to be opened anew.
    NewEpoch,
    /// The host's clock was set, which the next connection tells.
    ClockSet,
    /// The collector commits what is sent, which is told once; the stream goes on.
    Stands,
    /// The given moment has come; the stream goes on.
    InTime,
}

/// A stream that the collector accepted.
pub(super) struct Session {
    client: DeliveryClient<Channel>,
    ground: Ground,
    buffer: SharedBuffer,
    appends: watch::Receiver<Heads>,
    outgoing: mpsc::Sender<v1::AgentMessage>,
    incoming: Streaming<v1::CollectorMessage>,
    epoch: Epoch,
    /// The samples that the collector has.
    committed: Ranges,
    /// Where the live samples begin, if the collector takes them beside the backlog.
    live_from: Option<u64>,
    live: Progress,
    backlog: Progress,
    events: Progress,
    told: Told,
    retry_after: Duration,
    held: HeldPackages,
    /// When it was opened, and what the wall clock showed then.
    opened: (Instant, i64),
    /// Whether samples of this connection were acknowledged.
    stands: bool,
}

impl Session {
    /// Opens the stream and forgets what the collector already has.
    pub(super) async fn open(
        mut client: DeliveryClient<Channel>,
        settings: &Settings,
        buffer: &SharedBuffer,
    ) -> Result<Self, UplinkError> {
        let appends = buffer.appends();
        let (open, epoch) = opening(settings, buffer).await?;
        let (asked_for, opened) = (open.live_from, (Instant::now(), open.wall_time_ms));
        let told = open.lanes.clone();
        let (outgoing, queue) = mpsc::channel(OUTGOING);
        send(&outgoing, v1::agent_message::Message::Open(open)).await?;
        let stream = client.stream(ReceiverStream::new(queue));
        let stream = tokio::time::timeout(ANSWER_PATIENCE, stream).await;
        let mut incoming = stream.map_err(|_| UplinkError::Silent)??.into_inner();
        let first = tokio::time::timeout(ANSWER_PATIENCE, incoming.message()).await;
        let first = first.map_err(|_| UplinkError::Silent)??.ok_or(UplinkError::Closed)?;
        let Some(Received::Accepted(accepted)) = first.message else {
            return Err(UplinkError::Protocol("the first message was not Accepted"));
        };
        let committed = |lane: Lane| {
            let mut marks = accepted.lanes.iter();
            let mark = marks.find(|mark| mark.lane() == v1::Lane::from(lane));
            mark.map(Ranges::from).unwrap_or_default()
        };
        let (samples, events) = (committed(Lane::Samples), committed(Lane::Events));
        let credit = Credit::granted(accepted.window_records, accepted.window_bytes);
        let live_from = Some(accepted.live_from).filter(|first| *first > 0 && *first == asked_for);
        let before_live = live_from.map_or(0, |first| first - 1);
        let mut session = Self {
            client,
            ground: settings.ground.clone(),
            buffer: buffer.clone(),
            appends,
            outgoing,
            incoming,
            epoch,
            committed: samples.clone(),
            live_from,
            live: Progress::new(before_live, credit),
            backlog: Progress::new(0, credit),
            events: Progress::new(events.prefix(), credit),
            told: Told::default(),
            retry_after: Duration::from_millis(u64::from(accepted.retry_after_ms)),
            held: held_packages(&accepted, epoch, events.prefix()),
            opened,
            stands: false,
        };
        session.note_told(accepted.older_copy).await?;
        for (lane, committed) in [(Lane::Events, events), (Lane::Samples, samples)] {
            session.reconcile(lane, committed, kept_from(&told, lane)).await?;
        }
        Ok(session)
    }

    /// Over how long the hosts are to spread when they all come again, as the collector asked.
    pub(super) fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// What the collector had of the host's packages when the stream was opened.
    pub(super) fn held(&self) -> HeldPackages {
        self.held.clone()
    }

    /// For calls beside the stream.
    pub(super) fn client(&self) -> DeliveryClient<Channel> {
        self.client.clone()
    }

    /// Delivers until the stream ends, until it stands, or until the given moment.
    pub(super) async fn deliver(&mut self, until: Instant) -> Result<Ended, UplinkError> {
        loop {
            if was_set(self.opened.0.elapsed(), now_ms().saturating_sub(self.opened.1)) {
                return Ok(Ended::ClockSet);
            }
            if self.send_pending().await? == Flow::EpochEnded {
                return Ok(Ended::NewEpoch);
            }
            tokio::select! {
                received = self.incoming.message() => {
                    let received = received?.ok_or(UplinkError::Closed)?;
                    let stood = self.stands;
                    if self.receive(received).await? == Flow::EpochEnded {
                        return Ok(Ended::NewEpoch);
                    }
                    if self.stands && !stood {
                        return Ok(Ended::Stands);
                    }
                }
                // The sender lives in the buffer that this session holds, so this never fails.
                _ = self.appends.changed() => {}
                () = tokio::time::sleep_until(until) => return Ok(Ended::InTime),
            }
        }
    }

    async fn receive(&mut self, received: v1::CollectorMessage) -> Result<Flow, UplinkError> {
        match received.message {
            Some(Received::Acknowledge(acknowledge)) => {
                let lane = lane_of(acknowledge.lane())?;
                let part = self.part_of(lane, acknowledge.through);
                self.acknowledged(part, acknowledge.through).await
            }
            Some(Received::Want(want)) => {
                let lane = lane_of(want.lane())?;
                self.go_back(self.part_of(lane, want.from), want.from).await
            }
            Some(Received::Accepted(_)) => Err(UplinkError::Protocol("Accepted came twice")),
            // A message of a newer collector, which must not depend on being understood.
            None => Ok(Flow::Nothing),
        }
    }

    /// Notes what the collector committed.
    async fn acknowledged(&mut self, part: Part, through: u64) -> Result<Flow, UplinkError> {
        let first = match (part, self.live_from) {
            (Part::Live, Some(first)) => first,
            _ => 1,
        };
        if part != Part::Events {
            self.committed.insert(first..=through);
            self.stands = true;
        }
        self.progress_mut(part).acknowledge(through);
        let (epoch, lane) = (self.epoch, part.lane());
        self.with_buffer(move |buffer| {
            if let Some(flow) = foreign(buffer, epoch, lane, through)? {
                return Ok(flow);
            }
            buffer.acknowledge(lane, first..=through, Instant::now().into_std())?;
            Ok(Flow::Nothing)
        })
        .await
    }

    /// Notes that the collector was told of this life of the buffer, before anything of it is sent; or
    /// begins a new epoch where the collector has what another copy of the buffer sent.
    async fn note_told(&self, is_older_copy: bool) -> Result<(), UplinkError> {
        let epoch = self.epoch;
        let note = move |buffer: &mut Buffer| match buffer.epoch() == epoch {
            true if is_older_copy => buffer.start_over(OLDER_COPY),
            true => buffer.note_told(),
            false => Ok(()),
        };
        self.with_buffer(note).await
    }

    /// Takes the collector's word for what it has, as the stream was opened. The collector was told
    /// from where on records are kept, and declares what it misses of those before.
    async fn reconcile(
        &mut self,
        lane: Lane,
        committed: Ranges,
        kept_from: u64,
    ) -> Result<(), UplinkError> {
        let epoch = self.epoch;
        let reconciled = self.with_buffer(move |buffer| {
            if foreign(buffer, epoch, lane, committed.last())?.is_some() {
                return Ok(true);
            }
            let is_known = buffer.forgotten_since(lane, kept_from, &committed).is_empty();
            buffer.reconcile(lane, &committed, Instant::now().into_std())?;
            Ok(is_known)
        });
        if reconciled.await? { Ok(()) } else { Err(UplinkError::Outrun) }
    }

    async fn go_back(&mut self, part: Part, from: u64) -> Result<Flow, UplinkError> {
        let lane = part.lane();
        if lane == Lane::Samples && self.committed.contains(from) {
            // The next connection begins with what it really has.
            return Err(UplinkError::Protocol("it wants what it had acknowledged"));
        }
        let (state, events) = self
            .with_buffer(move |buffer| Ok((buffer.lane(lane), buffer.lane(Lane::Events))))
            .await?;
        let declared = part == Part::Events || self.events.is_done(events);
        debug!(%lane, from, "the collector wants records again");
        self.told.forget_key();
        match self.progress_mut(part).rewind(from, state, declared) {
            Wanted::Rewound => Ok(Flow::Nothing),
            Wanted::Forgotten => {
                warn!(%lane, from, "the collector lost records that it had acknowledged");
                let reason = "the collector lost records that it had acknowledged";
                self.with_buffer(move |buffer| buffer.start_over(reason)).await?;
                Ok(Flow::EpochEnded)
            }
        }
    }

    /// Sends what may be sent now, a batch of each part in turn.
    async fn send_pending(&mut self) -> Result<Flow, UplinkError> {
        loop {
            let mut is_busy = false;
            for part in Part::ALL {
                match self.send_batch(part).await? {
                    Flow::Sent => is_busy = true,
                    Flow::Nothing => {}
                    Flow::EpochEnded => return Ok(Flow::EpochEnded),
                }
            }
            if !is_busy {
                return Ok(Flow::Nothing);
            }
        }
    }

    async fn send_batch(&mut self, part: Part) -> Result<Flow, UplinkError> {
        let Some(reach) = self.reach(part) else { return Ok(Flow::Nothing) };
        let told = self.told;
        let shipment: Shipment =
            self.with_buffer(move |buffer| shipment::load(buffer, reach, told)).await?;
        if shipment.epoch != self.epoch {
            return Ok(Flow::EpochEnded);
        }
        let declared = part == Part::Events || self.events.is_done(shipment.events);
        let Some(sent) = shipment.as_sent() else {
            return Ok(self.pass_over(reach, shipment.settled, declared));
        };
        if Progress::judge(sent.first, reach.after + 1, declared) == Next::AwaitDeclaration {
            return Ok(Flow::Nothing);
        }
        for message in shipment.into_messages(part.lane(), &mut self.told) {
            if self.outgoing.send(message).await.is_err() {
                return Err(self.why_closed().await);
            }
        }
        self.progress_mut(part).note_sent(sent);
        Ok(Flow::Sent)
    }

    /// What of a part comes next, if it may be sent and is there.
    fn reach(&self, part: Part) -> Option<Reach> {
        let heads = *self.appends.borrow();
        let is_ours = heads.epoch == self.epoch;
        let last = if is_ours { heads.of(part.lane()).saturating_sub(1) } else { u64::MAX };
        let (after, through) = match (part, self.live_from) {
            (Part::Events, _) => (self.events.sent(), last),
            (Part::Live, None) => return None,
            (Part::Live, Some(_)) => (self.live.sent(), last),
            (Part::Backlog, live_from) => {
                let end = live_from.map_or(last, |first| last.min(first - 1));
                let holes = self.committed.missing(self.backlog.sent() + 1..=end);
                let hole = holes.into_iter().next()?;
                (hole.start() - 1, *hole.end())
            }
        };
        let room = self.progress(part).room()?;
        (after < through).then_some(Reach { part, after, through, room })
    }

    /// Passes over a stretch of the backlog of which nothing is there any more, once that is declared.
    fn pass_over(&mut self, reach: Reach, settled: u64, declared: bool) -> Flow {
        let is_gone = reach.part == Part::Backlog && settled >= reach.through;
        if !is_gone || !declared {
            return Flow::Nothing;
        }
        self.backlog.pass_over(reach.through);
        Flow::Sent
    }

    /// The collector's last word, once it takes no more.
    async fn why_closed(&mut self) -> UplinkError {
        let last_word = async {
            loop {
                match self.incoming.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return UplinkError::Closed,
                    Err(status) => return status.into(),
                }
            }
        };
        tokio::time::timeout(ANSWER_PATIENCE, last_word).await.unwrap_or(UplinkError::Silent)
    }

    fn part_of(&self, lane: Lane, sequence: u64) -> Part {
        match lane {
            Lane::Events => Part::Events,
            Lane::Samples if self.live_from.is_some_and(|first| sequence >= first) => Part::Live,
            Lane::Samples => Part::Backlog,
        }
    }

    fn progress(&self, part: Part) -> &Progress {
        match part {
            Part::Live => &self.live,
            Part::Events => &self.events,
            Part::Backlog => &self.backlog,
        }
    }

    fn progress_mut(&mut self, part: Part) -> &mut Progress {
        match part {
            Part::Live => &mut self.live,
            Part::Events => &mut self.events,
            Part::Backlog => &mut self.backlog,
        }
    }

    async fn with_buffer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Buffer) -> Result<T, BufferError> + Send + 'static,
    ) -> Result<T, UplinkError> {
        let buffer = self.buffer.clone();
        self.ground.blocking(move || work(&mut buffer.lock())).await
    }
}

/// What came of an attempt to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Sent,
    Nothing,
    EpochEnded,
}

/// Begins a new epoch where the collector has more than this buffer ever appended: it knows another
/// copy of it, since the disk was restored or cloned. A buffer that is in another epoch already has
/// nothing to do with what is told.
fn foreign(
    buffer: &mut Buffer,
    epoch: Epoch,
    lane: Lane,
    committed: u64,
) -> Result<Option<Flow>, BufferError> {
    if buffer.epoch() != epoch {
        return Ok(Some(Flow::EpochEnded));
    }
    if committed >= buffer.lane(lane).next_sequence {
        warn!(%lane, committed, "the collector has records that this buffer never made");
        buffer.start_over(OLDER_COPY)?;
        return Ok(Some(Flow::EpochEnded));
    }
    Ok(None)
}

async fn opening(
    settings: &Settings,
    buffer: &SharedBuffer,
) -> Result<(v1::Open, Epoch), UplinkError> {
    let (shared, host) = (buffer.clone(), settings.host.clone());
    let read = move || {
        let clock = inventory::clock_bearings(&host);
        let buffer = shared.lock();
        let lanes = Lane::ALL.map(|lane| lane_state(&buffer, lane));
        let live_from = buffer.lane(Lane::Samples).next_sequence;
        Ok::<_, BufferError>((buffer.epoch(), buffer.life(), lanes, live_from, clock))
    };
    let (epoch, life, lanes, live_from, clock) = settings.ground.blocking(read).await?;
    let open = v1::Open {
        epoch: epoch.0.to_vec().into(),
        lanes: lanes.to_vec(),
        boot_id: settings.boot_id.clone(),
        wall_time_ms: now_ms(),
        agent_version: settings.agent_version.clone(),
        interval_ms: u32::try_from(settings.interval.as_millis()).unwrap_or(u32::MAX),
        live_from,
        uptime_ms: clock.uptime_ms,
        clock_synchronized: clock.synchronized,
        life: life.0.to_vec().into(),
    };
    Ok((open, epoch))
}

fn lane_state(buffer: &Buffer, lane: Lane) -> v1::LaneState {
    v1::LaneState {
        lane: v1::Lane::from(lane).into(),
        next_sequence: buffer.lane(lane).next_sequence,
        acknowledged: buffer.lane(lane).acknowledged,
        kept_from: buffer.kept_from(lane),
        life_from: buffer.life_from(lane),
    }
}

fn kept_from(told: &[v1::LaneState], lane: Lane) -> u64 {
    let mut states = told.iter().filter(|state| state.lane() == v1::Lane::from(lane));
    states.next().map_or(1, |state| state.kept_from)
}

/// Whether the wall clock was set while so much time passed and the clock went on by so much.
fn was_set(passed: Duration, shown_ms: i64) -> bool {
    let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
    shown_ms.saturating_sub(passed_ms).saturating_abs() > CLOCK_TOLERANCE_MS
}

fn held_packages(accepted: &v1::Accepted, epoch: Epoch, committed: u64) -> HeldPackages {
    let states = accepted.packages.iter();
    let hashes = states.map(|state| (state.manager.clone(), state.hash.clone())).collect();
    HeldPackages { epoch: epoch.0, committed, hashes }
}

async fn send(
    outgoing: &mpsc::Sender<v1::AgentMessage>,
    message: v1::agent_message::Message,
) -> Result<(), UplinkError> {
    let message = v1::AgentMessage { message: Some(message) };
    outgoing.send(message).await.map_err(|_| UplinkError::Closed)
}

fn lane_of(lane: v1::Lane) -> Result<Lane, UplinkError> {
    Lane::try_from(lane).map_err(|_| UplinkError::Protocol("a lane that is not known"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_noticed_and_one_that_drifts_is_not() {
        let check = |passed_ms: u64, shown_ms: i64, expect: bool| {
            let passed = Duration::from_millis(passed_ms);
            assert_eq!(was_set(passed, shown_ms), expect, "{passed_ms} {shown_ms}");
        };
        check(0, 0, false);
        check(86_400_000, 86_400_000 + 60_000, false);
        check(86_400_000, 86_400_000 + 60_001, true);
        check(1_000, -59_000, false);
        check(1_000, -59_001, true);
        check(1_000, i64::MIN, true);
    }
}
