//! One stream of one host.
//!
//! A session reads whatever has arrived, commits it as one, and acknowledges it; what comes in the
//! meantime waits in the connection's window, so that a host that catches up is committed in large
//! groups and a live one at once. Both lanes are taken in the order in which they came: a gap that
//! was declared is known before the samples that come after it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use upkeep_codec::{peek, retime};
use upkeep_model::{Epoch, HostId, Labels, Lane, Life, Ranges, Series, StreamKey};
use upkeep_store::StoreError;
use upkeep_wire::v1::agent_message::Message;
use upkeep_wire::{MAX_BATCH_BYTES, lane_mark, v1};

use super::Services;
use super::admit::{HostClock, Timing, admit_frame, admit_series};
use super::backlog::Backlog;
use super::commit::{CommitError, MAX_SEQUENCE, SampleRecord, Up, commit_events, commit_samples};
use super::described::keep_metadata;
use super::gather::gather;
use super::marks::{Marks, Unsettled, turn};
use super::pace::retry_after_ms;
use super::quota::LogQuota;
use super::status::{failed, refused};
use super::timeline::Timeline;
use super::track::{Reply, Track};
use crate::ca::PeerIdentity;
use crate::clock::ClockWatch;
use crate::fleet::{Member, Standing, listening_interval_ms};
use crate::state::{Contact, PackageState, StateError};

/// What a host hears that was shut out.
pub(super) const REVOKED: &str = "this host was revoked by an operator";

/// How much may be under way and not yet acknowledged: of the events, of the live samples and of the
/// backlog, each.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// So many records.
    pub records: u32,
    /// So many bytes of them.
    pub bytes: u32,
}

impl Default for Window {
    /// As many bytes as a batch may have: a host on a slow line sends no more of its backlog before
    /// what it observes meanwhile.
    fn default() -> Self {
        Self { records: 1024, bytes: MAX_BATCH_BYTES as u32 }
    }
}

/// A host that has not opened its stream by then is let go.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

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
    clock: HostClock,
    /// Whether the collector's own clock is still the one that the host's was held against.
    clock_watch: ClockWatch,
    up: Up,
    described: u32,
    /// What was observed since the host opened the stream begins here.
    observed_from: u64,
    samples: Track,
    life: Option<Life>,
    /// Samples that the host no longer has, until the events have come that may tell of them.
    unsettled: Option<Unsettled>,
    interval_ms: i64,
    /// The times of the live samples, and those of the backlog.
    live_times: Timeline,
    backlog_times: Timeline,
    /// Whether the host was asked for events again, and they have not come yet.
    events_wanted: bool,
    backlog: Backlog,
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
        let clock_watch = ClockWatch::begin(&self.services.clock);
        let now_ms = self.services.clock.now_ms();
        let epoch =
            Epoch::try_from(&open).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let stream = StreamKey { host: self.identity.host, epoch };
        let clock = HostClock {
            wall_ms: open.wall_time_ms,
            offset_ms: open.wall_time_ms.saturating_sub(now_ms),
            uptime_ms: open.uptime_ms,
        };
        if clock.is_wrong() && self.may_log() {
            let (host, offset_ms) = (stream.host, clock.offset_ms);
            tracing::warn!(%host, offset_ms, "the host's clock is wrong; its times are corrected");
        }
        self.note_contact(&open, (stream.epoch, clock), now_ms).await?;
        let marks = Marks::settle(&self.services, &self.member, stream, &open, now_ms).await?;
        let backlog = Backlog::begin(&self.member, &marks.samples, open.live_from);
        let accepted = v1::Accepted {
            lanes: vec![
                lane_mark(Lane::Samples, &marks.samples),
                lane_mark(Lane::Events, &Ranges::through(marks.events)),
            ],
            window_records: self.services.window.records,
            retry_after_ms: retry_after_ms(
                self.services.fleet.members().len(),
                self.services.handshakes_per_second,
            ),
            packages: self.packages().await?,
            live_from: marks.live_from.unwrap_or_default(),
            window_bytes: self.services.window.bytes,
            older_copy: marks.is_older_copy,
        };
        if self.may_log() {
            let Marks { samples, events, live_from, .. } = &marks;
            let (samples, events, ranges) = (samples.prefix(), *events, samples.count());
            tracing::info!(
                host = %stream.host, epoch = %stream.epoch, samples, ranges, live_from, events,
                "stream opened"
            );
        }
        // A backlog behind several ranges follows on none whose time is known.
        let follows = marks.samples.prefix() == marks.samples.last();
        let last_ms = self.services.store.latest_ms(stream).filter(|_| follows);
        let opened = Opened {
            stream,
            clock,
            clock_watch,
            up: Up::new(&self.services.store, stream.host, self.member.up()),
            described: 0,
            observed_from: open.live_from,
            interval_ms: i64::from(open.interval_ms.max(1)),
            live_times: Timeline::default(),
            backlog_times: Timeline::after(last_ms, now_ms),
            samples: Track::new(marks.samples, marks.live_from),
            unsettled: marks.unsettled,
            events_wanted: false,
            backlog,
            life: marks.life,
            session: self,
        };
        opened.answer(v1::collector_message::Message::Accepted(accepted)).await?;
        if marks.is_older_copy {
            return Err(Status::aborted("another copy of the buffer is known"));
        }
        Ok(opened)
    }

    /// What is known of the host's packages, so that it sends what is not.
    async fn packages(&self) -> Result<Vec<v1::PackageState>, Status> {
        let (state, host) = (self.services.state.clone(), self.identity.host);
        let known = self.services.disk_work.ask(move || state.package_states(host)).await?;
        let state = |PackageState { manager, hash, .. }| v1::PackageState { manager, hash };
        Ok(known.into_iter().map(state).collect())
    }

    async fn note_contact(
        &self,
        open: &v1::Open,
        (epoch, clock): (Epoch, HostClock),
        now_ms: i64,
    ) -> Result<(), Status> {
        let contact = Contact {
            at_ms: now_ms,
            agent_version: open.agent_version.chars().take(64).collect(),
            interval_ms: listening_interval_ms(open.interval_ms),
            clock_offset_ms: clock.offset_ms,
            clock_synchronized: open.clock_synchronized,
            clock_is_wrong: clock.is_wrong(),
            epoch,
        };
        // It counts as heard of once something of it is committed, else a host of which everything
        // is refused would never be missed.
        self.member.set_interval_ms(contact.interval_ms);
        let (state, host) = (self.services.state.clone(), self.identity.host);
        self.services.disk_work.ask(move || state.record_contact(host, &contact)).await
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
    fn check_standing(&mut self) -> Result<(), Status> {
        let session = &self.session;
        if session.identity.expires_at_ms <= session.services.clock.now_ms() {
            return Err(Status::unauthenticated("the host's certificate has expired"));
        }
        if self.clock_watch.look(&session.services.clock).is_some() {
            return Err(Status::unavailable("the collector's clock was set; connect again"));
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
                Message::Describe(describe) => {
                    let _turn = turn(&self.session.member, self.life).await?;
                    self.describe(describe).await?;
                }
                Message::Reference(reference) => {
                    let _turn = turn(&self.session.member, self.life).await?;
                    self.reference(&reference)?;
                }
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

    async fn describe(&mut self, describe: v1::Describe) -> Result<(), Status> {
        let series: Vec<Series> = describe.series.into_iter().map(Series::from).collect();
        let services = &self.session.services;
        admit_series(services.limits, self.described, describe.first_number, &series)
            .map_err(|refusal| refused(&refusal))?;
        keep_metadata(services, (self.stream.host, &self.session.quota), &series).await;
        let count = u32::try_from(series.len()).unwrap_or(u32::MAX);
        let labels: Vec<Labels> =
            series.into_iter().map(|one| self.session.member.complete(one.labels)).collect();
        let kept = services.store.describe(self.stream, describe.first_number, &labels);
        kept.map_err(|error| self.failed(&error.into()))?;
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
        for record in records {
            if self.samples.take(record.sequence) {
                admitted.push(self.admit(record, now_ms)?);
            }
        }
        let services = &self.session.services;
        let is_live = admitted.iter().any(|record| record.is_live);
        let past = Backlog::times(&admitted);
        if !admitted.is_empty() {
            let _turn = turn(&self.session.member, self.life).await?;
            commit_samples(services, self.stream, admitted, &mut self.up, now_ms)
                .await
                .map_err(|error| self.failed(&error))?;
        }
        // A backlog tells of the past.
        if is_live {
            self.session.member.heard(now_ms);
            self.session.services.arrivals.tell(&self.session.member.instance);
        }
        self.note_committed(past);
        for reply in self.samples.replies() {
            match reply {
                Reply::Acknowledge(through) => self.acknowledge(Lane::Samples, through).await?,
                Reply::Want(from) => self.want(Lane::Samples, from).await?,
            }
        }
        Ok(())
    }

    /// Notes which samples are committed now; of those that have come, `past` are the times of those
    /// that were observed before the stream was opened.
    fn note_committed(&mut self, past: Vec<i64>) {
        let committed = self.session.services.store.committed(self.stream);
        self.backlog.note(&self.session.member, past, &committed);
        self.samples.note_committed(committed);
    }

    fn admit(&mut self, record: v1::Record, now_ms: i64) -> Result<SampleRecord, Status> {
        let v1::Record { sequence, body } = record;
        let is_live = sequence >= self.observed_from;
        // What is no frame is found out, and set aside, by the store.
        let Ok(head) = peek(&body) else {
            return Ok(SampleRecord { sequence, body, timestamp_ms: None, is_live });
        };
        let limits = self.session.services.limits;
        let admitted = admit_frame(limits, head, &body, self.clock, now_ms);
        let told_ms = match admitted.map_err(|refusal| refused(&refusal))? {
            Timing::Corrected { timestamp_ms } if self.clock.is_wrong() => timestamp_ms,
            Timing::AsItIs | Timing::Corrected { .. } => head.timestamp_ms,
        };
        let times = if is_live { &mut self.live_times } else { &mut self.backlog_times };
        let believed = times.believe(head.timestamp_ms, told_ms, self.interval_ms, now_ms);
        if let Some(set_by_ms) = believed.set_by_ms
            && self.session.may_log()
        {
            let host = self.stream.host;
            tracing::warn!(%host, sequence, set_by_ms, "the host's clock was wrong; its times are corrected");
        }
        let timestamp_ms = believed.at_ms;
        let body = if timestamp_ms == head.timestamp_ms {
            body
        } else {
            retime(&body, timestamp_ms).map_or(body, Into::into)
        };
        Ok(SampleRecord { sequence, body, timestamp_ms: Some(timestamp_ms), is_live })
    }

    async fn take_events(&mut self, records: Vec<v1::Record>) -> Result<(), Status> {
        if records.iter().any(|record| record.sequence > MAX_SEQUENCE) {
            return Err(Status::invalid_argument("a sequence number is too large"));
        }
        let services = &self.session.services;
        let now_ms = services.clock.now_ms();
        let turn = turn(&self.session.member, self.life).await?;
        let committed = commit_events(services, self.stream, records, self.clock, now_ms).await;
        drop(turn);
        match committed {
            Ok(committed) => {
                let due = self.unsettled.take_if(|one| one.is_due(committed.through));
                if let Some(due) = due {
                    let settled = due.settle(services, self.stream, now_ms).await;
                    settled.map_err(|error| self.failed(&error))?;
                }
                if due.is_some() || !committed.lost_samples.is_empty() {
                    self.note_committed(Vec::new());
                }
                self.events_wanted = false;
                self.session.member.heard(now_ms);
                self.acknowledge(Lane::Events, committed.through).await
            }
            Err(CommitError::State(StateError::Hole { committed, .. })) => {
                // It is asked for once, until what is missing has come.
                if std::mem::replace(&mut self.events_wanted, true) {
                    return Ok(());
                }
                self.want(Lane::Events, committed.saturating_add(1)).await
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn acknowledge(&self, lane: Lane, through: u64) -> Result<(), Status> {
        let lane = v1::Lane::from(lane).into();
        let acknowledge = v1::Acknowledge { lane, through };
        self.answer(v1::collector_message::Message::Acknowledge(acknowledge)).await
    }

    /// Asks for the lane from a record on.
    async fn want(&self, lane: Lane, from: u64) -> Result<(), Status> {
        let want = v1::Want { lane: v1::Lane::from(lane).into(), from };
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

    /// What the host hears when something cannot be committed. A store that takes nothing more is the
    /// server's end, not only this stream's.
    fn failed(&self, error: &CommitError) -> Status {
        if self.session.may_log() {
            tracing::warn!(host = %self.stream.host, %error, "nothing is taken from the host");
        }
        if let CommitError::Store(StoreError::Poisoned { .. }) = error {
            // If the channel is full, the same was told before.
            drop(self.session.services.failure.try_send(error.to_string()));
        }
        failed(error)
    }
}
