//! One stream of one host.
//!
//! A session reads whatever has arrived, commits it as one, and acknowledges it; what comes in the
//! meantime waits in the connection's window, so that a host that catches up is committed in large
//! groups and a live one at once. Both lanes are taken in the order in which they came: a gap that
//! was declared is known before the samples that come after it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use upkeep_codec::{peek, retime};
use upkeep_model::{Epoch, Gap, HostId, Labels, Lane, Series, StreamKey};
use upkeep_store::StoreError;
use upkeep_wire::v1;
use upkeep_wire::v1::agent_message::Message;

use super::Services;
use super::admit::{Refusal, Timing, admit_frame, admit_series};
use super::commit::{CommitError, MAX_SEQUENCE, SampleRecord, commit_events, commit_samples};
use super::quota::LogQuota;
use super::service::blocking;
use crate::ca::PeerIdentity;
use crate::fleet::{Member, Standing, listening_interval_ms};
use crate::state::{Contact, PackageState, StateError};

/// What a host hears that was shut out.
pub(super) const REVOKED: &str = "this host was revoked by an operator";

/// So many records a lane may be under way and not yet acknowledged.
const WINDOW_RECORDS: u32 = 1024;

/// So much is read at most before it is committed.
const GATHER_BYTES: usize = 1024 * 1024;

/// A host that has not opened its stream by then is let go.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The bounds of the shortest time before a host comes again, and what each host of the fleet adds
/// to it: handshakes after a restart are spread over time.
const RETRY_MS: (u32, u32) = (250, 30_000);
const RETRY_MS_PER_HOST: u32 = 2;

/// A session before its host has opened it.
pub(super) struct Session {
    services: Services,
    identity: PeerIdentity,
    member: Arc<Member>,
    answers: mpsc::Sender<Result<v1::CollectorMessage, Status>>,
    quota: Arc<LogQuota<HostId>>,
    stop: CancellationToken,
}

/// A session whose host said which buffer it sends from.
struct Opened {
    session: Session,
    stream: StreamKey,
    offset_ms: i64,
    up: Labels,
    described: u32,
    samples: Cursor,
    events: Cursor,
}

/// Where a lane stands.
#[derive(Debug)]
struct Cursor {
    /// The record that comes next.
    next: u64,
    /// Whether the host was asked to send from there again.
    wanted: bool,
}

impl Cursor {
    fn after(committed: u64) -> Self {
        Self { next: committed.saturating_add(1), wanted: false }
    }
}

impl Session {
    pub(super) fn new(
        services: Services,
        identity: PeerIdentity,
        member: Arc<Member>,
        answers: mpsc::Sender<Result<v1::CollectorMessage, Status>>,
        quota: Arc<LogQuota<HostId>>,
        stop: CancellationToken,
    ) -> Self {
        Self { services, identity, member, answers, quota, stop }
    }

    /// Whether one more line of this host may be logged.
    fn may_log(&self) -> bool {
        self.quota.admits(self.identity.host, self.services.clock.now_ms())
    }

    /// Takes what the host sends until the stream ends, and tells the host why it ended.
    pub(super) async fn run(self, mut inbound: Streaming<v1::AgentMessage>) {
        let answers = self.answers.clone();
        let (host, quota) = (self.identity.host, Arc::clone(&self.quota));
        let clock = self.services.clock.clone();
        let ended = match self.open(&mut inbound).await {
            Ok(opened) => opened.converse(&mut inbound).await,
            Err(status) => Err(status),
        };
        if let Err(status) = ended {
            if quota.admits(host, clock.now_ms()) {
                tracing::info!(%host, code = ?status.code(), reason = status.message(), "stream ended");
            }
            // A host that has left does not hear it.
            drop(answers.send(Err(status)).await);
        }
    }

    async fn open(self, inbound: &mut Streaming<v1::AgentMessage>) -> Result<Opened, Status> {
        let first = tokio::time::timeout(OPEN_TIMEOUT, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("the stream was not opened in time"))??;
        let Some(v1::AgentMessage { message: Some(Message::Open(open)) }) = first else {
            return Err(Status::invalid_argument("the first message of a stream is Open"));
        };
        let now_ms = self.services.clock.now_ms();
        let epoch =
            Epoch::try_from(&open).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let stream = StreamKey { host: self.identity.host, epoch };
        let offset_ms = open.wall_time_ms.saturating_sub(now_ms);
        self.note_contact(&open, offset_ms, now_ms).await?;
        let (samples, events) = self.marks(stream, &open, now_ms).await?;
        let lanes = [(Lane::Samples, samples), (Lane::Events, events)]
            .map(|(lane, committed)| v1::LaneMark { lane: v1::Lane::from(lane).into(), committed });
        let accepted = v1::Accepted {
            lanes: lanes.to_vec(),
            window_records: WINDOW_RECORDS,
            retry_after_ms: retry_after_ms(self.services.fleet.members().len()),
            packages: self.packages().await?,
        };
        let opened = Opened {
            stream,
            offset_ms,
            up: self.member.up(),
            described: 0,
            samples: Cursor::after(samples),
            events: Cursor::after(events),
            session: self,
        };
        opened.answer(v1::collector_message::Message::Accepted(accepted)).await?;
        if opened.session.may_log() {
            tracing::info!(host = %stream.host, epoch = %stream.epoch, samples, events, "stream opened");
        }
        Ok(opened)
    }

    /// What is known of the host's packages, so that it sends what is not.
    async fn packages(&self) -> Result<Vec<v1::PackageState>, Status> {
        let (state, host) = (self.services.state.clone(), self.identity.host);
        let known = blocking(move || state.package_states(host)).await?;
        let state = |PackageState { manager, hash, .. }| v1::PackageState { manager, hash };
        Ok(known.into_iter().map(state).collect())
    }

    async fn note_contact(
        &self,
        open: &v1::Open,
        offset_ms: i64,
        now_ms: i64,
    ) -> Result<(), Status> {
        let contact = Contact {
            at_ms: now_ms,
            agent_version: open.agent_version.chars().take(64).collect(),
            interval_ms: listening_interval_ms(open.interval_ms),
            clock_offset_ms: offset_ms,
        };
        // It counts as heard of once something of it is committed, else a host of which everything
        // is refused would never be missed.
        self.member.set_interval_ms(contact.interval_ms);
        let (state, host) = (self.services.state.clone(), self.identity.host);
        blocking(move || state.record_contact(host, &contact)).await
    }

    /// How far each lane is committed. What the host was told is durable and yet is not here (the
    /// collector's disk was restored or lost) it no longer has, so that is declared lost.
    async fn marks(
        &self,
        stream: StreamKey,
        open: &v1::Open,
        now_ms: i64,
    ) -> Result<(u64, u64), Status> {
        let acknowledged = |lane: v1::Lane| {
            let state = open.lanes.iter().find(|state| state.lane() == lane);
            state.map_or(0, |state| state.acknowledged)
        };
        let samples = acknowledged(v1::Lane::Samples);
        let events = acknowledged(v1::Lane::Events);
        if samples.max(events) > MAX_SEQUENCE {
            return Err(Status::invalid_argument("a sequence number is too large"));
        }
        let Services { state, store, .. } = self.services.clone();
        blocking(move || {
            let forgotten = |lane, committed: u64, acknowledged: u64| Gap {
                lane,
                first: committed + 1,
                last: acknowledged,
                from_ms: None,
                to_ms: None,
                reason: "the collector no longer has what it had acknowledged".to_owned(),
            };
            let event_mark = state.event_mark(stream)?;
            if events > event_mark {
                let gap = forgotten(Lane::Events, event_mark, events);
                state.declare_gap(stream, &gap, now_ms)?;
            }
            // A gap may have been declared just before the store's own mark was durable.
            let lost = state.lost_samples_through(stream)?.unwrap_or(0);
            let sample_mark = store.committed(stream).max(lost);
            if samples > sample_mark {
                let gap = forgotten(Lane::Samples, sample_mark, samples);
                state.declare_gap(stream, &gap, now_ms)?;
            }
            store.skip(stream, sample_mark.max(samples));
            Ok((store.committed(stream), state.event_mark(stream)?))
        })
        .await
    }
}

impl Opened {
    async fn converse(mut self, inbound: &mut Streaming<v1::AgentMessage>) -> Result<(), Status> {
        let mut changes = self.session.services.fleet.subscribe();
        loop {
            let first = tokio::select! {
                () = self.session.stop.cancelled() => {
                    return Err(Status::unavailable("the collector stops; connect again"));
                }
                _ = changes.changed() => {
                    self.check_standing()?;
                    continue;
                }
                message = inbound.message() => message?,
            };
            let Some(first) = first else { return Ok(()) };
            let (messages, ended) = gather(first, inbound);
            self.check_standing()?;
            self.take(messages).await?;
            match ended {
                None => {}
                Some(end) => return end,
            }
        }
    }

    /// Revocation, renaming and expiry hold for streams that are open, too.
    fn check_standing(&self) -> Result<(), Status> {
        let session = &self.session;
        if session.identity.expires_at_ms <= session.services.clock.now_ms() {
            return Err(Status::unauthenticated("the host's certificate has expired"));
        }
        match session.services.fleet.standing(session.identity.host) {
            Standing::Good(member) if Arc::ptr_eq(&member, &session.member) => Ok(()),
            Standing::Good(_) => {
                Err(Status::unavailable("the host's name or tags were changed; connect again"))
            }
            Standing::Revoked | Standing::Unknown => Err(Status::permission_denied(REVOKED)),
        }
    }

    async fn take(&mut self, messages: Vec<Message>) -> Result<(), Status> {
        let mut samples = Vec::new();
        for message in messages {
            // Consecutive samples are committed as one.
            match message {
                Message::Batch(batch) if batch.lane() == v1::Lane::Samples => {
                    samples.extend(batch.records);
                    continue;
                }
                _ => self.take_samples(std::mem::take(&mut samples)).await?,
            }
            match message {
                Message::Describe(describe) => self.describe(describe)?,
                Message::Reference(reference) => self.reference(&reference)?,
                Message::Batch(batch) if batch.lane() == v1::Lane::Events => {
                    self.take_events(batch.records).await?;
                }
                Message::Batch(_) => {
                    return Err(Status::invalid_argument("the batch's lane is not known"));
                }
                Message::Open(_) => {
                    return Err(Status::invalid_argument("the stream is open already"));
                }
            }
        }
        self.take_samples(samples).await
    }

    fn describe(&mut self, describe: v1::Describe) -> Result<(), Status> {
        let series: Vec<Series> = describe.series.into_iter().map(Series::from).collect();
        let services = &self.session.services;
        admit_series(services.limits, self.described, describe.first_number, &series)
            .map_err(|refusal| refused(&refusal))?;
        let count = u32::try_from(series.len()).unwrap_or(u32::MAX);
        let labels: Vec<Labels> =
            series.into_iter().map(|one| self.session.member.complete(one.labels)).collect();
        services
            .store
            .describe(self.stream, describe.first_number, &labels)
            .map_err(|error| self.failed(&error.into()))?;
        self.described = self.described.max(describe.first_number.saturating_add(count));
        Ok(())
    }

    fn reference(&self, reference: &v1::Reference) -> Result<(), Status> {
        let store = &self.session.services.store;
        store.reference(self.stream, reference.sequence, &reference.frame).or_else(|error| {
            match error {
                // The records that lean on it are set aside as they come.
                StoreError::Frame { .. } | StoreError::NotDescribed { .. } => {
                    if self.session.may_log() {
                        tracing::warn!(host = %self.stream.host, %error, "a key frame is of no use");
                    }
                    Ok(())
                }
                error => Err(self.failed(&error.into())),
            }
        })
    }

    async fn take_samples(&mut self, records: Vec<v1::Record>) -> Result<(), Status> {
        if records.is_empty() {
            return Ok(());
        }
        let now_ms = self.session.services.clock.now_ms();
        let mut admitted = Vec::with_capacity(records.len());
        let mut last = 0;
        for record in records {
            last = last.max(record.sequence);
            // What was taken before is skipped; what is behind a hole comes again after it.
            if record.sequence == self.samples.next + admitted.len() as u64 {
                admitted.push(self.admit(record, now_ms)?);
            }
        }
        let services = &self.session.services;
        let advanced = !admitted.is_empty();
        let committed = commit_samples(services, self.stream, admitted, &self.up, now_ms)
            .await
            .map_err(|error| self.failed(&error))?;
        self.samples.next = committed.saturating_add(1);
        self.session.member.heard(now_ms);
        let hole = last > committed;
        if advanced || !hole {
            self.samples.wanted = false;
            self.acknowledge(Lane::Samples, committed).await?;
        }
        if hole { self.want(Lane::Samples).await } else { Ok(()) }
    }

    fn admit(&self, record: v1::Record, now_ms: i64) -> Result<SampleRecord, Status> {
        let v1::Record { sequence, body } = record;
        // What is no frame is found out, and set aside, by the store.
        let Ok(head) = peek(&body) else {
            return Ok(SampleRecord { sequence, body, timestamp_ms: None });
        };
        let limits = self.session.services.limits;
        match admit_frame(limits, head, &body, self.offset_ms, now_ms)
            .map_err(|refusal| refused(&refusal))?
        {
            Timing::AsItIs => {
                Ok(SampleRecord { sequence, body, timestamp_ms: Some(head.timestamp_ms) })
            }
            Timing::Corrected { timestamp_ms } => {
                let body = retime(&body, timestamp_ms).map_or(body, Into::into);
                Ok(SampleRecord { sequence, body, timestamp_ms: Some(timestamp_ms) })
            }
        }
    }

    async fn take_events(&mut self, records: Vec<v1::Record>) -> Result<(), Status> {
        if records.iter().any(|record| record.sequence > MAX_SEQUENCE) {
            return Err(Status::invalid_argument("a sequence number is too large"));
        }
        let services = &self.session.services;
        let now_ms = services.clock.now_ms();
        match commit_events(services, self.stream, records, self.offset_ms, now_ms).await {
            Ok(committed) => {
                let lost = committed.lost_samples_through.unwrap_or(0);
                self.samples.next = self.samples.next.max(lost.saturating_add(1));
                self.events = Cursor::after(committed.through);
                self.session.member.heard(now_ms);
                self.acknowledge(Lane::Events, committed.through).await
            }
            Err(CommitError::State(StateError::Hole { committed, .. })) => {
                self.events.next = committed.saturating_add(1);
                self.want(Lane::Events).await
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn acknowledge(&self, lane: Lane, through: u64) -> Result<(), Status> {
        let lane = v1::Lane::from(lane).into();
        let acknowledge = v1::Acknowledge { lane, through };
        self.answer(v1::collector_message::Message::Acknowledge(acknowledge)).await
    }

    /// Asks for the lane from its next record on; once, until that record has come.
    async fn want(&mut self, lane: Lane) -> Result<(), Status> {
        let cursor = match lane {
            Lane::Samples => &mut self.samples,
            Lane::Events => &mut self.events,
        };
        if std::mem::replace(&mut cursor.wanted, true) {
            return Ok(());
        }
        let want = v1::Want { lane: v1::Lane::from(lane).into(), from: cursor.next };
        if self.session.may_log() {
            tracing::warn!(host = %self.stream.host, %lane, from = want.from, "a hole; asked again");
        }
        self.answer(v1::collector_message::Message::Want(want)).await
    }

    async fn answer(&self, message: v1::collector_message::Message) -> Result<(), Status> {
        let message = v1::CollectorMessage { message: Some(message) };
        let sent = self.session.answers.send(Ok(message)).await;
        sent.map_err(|_| Status::cancelled("the host has left"))
    }

    /// What the host hears when something cannot be committed: it keeps what it has and comes
    /// again. A store that takes nothing more is the server's end, not only this stream's.
    fn failed(&self, error: &CommitError) -> Status {
        if self.session.may_log() {
            tracing::warn!(host = %self.stream.host, %error, "nothing is taken from the host");
        }
        let CommitError::Store(store) = error else {
            return Status::unavailable(error.to_string());
        };
        match store {
            StoreError::Hole { .. } | StoreError::Numbers { .. } => {
                Status::aborted(format!("{error}; connect again"))
            }
            StoreError::Poisoned { .. } => {
                // If the channel is full, the same was told before.
                drop(self.session.services.failure.try_send(error.to_string()));
                Status::unavailable(error.to_string())
            }
            _ => Status::unavailable(error.to_string()),
        }
    }
}

/// The first message and all that has arrived after it, within bounds; and how the stream ended,
/// if it did.
fn gather(
    first: v1::AgentMessage,
    inbound: &mut Streaming<v1::AgentMessage>,
) -> (Vec<Message>, Option<Result<(), Status>>) {
    let mut bytes = size(&first);
    let mut messages: Vec<Message> = first.message.into_iter().collect();
    while bytes < GATHER_BYTES {
        match inbound.message().now_or_never() {
            None => return (messages, None),
            Some(Ok(Some(next))) => {
                bytes += size(&next);
                messages.extend(next.message);
            }
            Some(Ok(None)) => return (messages, Some(Ok(()))),
            Some(Err(status)) => return (messages, Some(Err(status))),
        }
    }
    (messages, None)
}

fn size(message: &v1::AgentMessage) -> usize {
    match &message.message {
        Some(Message::Batch(batch)) => batch.records.iter().map(|record| record.body.len()).sum(),
        _ => 0,
    }
}

fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::TooManyDescribed { .. } | Refusal::TooManySeries { .. } => {
            Status::resource_exhausted(refusal.to_string())
        }
        _ => Status::invalid_argument(refusal.to_string()),
    }
}

/// The larger the fleet, the longer each host waits before it comes again.
fn retry_after_ms(hosts: usize) -> u32 {
    let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
    hosts.saturating_mul(RETRY_MS_PER_HOST).clamp(RETRY_MS.0, RETRY_MS.1)
}
