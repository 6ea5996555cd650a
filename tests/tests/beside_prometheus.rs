//! The collector beside Debian's Prometheus: the same samples, sent to both by remote write, and the same
//! answers to the same queries.
//!
//! Moments lie between samples, since the two versions of the language differ in whether the borders of
//! a range belong to it; where they differ otherwise nothing is asked.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use upkeep_tests::{
    Collector, CollectorOptions, Peer, PeerKind, RemoteWriter, TimeSeries, WriteRequest, until,
};

const SOON: Duration = Duration::from_secs(30);

/// Samples are so far apart, and there are so many of a series.
const STEP_MS: i64 = 15_000;
const STEPS: i64 = 170;

/// The marker of a series that has ended.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Each is evaluated at some moments and over a range.
const QUERIES: &[&str] = &[
    "requests_total",
    "requests_total{code=~\"5..\", path!=\"/\"}",
    "rate(requests_total[5m])",
    "sum by (job) (rate(requests_total[2m]))",
    "sum without (instance, code) (increase(requests_total{job=\"shop\"}[10m]))",
    "irate(requests_total[1m])",
    "resets(requests_total[20m])",
    "delta(temperature[5m])",
    "deriv(temperature[10m])",
    "predict_linear(temperature[10m], 3600)",
    "idelta(temperature[3m])",
    "changes(state[15m])",
    "avg_over_time(temperature[7m])",
    "stddev_over_time(temperature[7m])",
    "quantile_over_time(0.9, temperature[7m])",
    "max_over_time(temperature[7m]) - min_over_time(temperature[7m])",
    "count_over_time(gappy[5m])",
    "present_over_time(gappy[2m])",
    "last_over_time(gappy[10m])",
    "absent_over_time(gappy{instance=\"none\"}[5m])",
    "gappy",
    "gone",
    "count_over_time(gone[5m])",
    "absent(gone)",
    "histogram_quantile(0.95, sum by (le, job) (rate(latency_seconds_bucket[5m])))",
    "histogram_quantile(0.5, rate(latency_seconds_bucket[5m]))",
    "rate(latency_seconds_sum[5m]) / rate(latency_seconds_count[5m])",
    "topk(3, temperature)",
    "bottomk(1, temperature) by (rack)",
    "quantile by (rack) (0.25, temperature)",
    "stddev by (rack) (temperature)",
    "count_values(\"celsius\", round(temperature, 5))",
    "temperature > bool 20",
    "temperature > 20 and on (instance) state == 1",
    "temperature unless on (instance) gappy",
    "state or on (instance) temperature",
    "temperature * on (instance) group_left (team) owner",
    "sum by (team) (temperature * on (instance) group_left (team) owner)",
    "max_over_time(rate(requests_total{job=\"shop\"}[2m])[10m:1m])",
    "avg_over_time(temperature[5m] offset 10m)",
    "clamp_max(temperature, 20) % 7",
    "label_replace(temperature, \"place\", \"$1-$2\", \"rack\", \"(.)(.*)\")",
    "label_join(state, \"where\", \"/\", \"rack\", \"instance\")",
    "wide{l07=~\"v8|v14\", l19=~\".+\"}",
    "count by (l03) (wide)",
    "odd",
    "abs(-odd) ^ 0.5",
    "scalar(count(temperature)) + time() % 60",
    "minute() + hour(vector(0))",
    "sort_desc(sum by (rack) (temperature))",
];

#[tokio::test]
async fn the_same_samples_give_the_same_answers() -> Result<()> {
    let Some(program) = PeerKind::Prometheus.program()? else { return Ok(()) };
    let peer = Peer::start(PeerKind::Prometheus, &program, "", &[]).await?;
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    // Not at whole minutes either, at which subqueries are evaluated.
    let start_ms = i64::try_from(now)? / STEP_MS * STEP_MS - STEPS * STEP_MS + 3_100;
    let data = data(start_ms);
    let root = std::fs::read(collector.data_dir().join("ca/root.pem"))?;
    let token = collector.command(&["api-token", "create", "sender", "--scope", "write"])?;
    let (url, token) = (collector.url("/api/v1/write"), token.success()?.trim().to_owned());
    RemoteWriter::trusting(&url, &root, &token)?.send(&data).await?;
    peer.writer()?.send(&data).await?;
    let sides = Sides { collector, peer };
    until("the samples at both", SOON, || async {
        let all = ("count({__name__=~\".+\"})", start_ms + 60_000 + 7_300);
        let (ours, theirs) = sides.instant(all.0, all.1).await?;
        Ok((ours == theirs && !ours.is_empty()).then_some(()))
    })
    .await?;

    let mut faults = Vec::new();
    for query in QUERIES {
        if let Err(fault) = sides.compare(query, start_ms).await {
            faults.push(format!("{query}: {fault:#}"));
        }
    }
    ensure!(
        faults.is_empty(),
        "{} of {} differ:\n{}",
        faults.len(),
        QUERIES.len(),
        faults.join("\n")
    );
    // A comparison that cannot fail says nothing.
    let one = Rows::from([(BTreeMap::new(), vec![(1, 1.0)])]);
    let other = Rows::from([(BTreeMap::new(), vec![(1, 1.0 + 1e-8)])]);
    ensure!(same(&one, &one).is_ok() && same(&one, &other).is_err());
    println!("{} queries are answered alike", QUERIES.len());
    Ok(())
}

/// Series by their labels, with milliseconds and values.
type Rows = BTreeMap<BTreeMap<String, String>, Vec<(i64, f64)>>;

struct Sides {
    collector: Collector,
    peer: Peer,
}

impl Sides {
    async fn compare(&self, query: &str, start_ms: i64) -> Result<()> {
        let mut found = 0;
        for minutes in [7, 21, 38] {
            let (ours, theirs) = self.instant(query, start_ms + minutes * 60_000 + 7_300).await?;
            same(&ours, &theirs).with_context(|| format!("after {minutes} min"))?;
            found += theirs.len();
        }
        // 37 s and 15 s meet at no moment that begins at 7.3 s.
        let (start, end) = (start_ms + 7_300, start_ms + STEPS * STEP_MS + 7_300);
        let (start, end) = (seconds(start), seconds(end));
        let parameters = [("query", query), ("start", &start), ("end", &end), ("step", "37")];
        let (ours, theirs) = self.ask("/api/v1/query_range", &parameters).await?;
        same(&ours, &theirs).context("over the range")?;
        ensure!(found + theirs.len() > 0, "Prometheus has no result either");
        Ok(())
    }

    async fn instant(&self, query: &str, at_ms: i64) -> Result<(Rows, Rows)> {
        let at = seconds(at_ms);
        self.ask("/api/v1/query", &[("query", query), ("time", &at)]).await
    }

    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<(Rows, Rows)> {
        let answer = self.collector.get(path).query(parameters).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{status}: {text}");
        let theirs = self.peer.json(path, parameters).await?;
        Ok((rows(&serde_json::from_str(&text)?)?, rows(&theirs)?))
    }
}

fn seconds(at_ms: i64) -> String {
    format!("{}.{:03}", at_ms / 1000, at_ms % 1000)
}

fn rows(answer: &Value) -> Result<Rows> {
    let result = answer["data"]["result"].as_array().context("no result")?;
    if answer["data"]["resultType"] == "scalar" {
        return Ok(Rows::from([(BTreeMap::new(), vec![point(&answer["data"]["result"])?])]));
    }
    let row = |row: &Value| {
        let labels = row["metric"].as_object().context("no labels")?.iter();
        let labels = labels
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        let points = match &row["values"] {
            Value::Array(points) => points.iter().map(point).collect::<Result<_>>()?,
            _ => vec![point(&row["value"])?],
        };
        Ok((labels.collect(), points))
    };
    result.iter().map(row).collect()
}

fn point(point: &Value) -> Result<(i64, f64)> {
    let at = point[0].as_f64().context("a time")?;
    let value = point[1].as_str().context("a value")?;
    Ok(((at * 1000.0).round() as i64, value.parse()?))
}

fn same(ours: &Rows, theirs: &Rows) -> Result<()> {
    if ours.keys().ne(theirs.keys()) {
        bail!("series are {:?}, theirs {:?}", ours.keys(), theirs.keys());
    }
    for ((labels, ours), theirs) in ours.iter().zip(theirs.values()) {
        let times = |points: &[(i64, f64)]| points.iter().map(|(at, _)| *at).collect::<Vec<_>>();
        ensure!(times(ours) == times(theirs), "{labels:?}: times are {ours:?}, theirs {theirs:?}");
        for ((at, ours), (_, theirs)) in ours.iter().zip(theirs) {
            let is_same = ours == theirs
                || (ours.is_nan() && theirs.is_nan())
                || (ours - theirs).abs() <= 1e-9 * ours.abs().max(theirs.abs());
            ensure!(is_same, "{labels:?} at {at}: {ours}, theirs {theirs}");
        }
    }
    Ok(())
}

/// The same samples each time but for where they begin.
fn data(start_ms: i64) -> WriteRequest {
    let mut all = Vec::new();
    let mut add = |labels: &[(&str, &str)], value: &dyn Fn(i64) -> Option<f64>| {
        let sample = |step: i64| Some((start_ms + step * STEP_MS, value(step)?));
        let samples: Vec<(i64, f64)> = (0..STEPS).filter_map(sample).collect();
        all.push(TimeSeries::new(labels, &samples));
    };
    let instances = ["a", "b", "c", "d", "e"];
    for (number, instance) in (0_i64..).zip(instances) {
        let (rack, team) =
            (["r1", "r2"][number as usize % 2], ["blue", "red"][number as usize / 3]);
        let here = [("instance", instance), ("rack", rack)];
        let named =
            |name: &'static str| [[("__name__", name)].as_slice(), here.as_slice()].concat();
        let noise = move |step: i64| noise(number * 1000 + step);
        add(&named("temperature"), &|step| Some(18.0 + noise(step) * 6.0 + step as f64 / 40.0));
        add(&named("state"), &|step| Some(((step / (7 + number)) % 3) as f64));
        // Scrapes that failed, here and there and for long.
        add(&named("gappy"), &|step| {
            (number < 3 && noise(step) > 0.3 && !(60..90).contains(&step)).then_some(step as f64)
        });
        add(&named("gone"), &|step| match step.cmp(&(40 + 10 * number)) {
            std::cmp::Ordering::Less => Some(1.0),
            std::cmp::Ordering::Equal => Some(f64::from_bits(STALE)),
            std::cmp::Ordering::Greater => None,
        });
        add(&[("__name__", "owner"), ("instance", instance), ("team", team)], &|_| Some(1.0));
        for (job, code) in [("shop", "200"), ("shop", "500"), ("site", "200")] {
            let labels = [
                ("__name__", "requests_total"),
                ("instance", instance),
                ("job", job),
                ("code", code),
                ("path", if job == "shop" { "/api" } else { "/" }),
            ];
            let pace = if code == "500" { 1.0 } else { 40.0 };
            // It grows by what is drawn, and begins anew now and then. At first it is far from 0, since
            // the versions differ in what they make of a counter that has just begun.
            let life = 50 + number * 13;
            add(&labels, &move |step| {
                let before = if step < life { 10_000.0 } else { 0.0 };
                Some((0..=step % life).map(|at| (noise(at) * pace).floor()).sum::<f64>() + before)
            });
        }
        for (bound, share) in [("0.1", 0.3), ("0.5", 0.7), ("2.5", 0.95), ("+Inf", 1.0)] {
            let labels = [
                ("__name__", "latency_seconds_bucket"),
                ("instance", instance),
                ("job", "shop"),
                ("le", bound),
            ];
            add(&labels, &move |step| Some((step as f64 * (10 + number) as f64 * share).floor()));
        }
        for (name, each) in [("latency_seconds_count", 1.0), ("latency_seconds_sum", 0.37)] {
            let labels = [("__name__", name), ("instance", instance), ("job", "shop")];
            add(&labels, &move |step| Some(step as f64 * (10 + number) as f64 * each));
        }
    }
    for number in 0..20 {
        let value = |label: usize| format!("v{}", (number * 7 + label * number) % 20);
        let own: Vec<(String, String)> =
            (0..20).map(|label| (format!("l{label:02}"), value(label))).collect();
        let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels: Vec<(&str, &str)> = [("__name__", "wide")].into_iter().chain(own).collect();
        add(&labels, &move |step| Some((number as i64 * step) as f64));
    }
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e-300, 1e300, 0.1];
    add(&[("__name__", "odd"), ("of", "values")], &|step| Some(odd[step as usize % odd.len()]));
    WriteRequest::of(all)
}

/// A number in [0, 1) that looks drawn and is always the same.
fn noise(number: i64) -> f64 {
    let mixed = (number as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 40) as f64 / (1_u64 << 24) as f64
}
