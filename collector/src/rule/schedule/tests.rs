use std::fs;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::time;

use super::*;
use crate::ledger::{self, News, Origin};
use crate::rule::memory::Memory;
use crate::rule::reload::{Reloader, reloading};
use crate::rule::snapshot::{AlertStatus, Health, Phase, RuleKind};
use crate::state;

const RULES: &str = "
groups:
  - name: hosts
    interval: 20ms
    rules:
      - record: hosts
        expr: count(up)
      - alert: HostDown
        expr: up{job='one'} == 0
        for: 1s
        annotations: {action: look, outcome: it runs}
";

/// A schedule over a memory, with a clock that jumps as the test wants.
struct World {
    memory: Arc<Memory>,
    state: State,
    board: Arc<Board>,
    now: Arc<AtomicI64>,
    registry: Registry,
    meters: ReloadMeters,
    reporter: Reporter,
    news: mpsc::Receiver<Vec<News>>,
    folder: TempDir,
}

/// What a running schedule is asked and gives.
struct Live {
    reloader: Reloader,
    queue: mpsc::Receiver<Vec<Alert>>,
    arrive: mpsc::Sender<String>,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), ScheduleError>>,
}

impl World {
    fn new(state: &State, now_ms: i64) -> Self {
        let mut registry = Registry::default();
        let (reporter, news) = ledger::channel();
        let world = Self {
            reporter,
            news,
            memory: Arc::default(),
            state: state.clone(),
            board: Arc::default(),
            now: Arc::new(now_ms.into()),
            meters: ReloadMeters::register(&mut registry),
            registry,
            folder: tempfile::tempdir().unwrap(),
        };
        world.write("r.yml", RULES);
        world
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn start(&self) -> Live {
        let folder = self.folder.path().to_owned();
        let files = move || vec![folder.clone()];
        let groups = load(&files(), None).unwrap();
        let (alerts, queue) = mpsc::channel(ALERT_QUEUE);
        // Each look at the clock lets 10 ms pass, so no test waits for the wall clock.
        let now = Arc::clone(&self.now);
        let clock = Clock::new(move || now.fetch_add(10, Ordering::SeqCst));
        let parts = Parts {
            source: self.memory.clone(),
            recorder: self.memory.clone(),
            state: self.state.clone(),
            alerts,
            reporter: self.reporter.clone(),
            board: Arc::clone(&self.board),
            clock,
            meters: self.meters.clone(),
            arrival_meters: ArrivalMeters::default(),
            files: Arc::new(files),
        };
        let (stop, (reloader, requests)) = (CancellationToken::new(), reloading());
        let (arrive, arrived) = mpsc::channel(8);
        let stopping = stop.clone();
        let ended = tokio::spawn(async move {
            run(groups, &Settings::default(), parts, (requests, arrived), stopping).await
        });
        Live { reloader, queue, arrive, stop, ended }
    }

    /// Lets the schedule run until an alert comes, or until it has been evaluated at `until_ms`.
    async fn run(&self, until_ms: i64) -> Vec<Alert> {
        let mut live = self.start();
        let told = self.told_until(&mut live, until_ms).await;
        live.stop.cancel();
        live.ended.await.unwrap().unwrap();
        told
    }

    /// What is told until something is, or until the first group has been evaluated at `until_ms`.
    async fn told_until(&self, live: &mut Live, until_ms: i64) -> Vec<Alert> {
        let mut told = Vec::new();
        loop {
            let batch = time::timeout(Duration::from_millis(5), live.queue.recv()).await;
            told.extend(batch.ok().flatten().unwrap_or_default());
            let groups = self.board.snapshot().groups;
            let evaluated = groups.first().and_then(|group| group.last_evaluation_ms);
            if !told.is_empty() || evaluated.is_some_and(|at_ms| at_ms >= until_ms) {
                return told;
            }
        }
    }

    /// The alerts that are shown of a group, in order.
    fn alerts(&self, name: &str) -> Vec<AlertStatus> {
        let groups = self.board.snapshot().groups;
        let group = groups.iter().find(|group| group.name == name).unwrap();
        let alerts = group.rules.iter().filter_map(|rule| match &rule.kind {
            RuleKind::Recording => None,
            RuleKind::Alerting { alerts, .. } => Some(alerts.clone()),
        });
        alerts.flatten().collect()
    }

    fn names(&self) -> Vec<String> {
        self.board.snapshot().groups.iter().map(|group| group.name.clone()).collect()
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

#[tokio::test]
async fn an_alert_waits_fires_and_survives_a_restart() {
    let (_folder, state) = state::temporary();
    let mut world = World::new(&state, 1_000_000);
    world.memory.put("up", &[("instance", "web1"), ("job", "one")], 999_990, 0.0);
    assert!(world.run(1_000_500).await.is_empty(), "it waits");
    let told = world.run(1_010_000).await;
    assert_eq!(told.len(), 1);
    let waited_ms = told[0].starts_at_ms - 1_000_000;
    assert!((1_000..2_000).contains(&waited_ms), "the wait went on over the restart: {waited_ms}");

    let again = world.run(1_020_000).await;
    assert_eq!(again, told, "the same alert, which began when it began");
    let status = world.board.snapshot().groups[0].clone();
    assert!(matches!(status.rules[0].health, Health::Ok), "{status:?}");
    assert_eq!(world.alerts("hosts").len(), 1);

    // The ledger hears once that it fires, and of nothing else yet.
    let news = world.news.try_recv().unwrap();
    let [News::Fired { origin, alert, at_ms }] = news.as_slice() else { panic!("{news:?}") };
    let Origin::Rule { file, group, name } = &**origin else { panic!("{origin:?}") };
    assert!(file.ends_with("/r.yml") && group == "hosts" && name == "HostDown", "{origin:?}");
    assert_eq!((*alert, *at_ms), (told[0].fingerprint(), told[0].starts_at_ms));
    assert!(world.news.try_recv().is_err());
    let now_ms = world.now.load(Ordering::SeqCst);
    world.memory.put("up", &[("instance", "web1"), ("job", "one")], now_ms, 1.0);
    let over = world.run(1_030_000).await;
    let news = world.news.try_recv().unwrap();
    let ended = News::Resolved {
        origin: Arc::clone(origin),
        alert: *alert,
        at_ms: over[0].ends_at_ms.unwrap(),
    };
    assert_eq!(news, [ended]);
}

const OTHER: &str = "
groups:
  - name: others
    interval: 20ms
    rules:
      - record: others
        expr: sum(up)
";

#[tokio::test]
async fn changed_files_are_taken_up_and_groups_that_did_not_change_go_on() {
    let (_folder, state) = state::temporary();
    let world = World::new(&state, 1_000_000);
    world.memory.put("up", &[("instance", "web1"), ("job", "one")], 999_990, 0.0);
    let mut live = world.start();
    assert!(world.told_until(&mut live, 1_000_300).await.is_empty());
    let since_ms = world.alerts("hosts")[0].active_at_ms;
    let reloader = live.reloader.clone();
    let reloaded = async |unchanged, changed, added, removed| {
        let expect = Reloaded { unchanged, changed, added, removed };
        assert_eq!(reloader.reload().await.unwrap(), expect);
    };

    reloaded(1, 0, 0, 0).await;
    // A comment and another order of keys change nothing; what comes before gets the first place.
    world.write(
        "r.yml",
        &RULES.replace("groups:", "# Hosts.\ngroups:").replace("for: 1s\n", "for: 1000ms\n"),
    );
    world.write("a.yml", OTHER);
    reloaded(1, 0, 1, 0).await;
    assert_eq!(world.names(), ["others", "hosts"]);
    assert_eq!(world.alerts("hosts")[0].active_at_ms, since_ms);
    world.write("r.yml", &RULES.replace("action: look", "action: look again"));
    reloaded(1, 1, 0, 0).await;
    let alert = world.alerts("hosts").remove(0);
    assert_eq!((alert.active_at_ms, alert.phase), (since_ms, Phase::Pending), "it goes on waiting");

    let told = world.told_until(&mut live, 1_100_000).await;
    assert_eq!(told[0].annotations.get("action"), Some("look again"));
    assert!((1_000..2_000).contains(&(told[0].starts_at_ms - since_ms)), "{told:?}");
    let until_ms = world.board.snapshot().groups[0].last_evaluation_ms.unwrap() + 1_000;
    world.write("r.yml", RULES);
    live.reloader.reload().await.unwrap();
    assert_eq!(world.told_until(&mut live, until_ms).await, [], "what was told is not told again");

    fs::remove_file(world.folder.path().join("r.yml")).unwrap();
    live.reloader.reload().await.unwrap();
    assert_eq!(world.names(), ["others"]);
    let last = *world.memory.samples("hosts").last().unwrap();
    assert_eq!(last.1.to_bits(), upkeep_model::stale_marker().to_bits(), "{last:?}");
    let key = format!("{}:hosts", world.folder.path().join("r.yml").display());
    assert_eq!(state.rule_alerts(&key).unwrap(), (Vec::new(), None));
    live.stop.cancel();
    live.ended.await.unwrap().unwrap();
    assert!(matches!(live.reloader.reload().await, Err(ReloadError::Stopped)));
}

#[tokio::test]
async fn faulty_files_change_nothing_and_are_told_with_their_places() {
    let (_folder, state) = state::temporary();
    let world = World::new(&state, 1_000_000);
    let mut live = world.start();
    let name = "upkeep_collector_config_last_reload_successful";
    let counts = |value: u8| {
        let (page, line) = (world.metrics(), format!("{name} {value}\n"));
        assert!(page.contains(&line), "{page}");
    };
    world.write("a.yml", OTHER);
    world.write("r.yml", &RULES.replace("count(up)", "count(up"));
    let faults = live.reloader.reload().await.unwrap_err().to_string();
    assert!(faults.contains("r.yml:7:15: "), "{faults}");
    counts(0);
    assert_eq!(world.names(), ["hosts"], "the good file is not used either");
    assert!(world.told_until(&mut live, 1_001_000).await.is_empty(), "it is evaluated on");
    world.write("r.yml", RULES);
    live.reloader.reload().await.unwrap();
    counts(1);
    assert_eq!(world.names(), ["others", "hosts"]);
    live.stop.cancel();
    live.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn alerts_of_a_host_come_with_its_samples_and_need_not_wait_for_the_turn() {
    let (_folder, state) = state::temporary();
    let world = World::new(&state, 1_000_000);
    // The turn is an hour away by a clock that hardly moves.
    world.write("r.yml", &RULES.replace("20ms", "1h").replace("        for: 1s\n", ""));
    let mut live = world.start();
    let put = |host: &str, value: f64| {
        let at_ms = world.now.load(Ordering::SeqCst);
        world.memory.put("up", &[("instance", host), ("job", "one")], at_ms, value);
    };
    for host in ["web1", "web2"] {
        put(host, 0.0);
    }
    let mut told = async |host: &str| {
        live.arrive.send(host.to_owned()).await.unwrap();
        let alerts = time::timeout(Duration::from_secs(10), live.queue.recv()).await;
        let alerts = alerts.unwrap().unwrap();
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        (alerts[0].labels.get("instance").unwrap().to_owned(), alerts[0].ends_at_ms.is_some())
    };
    assert_eq!(told("web1").await, ("web1".to_owned(), false));
    assert_eq!(told("web2").await, ("web2".to_owned(), false));
    put("web1", 1.0);
    assert_eq!(told("web1").await, ("web1".to_owned(), true));
    assert_eq!(world.alerts("hosts").len(), 1);
    assert_eq!(world.memory.samples("hosts"), [], "what looks at all hosts waits for the turn");
    live.stop.cancel();
    live.ended.await.unwrap().unwrap();
}
