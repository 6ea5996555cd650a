use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time;
use upkeep_model::Labels;

use super::*;
use crate::notify::{Annotations, Origin};

/// An Alertmanager whose answer can be changed.
#[derive(Clone)]
struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    got: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            url: format!("http://{}/prefix/", listener.local_addr().unwrap()),
            status: Arc::new(AtomicU16::new(status)),
            got: Arc::default(),
        };
        let desk = receiver.clone();
        let take = async move |axum::Json(body): axum::Json<Value>| {
            let status = desk.status.load(Ordering::SeqCst);
            if status == 200 {
                desk.got.lock().unwrap().push(body);
            }
            StatusCode::from_u16(status).unwrap()
        };
        let app = Router::new().route("/prefix/api/v2/alerts", post(take));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        receiver
    }

    /// The alerts of each request, by their names.
    fn names(&self) -> Vec<String> {
        let got = self.got.lock().unwrap();
        let all = got.iter().flat_map(|body| body.as_array().unwrap());
        all.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

/// A server that takes connections and says nothing.
async fn silent() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(connection) = listener.accept().await {
            held.push(connection);
        }
    });
    (url, holding)
}

fn settings(url: &str) -> Settings {
    let allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let http = HttpSettings { allow_networks, ..HttpSettings::default() };
    Settings { url: url.to_owned(), http }
}

fn alert(name: &str, ends_at_ms: Option<i64>) -> Alert {
    Alert {
        labels: Labels::new([("alertname", name)]),
        annotations: Annotations::from([("summary".to_owned(), "<b>".to_owned())]),
        starts_at_ms: 1_000,
        ends_at_ms,
        holds_for: Some(Duration::from_secs(240)),
        generator_url: "https://upkeep/graph".into(),
        origin: Origin::Rule,
    }
}

struct Running {
    alerts: mpsc::Sender<Vec<Alert>>,
    next: mpsc::Receiver<Vec<Alert>>,
    forwarding: Forwarding,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn start(settings: Vec<Settings>) -> Running {
    let forwarding = Forwarding::new(settings).unwrap();
    let (alerts, incoming) = mpsc::channel(4);
    let (outgoing, next) = mpsc::channel(64);
    let stop = CancellationToken::new();
    let clock = Clock::new(|| 5_000);
    let task = tokio::spawn(forwarding.clone().run(incoming, outgoing, clock, stop.clone()));
    Running { alerts, next, forwarding, stop, task }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn alerts_are_posted_as_prometheus_does_and_handed_on() {
    let receiver = Receiver::start(200).await;
    let mut running = start(vec![settings(&receiver.url)]);
    let batch = vec![alert("A", None), alert("B", Some(3_000))];
    running.alerts.send(batch.clone()).await.unwrap();
    assert_eq!(running.next.recv().await.unwrap(), batch);
    until("a request", || !receiver.names().is_empty()).await;
    let a = serde_json::json!({
        "labels": { "alertname": "A" },
        "annotations": { "summary": "<b>" },
        "startsAt": "1970-01-01T00:00:01Z",
        "endsAt": "1970-01-01T00:04:05Z",
        "generatorURL": "https://upkeep/graph",
    });
    let mut b = a.clone();
    (b["labels"]["alertname"], b["endsAt"]) = ("B".into(), "1970-01-01T00:00:03Z".into());
    assert_eq!(receiver.got.lock().unwrap()[0], serde_json::json!([a, b]));
    let status = running.forwarding.statuses().remove(0);
    assert_eq!(status.url, format!("{}api/v2/alerts", receiver.url));
    running.stop.cancel();
    running.task.await.unwrap();
}

#[tokio::test]
async fn one_that_hangs_or_fails_holds_up_no_other_and_hears_later() {
    let (well, ill) = (Receiver::start(200).await, Receiver::start(503).await);
    let (hanging, _holding) = silent().await;
    let mut running = start(vec![settings(&hanging), settings(&ill.url), settings(&well.url)]);
    let many: Vec<_> = (0..200).map(|number| alert(&format!("n{number}"), None)).collect();
    running.alerts.send(many).await.unwrap();
    running.alerts.send(vec![alert("last", None)]).await.unwrap();
    assert_eq!(running.next.recv().await.unwrap().len(), 200);
    until("all of them", || well.names().len() == 201).await;
    assert!(well.got.lock().unwrap().len() >= 4, "in requests of 64 at most");
    let statuses = || running.forwarding.statuses();
    until("a failure", || statuses()[1].last_error.is_some()).await;
    assert!(statuses()[1].last_error.as_ref().unwrap().contains("answered 503"));
    // The last answer is noted a moment after the request came.
    until("all answers", || statuses()[2].sent == 201).await;
    assert_eq!(statuses()[1].sent, 0);
    ill.status.store(200, Ordering::SeqCst);
    until("all of them", || ill.names().len() == 201).await;
    until("no error", || statuses()[1].last_error.is_none()).await;
    assert_eq!(statuses()[0].sent, 0);
    let begun = Instant::now();
    running.stop.cancel();
    running.task.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "the one that hangs holds up the end");
}

#[tokio::test]
async fn what_is_refused_for_good_is_left_out() {
    let receiver = Receiver::start(400).await;
    let mut forbidden = settings(&receiver.url.replace("127.0.0.1", "localhost"));
    forbidden.http.allow_networks.clear();
    let running = start(vec![settings(&receiver.url), forbidden]);
    running.alerts.send(vec![alert("A", None), alert("B", None)]).await.unwrap();
    let dropped = |at: usize| running.forwarding.statuses()[at].dropped == 2;
    until("both refused", || dropped(0) && dropped(1)).await;
    receiver.status.store(200, Ordering::SeqCst);
    running.alerts.send(vec![alert("C", None)]).await.unwrap();
    until("the next", || receiver.names() == ["C"]).await;
    let statuses = running.forwarding.statuses();
    assert!(statuses[1].last_error.as_ref().unwrap().contains("a loopback address"));
    assert_eq!((statuses[0].last_error.as_ref(), statuses[0].waiting), (None, 0));
}
