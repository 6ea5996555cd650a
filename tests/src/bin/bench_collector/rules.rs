//! What rules cost: two hundred of them over a thousand hosts, evaluated every fifteen seconds.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use upkeep_model::METRIC_NAME;
use upkeep_tests::{Peer, PeerKind, until};

use super::data::{STEP_MS, Size};
use super::figures::{Aim, Figure, OURS, table};
use super::native::{connect, enroll};
use super::native_ingest::all_frames;
use super::series::{Shape, all};
use super::subject::Subject;
use super::{RUNS, now_ms, remote_ingest};

const HOSTS: usize = 1000;
const RULES: usize = 200;

/// How often the groups are evaluated.
const INTERVAL: &str = "15s";

/// Hosts whose frames serve all.
const KINDS_OF_HOSTS: usize = 50;

/// Steps that lie in the past when hosts begin to keep pace, enough for windows of five minutes.
const PAST: usize = 33;

/// Steps after those.
const STEPS: usize = 16;

/// How long a rule may take to be evaluated for the first time.
const PATIENCE: Duration = Duration::from_secs(60);

/// The collector without and then with rules, and Prometheus.
pub(super) async fn rules() -> Result<String> {
    let mut figures = [
        Figure::new("evaluating 200 rules", "% of a core", Some(Aim::Most(10.0))),
        Figure::new("1,000 hosts every 10 s, no rules", "% of a core", None),
        Figure::new("peak memory", "MiB", None),
    ];
    let [cost, ingest, memory] = &mut figures;
    for _ in 0..RUNS {
        let (without, with, peak) = ours().await?;
        ingest.note(OURS, without);
        cost.note(OURS, with - without);
        memory.note(OURS, peak);
        if let Some((share, peak)) = prometheus().await? {
            cost.note(PeerKind::Prometheus.name(), share);
            memory.note(PeerKind::Prometheus.name(), peak);
        }
    }
    let notes = "1,000 hosts of 300 series; 200 alerting rules in ten groups of an interval of 15 s: of five, three hold a series against a \
                 threshold, one a rate over five minutes, one the mean of a rate by host. None fires. Ours takes live samples meanwhile, which \
                 is measured before it has rules and taken off; it looks at rules of one host also whenever that host's samples arrive. \
                 Prometheus has the same samples by remote write before, and evaluates only.";
    table("Rules", notes, &figures)
}

/// The share of a core that a collector takes without and with rules, in percent, and its peak of memory.
async fn ours() -> Result<(f64, f64, f64)> {
    let subject = Subject::collector().await?;
    let collector = subject.collector_itself()?;
    let beat = Duration::from_millis(STEP_MS as u64);
    let agents = connect(enroll(collector, 0..HOSTS).await?, beat).await?;
    let series: Arc<Vec<_>> = Arc::new(all().into_iter().map(|one| one.series).collect());
    let end_ms = now_ms()? + (STEPS as i64 + 1) * STEP_MS;
    let frames = all_frames(Size::ending(end_ms, KINDS_OF_HOSTS, PAST + STEPS)).await?;
    let begin = Instant::now() + beat;
    let mut delivering = JoinSet::new();
    for (mut agent, frames) in agents.into_iter().zip(frames.iter().cycle().cloned()) {
        let series = Arc::clone(&series);
        delivering.spawn(async move {
            agent.describe(&series).await?;
            agent.deliver(frames.get(..PAST).unwrap_or_default(), PAST).await?;
            agent.keep_pace(&frames, begin, beat).await
        });
    }
    let at_step = |step: usize| begin + beat * step as u32 + beat / 2;
    let without = share(&subject, at_step(2), at_step(5)).await?;
    collector.write_rules("bench.yml", &rule_file(true))?;
    collector.hang_up()?;
    let with = share(&subject, at_step(8), at_step(STEPS - 1)).await?;
    while let Some(delivered) = delivering.join_next().await {
        delivered??;
    }
    Ok((without, with, subject.peak()?))
}

/// The share of a core that one takes from a moment to another, in percent.
async fn share(subject: &Subject, from: Instant, until: Instant) -> Result<f64> {
    sleep_until(from).await;
    let (before, begin) = (subject.cpu()?, Instant::now());
    sleep_until(until).await;
    Ok(100.0 * (subject.cpu()? - before) / begin.elapsed().as_secs_f64())
}

/// The same of Prometheus, whose samples are all there before.
async fn prometheus() -> Result<Option<(f64, f64)>> {
    let Some(program) = PeerKind::Prometheus.program()? else { return Ok(None) };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bench.yml");
    std::fs::write(&file, rule_file(false))?;
    let configuration = format!("rule_files: ['{}']\n", file.display());
    let peer = Peer::start(PeerKind::Prometheus, &program, &configuration, &[]).await?;
    let subject = Subject::Peer(Box::new(peer));
    let size = Size::ending(now_ms()?, HOSTS, PAST);
    ensure!(remote_ingest::ingest(&subject, size, 6).await?.is_some(), "nothing was taken");
    until("all rules to be evaluated", PATIENCE, || async {
        let rules = subject.text("/api/v1/rules", &[]).await?;
        Ok((!rules.contains("\"health\":\"unknown\"")).then_some(()))
    })
    .await?;
    let now = Instant::now();
    Ok(Some((share(&subject, now, now + Duration::from_secs(60)).await?, subject.peak()?)))
}

/// Two hundred rules of which none fires.
fn rule_file(is_ours: bool) -> String {
    let series = all();
    let mut names: BTreeSet<(&str, bool)> = BTreeSet::new();
    for moving in &series {
        let name = moving.series.labels.get(METRIC_NAME).unwrap_or_default();
        names.insert((name, matches!(moving.shape, Shape::Counter { .. })));
    }
    let counters: Vec<&str> =
        names.iter().filter(|(_, counts)| *counts).map(|(name, _)| *name).collect();
    let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    let mut text = "groups:\n".to_owned();
    let told = if is_ours { ", annotations: { action: a, outcome: b }" } else { "" };
    for number in 0..RULES {
        if number % (RULES / 10) == 0 {
            let _ = writeln!(text, "- name: group{number}\n  interval: {INTERVAL}\n  rules:");
        }
        let pick =
            |from: &[&str]| from.get(number % from.len().max(1)).map(|name| (*name).to_owned());
        let (any, counter) = (pick(&all).unwrap_or_default(), pick(&counters).unwrap_or_default());
        let condition = match number % 5 {
            3 => format!("rate({counter}[5m]) > 1e18"),
            4 => format!("avg by (instance) (rate({counter}[5m])) > 1e18"),
            _ => format!("{any} > 1e18"),
        };
        let _ = writeln!(text, "  - {{ alert: A{number}, expr: '{condition}'{told} }}");
    }
    text
}
