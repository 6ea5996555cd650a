use std::collections::BTreeMap;
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
use crate::alert::silence::SilenceDraft;
use crate::alert::view::AlertFilter;
use crate::notify::{Annotations, Origin};
use crate::state::{self, By, NotificationRecord};

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
    desk: Desk,
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
    let settings = Settings::default();
    let (dispatcher, desk) =
        Dispatcher::new(routing, &settings, state.clone(), Clock::system()).unwrap();
    let (alerts, queue) = mpsc::channel(4);
    let stop = CancellationToken::new();
    let task = tokio::spawn(dispatcher.run(queue, stop.clone()));
    Running { alerts, desk, stop, task }
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
        generator_url: "".into(),
        origin: Origin::Outside,
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
    let fingerprint = alert("A", None)[0].fingerprint().to_string();
    let sent = state.deliveries(&fingerprint, None, 9).unwrap();
    let sent: Vec<_> =
        sent.iter().map(|one| (one.channel, one.outcome.name(), one.answer.as_str())).collect();
    assert!(sent.contains(&(0, "told", "200")), "{sent:?}");
    let refused = format!("http://{} answered 503", ill.address);
    assert!(sent.contains(&(1, "failed", refused.as_str())) && sent.len() == 2, "{sent:?}");
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
    let (dispatcher, _desk) =
        Dispatcher::new(routing, &Settings::default(), state.clone(), Clock::system()).unwrap();
    let (alerts, queue) = mpsc::channel(4);
    alerts.send(alert("A", None)).await.unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    dispatcher.run(queue, stop).await;
    assert_eq!(state.alerts().unwrap().len(), 1);
}

fn draft(name: &str, ends_in_ms: i64) -> SilenceDraft {
    let now_ms = Clock::system().now_ms();
    SilenceDraft {
        id: None,
        matchers: vec![upkeep_model::Matcher::equal("alertname", name)],
        starts_at_ms: now_ms,
        ends_at_ms: now_ms + ends_in_ms,
        created_by: "me".to_owned(),
        comment: "new disks".to_owned(),
        annotations: BTreeMap::new(),
        recurrence: None,
    }
}

fn by() -> By {
    By { actor: "api-token:me".to_owned(), at_ms: 5 }
}

#[tokio::test]
async fn a_silence_holds_over_a_restart_and_until_it_is_ended() {
    let (_folder, state) = state::temporary();
    let receiver = Receiver::start(200).await;
    let config = config(&[&receiver]);
    let running = start(&config, &state);
    let id = running.desk.put_silence(draft("A", 3_600_000), by()).await.unwrap();
    running.end().await;

    let running = start(&config, &state);
    running.desk.accept(alert("A", None)).await.unwrap();
    running.desk.accept(alert("B", None)).await.unwrap();
    assert_eq!(receiver.until(1).await, ["200 B=firing"]);
    let shown = running.desk.alerts(AlertFilter::default()).await.unwrap();
    let silenced: Vec<_> = shown.iter().filter(|view| view.silenced_by == [id]).collect();
    assert_eq!((shown.len(), silenced.len()), (2, 1));
    running.desk.expire_silence(id, by()).await.unwrap();
    assert_eq!(receiver.until(2).await[1..], ["200 A=firing B=firing"]);
    let twice = running.desk.expire_silence(id, by()).await.unwrap_err();
    assert_eq!(twice.to_string(), format!("silence {id} already expired"));
    let actions = state.audit(None, 9).unwrap().into_iter().map(|entry| entry.action);
    assert_eq!(actions.collect::<Vec<_>>(), ["silence-expire", "silence-set"]);
    running.end().await;
}

#[tokio::test]
async fn silences_are_shown_in_order_and_forgotten_when_long_over() {
    let (_folder, state) = state::temporary();
    let receiver = Receiver::start(200).await;
    let running = start(&config(&[&receiver]), &state);
    let now_ms = Clock::system().now_ms();
    let at = |from: i64, to: i64| SilenceDraft {
        starts_at_ms: now_ms + from,
        ends_at_ms: now_ms + to,
        ..draft("A", 1)
    };
    let hour_ms = 3_600_000;
    let mut made = Vec::new();
    for span in [(0, 9), (0, 8), (5, 9), (4, 9), (0, 7)] {
        let draft = at(span.0 * hour_ms, span.1 * hour_ms);
        made.push(running.desk.put_silence(draft, by()).await.unwrap());
    }
    running.desk.expire_silence(made[4], by()).await.unwrap();
    let silences = running.desk.silences().await.unwrap();
    let order: Vec<_> = silences.iter().map(|(silence, _)| silence.record.id).collect();
    assert_eq!(order, [made[1], made[0], made[3], made[2], made[4]]);
    running.end().await;

    let settings = Settings { keep_silences: Duration::ZERO, ..Settings::default() };
    let config = config(&[&receiver]);
    let routing = routing::parse(Path::new("routing.yml"), &config, &local()).unwrap();
    let (mut dispatcher, _desk) =
        Dispatcher::new(routing, &settings, state.clone(), Clock::system()).unwrap();
    dispatcher.forget().await;
    let kept: Vec<_> = state.silences().unwrap().into_iter().map(|record| record.id).collect();
    assert!(kept.len() == 4 && !kept.contains(&made[4]), "{kept:?}");
}

#[tokio::test]
async fn whoever_asks_a_dispatcher_that_stopped_is_told_so() {
    let (_folder, state) = state::temporary();
    let receiver = Receiver::start(200).await;
    let running = start(&config(&[&receiver]), &state);
    let desk = running.desk.clone();
    running.end().await;
    let refused = desk.silences().await.unwrap_err();
    assert!(refused.to_string().ends_with("the collector is stopping"), "{refused}");
}
