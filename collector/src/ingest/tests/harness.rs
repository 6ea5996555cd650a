//! A real door on a real port, and an agent made by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use upkeep_model::{Epoch, HostId, MatchOperator, Matcher, SeriesSamples, StreamKey};
use upkeep_store::{Options, Store};
use upkeep_wire::v1;
use upkeep_wire::v1::agent_message::Message;
use upkeep_wire::v1::collector_message::Message as Answer;
use upkeep_wire::v1::delivery_client::DeliveryClient;
use upkeep_wire::v1::enrollment_client::EnrollmentClient;

use crate::ca::{Authority, HOST_LIFETIME, ServerKey, agents_config};
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::ingest::{Arrivals, DiskWork, IngestError, Limits, Meters, Services, Window, serve};
use crate::state::{By, FILE_NAME, NewEnrollmentToken, SecretHash, State};

/// What the collector's clock shows as a test begins; earlier than the real one, by which handshakes
/// and certificates go.
pub(super) const NOW: i64 = 1_700_000_000_000;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const SECRET: [u8; 32] = [5; 32];
pub(super) const EPOCH: [u8; 16] = [9; 16];

/// A collector's door for agents.
pub(super) struct Door {
    pub(super) services: Services,
    pub(super) address: SocketAddr,
    now_ms: Arc<AtomicI64>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), IngestError>>,
    _folder: tempfile::TempDir,
}

impl Door {
    pub(super) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Handshakes look at the real clock, so the authority is made by it.
        let real_ms = Clock::system().now_ms();
        Authority::create(folder.path(), &["127.0.0.1".to_owned()], real_ms).unwrap();
        let authority = Arc::new(Authority::open(folder.path(), HOST_LIFETIME).unwrap());
        let state = State::open(&folder.path().join(FILE_NAME)).unwrap();
        let store = Store::open(&folder.path().join("samples"), Options::default()).unwrap();
        let fleet = Arc::new(Fleet::load(&state, NOW).unwrap());
        let now_ms = Arc::new(AtomicI64::new(NOW));
        let shown = Arc::clone(&now_ms);
        let clock = Clock::new(move || shown.load(Ordering::Relaxed));
        let limits = Limits { series_per_host: 10 };
        let (failure, _) = mpsc::channel(1);
        let store = Arc::new(store);
        let services = Services {
            authority,
            state,
            store,
            fleet,
            clock,
            limits,
            handshakes_per_second: 1000,
            meters: Meters::default(),
            window: Window::default(),
            disk_work: DiskWork::OnThreads,
            arrivals: Arrivals::default(),
            failure,
        };

        let certificate = services.authority.server_certificate(real_ms).unwrap();
        let key = ServerKey::new(certificate).unwrap();
        let tls = Arc::new(agents_config(&services.authority, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, tls, services.clone(), stop.clone()));
        Self { services, address, now_ms, stop, task, _folder: folder }
    }

    pub(super) fn set_clock(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Ends it, and waits for that.
    pub(super) async fn close(self) {
        self.stop.cancel();
        in_time(self.task).await.unwrap().unwrap();
    }

    pub(super) fn by(&self) -> By {
        By { actor: "command-line:uid 0".into(), at_ms: NOW }
    }

    pub(super) fn token(&self, id: &str, uses: u32, expires_at_ms: i64) {
        let secret_hash = SecretHash::of(&SECRET);
        let token = NewEnrollmentToken { id: id.into(), secret_hash, expires_at_ms, uses };
        self.services.state.create_enrollment_token(&token, &self.by()).unwrap();
    }

    /// Connects as a client with or without a certificate.
    pub(super) async fn connect(
        &self,
        credential: Option<&Credential>,
    ) -> Result<Channel, tonic::transport::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.services.authority.roots()[0].clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match credential {
            None => builder.with_no_client_auth(),
            Some(own) => {
                builder.with_client_auth_cert(own.chain.clone(), own.private_key()).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let address = self.address;
        let connect = tower::service_fn(move |_| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(address).await?;
                let name = ServerName::try_from("127.0.0.1").unwrap();
                Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
            }
        });
        Endpoint::from_static("http://collector").connect_with_connector(connect).await
    }

    pub(super) async fn enroll(
        &self,
        request: v1::EnrollRequest,
    ) -> Result<v1::EnrollReply, Status> {
        let channel = self.connect(None).await.unwrap();
        Ok(EnrollmentClient::new(channel).enroll(request).await?.into_inner())
    }

    /// A host with a certificate by the real clock, since the handshake looks at that.
    pub(super) fn host(&self, token: &str, name: &str) -> Credential {
        self.token(token, 1, i64::MAX);
        let key = KeyPair::generate().unwrap();
        let request = crate::ca::HostRequest::from_der(&request_of(&key)).unwrap();
        let attempt = crate::state::EnrollmentAttempt {
            token_id: token.into(),
            secret_hash: SecretHash::of(&SECRET),
            enrollment_id: token.into(),
            key_hash: request.key_hash(),
            hostname: name.into(),
            agent_version: "0.1.0".into(),
            fresh: HostId(uuid::Uuid::new_v4()),
        };
        let (host, _) = self.services.state.enroll(&attempt, NOW).unwrap().unwrap();
        let real_ms = Clock::system().now_ms();
        let issued = self.services.authority.certify(host, &request, real_ms).unwrap();
        Credential { host, key, chain: issued.chain }
    }

    /// All samples of a metric, by series.
    pub(super) fn samples(&self, metric: &str) -> Vec<SeriesSamples> {
        let matcher = Matcher::new("__name__", MatchOperator::Equal, metric).unwrap();
        self.services.store.select(&[matcher], i64::MIN, i64::MAX).unwrap()
    }
}

/// A host's key and certificate.
pub(super) struct Credential {
    pub(super) host: HostId,
    pub(super) key: KeyPair,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl Credential {
    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    pub(super) fn stream_key(&self) -> StreamKey {
        StreamKey { host: self.host, epoch: Epoch(EPOCH) }
    }
}

pub(super) fn request_of(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

pub(super) fn enroll_request(token: &str, enrollment: u8, key: &KeyPair) -> v1::EnrollRequest {
    v1::EnrollRequest {
        token_id: token.into(),
        token_secret: SECRET.to_vec().into(),
        enrollment_id: vec![enrollment; 16].into(),
        certificate_request: request_of(key).into(),
        hostname: "web1".into(),
        agent_version: "0.1.0".into(),
    }
}

/// An open stream, spoken by hand.
pub(super) struct Wire {
    sender: mpsc::Sender<v1::AgentMessage>,
    answers: Streaming<v1::CollectorMessage>,
}

impl Wire {
    /// Connects, opens the stream and gives what the collector accepted.
    pub(super) async fn open(door: &Door, own: &Credential) -> (Self, v1::Accepted) {
        Self::open_with(door, own, open()).await.unwrap()
    }

    pub(super) async fn open_with(
        door: &Door,
        own: &Credential,
        open: v1::Open,
    ) -> Result<(Self, v1::Accepted), Status> {
        let channel = door.connect(Some(own)).await.unwrap();
        let (sender, receiver) = mpsc::channel(64);
        let messages = ReceiverStream::new(receiver);
        let answers = DeliveryClient::new(channel).stream(messages).await?.into_inner();
        let mut wire = Self { sender, answers };
        wire.send(Message::Open(open)).await;
        match wire.answer().await? {
            Answer::Accepted(accepted) => Ok((wire, accepted)),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn send(&self, message: Message) {
        self.sender.send(v1::AgentMessage { message: Some(message) }).await.unwrap();
    }

    pub(super) async fn answer(&mut self) -> Result<Answer, Status> {
        match in_time(self.answers.message()).await? {
            Some(v1::CollectorMessage { message: Some(answer) }) => Ok(answer),
            other => panic!("the stream ended with {other:?}"),
        }
    }

    /// The next answer, which must be an acknowledgement.
    pub(super) async fn acknowledged(&mut self) -> (v1::Lane, u64) {
        match self.answer().await.unwrap() {
            Answer::Acknowledge(one) => (one.lane(), one.through),
            other => panic!("{other:?}"),
        }
    }

    /// The next answer, which must ask for records again.
    pub(super) async fn wanted(&mut self) -> (v1::Lane, u64) {
        match self.answer().await.unwrap() {
            Answer::Want(one) => (one.lane(), one.from),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn open() -> v1::Open {
    v1::Open {
        epoch: EPOCH.to_vec().into(),
        lanes: Vec::new(),
        boot_id: "boot".into(),
        wall_time_ms: NOW,
        agent_version: "0.2.0".into(),
        interval_ms: 1_000,
        ..v1::Open::default()
    }
}

pub(super) fn lane_state(lane: v1::Lane, acknowledged: u64) -> v1::LaneState {
    let lane = lane.into();
    v1::LaneState {
        lane,
        next_sequence: acknowledged + 1,
        acknowledged,
        ..v1::LaneState::default()
    }
}

/// Describes series of these names, numbered from 0.
pub(super) fn describe(names: &[&str]) -> Message {
    let series = names.iter().map(|name| v1::Series {
        name: (*name).into(),
        labels: vec![v1::Label { name: "cpu".into(), value: "0".into() }],
        kind: v1::MetricKind::Gauge.into(),
        help: String::new(),
    });
    Message::Describe(v1::Describe { first_number: 0, series: series.collect() })
}

/// Records with key frames of one series, one a second.
pub(super) fn frames(sequences: impl IntoIterator<Item = u64>) -> Vec<v1::Record> {
    let frame = |sequence: u64| {
        let at_ms = NOW + i64::try_from(sequence).unwrap() * 1_000;
        frame_at(sequence, at_ms)
    };
    sequences.into_iter().map(frame).collect()
}

pub(super) fn frame_at(sequence: u64, at_ms: i64) -> v1::Record {
    let row = vec![(0, sequence as f64)];
    let encoded = upkeep_codec::Encoder::default().encode(sequence, at_ms, row);
    v1::Record { sequence, body: encoded.bytes.into() }
}

pub(super) fn batch(lane: v1::Lane, records: Vec<v1::Record>) -> Message {
    Message::Batch(v1::Batch { lane: lane.into(), records })
}

/// Waits for what must come, and fails if it does not.
pub(super) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}
