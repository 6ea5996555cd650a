use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use upkeep_model::Labels;

use super::*;
use crate::alert::routing;
use crate::notify::Annotations;
use crate::state::{self, NotificationRecord};

/// A receiver whose answer can be changed.
struct Receiver {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    got: Arc<Mutex<Vec<String>>>,
    news: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Receiver {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let status = Arc::new(AtomicU16::new(status));
        let got = Arc::new(Mutex::new(Vec::new()));
        let news = Arc::new(Notify::new());
        let (answer, kept, ring) = (Arc::clone(&status), Arc::clone(&got), Arc::clone(&news));
        let take = move |body: Bytes| {
            let payload: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let status = StatusCode::from_u16(answer.load(Ordering::SeqCst)).unwrap();
            let alerts = payload["alerts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|alert| format!(" {}={}", alert["labels"]["alertname"], alert["status"]));
            let alerts: String = alerts.collect();
            kept.lock().unwrap().push(format!("{}{alerts}", status.as_u16()).replace('"', ""));
            ring.notify_one();
            std::future::ready(status)
        };
        let app = Router::new().route("/", post(take));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, status, got, news, task }
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Waits until so many messages have come, and gives them.
    async fn until(&self, count: usize) -> Vec<String> {
        let waiting = async {
            while self.got.lock().unwrap().len() < count {
                self.news.notified().await;
            }
        };
        let timely = time::timeout(Duration::from_secs(20), waiting).await;
        let got = self.got.lock().unwrap().clone();
        assert!(timely.is_ok(), "{got:?}");
        got
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A dispatcher that runs, and how to stop it.
struct Running {
    alerts: mpsc::Sender<Vec<Alert>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn local() -> routing::Allowed {
    let networks = vec!["127.0.0.0/8".parse().unwrap()];
    routing::Allowed { networks, ..routing::Allowed::default() }
}

fn start(config: &str, state: &State) -> Running {
    let allowed = local();
    let routing = routing::parse(Path::new("routing.yml"), config, &allowed).unwrap();
    let dispatcher = Dispatcher::new(routing, "", state.clone(), Clock::system()).unwrap();
    let (alerts, queue) = mpsc::channel(4);
    let stop = CancellationToken::new();
    let task = tokio::spawn(dispatcher.run(queue, stop.clone()));
    Running { alerts, stop, task }
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn config(receivers: &[&Receiver]) -> String {
    let hooks: Vec<_> =
        receivers.iter().map(|one| format!("{{url: 'http://{}/'}}", one.address)).collect();
    format!(
        "route: {{receiver: a, group_wait: 0s, group_interval: 100ms, repeat_interval: 1h}}\n\
         receivers: [{{name: a, webhook_configs: [{}]}}]",
        hooks.join(", ")
    )
}

fn alert(name: &str, ends_at_ms: Option<i64>) -> Vec<Alert> {
    vec![Alert {
        labels: Labels::new([("alertname", name)]),
        annotations: Annotations::new(),
        starts_at_ms: Clock::system().now_ms() - 1_000,
        ends_at_ms,
        holds_for: None,
        generator_url: String::new(),
    }]
}

#[tokio::test]
async fn firing_and_resolved_arrive_and_leave_nothing_behind() {
    let (_folder, state) = state::temporary();
    let receiver = Receiver::start(200).await;
    let running = start(&config(&[&receiver]), &state);
    running.alerts.send(alert("A", None)).await.unwrap();
    assert_eq!(receiver.until(1).await, ["200 A=firing"]);
    running.alerts.send(alert("A", Some(Clock::system().now_ms()))).await.unwrap();
    assert_eq!(receiver.until(2).await[1..], ["200 A=resolved"]);
    running.end().await;
    assert!(state.alerts().unwrap().is_empty() && state.notifications().unwrap().is_empty());
}

#[tokio::test]
async fn a_receiver_that_fails_hears_later_and_others_are_not_told_twice() {
    let (_folder, state) = state::temporary();
    let (well, ill) = (Receiver::start(200).await, Receiver::start(503).await);
    let running = start(&config(&[&well, &ill]), &state);
    running.alerts.send(alert("A", None)).await.unwrap();
    assert_eq!(well.until(1).await, ["200 A=firing"]);
    assert_eq!(ill.until(1).await, ["503 A=firing"]);
    ill.answers(200);
    assert_eq!(ill.until(2).await[1..], ["200 A=firing"]);
    running.end().await;
    assert_eq!(well.got.lock().unwrap().len(), 1);
    let records = state.notifications().unwrap();
    assert!(records.values().all(|record| record.failure.is_none()), "{records:?}");
}

#[tokio::test]
async fn nothing_is_lost_or_told_twice_over_a_restart() {
    let (_folder, state) = state::temporary();
    let (well, ill) = (Receiver::start(200).await, Receiver::start(503).await);
    let config = config(&[&well, &ill]);
    let running = start(&config, &state);
    running.alerts.send(alert("A", None)).await.unwrap();
    well.until(1).await;
    ill.until(1).await;
    running.end().await;
    let failure = |record: &NotificationRecord| record.failure.clone();
    let failures: Vec<_> = state.notifications().unwrap().values().filter_map(failure).collect();
    assert!(failures.len() == 1 && failures[0].1.contains("503"), "{failures:?}");
    let failed = ill.got.lock().unwrap().len();

    ill.answers(200);
    let running = start(&config, &state);
    assert_eq!(ill.until(failed + 1).await[failed..], ["200 A=firing"]);
    running.end().await;
    assert_eq!(well.got.lock().unwrap().len(), 1, "who had heard is not told again");
}

#[tokio::test]
async fn what_waits_in_the_queue_when_it_stops_is_kept() {
    let (_folder, state) = state::temporary();
    let receiver = Receiver::start(200).await;
    let allowed = local();
    let routing =
        routing::parse(Path::new("routing.yml"), &config(&[&receiver]), &allowed).unwrap();
    let dispatcher = Dispatcher::new(routing, "", state.clone(), Clock::system()).unwrap();
    let (alerts, queue) = mpsc::channel(4);
    alerts.send(alert("A", None)).await.unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    dispatcher.run(queue, stop).await;
    assert_eq!(state.alerts().unwrap().len(), 1);
}
