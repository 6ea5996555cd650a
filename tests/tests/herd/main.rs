//! A whole fleet comes back at once, after an hour's outage and after a restart of the collector: live
//! data of all is there within a minute, the handshakes keep to their rate, the backlog drains, nobody
//! is told of the past, and the collector's memory stays within its bound.
//!
//! `UPKEEP_HERD` sets how many agents come, `UPKEEP_HERD_SEED` how they wait.

mod fleet;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::Instant;
use upkeep_tests::{Collector, CollectorOptions, WebhookServer, peak_memory, until};

use fleet::{Log, Progress, SERIES, Simulated};

/// So many agents come in an ordinary test run.
const AGENTS: usize = 100;

const OUTAGE: Duration = Duration::from_secs(3600);

/// Live data of all hosts is back within this.
const LIVE_WITHIN: Duration = Duration::from_secs(60);

/// So long at most everything that was missed takes to arrive.
const DRAINED_WITHIN: Duration = Duration::from_secs(300);

/// What the collector may take beside what each host costs it: the connection, and an hour of frames
/// that are not sealed yet.
const MEMORY: (u64, u64) = (150_000_000, 400_000);

/// The longest time between two attempts of a real agent, by which an ordinary run would last longer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Every host has been connected once within this.
const GREETED_WITHIN: Duration = Duration::from_secs(120);

/// Of so many hosts everything is looked at with one query.
const HOSTS_A_QUERY: usize = 50;

struct Size {
    agents: usize,
    handshakes_per_second: u32,
    interval: Duration,
    longest_wait: Duration,
}

impl Size {
    /// A small herd is hurried, so that the rate of the handshakes is what holds it back.
    fn of_run() -> Result<Self> {
        let told = std::env::var("UPKEEP_HERD").ok();
        let agents = told.map_or(Ok(AGENTS), |told| told.parse()).context("UPKEEP_HERD")?;
        let is_small = agents <= AGENTS;
        Ok(Self {
            agents,
            handshakes_per_second: if is_small { 50 } else { 200 },
            interval: Duration::from_secs(if is_small { 1 } else { 10 }),
            longest_wait: if is_small { Duration::from_secs(1) } else { LONGEST_WAIT },
        })
    }

    fn observed(&self) -> Duration {
        // An ordinary run has as many records, closer together.
        OUTAGE.mul_f64(self.interval.as_secs_f64() / 10.0)
    }
}

fn rules() -> Result<String> {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/rules/upkeep-hosts.yml");
    let shipped = std::fs::read_to_string(shipped)?;
    let silent = "      - alert: HostSilent\n        expr: up == 0\n        for: 1m\n";
    ensure!(shipped.contains(silent), "the shipped rule HostSilent has changed");
    let hurried = silent.replace("1m", "1s");
    let past = "      - alert: PastTakenForPresent\n        expr: herd_alarm > 0\n        labels: {severity: warning}\n        annotations: {summary: s, action: a, outcome: o}\n\n";
    Ok(shipped.replace(silent, &format!("{past}{hurried}")))
}

async fn collector(size: &Size, hook: &WebhookServer) -> Result<Collector> {
    // A small herd is gone before the usual interval has passed.
    let (rate, rules_every) =
        (size.handshakes_per_second, if size.agents > AGENTS { 15 } else { 1 });
    let settings = format!(
        "[grpc]\nhandshakes_per_second = {rate}\n[rules]\ninterval = \"{rules_every}s\"\n\
         [alerts]\nallow_networks = [\"127.0.0.0/8\"]\n"
    );
    let routing = format!(
        "route: {{ receiver: hook, group_by: [alertname], group_wait: 1s, group_interval: {rules_every}s }}\n\
         receivers:\n  - name: hook\n    webhook_configs: [{{ url: '{}' }}]\n",
        hook.url()
    );
    Collector::start(&CollectorOptions {
        rules: vec![("upkeep-hosts.yml".to_owned(), rules()?)],
        routing: Some(routing),
        settings,
        ..CollectorOptions::default()
    })
    .await
}

/// One number that a query gives, 0 if it gives none.
async fn number(collector: &Collector, expression: &str) -> Result<f64> {
    let found = collector.query(expression).await?;
    let Some(row) = found.first() else { return Ok(0.0) };
    Ok(row["value"][1].as_str().context("a value")?.parse()?)
}

/// Handshakes that were begun since the collector's start.
async fn handshakes(collector: &Collector) -> Result<f64> {
    let text = collector.get("/metrics").send().await?.text().await?;
    let line =
        text.lines().find(|line| line.contains("upkeep_agent_handshakes_total{stage=\"Begun\"}"));
    Ok(line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or_default())
}

struct Herd {
    agents: Vec<Arc<Simulated>>,
    log: Arc<Log>,
    /// Records that each has when the outage ends.
    missed: u64,
    tasks: JoinSet<()>,
}

/// What became of a return.
struct Return {
    live: Duration,
    drained: Duration,
    fastest: f64,
}

impl Herd {
    /// The collector can be reached again, after an hour in which every agent has tried in vain.
    async fn after_an_outage(&mut self, collector: &Collector, size: &Size) -> Result<()> {
        let since = Instant::now();
        for agent in &self.agents {
            let (agent, log) = (Arc::clone(agent), Arc::clone(&self.log));
            self.tasks.spawn(agent.keep_up(log, size.longest_wait, 10));
        }
        let log = Arc::clone(&self.log);
        self.tasks.spawn(async move { drop(log.go_on().await) });
        let back = self.returned(collector, since, size.handshakes_per_second).await?;
        let samples = self.missed as f64 * f64::from(SERIES) * self.agents.len() as f64;
        println!(
            "herd: back after an outage: all live after {:.1} s, {} records of {SERIES} series each drained after \
             {:.1} s ({:.2} million samples/s), at most {:.0} handshakes/s",
            back.live.as_secs_f64(),
            self.missed,
            back.drained.as_secs_f64(),
            samples / back.drained.as_secs_f64() / 1e6,
            back.fastest,
        );
        all_up(collector, since, size.agents).await
    }

    /// The collector is killed and started anew.
    async fn after_a_restart(&mut self, collector: &mut Collector, size: &Size) -> Result<()> {
        collector.kill()?;
        self.agents.iter().for_each(|agent| agent.begin_outage());
        collector.launch().await?;
        let since = Instant::now();
        let back = self.returned(collector, since, size.handshakes_per_second).await?;
        println!(
            "herd: back after a restart: all live after {:.1} s, at most {:.0} handshakes/s",
            back.live.as_secs_f64(),
            back.fastest
        );
        all_up(collector, since, size.agents).await
    }

    /// Waits until everybody is back with all he missed, and gives how long that took since a moment.
    async fn returned(&self, collector: &Collector, since: Instant, rate: u32) -> Result<Return> {
        let mut fastest: f64 = 0.0;
        let mut before = (Instant::now(), handshakes(collector).await?);
        let all = |seen: fn(&Progress) -> Option<Instant>| {
            let times: Vec<_> = self.agents.iter().map(|agent| seen(&agent.progress())).collect();
            let last = times.iter().copied().collect::<Option<Vec<_>>>()?;
            last.into_iter().max().map(|last| last.saturating_duration_since(since))
        };
        let deadline = since + DRAINED_WITHIN;
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            // Counted within this time at most and at least: the look itself takes a while.
            let asked = Instant::now();
            let count = handshakes(collector).await?;
            let within = Instant::now().saturating_duration_since(before.0).as_secs_f64();
            let begun = count - before.1;
            let allowed = f64::from(rate) * (within + 0.1) + 1.0;
            ensure!(
                begun <= allowed,
                "{begun} handshakes within {within:.2} s, {allowed:.0} may be"
            );
            fastest = fastest.max(begun / within);
            before = (asked, count);
            let (live, drained) = (all(|seen| seen.live_at), all(|seen| seen.drained_at));
            if let (Some(live), Some(drained)) = (live, drained) {
                ensure!(live <= LIVE_WITHIN, "live data of all is back after {live:?}");
                return Ok(Return { live, drained, fastest });
            }
            let missing = |seen: fn(&Progress) -> Option<Instant>| {
                self.agents.iter().filter(|agent| seen(&agent.progress()).is_none()).count()
            };
            ensure!(
                asked < deadline && (live.is_some() || asked < since + LIVE_WITHIN),
                "{} are not live, {} not drained after {:?}",
                missing(|seen| seen.live_at),
                missing(|seen| seen.drained_at),
                asked.saturating_duration_since(since)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_comes_back_at_once_is_live_within_a_minute_and_nobody_is_told_of_the_past()
-> Result<()> {
    let size = Size::of_run()?;
    let seed = std::env::var("UPKEEP_HERD_SEED").map_or(Ok(20_261_122), |seed| seed.parse())?;
    println!("herd: UPKEEP_HERD={} UPKEEP_HERD_SEED={seed}", size.agents);
    let hook = WebhookServer::start().await?;
    let mut collector = collector(&size, &hook).await?;
    let began = Instant::now();
    let agents = fleet::enroll(&collector, size.agents, seed).await?;
    println!("herd: {} agents enrolled in {:.1} s", agents.len(), began.elapsed().as_secs_f64());
    greet(&agents, size.handshakes_per_second).await?;
    // Of nobody has anything come, which is what people are told.
    hook.await_alert("HostSilent", "firing", Duration::from_secs(90)).await?;

    let log = Arc::new(Log::of_outage(size.observed(), size.interval, size.observed() / 30)?);
    let mut herd = Herd { agents, missed: log.count(), log, tasks: JoinSet::new() };
    herd.after_an_outage(&collector, &size).await?;
    hook.await_alert("HostSilent", "resolved", Duration::from_secs(60)).await?;
    until("all alerts to be over", Duration::from_secs(60), || async {
        let alerts = collector.json("/api/v1/alerts").await?;
        Ok(alerts["data"]["alerts"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .await?;
    let memory = peak_memory(collector.id()?)?;
    herd.after_a_restart(&mut collector, &size).await?;
    let memory = memory.max(peak_memory(collector.id()?)?);
    println!("herd: the collector took {} MB at most", memory / 1_000_000);
    let bound = MEMORY.0 + MEMORY.1 * size.agents as u64;
    ensure!(memory <= bound, "the collector took {memory} bytes, {bound} may be");
    everything_is_there(&collector, size.agents, herd.missed).await?;
    let told = format!("{:?}", hook.received());
    ensure!(!told.contains("PastTakenForPresent"), "somebody was told of the past");
    Ok(())
}

/// Waits until the collector shows every host as up, which it does within the bound.
async fn all_up(collector: &Collector, since: Instant, agents: usize) -> Result<()> {
    let left = LIVE_WITHIN.saturating_sub(since.elapsed());
    until("every host to be up", left, || async {
        Ok((number(collector, "count(up == 1)").await? == agents as f64).then_some(()))
    })
    .await
}

async fn greet(agents: &[Arc<Simulated>], handshakes_per_second: u32) -> Result<()> {
    let within = Duration::from_secs(agents.len() as u64) / handshakes_per_second;
    let greetings = agents.iter().map(|agent| Arc::clone(agent).greet(within));
    let greetings: JoinSet<()> = greetings.collect();
    tokio::time::timeout(GREETED_WITHIN, greetings.join_all()).await.context("greeting")?;
    Ok(())
}

/// Every host has every record that it had when the outage ended, and those after it, each once and with its
/// value: the numbers from 1 on.
async fn everything_is_there(collector: &Collector, agents: usize, missed: u64) -> Result<()> {
    let names: Vec<String> = (0..agents).map(|number| format!("herd{number}")).collect();
    for names in names.chunks(HOSTS_A_QUERY) {
        let selector = format!("herd_sequence{{instance=~\"{}\"}}[2h]", names.join("|"));
        let rows = collector.query(&selector).await?;
        ensure!(rows.len() == names.len(), "{} hosts of {}", rows.len(), names.len());
        for row in rows {
            let values = row["values"].as_array().cloned().unwrap_or_default();
            let numbers = values.iter().filter_map(|point| point[1].as_str()?.parse::<u64>().ok());
            let instance = &row["metric"]["instance"];
            let expect = 1..=values.len() as u64;
            ensure!(
                numbers.eq(expect.clone()),
                "{instance}: not each of {expect:?} once: {values:?}"
            );
            ensure!(values.len() as u64 >= missed, "{instance}: {} of {missed}", values.len());
        }
    }
    Ok(())
}
