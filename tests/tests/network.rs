//! A network that fails in every way that TCP can show costs nothing but time.

use std::time::Duration;

use anyhow::{Result, ensure};
use upkeep_tests::{
    Agent, AgentOptions, Audit, Collector, CollectorOptions, FORGOTTEN, FakeHost, Proxy, audit,
    seed, setting, until,
};

const SOON: Duration = Duration::from_secs(60);

/// How many connections fail, unless told otherwise, and how long that may take each.
const FAULTS: u64 = 50;
const FAULT_PATIENCE: Duration = Duration::from_secs(5);

const HOSTS: [&str; 4] = ["web1", "web2", "web3", "web4"];

#[tokio::test]
async fn a_failing_network_loses_nothing_and_doubles_nothing() -> Result<()> {
    let faults = setting("UPKEEP_NETWORK_FAULTS").unwrap_or(FAULTS);
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let proxy = Proxy::start(collector.grpc()).await?;
    let mut agents = Vec::new();
    for name in HOSTS {
        let host = FakeHost::new(name)?;
        let options = AgentOptions {
            interval: Some("200ms".to_owned()),
            replay: Some(host.path().into()),
            settings: proxy.settings(),
            ledger: true,
            ..AgentOptions::default()
        };
        agents.push((name, Agent::start(&collector, &options)?, host));
    }
    for name in HOSTS {
        until("the first samples", SOON, || async {
            let stored = collector.samples(&format!("node_load1{{instance={name:?}}}")).await?;
            Ok((!stored.is_empty()).then_some(()))
        })
        .await?;
    }
    proxy.storm(seed("UPKEEP_NETWORK_SEED"));
    let patience = FAULT_PATIENCE * u32::try_from(faults)?;
    until("connections that failed", patience, || async {
        Ok((proxy.failed() as u64 >= faults).then_some(()))
    })
    .await?;
    proxy.heal();
    let mut whole = Audit::default();
    for (name, agent, _) in &agents {
        ensure!(!agent.log()?.contains(FORGOTTEN), "the collector forgot");
        whole.add(&audit(&collector, name, agent, SOON).await?);
    }
    println!("network: {proxy}; {whole}");
    let whole = whole.whole()?;
    ensure!(whole.samples as u64 > faults * 20, "{whole}");
    let log = collector.log()?;
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}
