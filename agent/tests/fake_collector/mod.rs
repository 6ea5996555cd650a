//! A collector in the test's own process: real TLS and the real protocol, and a memory in place of
//! a store. It can be told to misbehave in every way that a network or a crash could cause.

mod fault;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) use fault::Fault;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa,
    KeyPair,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use upkeep_codec::{DecodeError, Frame, KeyFrame, decode};
use upkeep_model::{Event, EventKind, Lane, METRIC_NAME, Ranges, Series, is_stale};
use upkeep_wire::v1::collector_message::Message as Answer;
use upkeep_wire::v1::delivery_server::{Delivery, DeliveryServer};
use upkeep_wire::v1::enrollment_server::{Enrollment, EnrollmentServer};
use upkeep_wire::{Fingerprint, Token, TokenSecret, decode_event, lane_mark, v1};

/// Timestamp and values of a frame; those of series that end are left out.
pub(crate) type Sample = (i64, BTreeMap<String, f64>);

/// What came and was committed.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// By epoch and sequence.
    pub(crate) samples: HashMap<Vec<u8>, BTreeMap<u64, Sample>>,
    /// The samples of each epoch that were acknowledged and that nobody has any more.
    pub(crate) declared: HashMap<Vec<u8>, Ranges>,
    pub(crate) events: HashMap<Vec<u8>, BTreeMap<u64, Event>>,
    pub(crate) streams: u32,
    pub(crate) renewals: u32,
    /// Enrollment id and request of each enrollment.
    pub(crate) enrollments: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) faults: Vec<String>,
}

pub(crate) struct FakeCollector {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    root: CertifiedIssuer<'static, KeyPair>,
    memory: Mutex<Memory>,
    fault: Mutex<Fault>,
    /// The life that came last of each epoch's buffer.
    lives: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    /// Certificates that it issues live so many seconds.
    life_seconds: i64,
    /// Changes when all connections are to be cut.
    cut: watch::Sender<u32>,
}

#[derive(Clone)]
struct Service(Arc<Shared>);

impl FakeCollector {
    pub(crate) async fn start(life_seconds: i64) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let shared = Arc::new(Shared {
            root,
            memory: Mutex::default(),
            fault: Mutex::default(),
            lives: Mutex::default(),
            life_seconds,
            cut: watch::Sender::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut collector = Self { address, shared, tasks: Vec::new() };
        collector.serve(listener);
        collector
    }

    /// Ends all connections and takes no more.
    pub(crate) async fn stop(&mut self) {
        self.shared.cut.send_modify(|count| *count += 1);
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
    }

    /// Takes connections again, on the same address.
    pub(crate) async fn resume(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.shared.memory.lock().unwrap()
    }

    pub(crate) fn misbehave(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    pub(crate) fn token(&self) -> Token {
        let pins = vec![Fingerprint::of(self.shared.root.der())];
        let secret = TokenSecret::new([1; 32]);
        Token::new("token-1", secret, self.address.to_string(), pins).unwrap()
    }

    fn serve(&mut self, listener: TcpListener) {
        let acceptor = TlsAcceptor::from(Arc::new(self.shared.tls()));
        let service = Service(Arc::clone(&self.shared));
        let routes = Routes::new(DeliveryServer::new(service.clone()))
            .add_service(EnrollmentServer::new(service))
            .prepare();
        let shared = Arc::clone(&self.shared);
        self.tasks.push(tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, routes) = (acceptor.clone(), routes.clone());
                let mut cut = shared.cut.subscribe();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let service = TowerToHyperService::new(routes);
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        _ = connection => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        }));
    }
}

impl Shared {
    fn tls(&self) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.root).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .unwrap();
        let chain = vec![leaf.der().clone(), self.root.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    fn certify(&self, request: &[u8]) -> Vec<bytes::Bytes> {
        let request = CertificateSigningRequestParams::from_der(&request.to_vec().into()).unwrap();
        let mut params = CertificateParams::default();
        let now = rcgen::date_time_ymd(1970, 1, 1) + std::time::UNIX_EPOCH.elapsed().unwrap();
        params.not_before = now - std::time::Duration::from_secs(3600);
        let life = std::time::Duration::from_secs(self.life_seconds.unsigned_abs());
        params.not_after = if self.life_seconds < 0 { now - life } else { now + life };
        let leaf = params.signed_by(&request.public_key, &self.root).unwrap();
        vec![leaf.der().to_vec().into(), self.root.der().to_vec().into()]
    }

    fn roots(&self) -> Vec<bytes::Bytes> {
        vec![self.root.der().to_vec().into()]
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    /// Whether a fault that happens so many times happens now.
    fn happens(&self, left_of: fn(&mut Fault) -> Option<&mut u32>) -> bool {
        let mut fault = self.fault.lock().unwrap();
        left_of(&mut fault).is_some_and(|left| {
            let happens = *left > 0;
            *left = left.saturating_sub(1);
            happens
        })
    }

    fn complain(&self, what: String) {
        self.memory.lock().unwrap().faults.push(what);
    }
}

#[tonic::async_trait]
impl Enrollment for Service {
    async fn enroll(
        &self,
        request: Request<v1::EnrollRequest>,
    ) -> Result<Response<v1::EnrollReply>, Status> {
        let request = request.into_inner();
        if request.token_secret.as_ref() != [1; 32] {
            return Err(Status::unauthenticated("the token is not known"));
        }
        let pair = (request.enrollment_id.to_vec(), request.certificate_request.to_vec());
        self.0.memory.lock().unwrap().enrollments.push(pair);
        if self.0.happens(Fault::replies) {
            return Err(Status::unavailable("as the test wants it"));
        }
        Ok(Response::new(v1::EnrollReply {
            host_id: vec![7; 16].into(),
            instance: request.hostname,
            certificate_chain: self.0.certify(&request.certificate_request),
            trusted_roots: self.0.roots(),
            collector_time_ms: 0,
        }))
    }
}

#[tonic::async_trait]
impl Delivery for Service {
    type StreamStream = ReceiverStream<Result<v1::CollectorMessage, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        if let Fault::Refuses(reason) = self.0.fault() {
            return Err(Status::permission_denied(reason));
        }
        let mut incoming = request.into_inner();
        let (answers, stream) = mpsc::channel(64);
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let Ok(Some(first)) = incoming.message().await else { return };
            let Some(v1::agent_message::Message::Open(open)) = first.message else {
                return shared.complain("the first message was not Open".to_owned());
            };
            let mut stream = Stream::open(shared, &open, answers).await;
            while let Ok(Some(message)) = incoming.message().await {
                if !stream.take(message.message.unwrap()).await {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewReply>, Status> {
        self.0.memory.lock().unwrap().renewals += 1;
        Ok(Response::new(v1::RenewReply {
            certificate_chain: self.0.certify(&request.into_inner().certificate_request),
            trusted_roots: self.0.roots(),
        }))
    }
}

/// One connection. It remembers series and key frames only as long as it lives, so that an agent
/// which leaves out what a reader needs is found out.
struct Stream {
    shared: Arc<Shared>,
    epoch: Vec<u8>,
    answers: mpsc::Sender<Result<v1::CollectorMessage, Status>>,
    /// The names of the series by number.
    described: Vec<String>,
    /// The key frame that came last, as a record or by itself: a collector holds few of them.
    key: Option<(u64, KeyFrame)>,
    /// Where the live samples begin, if they are taken beside the backlog.
    live_from: Option<u64>,
}

/// So many records may be under way, of each part.
const WINDOW: u32 = 8;

/// So many bytes of them.
const WINDOW_BYTES: u32 = 64 * 1024;

impl Stream {
    async fn open(
        shared: Arc<Shared>,
        open: &v1::Open,
        answers: mpsc::Sender<Result<v1::CollectorMessage, Status>>,
    ) -> Self {
        shared.memory.lock().unwrap().streams += 1;
        let is_former = shared.fault() == Fault::IsFormer;
        let live_from = Some(open.live_from).filter(|_| !is_former);
        let (described, key, epoch) = (Vec::new(), None, open.epoch.to_vec());
        let stream = Self { shared, epoch, answers, described, key, live_from };
        stream.note_life(open);
        stream.declare(open);
        let lanes = Lane::ALL.map(|lane| lane_mark(lane, &stream.committed(lane)));
        let accepted = v1::Accepted {
            lanes: lanes.to_vec(),
            window_records: WINDOW,
            retry_after_ms: 0,
            packages: Vec::new(),
            live_from: live_from.unwrap_or_default(),
            window_bytes: if is_former { 0 } else { WINDOW_BYTES },
            older_copy: stream.shared.happens(Fault::copies),
        };
        while stream.shared.fault() == Fault::AcceptsLate {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        stream.answer(Answer::Accepted(accepted)).await;
        stream
    }

    /// A life of a buffer begins behind everything that a former one may have sent.
    fn note_life(&self, open: &v1::Open) {
        let mut lives = self.shared.lives.lock().unwrap();
        let former = lives.insert(self.epoch.clone(), open.life.to_vec());
        if former.is_none_or(|former| former == open.life) {
            return;
        }
        for state in &open.lanes {
            let lane = Lane::try_from(state.lane()).unwrap();
            if self.committed(lane).last() >= state.life_from {
                self.shared.complain(format!("{lane}: a life from {} on", state.life_from));
            }
        }
    }

    /// Declares what the host was told to be there and neither has any more.
    fn declare(&self, open: &v1::Open) {
        let samples = open.lanes.iter().find(|state| state.lane() == v1::Lane::Samples).unwrap();
        let gone = samples.acknowledged.min(samples.kept_from - 1);
        let missing = self.committed(Lane::Samples).missing(1..=gone);
        let mut memory = self.shared.memory.lock().unwrap();
        let declared = memory.declared.entry(self.epoch.clone()).or_default();
        missing.into_iter().for_each(|numbers| declared.insert(numbers));
    }

    /// Takes a message; `false` ends the stream.
    async fn take(&mut self, message: v1::agent_message::Message) -> bool {
        use v1::agent_message::Message;
        match message {
            Message::Open(_) => self.shared.complain("Open came twice".to_owned()),
            Message::Describe(describe) => {
                let first = describe.first_number as usize;
                if first > self.described.len() {
                    self.shared.complain(format!("series from {first} on"));
                }
                self.described.truncate(first);
                let labels = describe.series.into_iter().map(|one| Series::from(one).labels);
                let names = labels.map(|labels| labels.get(METRIC_NAME).unwrap().to_owned());
                self.described.extend(names);
            }
            Message::Reference(reference) => {
                let key = decode(&reference.frame, |_| None).unwrap().to_key();
                self.key = Some((reference.sequence, key));
            }
            Message::Batch(batch) => return self.take_batch(batch).await,
        }
        true
    }

    async fn take_batch(&mut self, mut batch: v1::Batch) -> bool {
        let lane = Lane::try_from(batch.lane()).unwrap();
        if let (Fault::RefusesSamples(reason), Lane::Samples) = (self.shared.fault(), lane) {
            let _ = self.answers.send(Err(Status::resource_exhausted(reason))).await;
            return false;
        }
        if batch.records.len() > WINDOW as usize {
            self.shared.complain(format!("{} records are under way", batch.records.len()));
        }
        let live_from = self.live_from.filter(|_| lane == Lane::Samples);
        let is_live = |sequence| live_from.is_some_and(|first| sequence >= first);
        let is_of_live = batch.records.first().is_some_and(|record| is_live(record.sequence));
        if self.shared.fault() == Fault::HoldsBacklog && lane == Lane::Samples && !is_of_live {
            return true;
        }
        let lost = self.shared.happens(Fault::records);
        let wanted = if lost { batch.records.pop().map(|record| record.sequence) } else { None };
        for record in batch.records {
            let (committed, sequence) = (self.committed(lane), record.sequence);
            if is_live(sequence) != is_of_live {
                self.shared.complain(format!("{sequence}: in a batch of the other part"));
            }
            let begins = live_from == Some(sequence);
            if sequence != 1 && !begins && !committed.contains(sequence - 1) {
                let hole = committed.missing(1..=sequence).pop().unwrap();
                let (lane, from) = (v1::Lane::from(lane).into(), *hole.start());
                self.answer(Answer::Want(v1::Want { lane, from })).await;
                return true;
            }
            self.commit(lane, record);
        }
        if self.shared.happens(Fault::acknowledgements) {
            return false;
        }
        let committed = self.committed(lane);
        let through = match live_from {
            Some(first) if is_of_live => committed.end_of(first).unwrap_or(first - 1),
            Some(first) => committed.prefix().min(first - 1),
            None => committed.prefix(),
        };
        let lane_number = v1::Lane::from(lane).into();
        self.answer(Answer::Acknowledge(v1::Acknowledge { lane: lane_number, through })).await;
        if let Some(from) = wanted {
            self.answer(Answer::Want(v1::Want { lane: lane_number, from })).await;
        }
        true
    }

    fn commit(&mut self, lane: Lane, record: v1::Record) {
        let mut memory = self.shared.memory.lock().unwrap();
        match lane {
            Lane::Events => {
                let event = decode_event(&record.body).unwrap();
                let events = memory.events.entry(self.epoch.clone()).or_default();
                events.entry(record.sequence).or_insert(event);
            }
            Lane::Samples => match self.decode(&record.body) {
                Err(error) => memory.faults.push(format!("{}: {error}", record.sequence)),
                Ok(frame) => {
                    let mut values = BTreeMap::new();
                    for (number, value) in frame.numbers.iter().zip(&frame.values) {
                        match self.described.get(*number as usize) {
                            None => {
                                memory.faults.push(format!("{}: not described", record.sequence))
                            }
                            Some(_) if is_stale(*value) => {}
                            Some(name) => drop(values.insert(name.clone(), *value)),
                        }
                    }
                    if frame.is_key {
                        self.key = Some((record.sequence, frame.to_key()));
                    }
                    let samples = memory.samples.entry(self.epoch.clone()).or_default();
                    samples.entry(record.sequence).or_insert((frame.timestamp_ms, values));
                }
            },
        }
    }

    fn decode(&self, body: &[u8]) -> Result<Frame, DecodeError> {
        let last = self.key.as_ref();
        decode(body, |wanted| last.filter(|(key, _)| *key == wanted).map(|(_, frame)| frame))
    }

    /// What came of a lane, and what events declare lost.
    fn committed(&self, lane: Lane) -> Ranges {
        let memory = self.shared.memory.lock().unwrap();
        let one = |sequence: &u64| *sequence..=*sequence;
        let mut committed: Ranges = match lane {
            Lane::Samples => {
                memory.samples.get(&self.epoch).into_iter().flatten().map(|(n, _)| one(n)).collect()
            }
            Lane::Events => {
                memory.events.get(&self.epoch).into_iter().flatten().map(|(n, _)| one(n)).collect()
            }
        };
        for event in memory.events.get(&self.epoch).into_iter().flat_map(BTreeMap::values) {
            if let EventKind::Gap(gap) = &event.kind
                && gap.lane == lane
            {
                committed.insert(gap.first..=gap.last);
            }
        }
        if lane == Lane::Samples {
            memory.declared.get(&self.epoch).into_iter().for_each(|them| committed.extend(them));
        }
        committed
    }

    async fn answer(&self, message: Answer) {
        let _ = self.answers.send(Ok(v1::CollectorMessage { message: Some(message) })).await;
    }
}

/// A certificate that no one issued, for a token of another collector.
pub(crate) fn foreign_root() -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    CertificateParams::default().self_signed(&key).unwrap().der().clone()
}
