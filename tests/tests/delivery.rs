//! Nothing confirmed is lost and nothing is stored twice, whatever ends or goes away.

use std::time::Duration;

use anyhow::{Result, ensure};
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeHost, Leases, every_confirmed_once, until,
};

const SOON: Duration = Duration::from_secs(60);

fn fast(host: &FakeHost) -> AgentOptions {
    AgentOptions {
        interval: Some("200ms".to_owned()),
        replay: Some(host.path().into()),
        settings: "[uplink]\nbackoff_max = \"200ms\"\n".to_owned(),
        ..AgentOptions::default()
    }
}

#[tokio::test]
async fn a_collector_that_was_away_gets_everything_once() -> Result<()> {
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let mut agent = Agent::start(&collector, &fast(&host))?;
    for round in 0..3 {
        until("fresh data", SOON, || async {
            let stored = collector.samples("node_load1").await?;
            Ok((stored.len() > round * 20).then_some(()))
        })
        .await?;
        if round % 2 == 0 {
            collector.stop().await?
        } else {
            collector.kill()?
        }
        let before = agent.confirmed()?.len();
        until("observations while the collector is away", SOON, || {
            let confirmed = agent.confirmed();
            async move { Ok((confirmed?.len() >= before + 25).then_some(())) }
        })
        .await?;
        collector.launch().await?;
    }
    agent.stop().await?;
    // What was confirmed last may still be in the buffer: a new life of the agent sends it.
    agent.launch()?;
    let stored = every_confirmed_once(&collector, &agent, SOON).await?;
    assert!(stored >= 75, "{stored}");
    Ok(())
}

#[tokio::test]
async fn values_arrive_as_they_were_observed() -> Result<()> {
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    host.set_load(1.0)?;
    let agent = Agent::start(&collector, &fast(&host))?;
    for step in 1..=5 {
        host.set_load(f64::from(step))?;
        until("the new value", SOON, || async {
            let stored = collector.samples("node_load1").await?;
            Ok(stored.last().filter(|(_, value)| *value == step.to_string()).map(|_| ()))
        })
        .await?;
    }
    collector.kill()?;
    host.set_load(7.0)?;
    let before = agent.confirmed()?.len();
    until("observations while the collector is away", SOON, || {
        let confirmed = agent.confirmed();
        async move { Ok((confirmed?.len() >= before + 5).then_some(())) }
    })
    .await?;
    collector.launch().await?;
    every_confirmed_once(&collector, &agent, SOON).await?;
    let values: Vec<String> =
        collector.samples("node_load1").await?.into_iter().map(|(_, value)| value).collect();
    let mut steps = values.clone();
    steps.dedup();
    assert_eq!(steps, ["1", "2", "3", "4", "5", "7"]);
    Ok(())
}

#[tokio::test]
async fn series_that_come_and_go_keep_their_values() -> Result<()> {
    /// Enough for two times that they are numbered anew.
    const MOST_ROUNDS: usize = 20;
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let mut leases = Leases::new(&host)?;
    let mut options = fast(&host);
    options.settings.push_str(Leases::SETTINGS);
    let agent = Agent::start(&collector, &options)?;
    while agent.log()?.matches("numbered anew").count() < 2 {
        ensure!(leases.rounds() < MOST_ROUNDS, "the series of all rounds are kept");
        leases.next_round(&collector, SOON).await?;
    }
    assert_eq!(leases.check(&collector).await?, leases.rounds());
    every_confirmed_once(&collector, &agent, SOON).await?;
    Ok(())
}
