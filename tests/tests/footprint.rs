//! What the running agent takes of its host.
#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use anyhow::Result;
use upkeep_tests::{Agent, AgentOptions, Collector, CollectorOptions, until};

const SOON: Duration = Duration::from_secs(60);

/// Heaps of threads begin at multiples of this, as GNU's C library makes them.
const HEAP_BYTES: u64 = 64 << 20;

#[tokio::test]
async fn the_agents_threads_share_one_heap_and_it_tells_what_it_takes() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let agent = Agent::start(&collector, &AgentOptions::default())?;
    let told = until("what the agent takes", SOON, || async {
        Ok(collector.query("process_resident_memory_bytes").await?.into_iter().next())
    });
    let told: f64 = told.await?["value"][1].as_str().unwrap_or_default().parse()?;
    let folder = format!("/proc/{}", agent.id()?);
    let status = fs::read_to_string(format!("{folder}/status"))?;
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let resident = line("VmRSS:").unwrap_or_default().trim().trim_end_matches(" kB");
    let resident = resident.parse::<f64>()? * 1024.0;
    assert!((told / resident - 1.0).abs() < 0.5, "{told} bytes are told, {resident} are taken");

    let maps = fs::read_to_string(format!("{folder}/maps"))?;
    let is_heap = |line: &&str| {
        let start = line.split_once('-').and_then(|(start, _)| u64::from_str_radix(start, 16).ok());
        start.is_some_and(|start| start % HEAP_BYTES == 0) && line.contains(" rw-p ")
    };
    let heaps: Vec<&str> = maps.lines().filter(is_heap).collect();
    assert!(heaps.is_empty(), "{heaps:?}");
    Ok(())
}
