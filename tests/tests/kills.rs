//! Agent and collector are killed at random moments, working and starting alike, and everything that
//! was confirmed arrives once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::RngExt;
use rand::rngs::StdRng;
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FORGOTTEN, FakeHost, audit, seeded, setting,
    until,
};

const SOON: Duration = Duration::from_secs(60);

/// How often each of the two is killed, unless told otherwise.
const KILLS: u64 = 50;

/// How long a life of work lasts at most.
const WORK_MS: u64 = 350;

/// The chance that a life ends while it begins.
const WHILE_OPENING: f64 = 0.25;

/// The pair, and how long each takes to start.
struct Pair {
    collector: Collector,
    agent: Agent,
    host: FakeHost,
    version: u64,
    starts: [Duration; 2],
    kills: [u64; 2],
    while_opening: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Agent,
    Collector,
}

impl Pair {
    async fn start() -> Result<Self> {
        let collector = Collector::start(&CollectorOptions::default()).await?;
        let host = FakeHost::new("web1")?;
        let options = AgentOptions {
            interval: Some("100ms".to_owned()),
            replay: Some(host.path().into()),
            settings: "[uplink]\nbackoff_max = \"100ms\"\n[changes]\ninterval = \"100ms\"\n"
                .to_owned(),
            ledger: true,
            ..AgentOptions::default()
        };
        let mut pair = Self {
            agent: Agent::new(&options)?,
            collector,
            host,
            version: 0,
            starts: [Duration::from_millis(200); 2],
            kills: [0; 2],
            while_opening: 0,
        };
        pair.update()?;
        pair.agent.enroll(&pair.collector.token()?)?.success()?;
        pair.agent.launch()?;
        Ok(pair)
    }

    /// Another version of a package, which is a change to be told once.
    fn update(&mut self) -> Result<()> {
        self.version += 1;
        let status = format!(
            "Package: app\nStatus: install ok installed\nArchitecture: amd64\nVersion: {}\n\n",
            self.version
        );
        self.host.write("var/lib/dpkg/status", &status)
    }

    /// Kills one, and lets it start and be killed again now and then.
    async fn kill(&mut self, side: Side, random: &mut StdRng) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..WORK_MS))).await;
        self.end(side)?;
        while random.random_bool(WHILE_OPENING) {
            let log = self.agent.log_bytes()?;
            self.begin(side)?;
            let most = self.starts[side as usize].as_micros();
            tokio::time::sleep(Duration::from_micros(random.random_range(0..most as u64))).await;
            let has_begun = match side {
                Side::Agent => self.agent.log_since(log)?.contains(" starts"),
                Side::Collector => self.collector.listens(),
            };
            self.while_opening += u64::from(!has_begun);
            self.end(side)?;
        }
        self.start_again(side).await
    }

    fn end(&mut self, side: Side) -> Result<()> {
        self.kills[side as usize] += 1;
        match side {
            Side::Agent => self.agent.kill(),
            Side::Collector => self.collector.kill(),
        }
    }

    fn begin(&mut self, side: Side) -> Result<()> {
        match side {
            Side::Agent => self.agent.launch(),
            Side::Collector => self.collector.begin(),
        }
    }

    async fn start_again(&mut self, side: Side) -> Result<()> {
        let (begun, log) = (Instant::now(), self.agent.log_bytes()?);
        self.begin(side)?;
        match side {
            Side::Collector => self.collector.ready().await?,
            Side::Agent => {
                until("the agent's start", SOON, || {
                    let log = self.agent.log_since(log);
                    async move { Ok(log?.contains(" starts").then_some(())) }
                })
                .await?
            }
        }
        self.starts[side as usize] = begun.elapsed();
        Ok(())
    }
}

#[tokio::test]
async fn programs_killed_at_any_moment_lose_nothing_and_double_nothing() -> Result<()> {
    let mut random = seeded("UPKEEP_KILL_SEED");
    let wanted = setting("UPKEEP_KILLS").unwrap_or(KILLS);
    let mut pair = Pair::start().await?;
    while pair.kills.iter().any(|kills| *kills < wanted) {
        let side = match pair.kills {
            [agent, _] if agent >= wanted => Side::Collector,
            [_, collector] if collector >= wanted => Side::Agent,
            _ if random.random() => Side::Agent,
            _ => Side::Collector,
        };
        if random.random_bool(0.3) {
            pair.update()?;
        }
        pair.kill(side, &mut random).await?;
    }
    let audit = audit(&pair.collector, "web1", &pair.agent, SOON).await?;
    let [agent, collector] = pair.kills;
    let opening = pair.while_opening;
    println!("kills: {agent} agent, {collector} collector, {opening} during open; {audit}");
    let audit = audit.whole()?;
    ensure!(!pair.agent.log()?.contains(FORGOTTEN), "the collector forgot");
    // Every life of work is long enough for something, more often than not.
    ensure!(audit.samples as u64 > wanted * 50 && audit.changes as u64 > wanted / 8, "{audit}");
    ensure!(opening >= (agent + collector) / 12, "{opening} kills during open");
    Ok(())
}
