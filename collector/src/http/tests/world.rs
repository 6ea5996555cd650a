//! A server of its own for each test.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::registry::Registry;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use rustls::ServerConfig;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use upkeep_model::{Epoch, Event, EventKind, HostId, Labels, METRIC_NAME, StreamKey};
use upkeep_store::{Append, Store};
use uuid::Uuid;

use crate::alert::{self, Desk, Dispatcher};
use crate::clock::Clock;
use crate::digest::{self, Digester};
use crate::fleet::Fleet;
use crate::forward::Forwarding;
use crate::http::{Meters, Readiness, ServeError, Services, StateGaps, serve};
use crate::ledger::{self, Ledger, Reporter};
use crate::query::{Engine, Settings};
use crate::reload::{Reloader, Sources};
use crate::remote::{self, Limits, WriteIn};
use crate::rule::{self, Board, ReloadMeters, Reloaded, reloading};
use crate::state::{
    By, EnrollmentAttempt, EventRecord, FILE_NAME, NewApiToken, NewEnrollmentToken, Scope,
    SecretHash, State,
};
use crate::tolerance::ChartBoard;
use crate::yaml::Faults;

/// The instant at which the samples of the tests begin, in milliseconds since 1970.
pub(super) const START_MS: i64 = 1_700_000_000_000;

pub(super) struct World {
    pub(super) state: State,
    pub(super) fleet: Arc<Fleet>,
    pub(super) store: Arc<Store>,
    pub(super) rules: Arc<Board>,
    pub(super) charts: Arc<ChartBoard>,
    /// What is wrong with the rule files when they are read again.
    pub(super) rule_faults: Arc<Mutex<Faults>>,
    /// Tells the ledger what becomes of alerts.
    pub(super) reporter: Reporter,
    pub(super) readiness: Arc<Readiness>,
    /// What the server takes for the time.
    pub(super) time_ms: Arc<AtomicI64>,
    pub(super) address: SocketAddr,
    pub(super) client: Client,
    scheme: &'static str,
    shutdown: CancellationToken,
    _dispatcher: JoinHandle<()>,
    server: JoinHandle<Result<(), ServeError>>,
    _folder: TempDir,
}

impl World {
    pub(super) async fn plain() -> Self {
        Self::start("http", None, client().build().unwrap()).await
    }

    pub(super) async fn secure() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = made.signing_key.serialize_der().try_into().unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let root = reqwest::Certificate::from_der(made.cert.der()).unwrap();
        let client = client().tls_certs_only([root]).build().unwrap();
        Self::start("https", Some(Arc::new(tls)), client).await
    }

    async fn start(scheme: &'static str, tls: Option<Arc<ServerConfig>>, client: Client) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join(FILE_NAME)).unwrap();
        let fleet = Arc::new(Fleet::load(&state, START_MS).unwrap());
        let store = Store::open(&folder.path().join("samples"), Default::default()).unwrap();
        let store = Arc::new(store);
        let (rules, readiness) = (Arc::new(Board::default()), Arc::new(Readiness::default()));
        let (rule_faults, charts) = (Arc::default(), Arc::new(ChartBoard::default()));
        let rule_reloader = rule_reloader(Arc::clone(&rule_faults));
        let mut registry = Registry::default();
        let meters = Meters::register(&mut registry);
        let time_ms = Arc::new(AtomicI64::new(START_MS));
        let clock = Arc::clone(&time_ms);
        let shutdown = CancellationToken::new();
        let clock = Clock::new(move || clock.load(Ordering::Relaxed));
        let (desk, dispatcher) = dispatching(&state, &clock, &shutdown);
        let engine = Engine::new(Arc::clone(&store), Settings::default())
            .with_gaps(Arc::new(StateGaps::new(state.clone())));
        let (reporter, ledger, keeper) =
            ledger::open(state.clone(), clock.clone(), &mut registry).unwrap();
        tokio::spawn(keeper.run(shutdown.clone()));
        let digester = digester(&rules, &ledger, &engine, &clock);
        let services = Services {
            clock,
            state: state.clone(),
            fleet: Arc::clone(&fleet),
            engine,
            write_in: write_in(&store, &state, &fleet),
            rules: Arc::clone(&rules),
            reloader: reloader(rule_reloader, &desk),
            ledger,
            digester,
            alerts: desk,
            alertmanagers: Forwarding::default(),
            charts: Arc::clone(&charts),
            readiness: Arc::clone(&readiness),
            registry: Arc::new(registry),
            meters,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, tls, services, shutdown.clone()));
        for scope in Scope::ALL {
            keep_token(&state, &scope.to_string(), &[scope], None);
        }
        Self {
            state,
            fleet,
            store,
            rules,
            charts,
            rule_faults,
            reporter,
            readiness,
            time_ms,
            address,
            client,
            scheme,
            shutdown,
            _dispatcher: dispatcher,
            server,
            _folder: folder,
        }
    }

    /// A request with the token of that secret; the tokens of a scope have its name as secret.
    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
    ) -> RequestBuilder {
        let request =
            self.client.request(method, format!("{}://{}{path}", self.scheme, self.address));
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Status and JSON of a GET with a token for reading.
    pub(super) async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path, Some("read"))).await
    }

    /// Checks a GET's status and the whole of its JSON.
    pub(super) async fn check(&self, path: &str, status: u16, expect: Value) {
        let (code, body) = self.get(path).await;
        assert_eq!((code.as_u16(), &body), (status, &expect), "{path}");
    }

    /// Checks that a GET fails with this status, type and text.
    pub(super) async fn check_error(&self, path: &str, status: u16, kind: &str, error: &str) {
        let expect = serde_json::json!({"status": "error", "errorType": kind, "error": error});
        self.check(path, status, expect).await;
    }

    /// Commits samples of one series, each with its distance from [`START_MS`] in seconds.
    pub(super) fn commit(&self, name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) {
        let labels = Labels::new(labels.iter().copied()).with(METRIC_NAME, name);
        let point =
            |(seconds, value): &(i64, f64)| (labels.clone(), START_MS + seconds * 1000, *value);
        let points = samples.iter().map(point).collect();
        self.store.commit(vec![Append::Points { home: HostId(Uuid::nil()), points }]).unwrap();
    }

    /// Enrolls a host.
    pub(super) fn enroll(&self, hostname: &str) -> HostId {
        let by = by();
        let token = NewEnrollmentToken {
            id: hostname.to_owned(),
            secret_hash: SecretHash::of(b"enroll"),
            expires_at_ms: by.at_ms + 1000,
            uses: 1,
        };
        self.state.create_enrollment_token(&token, &by).unwrap();
        let attempt = EnrollmentAttempt {
            token_id: hostname.to_owned(),
            secret_hash: SecretHash::of(b"enroll"),
            enrollment_id: hostname.to_owned(),
            key_hash: SecretHash::of(hostname.as_bytes()),
            hostname: hostname.to_owned(),
            agent_version: "0.1.0".to_owned(),
            fresh: HostId(Uuid::new_v4()),
        };
        let id = self.state.enroll(&attempt, by.at_ms).unwrap().unwrap().0;
        self.fleet.refresh(&self.state).unwrap();
        id
    }

    /// Commits what a host reports.
    pub(super) fn report(&self, host: HostId, sequence: u64, kind: EventKind) {
        let stream = StreamKey { host, epoch: Epoch([1; 16]) };
        let record = EventRecord { sequence, event: Ok(Event { at_ms: START_MS, kind }) };
        self.state.commit_events(stream, &[record], START_MS).unwrap();
    }

    /// Ends the server and says how it ended.
    pub(super) async fn stop(self) -> Result<(), ServeError> {
        self.shutdown.cancel();
        self.server.await.unwrap()
    }
}

pub(super) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (status, json)
}

/// Stands for a schedule whose files have the given faults, or are good.
fn rule_reloader(faults: Arc<Mutex<Faults>>) -> rule::Reloader {
    let (reloader, mut requests) = reloading();
    tokio::spawn(async move {
        while let Some(answering) = requests.next().await {
            let faults = faults.lock().unwrap().clone();
            let good = Reloaded { unchanged: 1, changed: 2, added: 3, removed: 4 };
            let answer = if faults.0.is_empty() { Ok(good) } else { Err(faults.into()) };
            answering.send(answer).unwrap();
        }
    });
    reloader
}

/// Where no files are, neither of rules nor of routing.
pub(super) fn reloader(rules: rule::Reloader, desk: &Desk) -> Reloader {
    let sources = Sources {
        rules: Arc::new(Vec::new),
        actions: BTreeSet::new(),
        routing: Arc::new(|| None),
        settings: alert::Settings::default(),
        digests_to: None,
    };
    Reloader::new(rules, desk.clone(), sources, ReloadMeters::default())
}

/// A routing file whose receiver can be told nothing, and two routes.
const ROUTING: &str = "
global: {resolve_timeout: 5m}
route:
  receiver: ops
  group_by: [alertname]
  routes:
    - matchers: [team=db]
      receiver: databases
receivers:
  - name: ops
  - name: databases
    webhook_configs: [{url: 'http://127.0.0.1:9/secret'}]
";

/// A dispatcher at whose desk the API asks.
pub(super) fn dispatching(
    state: &State,
    clock: &Clock,
    stop: &CancellationToken,
) -> (Desk, JoinHandle<()>) {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        alert::Settings { routing: folder.path().join("routing.yml"), ..Default::default() };
    std::fs::write(&settings.routing, ROUTING).unwrap();
    let routing = alert::load(&settings).unwrap();
    let (dispatcher, desk) =
        Dispatcher::new(routing, &settings, state.clone(), clock.clone()).unwrap();
    // Alerts come by the desk only.
    let (_, alerts) = mpsc::channel(1);
    (desk, tokio::spawn(dispatcher.run(alerts, stop.clone())))
}

/// Digests that nobody gets.
pub(super) fn digester(
    board: &Arc<Board>,
    ledger: &Ledger,
    engine: &Engine,
    clock: &Clock,
) -> Digester {
    Digester::new(digest::Parts {
        board: Arc::clone(board),
        ledger: ledger.clone(),
        engine: engine.clone(),
        clock: clock.clone(),
        courier: None,
        external_url: String::new(),
    })
}

/// What others write, within bounds that a test can reach.
pub(super) fn write_in(store: &Arc<Store>, state: &State, fleet: &Arc<Fleet>) -> Arc<WriteIn> {
    let limits = Limits { series_per_sender: 10, series_of_all_senders: 15 };
    let retention = Duration::from_hours(24);
    let meters = remote::Meters::default();
    let to = (Arc::clone(store), state.clone());
    Arc::new(WriteIn::new(to, Arc::clone(fleet), limits, retention, meters))
}

pub(super) fn by() -> By {
    By { actor: "command-line:test".to_owned(), at_ms: START_MS }
}

/// Keeps a token whose secret is its id.
pub(super) fn keep_token(state: &State, id: &str, scopes: &[Scope], expires_at_ms: Option<i64>) {
    let token = NewApiToken {
        id: id.to_owned(),
        name: "test".to_owned(),
        secret_hash: SecretHash::of(id.as_bytes()),
        scopes: scopes.to_vec(),
        expires_at_ms,
    };
    state.create_api_token(&token, &by()).unwrap();
}

fn client() -> reqwest::ClientBuilder {
    // Another test may have set the same provider before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy()
}
