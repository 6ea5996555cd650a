//! The loop over a real store and state, with a clock that is set by hand.

use std::sync::atomic::{AtomicI64, Ordering};

use upkeep_model::{JOB, Labels, METRIC_NAME};

use super::super::baseline::DAY_MS;
use super::super::signal::{SHIPPED, SignalText, chosen};
use super::super::synthetic::MONDAY_MS;
use super::*;
use crate::query::Settings;
use crate::state;

const START_MS: i64 = MONDAY_MS;

struct World {
    _folder: tempfile::TempDir,
    _state_folder: tempfile::TempDir,
    store: Arc<Store>,
    state: State,
    now_ms: Arc<AtomicI64>,
    hosts: Arc<std::sync::Mutex<BTreeSet<String>>>,
    board: Arc<ChartBoard>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path(), Default::default()).unwrap());
        let (state_folder, state) = state::temporary();
        let hosts = ["web1", "web2", "web3"].map(str::to_owned).into();
        Self {
            _folder: folder,
            _state_folder: state_folder,
            store,
            state,
            now_ms: Arc::new(AtomicI64::new(START_MS)),
            hosts: Arc::new(std::sync::Mutex::new(hosts)),
            board: Arc::default(),
        }
    }

    /// A loop that begins now; web3 is in maintenance for two hours of the second day.
    async fn watch(&self) -> Watch {
        let (clock, hosts) = (Arc::clone(&self.now_ms), Arc::clone(&self.hosts));
        let maintenance: Maintenance = Arc::new(|| {
            Box::pin(async {
                let window = START_MS + DAY_MS..START_MS + DAY_MS + 2 * HOUR_MS;
                let covers =
                    move |host: &str, at_ms: i64| host == "web3" && window.contains(&at_ms);
                Box::new(covers) as Covers
            })
        });
        let parts = Parts {
            engine: Engine::new(Arc::clone(&self.store), Settings::default()),
            store: Arc::clone(&self.store),
            state: self.state.clone(),
            clock: Clock::new(move || clock.load(Ordering::Relaxed)),
            maintenance,
            hosts: Arc::new(move || hosts.lock().unwrap().clone()),
            board: Arc::clone(&self.board),
        };
        let dropped: Vec<_> = SHIPPED.iter().map(|signal| signal.name.to_owned()).collect();
        let text = SignalText { name: "requests", expr: "requests", unit: "x", floor: 1.0 };
        Watch::load(chosen(&dropped, &[text]).unwrap(), parts).await.unwrap()
    }

    fn commit(&self, labels: Labels, samples: impl Iterator<Item = (i64, f64)>) {
        let home = HostId(Uuid::nil());
        let points: Vec<_> = samples.map(|(at_ms, value)| (labels.clone(), at_ms, value)).collect();
        self.store.commit(vec![Append::Points { home, points }]).unwrap();
    }

    /// Measures of a host every five minutes.
    fn measure(&self, host: &str, from_ms: i64, through_ms: i64, value: f64) {
        let labels = [(METRIC_NAME, "requests"), (INSTANCE, host), (JOB, "node")];
        let moments = (from_ms..=through_ms).step_by(STEP_MS as usize);
        let noise = |at_ms: i64| (at_ms / STEP_MS).rem_euclid(7) as f64 * 0.1;
        self.commit(Labels::new(labels), moments.map(|at_ms| (at_ms, value + noise(at_ms))));
    }

    fn set_time(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    /// The present values of an expression, as text.
    async fn query(&self, text: &str) -> Vec<String> {
        let engine = Engine::new(Arc::clone(&self.store), Settings::default());
        let at = Instants::At(self.now_ms.load(Ordering::Relaxed));
        let query = upkeep_promql::parse(text).unwrap();
        let (answer, _) = engine.evaluate(query, at, Wishes::default()).await.unwrap();
        let Value::Vector(samples) = answer.value else { panic!("{text}") };
        let mut found: Vec<_> =
            samples.iter().map(|sample| format!("{} {:.1}", sample.labels, sample.value)).collect();
        found.sort();
        found
    }

    fn learned(&self, host: &str) -> super::super::chart::Learned {
        self.board.chart(host, "requests").unwrap().learned
    }
}

async fn catch_up(watch: &mut Watch) {
    while watch.turn().await == Progress::Behind {}
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_store_is_learned_judged_written_and_kept() {
    let world = World::new();
    let end_ms = START_MS + 9 * DAY_MS;
    world.measure("web1", START_MS, end_ms - 4 * STEP_MS, 10.0);
    world.measure("web1", end_ms - 3 * STEP_MS, end_ms, 30.0);
    ["web2", "web3"].into_iter().for_each(|host| world.measure(host, START_MS, end_ms, 10.0));
    // An incident for three hours, a note that is none, and one of a chart.
    let alert = |host, severity, signal| {
        let state = [("alertname", "Down"), ("alertstate", "firing"), ("severity", severity)];
        let of = [(METRIC_NAME, "ALERTS"), (INSTANCE, host), ("signal", signal)];
        Labels::new(state.into_iter().chain(of).filter(|(_, value)| !value.is_empty()))
    };
    let fired = || (0..36).map(|step| (START_MS + 3 * DAY_MS + step * STEP_MS, 1.0));
    world.commit(alert("web2", "critical", ""), fired());
    world.commit(alert("web1", "info", ""), fired());
    world.commit(alert("web3", "critical", "swap_in"), fired());
    // What fires for days is a condition.
    let lasting = (0..3 * 288).map(|step| (START_MS + 5 * DAY_MS + step * STEP_MS, 1.0));
    world.commit(alert("web1", "warning", ""), lasting);

    world.set_time(end_ms + ARRIVAL_MS + 10_000);
    let mut watch = world.watch().await;
    catch_up(&mut watch).await;
    assert_eq!(world.learned("web2").hours_paused, 3);
    assert_eq!(world.learned("web3").hours_paused, 2);
    assert_eq!(world.learned("web1").hours_paused, 24);
    let chart = |host: &str| world.board.chart(host, "requests").unwrap();
    assert_eq!(chart("web1").broken_since_ms, Some(end_ms - 2 * STEP_MS));
    assert!(chart("web2").last.broken.is_empty() && chart("web2").last.limits.is_some());

    let labels = "instance=\"web1\", job=\"upkeep\", rule=\"beyond_3_sigma\", signal=\"requests\"";
    let found = world.query("upkeep_chart_broken{rule=\"beyond_3_sigma\"} > 0").await;
    assert_eq!(found, [format!("upkeep_chart_broken{{{labels}}} 1.0")]);
    let value = world.query("upkeep_chart_value - upkeep_chart_upper_limit > 10").await;
    assert_eq!(value.len(), 1, "{value:?}");
    assert_eq!(world.query("upkeep_chart_center < 11").await.len(), 3);

    // Between two points they are repeated, so that no series ends.
    world.set_time(end_ms + STEP_MS - 1);
    catch_up(&mut watch).await;
    world.set_time(end_ms + STEP_MS + ARRIVAL_MS);
    assert_eq!(world.query("upkeep_chart_value").await.len(), 3);
    assert_eq!(world.query("upkeep_chart_broken > 0").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_it_was_although_the_samples_are_gone() {
    let world = World::new();
    let end_ms = START_MS + 9 * DAY_MS;
    world.measure("web1", START_MS, end_ms, 10.0);
    world.set_time(end_ms + ARRIVAL_MS);
    let mut watch = world.watch().await;
    catch_up(&mut watch).await;
    let before = world.board.charts();
    drop(watch);

    let again = World { board: Arc::default(), state: world.state.clone(), ..World::new() };
    again.set_time(end_ms + ARRIVAL_MS);
    let mut watch = again.watch().await;
    assert_eq!(again.board.charts(), before, "it is shown before anything new comes");
    again.measure("web1", end_ms + STEP_MS, end_ms + 2 * STEP_MS, 30.0);
    again.set_time(end_ms + 2 * STEP_MS + ARRIVAL_MS);
    catch_up(&mut watch).await;
    assert_eq!(again.query("upkeep_chart_broken > 0").await.len(), 2);
    assert_eq!(again.learned("web1").since_ms, Some(START_MS));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_charts_of_a_deleted_host_go_at_once_and_stay_away() {
    let world = World::new();
    let end_ms = START_MS + DAY_MS;
    ["web1", "web2", "other"]
        .into_iter()
        .for_each(|host| world.measure(host, START_MS, end_ms, 1.0));
    world.set_time(end_ms + ARRIVAL_MS);
    let mut watch = world.watch().await;
    catch_up(&mut watch).await;
    world.hosts.lock().unwrap().remove("web2");
    catch_up(&mut watch).await;
    let shown: Vec<_> = world.board.charts().into_iter().map(|chart| chart.instance).collect();
    assert_eq!(shown, ["other", "web1"], "what is no host of the fleet stays");
    let kept = world.state.charts().unwrap().into_iter().map(|chart| chart.instance);
    assert_eq!(kept.collect::<Vec<_>>(), ["other", "web1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_with_two_series_of_a_host_is_told_once() {
    let world = World::new();
    world.measure("web1", START_MS, START_MS + STEP_MS, 1.0);
    let twin = [(METRIC_NAME, "requests"), (INSTANCE, "web1"), (JOB, "twin")];
    world.commit(Labels::new(twin), [(START_MS, 1.0), (START_MS + STEP_MS, 1.0)].into_iter());
    world.set_time(START_MS + STEP_MS + ARRIVAL_MS);
    let mut watch = world.watch().await;
    // What is told as wrong waits for the next look.
    for _ in 0..300 {
        watch.turn().await;
    }
    let told = watch.trouble.get("requests").unwrap();
    assert!(told.contains("more than one series of web1"), "{told}");
    assert_eq!(world.board.charts().len(), 1);
    world.set_time(START_MS + 3 * STEP_MS + ARRIVAL_MS);
    world.measure("web1", START_MS + 3 * STEP_MS, START_MS + 3 * STEP_MS, 1.0);
    world.set_time(START_MS + 9 * STEP_MS + ARRIVAL_MS);
    catch_up(&mut watch).await;
    catch_up(&mut watch).await;
    world.measure("web1", START_MS + 10 * STEP_MS, START_MS + 10 * STEP_MS, 1.0);
    world.set_time(START_MS + 10 * STEP_MS + ARRIVAL_MS);
    catch_up(&mut watch).await;
    assert_eq!(watch.trouble.get("requests"), None, "it is over");
}
