//! What changes on a host is told once, in order, whatever ends meanwhile.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use upkeep_tests::{Agent, AgentOptions, Collector, CollectorOptions, FakeHost, until};

const SOON: Duration = Duration::from_secs(60);

/// How often the agent is killed about the moment at which it tells of a change.
const KILLS: u64 = 24;

/// What changes on a host; what becomes of its agent, and what the collector sees of that, is another
/// story.
const KINDS: [&str; 8] = [
    "package_installed",
    "package_updated",
    "package_removed",
    "kernel",
    "boot",
    "configuration",
    "agent_version",
    "unit_failed",
];

fn options(host: &FakeHost) -> AgentOptions {
    AgentOptions {
        interval: Some("200ms".to_owned()),
        replay: Some(host.path().into()),
        settings: "[uplink]\nbackoff_max = \"200ms\"\n[changes]\ninterval = \"100ms\"\n".to_owned(),
        ..AgentOptions::default()
    }
}

fn status(packages: &[(&str, &str)]) -> String {
    let paragraph = |(name, version): &(&str, &str)| {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\n\
             Version: {version}\n\n"
        )
    };
    packages.iter().map(paragraph).collect()
}

/// The changes that the collector has, the oldest first, as `kind subject: before -> after`.
async fn changes(collector: &Collector) -> Result<Vec<String>> {
    let kinds: String = KINDS.iter().map(|kind| format!("&kind={kind}")).collect();
    let page = collector.json(&format!("/api/v1/events?limit=1000{kinds}")).await?;
    let events = page["data"]["events"].as_array().context("no events")?;
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let line = |event: &Value| {
        let [kind, subject, before, after] =
            ["kind", "subject", "before", "after"].map(|key| text(event, key));
        format!("{kind} {subject}: {before} -> {after}")
    };
    Ok(events.iter().rev().map(line).collect())
}

async fn installed(collector: &Collector) -> Result<Vec<String>> {
    let page = collector.json("/api/v1/inventory").await?;
    let packages = page["data"]["packages"].as_array().context("no packages")?;
    Ok(packages
        .iter()
        .map(|package| format!("{} {}", package["package"], package["version"]))
        .collect())
}

#[tokio::test]
async fn packages_and_boots_are_seen_at_the_collector() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    host.write("var/lib/dpkg/status", &status(&[("bash", "5.2"), ("zlib1g", "1.2")]))?;
    let mut agent = Agent::start(&collector, &options(&host))?;
    until("the list of packages", SOON, || async {
        Ok((installed(&collector).await?.len() == 2).then_some(()))
    })
    .await?;
    assert!(changes(&collector).await?.is_empty(), "the beginning is no change");

    host.write("var/lib/dpkg/status", &status(&[("bash", "5.3"), ("nginx", "1.22")]))?;
    until("the packages' changes", SOON, || async {
        Ok((changes(&collector).await?.len() >= 3).then_some(()))
    })
    .await?;
    agent.stop().await?;
    // While the agent does not run, the host is started anew with another kernel.
    host.write("proc/sys/kernel/random/boot_id", "99999999-2222-3333-4444-555555555555\n")?;
    host.write("proc/sys/kernel/osrelease", "6.1.0-41-amd64\n")?;
    agent.launch()?;
    until("the boot", SOON, || async { Ok((changes(&collector).await?.len() >= 5).then_some(())) })
        .await?;
    assert_eq!(
        changes(&collector).await?,
        [
            "package_updated bash:amd64: 5.2 -> 5.3",
            "package_installed nginx:amd64:  -> 1.22",
            "package_removed zlib1g:amd64: 1.2 -> ",
            "boot : 11111111-2222-3333-4444-555555555555 -> 99999999-2222-3333-4444-555555555555",
            "kernel : 6.1.0-40-amd64 -> 6.1.0-41-amd64",
        ]
    );
    assert_eq!(installed(&collector).await?, [r#""bash" "5.3""#, r#""nginx" "1.22""#]);
    Ok(())
}

#[tokio::test]
async fn an_agent_killed_about_a_change_tells_it_once() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    host.write("etc/hosts", "0")?;
    let mut agent = Agent::start(&collector, &options(&host))?;
    // What later looks are compared with; before that no change can be told.
    let memory = agent.state_dir().join("changes.json");
    until("the first look", SOON, || async { Ok(memory.exists().then_some(())) }).await?;
    // There and back, so that the same change comes again and again.
    let mut told = 0;
    for kill in 1..=KILLS {
        host.write("etc/hosts", &format!("{}", kill % 2))?;
        tokio::time::sleep(Duration::from_millis(9 * kill)).await;
        agent.kill()?;
        told = agent.log()?.len();
        agent.launch()?;
        until("the change", SOON, || async {
            Ok((changes(&collector).await?.len() as u64 >= kill).then_some(()))
        })
        .await?;
    }
    // What the last agent had to tell again is told once it is connected and has nothing left.
    until("the last agent", SOON, || async {
        let log = agent.log()?;
        let last = log.get(told..).unwrap_or_default();
        Ok(last.contains("connected to the collector").then_some(()))
    })
    .await?;
    agent.stop().await?;
    let seen = changes(&collector).await?;
    assert_eq!(seen.len() as u64, KILLS, "{seen:#?}");
    let hash_of = |line: &String, end: usize| line.rsplit(' ').nth(end).map(str::to_owned);
    for pair in seen.windows(2) {
        assert_eq!(hash_of(&pair[0], 0), hash_of(&pair[1], 2), "{pair:?}");
    }
    Ok(())
}
