//! How long evaluations take over samples in memory, apart from finding those.
//!
//! 200 hosts with 300 series each, of which 32 are `node_cpu_seconds_total`, one sample in 10 s for
//! an hour. Each query runs several times; the median of the evaluator's own time is printed, and
//! that of the source, which copies the samples out.

#![expect(
    clippy::expect_used,
    reason = "an expression here that does not parse is a fault of this program"
)]

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use upkeep_model::{Labels, METRIC_NAME, SeriesSamples};
use upkeep_promql::{Limits, Selection, Source, SourceError, parse};

const HOSTS: usize = 200;
const STEP_MS: i64 = 10_000;
const STEPS: i64 = 360;
const RUNS: usize = 9;

#[derive(Default)]
struct Memory {
    by_name: HashMap<String, Vec<SeriesSamples>>,
    spent: Cell<Duration>,
}

impl Memory {
    fn fill() -> Self {
        let mut memory = Self::default();
        for host in 0..HOSTS {
            // One start an host, so that the hosts' timestamps differ.
            let times: Arc<[i64]> =
                (1..=STEPS).map(|step| step * STEP_MS - 7 * host as i64).collect();
            let instance = format!("host{host:03}");
            for number in 0..300 {
                let labels = labels_of(number).with("instance", &instance).with("job", "node");
                let rate = (number % 17) as f64 * 0.25;
                let values = (0..STEPS).map(|step| step as f64 * rate + host as f64).collect();
                let name = labels.metric_name().unwrap_or_default().to_owned();
                let series = SeriesSamples { labels, timestamps: Arc::clone(&times), values };
                memory.by_name.entry(name).or_default().push(series);
            }
        }
        memory
    }
}

fn labels_of(number: usize) -> Labels {
    if number >= 32 {
        return Labels::new([(METRIC_NAME, format!("metric_{}", number / 4))])
            .with("device", format!("d{}", number % 4));
    }
    let modes = ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"];
    let mode = modes.get(number % 8).copied().unwrap_or_default();
    Labels::new([(METRIC_NAME, "node_cpu_seconds_total"), ("mode", mode)])
        .with("cpu", (number / 8).to_string())
}

/// Timestamps, the stretch of them that was cut out, and what was cut out.
type Cut = (Arc<[i64]>, usize, usize, Arc<[i64]>);

impl Source for Memory {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        let begun = Instant::now();
        let name = selection.matchers.first().map(|matcher| matcher.value()).unwrap_or_default();
        let mut last: Option<Cut> = None;
        let mut found = Vec::new();
        for one in self.by_name.get(name).into_iter().flatten() {
            if !selection.matchers.iter().all(|matcher| matcher.matches(&one.labels)) {
                continue;
            }
            let known = last.as_ref().filter(|(times, ..)| Arc::ptr_eq(times, &one.timestamps));
            let (low, high, timestamps) = match known {
                Some((_, low, high, cut)) => (*low, *high, Arc::clone(cut)),
                None => {
                    let low = one.timestamps.partition_point(|at| *at <= selection.after_ms);
                    let high = one.timestamps.partition_point(|at| *at <= selection.through_ms);
                    let cut: Arc<[i64]> = one.timestamps.get(low..high).unwrap_or_default().into();
                    last = Some((Arc::clone(&one.timestamps), low, high, Arc::clone(&cut)));
                    (low, high, cut)
                }
            };
            let values = one.values.get(low..high).unwrap_or_default().to_vec();
            found.push(SeriesSamples { labels: one.labels.clone(), timestamps, values });
        }
        self.spent.set(self.spent.get() + begun.elapsed());
        Ok(found)
    }
}

fn main() {
    let memory = Memory::fill();
    let end = STEPS * STEP_MS;
    println!("{:>10} {:>10}  query (evaluator, source; milliseconds)", "evaluator", "source");
    for (text, start, step) in [
        ("node_load1", end, 1),
        ("metric_10{instance=\"host007\"}", 0, 10_000),
        ("avg by (instance) (rate(node_cpu_seconds_total[5m]))", end, 1),
        ("avg by (instance) (rate(node_cpu_seconds_total[5m]))", 0, 60_000),
        ("topk(10, sum by (instance) (rate(node_cpu_seconds_total{mode!=\"idle\"}[5m])))", end, 1),
        ("topk(10, sum by (instance) (rate(node_cpu_seconds_total[5m])))", 0, 60_000),
        ("avg_over_time(metric_20[5m])", 0, 60_000),
        (
            "sum without (device) (metric_20) / on (instance, job) sum without (device) (metric_21)",
            0,
            60_000,
        ),
        ("node_cpu_seconds_total", 0, 60_000),
    ] {
        let query = parse(text).expect(text);
        let mut runs: Vec<(Duration, Duration)> = Vec::new();
        for _ in 0..RUNS {
            memory.spent.set(Duration::ZERO);
            let begun = Instant::now();
            let answer = query.range(&memory, start, end, step, &Limits::default());
            let all = begun.elapsed();
            drop(answer.expect(text));
            runs.push((all - memory.spent.get(), memory.spent.get()));
        }
        runs.sort_unstable();
        let (evaluator, source) = runs.get(RUNS / 2).copied().unwrap_or_default();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        println!("{:>10.2} {:>10.2}  {text} every {step} ms", ms(evaluator), ms(source));
    }
}
