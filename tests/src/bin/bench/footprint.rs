//! What the agent takes of its host, beside its peers in the same minutes.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use upkeep_tests::{Agent, AgentOptions, Collector, CollectorOptions, until};

use super::SOON;
use super::meter::Meter;
use super::peers::Peers;
use super::usage::{cpu_seconds, median, memory};

/// How long all run before anything is counted: what is done only at the start is then over.
const WARM_UP: Duration = Duration::from_secs(60);

/// The processor's time is counted in so many windows, of which the middle one holds.
const WINDOWS: usize = 4;
const WINDOW: Duration = Duration::from_secs(60);

/// How long the agent's syncs are counted; apart, since counting costs time itself.
const TRACE_SECONDS: &str = "60";

/// A process that is looked at.
struct Contender {
    name: &'static str,
    id: u32,
    /// Shares of a core in percent, one a window.
    shares: Vec<f64>,
}

/// Processor, memory and bytes of an agent of this machine at the default interval, and its peers'.
pub(super) async fn footprint() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let meter = Meter::start(collector.grpc()).await?;
    let options = AgentOptions {
        interval: Some("10s".to_owned()),
        settings: format!("[uplink]\naddress = \"{}\"\n", meter.address),
        ..AgentOptions::default()
    };
    let agent = Agent::start(&collector, &options)?;
    let peers = Peers::start().await?;
    until("the first sample", SOON, || async {
        Ok(collector.query("node_load1").await?.into_iter().next())
    })
    .await?;
    let mut contenders = vec![Contender { name: "upkeep-agent", id: agent.id()?, shares: vec![] }];
    contenders.extend(peers.processes().map(|(name, id)| Contender { name, id, shares: vec![] }));
    tokio::time::sleep(WARM_UP).await;

    let (sent, before) = (meter.sent(), frames(&collector).await?);
    for _ in 0..WINDOWS {
        measure(&mut contenders).await?;
    }
    let (sent, frames) = (meter.sent() - sent, frames(&collector).await? - before);
    let series = collector.query("count({job=\"node\"})").await?;
    let series: f64 = series[0]["value"][1].as_str().context("a count")?.parse()?;

    println!("{WINDOWS} windows of {} s at 10 s: median (least, most)", WINDOW.as_secs());
    for contender in &mut contenders {
        print(contender)?;
    }
    println!("  series: agent {series}, node_exporter {:?}", peers.series().await?);
    println!(
        "  sent by the agent: {sent} bytes, {:.2} a sample",
        sent as f64 / (frames as f64 * series)
    );
    println!("  syncs of the agent: {}", syncs(agent.id()?)?);
    Ok(())
}

async fn measure(contenders: &mut [Contender]) -> Result<()> {
    let mut before = Vec::new();
    for contender in contenders.iter() {
        before.push(cpu_seconds(contender.id)?);
    }
    tokio::time::sleep(WINDOW).await;
    for (contender, before) in contenders.iter_mut().zip(before) {
        let taken = cpu_seconds(contender.id)? - before;
        contender.shares.push(100.0 * taken / WINDOW.as_secs_f64());
    }
    Ok(())
}

fn print(contender: &mut Contender) -> Result<()> {
    let middle = median(&mut contender.shares).context("no window")?;
    let (least, most) = (contender.shares[0], contender.shares[contender.shares.len() - 1]);
    println!(
        "  {:26} {middle:.3} % of a core ({least:.3}, {most:.3}), RSS {:.1}, PSS {:.1} MiB",
        contender.name,
        memory(contender.id, "Rss:")?,
        memory(contender.id, "Pss:")?
    );
    Ok(())
}

async fn frames(collector: &Collector) -> Result<usize> {
    Ok(collector.samples("node_load1").await?.len())
}

/// How often a process waits for the disk.
fn syncs(id: u32) -> Result<String> {
    let calls = "trace=fsync,fdatasync,sync_file_range,msync,syncfs";
    let traced = Command::new("timeout")
        .args([TRACE_SECONDS, "strace", "-f", "-qq", "-e", calls, "-p", &id.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&traced.stderr);
    if text.contains("strace: ") || text.contains("No such file") {
        return Ok("unknown, since strace is missing or not allowed".to_owned());
    }
    let count = |call: &str| text.lines().filter(|line| line.contains(&format!("{call}("))).count();
    let waits = count(" fsync") + count(" fdatasync");
    Ok(format!(
        "{waits} fsync and fdatasync, {} sync_file_range in {TRACE_SECONDS} s",
        count(" sync_file_range")
    ))
}
