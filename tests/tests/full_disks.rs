//! Disks that are short or full for a while, beyond what `bad_input.rs` tells of them: an agent leaves
//! the room that others need and accounts for what it drops, and a collector under load takes nothing
//! that it cannot keep.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeHost, SmallDisk, accounted_for,
    every_confirmed_once, until,
};

const SOON: Duration = Duration::from_secs(60);

/// Of this disk an agent leaves 500 MB free; it is in memory, of which only what is written counts.
const DISK_MEGABYTES: u32 = 520;

const KEPT_FREE: u64 = 500_000_000;

/// What the database takes beside the records that it may hold, when all that is free is kept.
const SLACK: u64 = 24 * 1024 * 1024;

/// Hosts that deliver to a collector whose disk is full.
const HOSTS: usize = 3;

fn options(host: &FakeHost, settings: &str) -> AgentOptions {
    AgentOptions {
        interval: Some("200ms".to_owned()),
        replay: Some(host.path().into()),
        settings: format!("[uplink]\nbackoff_max = \"200ms\"\n{settings}"),
        ..AgentOptions::default()
    }
}

/// Gives a host a page of series whose values are ever new, so that its records are long.
fn fill_page(host: &FakeHost, round: usize) -> Result<()> {
    let line = |number: usize| {
        format!(
            "story_page{{number=\"{number}\"}} {}\n",
            (round * 7919 + number) as f64 * 0.123_456_789
        )
    };
    host.write("page/story.prom", &(0..1500).map(line).collect::<String>())
}

fn free_bytes(disk: &SmallDisk) -> Result<u64> {
    let output = std::process::Command::new("df")
        .args(["-B1", "--output=avail"])
        .arg(disk.path())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    text.lines().nth(1).context("what df says")?.trim().parse().context("bytes")
}

fn status(agent: &Agent) -> Result<Value> {
    let shown: Value = serde_json::from_str(&agent.command(&["status", "--json"])?.success()?)?;
    Ok(shown["agent"]["buffer"].clone())
}

#[tokio::test]
async fn an_agent_leaves_the_disk_its_room_while_the_collector_is_away_and_accounts_for_what_goes()
-> Result<()> {
    let Some(disk) = SmallDisk::mount(DISK_MEGABYTES)? else {
        eprintln!("SKIPPED: this system does not allow a file system to be mounted");
        return Ok(());
    };
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    fill_page(&host, 0)?;
    let page = "[textfile]\ndirectory = \"/page\"\n";
    let options =
        AgentOptions { state_dir: Some(disk.path().join("state")), ..options(&host, page) };
    let agent = Agent::start(&collector, &options)?;
    every_confirmed_once(&collector, &agent, SOON).await?;
    let usual =
        until("the agent's status", SOON, || async { Ok(status(&agent)?["limit_bytes"].as_u64()) })
            .await?;
    collector.kill()?;
    // Somebody else takes the room, all but some megabytes above what has to stay free.
    let ballast = disk.path().join("ballast");
    let taken = free_bytes(&disk)?.saturating_sub(KEPT_FREE + 1024 * 1024);
    std::fs::write(&ballast, vec![1; usize::try_from(taken)?])?;
    let mut round = 0;
    let mut least = u64::MAX;
    until("the oldest samples to go", Duration::from_secs(120), || {
        round += 1;
        let seen = fill_page(&host, round)
            .and_then(|()| free_bytes(&disk))
            .map(|free| least = least.min(free))
            .and_then(|()| status(&agent));
        async move { Ok(seen?["dropped_samples"].as_u64().filter(|dropped| *dropped > 20)) }
    })
    .await?;
    let shown = status(&agent)?;
    let limit = shown["limit_bytes"].as_u64().context("limit_bytes")?;
    ensure!(limit < usual, "the limit is {limit}, usually {usual}");
    ensure!(least + SLACK > KEPT_FREE, "only {least} bytes were left free");
    std::fs::remove_file(&ballast)?;
    collector.launch().await?;
    let account = accounted_for(&collector, "web1", &agent, "story_none", 0, SOON).await?;
    ensure!(account.lost == 0 && account.declared > 0 && account.stored > 0, "{account:?}");
    let gaps = collector.gaps("web1").await?;
    let reasons: Vec<_> = gaps.iter().map(|gap| gap["reason"].clone()).collect();
    ensure!(
        reasons.iter().all(|reason| reason.as_str().is_some_and(|text| text.contains("full"))),
        "{reasons:?}"
    );
    until("the metrics to tell it, and the limit to be as usual", SOON, || async {
        let dropped = collector
            .query("upkeep_agent_buffer_dropped_records_total{lane=\"samples\"} > 0")
            .await?;
        let limit = collector.query(&format!("upkeep_agent_buffer_limit_bytes == {usual}")).await?;
        Ok((!dropped.is_empty() && !limit.is_empty()).then_some(()))
    })
    .await?;
    println!(
        "full disks: agent: at least {} MB free, {account:?}, {:?}",
        least / 1_000_000,
        reasons.first()
    );
    Ok(())
}

#[tokio::test]
async fn a_collector_whose_disk_is_full_again_and_again_loses_nothing_of_many_hosts() -> Result<()>
{
    let Some(disk) = SmallDisk::mount(64)? else {
        eprintln!("SKIPPED: this system does not allow a file system to be mounted");
        return Ok(());
    };
    let data_dir = Some(disk.path().join("data"));
    let collector =
        Collector::start(&CollectorOptions { data_dir, ..CollectorOptions::default() }).await?;
    let hosts = (0..HOSTS).map(|number| FakeHost::new(&format!("web{number}")));
    let hosts = hosts.collect::<Result<Vec<_>>>()?;
    let agents = hosts.iter().map(|host| Agent::start(&collector, &options(host, "")));
    let agents = agents.collect::<Result<Vec<_>>>()?;
    let id = collector.id()?;
    for _ in 0..3 {
        disk.fill();
        for agent in &agents {
            let before = agent.confirmed()?.len();
            until("observations meanwhile", SOON, || {
                let confirmed = agent.confirmed();
                async move { Ok((confirmed?.len() >= before + 8).then_some(())) }
            })
            .await?;
        }
        disk.empty()?;
        for (agent, number) in agents.iter().zip(0..) {
            until("all that was confirmed, once", SOON, || async {
                let selector = format!("node_load1{{instance=\"web{number}\"}}");
                let mut stored: Vec<_> =
                    collector.samples(&selector).await?.into_iter().map(|(at, _)| at).collect();
                let confirmed = agent.confirmed()?;
                let missing = confirmed.iter().filter(|at| !stored.contains(at)).count();
                let count = stored.len();
                stored.dedup();
                ensure!(missing == 0 && stored.len() == count, "{missing} missing, {count} stored");
                Ok(Some(()))
            })
            .await?;
        }
    }
    ensure!(collector.id()? == id, "it was started anew");
    let log = collector.log()?;
    ensure!(log.contains("No space left") || log.contains("disk is full"), "{log}");
    ensure!(!log.contains("panicked"), "{log}");
    for number in 0..HOSTS {
        let gaps = collector.gaps(&format!("web{number}")).await?;
        ensure!(gaps.is_empty(), "{gaps:?}");
    }
    Ok(())
}
