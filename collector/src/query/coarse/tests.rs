use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use upkeep_model::{HostId, Labels};
use upkeep_promql::{Answer, Value};
use upkeep_store::{Append, Downsampling, Options, Store};
use uuid::Uuid;

use super::super::{Engine, Instants, Settings, Wishes};

const HOUR_MS: i64 = 60 * 60 * 1000;

/// A midnight: that of 2024-10-04.
const BEGIN_MS: i64 = 20_000 * 24 * HOUR_MS;

/// Two hosts with a counter, that is reset now and then, and a gauge, for a day and a half.
fn store(folder: &Path, downsampling: Downsampling) -> Arc<Store> {
    let options = Options { downsampling, hold: Duration::ZERO, ..Options::default() };
    let store = Store::open(folder, options).unwrap();
    for host in 1..=2_u32 {
        let labels =
            |name: &str| Labels::new([("__name__", name), ("instance", &format!("host{host}"))]);
        let (mut points, mut counter) = (Vec::new(), 40.0);
        for step in 0..36 * 60 {
            let noise = ((step * i64::from(host)) as f64 * 0.73).sin();
            counter = if step % 517 == 400 { 1.0 } else { counter + 3.0 + noise };
            let at_ms = BEGIN_MS + step * 60_000 + step * 7_919 % 5_003;
            points.push((labels("requests_total"), at_ms, counter));
            points.push((labels("load"), at_ms, 2.0 + noise));
        }
        let home = HostId(Uuid::from_u128(host.into()));
        store.commit(vec![Append::Points { home, points }]).unwrap();
    }
    let now_ms = BEGIN_MS + 48 * HOUR_MS;
    store.seal_all(now_ms).unwrap();
    store.downsample(now_ms).unwrap();
    Arc::new(store)
}

/// Two engines: over samples and over summaries of the first day.
struct Both {
    raw: Engine,
    cold: Engine,
    _folders: [tempfile::TempDir; 2],
}

impl Both {
    fn new(downsampling: Downsampling) -> Self {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [raw, cold] = [Downsampling::default(), downsampling];
        let raw = store(folders[0].path(), raw);
        let cold = store(folders[1].path(), cold);
        let engine = |store| Engine::new(store, Settings::default());
        Self { raw: engine(raw), cold: engine(cold), _folders: folders }
    }

    async fn ask(&self, expression: &str, instants: Instants) -> [Answer; 2] {
        let ask = async |engine: &Engine| {
            let query = upkeep_promql::parse(expression).unwrap();
            engine.evaluate(query, instants, Wishes::default()).await.unwrap().0
        };
        [ask(&self.raw).await, ask(&self.cold).await]
    }
}

/// All values of an answer, in the order of labels.
fn values(answer: &Answer) -> Vec<(String, i64, f64)> {
    let mut all: Vec<(String, i64, f64)> = match &answer.value {
        Value::Matrix(rows) => {
            let row = |row: &upkeep_promql::Row| {
                let labels = row.labels.to_string();
                row.points().map(|(at, value)| (labels.clone(), at, value)).collect::<Vec<_>>()
            };
            rows.iter().flat_map(row).collect()
        }
        Value::Vector(points) => {
            points.iter().map(|one| (one.labels.to_string(), one.at_ms, one.value)).collect()
        }
        other => panic!("{other:?}"),
    };
    all.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    all
}

fn five_minutes() -> Downsampling {
    Downsampling { five_minutes_after: Some(Duration::from_hours(24)), one_hour_after: None }
}

fn one_hour() -> Downsampling {
    Downsampling { five_minutes_after: None, one_hour_after: Some(Duration::from_hours(24)) }
}

/// Every step of an hour, over the end of the day that is summarised.
const HOURLY: Instants = Instants::Range {
    start_ms: BEGIN_MS + 2 * HOUR_MS,
    end_ms: BEGIN_MS + 34 * HOUR_MS,
    step_ms: HOUR_MS,
};

const SAME: [&str; 14] = [
    "min_over_time(load[1h])",
    "max_over_time(load[2h])",
    "avg_over_time(load[1h])",
    "sum_over_time(load[1h])",
    "count_over_time(load[1h])",
    "first_over_time(load[1h])",
    "last_over_time(load[3h])",
    "present_over_time(load[1h])",
    "delta(load[1h])",
    "rate(requests_total[1h])",
    "increase(requests_total[6h])",
    "sum by (instance) (rate(requests_total[1h])) / avg_over_time(load[1h])",
    "sum(rate(requests_total[2h] offset 1h))",
    "max_over_time(load[1d]) - min_over_time(load[1d])",
];

async fn check_same(both: &Both, expressions: &[&str], instants: Instants) {
    for expression in expressions {
        let [raw, cold] = both.ask(expression, instants).await;
        let (expect, found) = (values(&raw), values(&cold));
        assert!(expect.len() > 1, "{expression}: {expect:?}");
        assert_eq!(expect.len(), found.len(), "{expression}");
        for (one, other) in expect.iter().zip(&found) {
            let is_same = (&one.0, one.1) == (&other.0, other.1)
                && (one.2 - other.2).abs() <= 1e-9 * one.2.abs().max(1.0);
            assert!(is_same, "{expression}: {one:?} {other:?}");
        }
        assert_eq!(cold.warnings, raw.warnings, "{expression}");
    }
}

#[tokio::test]
async fn aligned_windows_have_the_same_values_of_summaries() {
    let both = Both::new(five_minutes());
    check_same(&both, &SAME, HOURLY).await;
    let (start_ms, end_ms) = (BEGIN_MS + HOUR_MS, BEGIN_MS + 26 * HOUR_MS);
    let steps = Instants::Range { start_ms, end_ms, step_ms: 300_000 };
    let short = [
        "min_over_time(load[5m])",
        "avg_over_time(load[10m])",
        "count_over_time(load[5m])",
        "rate(requests_total[5m])",
        "increase(requests_total[15m])",
        "load",
        "sum(requests_total)",
    ];
    check_same(&both, &short, steps).await;
    let both = Both::new(one_hour());
    check_same(&both, &SAME, HOURLY).await;
    check_same(&both, &["load", "requests_total"], HOURLY).await;
}

#[tokio::test]
async fn what_is_approximate_says_so() {
    let both = Both::new(five_minutes());
    let kept = "samples before 2024-10-05 are kept as summaries of 5m only";
    let check = async |expression: &str, instants, warnings: &[&str], infos: &[&str]| {
        let [_, cold] = both.ask(expression, instants).await;
        assert!(!values(&cold).is_empty(), "{expression}");
        assert_eq!(cold.warnings, warnings, "{expression}");
        let told: Vec<&String> = cold.infos.iter().filter(|info| info.contains("kept")).collect();
        assert_eq!(told, infos, "{expression}");
    };
    let misaligned = format!(
        "{kept}: rate is approximate, since its windows do not begin and end at multiples of 5m"
    );
    let quantile = format!("{kept}: quantile_over_time is approximate");
    check("rate(requests_total[1h])", HOURLY, &[], &[]).await;
    check("rate(requests_total[7m])", HOURLY, &[&misaligned], &[]).await;
    let odd = Instants::At(BEGIN_MS + 3 * HOUR_MS + 1_000);
    check("rate(requests_total[1h])", odd, &[&misaligned], &[]).await;
    check("quantile_over_time(0.9, load[1h])", HOURLY, &[&quantile], &[]).await;
    let two = [quantile.as_str(), misaligned.as_str()];
    let both_of = "quantile_over_time(0.9, load[1h]) + rate(requests_total[7m])";
    check(both_of, odd, &two, &[]).await;
    check("load", HOURLY, &[], &[kept]).await;
    check("load", odd, &[], &[kept]).await;
    check("sum(load) + sum(rate(requests_total[1h]))", HOURLY, &[], &[kept]).await;
    // What is read of samples says nothing.
    let later = Instants::At(BEGIN_MS + 30 * HOUR_MS + 1_000);
    check("quantile_over_time(0.9, load[1h])", later, &[], &[]).await;
    check("load", later, &[], &[]).await;
}

#[tokio::test]
async fn approximate_values_are_near() {
    let both = Both::new(one_hour());
    for (expression, within) in [
        ("quantile_over_time(0.5, load[6h])", 0.5),
        ("rate(requests_total[20m])", 0.05),
        ("max_over_time(load[10m])", 2.1),
        ("load", 2.1),
    ] {
        let (start_ms, end_ms) = (BEGIN_MS + 7 * HOUR_MS, BEGIN_MS + 11 * HOUR_MS);
        let steps = Instants::Range { start_ms, end_ms, step_ms: 61_000 };
        let [raw, cold] = both.ask(expression, steps).await;
        let (expect, found) = (values(&raw), values(&cold));
        assert_eq!(expect.len(), found.len(), "{expression}");
        let pairs = expect.iter().zip(&found);
        let worst = pairs.map(|(one, other)| (one.2 - other.2).abs()).fold(0.0, f64::max);
        assert!(worst <= within, "{expression}: {worst}");
    }
}
