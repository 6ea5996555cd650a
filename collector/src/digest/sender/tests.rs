use std::sync::atomic::{AtomicI64, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::StatusCode;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use prometheus_client::registry::Registry;
use upkeep_model::{HostId, Labels, METRIC_NAME};
use upkeep_store::{Append, Store};
use uuid::Uuid;

use super::*;
use crate::alert::{self, Dispatcher};
use crate::digest::digester::Parts;
use crate::ledger;
use crate::query::{Engine, Settings};
use crate::rule::Board;
use crate::state;

const HOUR_MS: i64 = 3_600_000;

/// A Monday at 7 by UTC.
const MONDAY_MS: i64 = 1_795_417_200_000;

/// A receiver with two ways, one of which answers as it is told to, and all that a sender needs.
struct World {
    sender: Sender,
    state: State,
    store: Arc<Store>,
    now: Arc<AtomicI64>,
    answer: Arc<AtomicU16>,
    got: Arc<Mutex<Vec<String>>>,
    _folders: Vec<tempfile::TempDir>,
}

impl World {
    async fn new() -> Self {
        let (folder, state) = state::temporary();
        let samples = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(samples.path(), Default::default()).unwrap());
        let (answer, got) = (Arc::new(AtomicU16::new(200)), Arc::default());
        let routing = routing(&serve(Arc::clone(&answer), Arc::clone(&got)).await);
        std::fs::write(folder.path().join("routing.yml"), routing).unwrap();
        let now = Arc::new(AtomicI64::new(MONDAY_MS - 100 * HOUR_MS));
        let shown = Arc::clone(&now);
        let clock = Clock::new(move || shown.load(Ordering::SeqCst));
        let sender = sender(folder.path(), &state, &store, &clock);
        let _folders = vec![folder, samples];
        Self { sender, state, store, now, answer, got, _folders }
    }

    /// What was received by a look at a moment: the way and the first summary of each message.
    async fn look(&mut self, at_ms: i64) -> Vec<String> {
        self.now.store(at_ms, Ordering::SeqCst);
        self.sender.look().await;
        let mut got = std::mem::take(&mut *self.got.lock().unwrap());
        got.sort();
        got
    }

    fn commit_silent(&self, at_ms: i64) {
        let labels = Labels::new([(METRIC_NAME, "up"), ("instance", "web1")]);
        let points = vec![(labels, at_ms, 0.0)];
        self.store.commit(vec![Append::Points { home: HostId(Uuid::nil()), points }]).unwrap();
    }

    fn restart(&mut self) {
        self.sender.pauses = [None; 2];
    }
}

/// A server that keeps what it is told at `/a` and `/b`, and answers at `/b` as it is told to.
async fn serve(answer: Arc<AtomicU16>, got: Arc<Mutex<Vec<String>>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let take = move |uri: axum::http::Uri, body: String| async move {
        let status = if uri.path() == "/b" { answer.load(Ordering::SeqCst) } else { 200 };
        if status == 200 {
            let message: serde_json::Value = serde_json::from_str(&body).unwrap();
            let alert = &message["alerts"][0];
            let name = alert["labels"]["alertname"].as_str().unwrap().to_owned();
            let summary = alert["annotations"]["summary"].as_str().unwrap().to_owned();
            got.lock().unwrap().push(format!("{} {name}: {summary}", uri.path()));
        }
        StatusCode::from_u16(status).unwrap()
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(take)).await });
    address.to_string()
}

fn routing(address: &str) -> String {
    format!(
        "route: {{receiver: nobody}}\nreceivers:\n  - name: nobody\n  - name: ops\n    \
         webhook_configs: [{{url: 'http://{address}/a'}}, {{url: 'http://{address}/b'}}]\n"
    )
}

fn sender(folder: &std::path::Path, state: &State, store: &Arc<Store>, clock: &Clock) -> Sender {
    let networks = vec!["127.0.0.0/8".parse().unwrap()];
    let settings = alert::Settings {
        routing: folder.join("routing.yml"),
        allowed: alert::Allowed { networks, ..Default::default() },
        ..Default::default()
    };
    let routing = alert::load(&settings).unwrap();
    let (dispatcher, _) =
        Dispatcher::new(routing, &settings, state.clone(), clock.clone()).unwrap();
    assert!(dispatcher.courier("boss").is_none());
    let courier = dispatcher.courier("ops").unwrap();
    let (_, ledger, _) =
        ledger::open(state.clone(), clock.clone(), &mut Registry::default()).unwrap();
    let digester = Digester::new(Parts {
        board: Arc::new(Board::default()),
        ledger,
        engine: Engine::new(Arc::clone(store), Settings::default()),
        clock: clock.clone(),
        courier: Some(courier.clone()),
        external_url: String::new(),
    });
    let schedule =
        Schedule { weekly: Some(Weekday::Monday), daily: true, hour: 7, zone: TimeZone::UTC };
    let (state, clock) = (state.clone(), clock.clone());
    Sender { digester, courier, schedule, state, clock, pauses: [None; 2] }
}

#[tokio::test]
async fn a_digest_comes_when_it_is_due_once_by_each_way_and_over_restarts() {
    const NOTHING: [&str; 0] = [];
    let mut world = World::new().await;
    assert_eq!(
        world.look(MONDAY_MS - 100 * HOUR_MS).await,
        NOTHING,
        "of the past it tells nothing"
    );
    assert_eq!(world.look(MONDAY_MS - 1).await, NOTHING, "the days were empty");
    let weekly = "WeeklyDigest: Since 2026-10-26: 0 alerts of 0 rules; people were told of 0, of which \
                  0 were acknowledged or acted on";
    let (a, b) = (format!("/a {weekly}"), format!("/b {weekly}"));
    world.answer.store(503, Ordering::SeqCst);
    assert_eq!(world.look(MONDAY_MS + 5_000).await, std::slice::from_ref(&a));
    assert_eq!(world.look(MONDAY_MS + 30_000).await, NOTHING, "it waits before it tries again");
    world.restart();
    assert_eq!(world.look(MONDAY_MS + 40_000).await, NOTHING, "the other way still fails");
    world.answer.store(200, Ordering::SeqCst);
    assert_eq!(
        world.look(MONDAY_MS + 101_000).await,
        std::slice::from_ref(&b),
        "only who lacks it is told"
    );
    world.restart();
    assert_eq!(world.look(MONDAY_MS + 200_000).await, NOTHING);

    // The collector was down when the next one was due, and for a day of which there is something to tell.
    let later_ms = MONDAY_MS + 7 * 24 * HOUR_MS + HOUR_MS;
    world.commit_silent(later_ms - 1_000);
    let got = world.look(later_ms).await;
    let kinds: Vec<_> = got.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(kinds, ["/a DailyDigest", "/a WeeklyDigest", "/b DailyDigest", "/b WeeklyDigest"]);
    assert_eq!(got[0], "/a DailyDigest: 1 host is silent");
    assert_eq!(world.look(later_ms + HOUR_MS).await, NOTHING);
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_tried_again() {
    let mut world = World::new().await;
    world.look(MONDAY_MS - HOUR_MS).await;
    world.answer.store(404, Ordering::SeqCst);
    assert_eq!(world.look(MONDAY_MS).await.len(), 1);
    world.answer.store(200, Ordering::SeqCst);
    assert!(world.look(MONDAY_MS + 10 * HOUR_MS).await.is_empty());
    let weekly = world.state.digests("weekly", "ops").unwrap();
    assert_eq!(weekly, [(0, MONDAY_MS), (1, MONDAY_MS)]);
}

#[test]
fn a_channel_waits_for_what_was_due_since_its_last() {
    let check = |noted: &[(usize, i64)], due: &[usize], new: &[usize]| {
        let expect = Waiting { due: due.to_vec(), new: new.to_vec() };
        assert_eq!(waiting(noted, 2, 1_000, 1_500), expect, "{noted:?}");
    };
    check(&[], &[], &[0, 1]);
    check(&[(0, 1_000), (1, 1_000)], &[], &[]);
    check(&[(0, 900), (1, 1_000), (2, 0)], &[0], &[]);
    check(&[(1, 900)], &[1], &[0]);
    // The clock was ahead, or the hour was set to an earlier one.
    check(&[(0, 9_000), (1, 1_200)], &[], &[0]);
}
