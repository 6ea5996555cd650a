//! Fifty thousand alerts that fire at once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;
use upkeep_tests::{Collector, CollectorOptions, TimeSeries, WriteRequest, until};

use super::figures::{Aim, Figure, OURS, table};
use super::subject::Subject;
use super::{RUNS, now_ms};

const ALERTS: usize = 50_000;

/// They come in so many groups.
const GROUPS: usize = 500;

/// Series of one request of remote write.
const A_REQUEST: usize = 2_000;

/// How long they may take to come.
const PATIENCE: Duration = Duration::from_secs(120);

const RULE: &str = "groups: [{ name: storm, interval: 10s, rules: [{ alert: Storm, expr: bench_alert > 0, \
                    labels: { severity: warning }, annotations: { action: a, outcome: b } }] }]";

const SETTINGS: &str = "[alerts]\nallow_networks = [\"127.0.0.0/8\"]\n";

/// The numbers of the alerts that came, and when the last new one did.
#[derive(Debug, Default)]
struct Inbox {
    came: HashSet<String>,
    /// Milliseconds since 1970.
    last_ms: i64,
    /// When they began to fire, as they say themselves: the moment of the evaluation.
    fired_ms: Option<i64>,
}

/// From the evaluation in which they fire to the last of the alerts at the receiver.
pub(super) async fn storm() -> Result<String> {
    let mut figures = [
        Figure::new("50,000 alerts, all at the receiver", "s", Some(Aim::Most(5.0))),
        Figure::new("of these lost", "alerts", Some(Aim::Most(0.0))),
        Figure::new("peak memory", "MiB", Some(Aim::Most(300.0))),
    ];
    let [time, lost, memory] = &mut figures;
    for _ in 0..RUNS {
        let (seconds, missing, peak) = once().await?;
        time.note(OURS, seconds);
        lost.note(OURS, missing);
        memory.note(OURS, peak);
    }
    let notes = "A rule with 50,000 series, all of which cross its threshold between two evaluations; 500 groups of 100 alerts, `group_wait: 0s`, one \
                 webhook. Timed from the evaluation in which they fire, as they say in `startsAt`.";
    table("Storm", notes, &figures)
}

async fn once() -> Result<(f64, f64, f64)> {
    let inbox = Arc::new(Mutex::new(Inbox::default()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let routing = format!(
        "route: {{ receiver: hook, group_by: [group], group_wait: 0s, group_interval: 1s }}\n\
         receivers: [{{ name: hook, webhook_configs: [{{ url: 'http://{}/hook' }}] }}]\n",
        listener.local_addr()?
    );
    let router = Router::new().route("/hook", post(receive)).layer(DefaultBodyLimit::disable());
    let router = router.with_state(Arc::clone(&inbox));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let options = CollectorOptions {
        rules: vec![("storm.yml".to_owned(), RULE.to_owned())],
        routing: Some(routing),
        settings: SETTINGS.to_owned(),
        ..CollectorOptions::default()
    };
    let subject = Subject::Collector(Box::new(Collector::start(&options).await?));
    send(&subject, 0.0).await?;
    // All cross between two evaluations.
    let before = last_evaluation(&subject).await?;
    until("an evaluation", PATIENCE, || async {
        Ok((last_evaluation(&subject).await? != before).then_some(()))
    })
    .await?;
    send(&subject, 1.0).await?;
    let came = || inbox.lock().unwrap_or_else(PoisonError::into_inner).came.len();
    let all = until("all alerts", PATIENCE, || {
        let came = came();
        async move { Ok((came >= ALERTS).then_some(())) }
    });
    let _ = all.await;
    serving.abort();
    let seen = inbox.lock().unwrap_or_else(PoisonError::into_inner);
    let fired_ms = seen.fired_ms.context("no alert came")?;
    let seconds = (seen.last_ms - fired_ms) as f64 / 1000.0;
    Ok((seconds, (ALERTS - seen.came.len()) as f64, subject.peak()?))
}

async fn last_evaluation(subject: &Subject) -> Result<Value> {
    let rules: Value = serde_json::from_str(&subject.text("/api/v1/rules", &[]).await?)?;
    Ok(rules["data"]["groups"][0]["lastEvaluation"].clone())
}

async fn send(subject: &Subject, value: f64) -> Result<()> {
    let (writer, at_ms) = (subject.writer()?, now_ms()?);
    let numbers: Vec<usize> = (0..ALERTS).collect();
    for part in numbers.chunks(A_REQUEST) {
        let series = part.iter().map(|number| {
            let (group, number) = (format!("g{}", number % GROUPS), format!("n{number}"));
            let labels = [("__name__", "bench_alert"), ("group", &group), ("number", &number)];
            TimeSeries::new(&labels, &[(at_ms, value)])
        });
        let request = WriteRequest::of(series.collect());
        writer.send(&request).await.context("writing what alerts are made of")?;
    }
    Ok(())
}

async fn receive(State(inbox): State<Arc<Mutex<Inbox>>>, Json(body): Json<Value>) {
    let mut inbox = inbox.lock().unwrap_or_else(PoisonError::into_inner);
    for alert in body["alerts"].as_array().into_iter().flatten() {
        let number = alert["labels"]["number"].as_str().unwrap_or_default();
        if inbox.came.insert(number.to_owned()) {
            inbox.last_ms = now_ms().unwrap_or_default();
        }
        let fired = alert["startsAt"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        let fired_ms = fired.map(|at| at.as_millisecond());
        inbox.fired_ms = inbox.fired_ms.into_iter().chain(fired_ms).min();
    }
}
