//! A program that may open no more files, nor accept connections, goes on with what it has, says so
//! once, takes no processor time for it, and is whole again when it may.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeHost, every_confirmed_once,
    limit_open_files, open_files, processor_time, until,
};

const SOON: Duration = Duration::from_secs(60);

/// So long nothing can be opened.
const SHORTAGE: Duration = Duration::from_secs(6);

/// So many connections want to be accepted meanwhile.
const KNOCKS: usize = 100;

/// What else a program may have open: far below what it may have by itself.
const PLENTY: u64 = 1024;

fn options(host: &FakeHost) -> AgentOptions {
    AgentOptions {
        interval: Some("200ms".to_owned()),
        replay: Some(host.path().into()),
        settings: "[uplink]\nbackoff_max = \"200ms\"\n".to_owned(),
        ..AgentOptions::default()
    }
}

async fn more_confirmed(agent: &Agent, more: usize) -> Result<()> {
    let before = agent.confirmed()?.len();
    until("more observations", SOON, || {
        let confirmed = agent.confirmed();
        async move { Ok((confirmed?.len() >= before + more).then_some(())) }
    })
    .await
}

/// The part of a processor that a program takes while time passes.
async fn load_while(id: u32, time: Duration) -> Result<f64> {
    let (began, before) = (Instant::now(), processor_time(id)?);
    tokio::time::sleep(time).await;
    let taken = processor_time(id)?.saturating_sub(before);
    Ok(taken.as_secs_f64() / began.elapsed().as_secs_f64())
}

#[tokio::test]
async fn a_collector_without_file_descriptors_goes_on_says_so_once_and_accepts_again() -> Result<()>
{
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let [first, second] = [FakeHost::new("web1")?, FakeHost::new("web2")?];
    let agent = Agent::start(&collector, &options(&first))?;
    let mut other = Agent::new(&options(&second))?;
    other.enroll(&collector.token()?)?.success()?;
    more_confirmed(&agent, 5).await?;
    every_confirmed_once(&collector, &agent, SOON).await?;
    let usual = load_while(collector.id()?, Duration::from_secs(2)).await?;

    let open = open_files(collector.id()?)?;
    limit_open_files(collector.id()?, u64::try_from(open)? + 4)?;
    let held: Vec<_> =
        (0..KNOCKS).filter_map(|_| TcpStream::connect(collector.grpc()).ok()).collect();
    let told = "connections cannot be accepted";
    until("the collector to say that it can accept none", SOON, || async {
        Ok(collector.log()?.contains(told).then_some(()))
    })
    .await?;
    other.launch()?;
    let load = load_while(collector.id()?, SHORTAGE).await?;
    ensure!(load < usual + 0.2, "it takes {load:.2} of a processor, {usual:.2} before");
    let times = collector.log()?.matches(told).count();
    ensure!(times == 1, "said {times} times");
    drop(held);
    limit_open_files(collector.id()?, PLENTY)?;

    for agent in [&agent, &other] {
        more_confirmed(agent, 5).await?;
    }
    until("both hosts to be there", SOON, || async {
        Ok((collector.query("up == 1").await?.len() == 2).then_some(()))
    })
    .await?;
    let stored = until("all that the first confirmed", SOON, || async {
        let stored = collector.samples("node_load1{instance=\"web1\"}").await?;
        let confirmed = agent.confirmed()?;
        let missing = confirmed.iter().filter(|at| !stored.iter().any(|(stamp, _)| stamp == *at));
        let missing = missing.count();
        ensure!(missing == 0, "{missing} are missing");
        Ok(Some(stored.len()))
    })
    .await?;
    ensure!(!collector.log()?.contains("panicked"), "{}", collector.log()?);
    println!(
        "open files: collector: {load:.2} of a processor without, {usual:.2} with; {stored} samples, lost 0"
    );
    Ok(())
}

#[tokio::test]
async fn an_agent_without_file_descriptors_goes_on_says_so_once_and_connects_again() -> Result<()> {
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let mut agent = Agent::start(&collector, &options(&host))?;
    more_confirmed(&agent, 5).await?;
    every_confirmed_once(&collector, &agent, SOON).await?;
    let usual = load_while(agent.id()?, Duration::from_secs(2)).await?;

    collector.kill()?;
    let lines = agent.log()?.lines().count();
    limit_open_files(agent.id()?, 3)?;
    until("the agent to say that it cannot connect", SOON, || {
        let log = agent.log();
        async move { Ok(log?.contains("Too many open files").then_some(())) }
    })
    .await?;
    collector.launch().await?;
    let load = load_while(agent.id()?, SHORTAGE).await?;
    ensure!(load < usual + 0.2, "it takes {load:.2} of a processor, {usual:.2} before");
    ensure!(agent.is_running()?, "the agent ended: {}", agent.log()?);
    limit_open_files(agent.id()?, PLENTY)?;

    more_confirmed(&agent, 5).await?;
    // What it could not read meanwhile it could not tell either; that it looked, it could.
    let series = "node_scrape_collector_success{collector=\"loadavg\"}";
    until("all that it confirmed, or the gap", SOON, || async {
        let stored = collector.samples(series).await?;
        let confirmed = agent.confirmed()?;
        let missing = confirmed.iter().filter(|at| !stored.iter().any(|(stamp, _)| stamp == *at));
        let missing = missing.count();
        ensure!(missing == 0, "{missing} of {} are missing", confirmed.len());
        Ok(Some(()))
    })
    .await?;
    // Each of its probes says once that it failed and once that it works again.
    let log = agent.log()?;
    let said = log.lines().skip(lines).filter(|line| !line.contains("observation is durable"));
    let said = said.count();
    ensure!(said < 200, "{said} lines: {log}");
    ensure!(!log.contains("panicked"), "{log}");
    println!(
        "open files: agent: {load:.2} of a processor without, {usual:.2} with; {said} lines said"
    );
    Ok(())
}
