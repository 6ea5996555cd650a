//! One stream to the collector: opened, kept busy, and ended by whichever side.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use tracing::{debug, warn};
use upkeep_model::{Epoch, Lane};
use upkeep_wire::v1;
use upkeep_wire::v1::collector_message::Message as Received;
use upkeep_wire::v1::delivery_client::DeliveryClient;

use super::lane::{LaneProgress, Next, Wanted};
use super::shipment::{self, Shipment, Told};
use super::{ANSWER_PATIENCE, Settings, UplinkError, blocking, now_ms};
use crate::buffer::{Buffer, BufferError, Heads, LaneState, SharedBuffer};
use crate::inventory::HeldPackages;

/// Messages that wait for the transport: enough to keep it busy, and few enough that records are
/// read from the buffer only when they are about to be sent.
const OUTGOING: usize = 4;

/// Why delivery returned although nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// There is a new certificate, which the next connection shows.
    Renewed,
    /// The buffer began a new epoch, which has to be opened anew.
    NewEpoch,
    /// The collector commits what is sent, which is told once; the stream goes on.
    Stands,
    /// The given moment has come; the stream goes on.
    InTime,
}

/// A stream that the collector accepted.
pub(super) struct Session {
    client: DeliveryClient<Channel>,
    buffer: SharedBuffer,
    appends: watch::Receiver<Heads>,
    outgoing: mpsc::Sender<v1::AgentMessage>,
    incoming: Streaming<v1::CollectorMessage>,
    epoch: Epoch,
    samples: LaneProgress,
    events: LaneProgress,
    told: Told,
    retry_after: Duration,
    held: HeldPackages,
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
            let marks = accepted.lanes.iter().filter(|mark| mark.lane() == v1::Lane::from(lane));
            marks.map(|mark| mark.committed).max().unwrap_or_default()
        };
        let progress = |lane| LaneProgress::new(committed(lane), accepted.window_records);
        let mut session = Self {
            client,
            buffer: buffer.clone(),
            appends,
            outgoing,
            incoming,
            epoch,
            samples: progress(Lane::Samples),
            events: progress(Lane::Events),
            told: Told::default(),
            retry_after: Duration::from_millis(u64::from(accepted.retry_after_ms)),
            held: held_packages(&accepted, epoch, committed(Lane::Events)),
            stands: false,
        };
        for lane in Lane::ALL {
            session.settle(lane, committed(lane)).await?;
        }
        Ok(session)
    }

    /// How long to wait before the next connection, as the collector asked.
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
                self.lane_mut(lane).acknowledge(acknowledge.through);
                self.stands |= lane == Lane::Samples;
                self.settle(lane, acknowledge.through).await
            }
            Some(Received::Want(want)) => {
                let lane = lane_of(want.lane())?;
                self.go_back(lane, want.from).await
            }
            Some(Received::Accepted(_)) => Err(UplinkError::Protocol("Accepted came twice")),
            // A message of a newer collector, which must not depend on being understood.
            None => Ok(Flow::Nothing),
        }
    }

    /// Forgets what the collector committed. A collector that has more than this buffer ever
    /// appended knows another copy of it: the disk was restored or cloned.
    async fn settle(&mut self, lane: Lane, through: u64) -> Result<Flow, UplinkError> {
        let epoch = self.epoch;
        self.with_buffer(move |buffer| {
            if buffer.epoch() != epoch {
                return Ok(Flow::EpochEnded);
            }
            if through >= buffer.lane(lane).next_sequence {
                warn!(%lane, through, "the collector has records that this buffer never made");
                buffer.start_over("the disk is an older copy of itself")?;
                return Ok(Flow::EpochEnded);
            }
            buffer.forget_through(lane, through)?;
            Ok(Flow::Nothing)
        })
        .await
    }

    async fn go_back(&mut self, lane: Lane, from: u64) -> Result<Flow, UplinkError> {
        let (state, events) = self
            .with_buffer(move |buffer| Ok((buffer.lane(lane), buffer.lane(Lane::Events))))
            .await?;
        let declared = lane == Lane::Events || self.events.is_done(events);
        debug!(%lane, from, "the collector wants records again");
        self.told.key = None;
        match self.lane_mut(lane).rewind(from, state, declared) {
            Wanted::Rewound => Ok(Flow::Nothing),
            Wanted::Forgotten => {
                warn!(%lane, from, "the collector lost records that it had acknowledged");
                let reason = "the collector lost records that it had acknowledged";
                self.with_buffer(move |buffer| buffer.start_over(reason)).await?;
                Ok(Flow::EpochEnded)
            }
        }
    }

    /// Sends what may be sent now, events before samples.
    async fn send_pending(&mut self) -> Result<Flow, UplinkError> {
        for lane in Lane::ALL {
            loop {
                match self.send_batch(lane).await? {
                    Flow::Sent => {}
                    Flow::Nothing => break,
                    Flow::EpochEnded => return Ok(Flow::EpochEnded),
                }
            }
        }
        Ok(Flow::Nothing)
    }

    async fn send_batch(&mut self, lane: Lane) -> Result<Flow, UplinkError> {
        let progress = *self.lane_mut(lane);
        let heads = *self.appends.borrow();
        let has_all = heads.epoch == self.epoch && progress.sent() + 1 >= heads.of(lane);
        if has_all || progress.room() == 0 {
            return Ok(Flow::Nothing);
        }
        let told = self.told;
        let (after, room) = (progress.sent(), progress.room());
        let shipment: Shipment =
            self.with_buffer(move |buffer| shipment::load(buffer, lane, after, room, told)).await?;
        if shipment.epoch != self.epoch {
            return Ok(Flow::EpochEnded);
        }
        let (Some(first), Some(last)) = (shipment.records.first(), shipment.records.last()) else {
            return Ok(Flow::Nothing);
        };
        let (first, last) = (first.sequence, last.sequence);
        let declared = lane == Lane::Events || self.events.is_done(shipment.events);
        if progress.judge(first, declared) == Next::AwaitDeclaration {
            return Ok(Flow::Nothing);
        }
        let mut told = self.told;
        for message in shipment.into_messages(lane, &mut told) {
            if self.outgoing.send(message).await.is_err() {
                return Err(self.why_closed().await);
            }
        }
        self.told = told;
        self.lane_mut(lane).note_sent(first, last);
        Ok(Flow::Sent)
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

    fn lane_mut(&mut self, lane: Lane) -> &mut LaneProgress {
        match lane {
            Lane::Samples => &mut self.samples,
            Lane::Events => &mut self.events,
        }
    }

    async fn with_buffer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Buffer) -> Result<T, BufferError> + Send + 'static,
    ) -> Result<T, UplinkError> {
        let buffer = self.buffer.clone();
        blocking(move || work(&mut buffer.lock())).await
    }
}

/// What came of an attempt to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Sent,
    Nothing,
    EpochEnded,
}

async fn opening(
    settings: &Settings,
    buffer: &SharedBuffer,
) -> Result<(v1::Open, Epoch), UplinkError> {
    let shared = buffer.clone();
    let read = move || {
        let buffer = shared.lock();
        let lanes = Lane::ALL.map(|lane| (lane, buffer.lane(lane)));
        Ok::<_, BufferError>((buffer.epoch(), lanes))
    };
    let (epoch, lanes) = blocking(read).await?;
    let state = |(lane, state): (Lane, LaneState)| v1::LaneState {
        lane: v1::Lane::from(lane).into(),
        next_sequence: state.next_sequence,
        acknowledged: state.acknowledged,
    };
    let open = v1::Open {
        epoch: epoch.0.to_vec().into(),
        lanes: lanes.map(state).to_vec(),
        boot_id: settings.boot_id.clone(),
        wall_time_ms: now_ms(),
        agent_version: settings.agent_version.clone(),
        interval_ms: u32::try_from(settings.interval.as_millis()).unwrap_or(u32::MAX),
    };
    Ok((open, epoch))
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
