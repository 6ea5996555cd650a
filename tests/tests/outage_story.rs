//! After an outage an operator reads what happened from the events alone, and while it lasts the agent
//! says what waits and for how long there is room.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use upkeep_agent::buffer::{Buffer, Draft, KeepFree, Options};
use upkeep_model::Observation;
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeHost, every_confirmed_once, until,
};

const SOON: Duration = Duration::from_secs(60);

/// A host is missed after three intervals of at least a second.
const OBSERVED_AGAIN: usize = 20;

/// The smallest buffer that can be configured, what is left of it when the agent starts, and how far
/// apart the observations are that fill it.
const LIMIT_BYTES: u64 = 1024 * 1024;
const LEFT_BYTES: u64 = 16 * 1024;
const STEP_MS: i64 = 100;

fn options(host: &FakeHost, settings: &str) -> AgentOptions {
    AgentOptions {
        interval: Some("200ms".to_owned()),
        replay: Some(host.path().into()),
        settings: format!("[uplink]\nbackoff_max = \"200ms\"\n{settings}"),
        ..AgentOptions::default()
    }
}

/// The events of the given kinds or, without any, all; the oldest first.
async fn events(collector: &Collector, kinds: &[&str]) -> Result<Vec<Value>> {
    let kinds: String = kinds.iter().map(|kind| format!("&kind={kind}")).collect();
    let page = collector.json(&format!("/api/v1/events?limit=1000{kinds}")).await?;
    let mut events = page["data"]["events"].as_array().context("no events")?.clone();
    events.reverse();
    Ok(events)
}

/// Waits for the given number of events of a kind and gives the newest.
async fn nth(collector: &Collector, kind: &str, count: usize) -> Result<Value> {
    until(&format!("event {count} of kind {kind}"), SOON, || async {
        let events = events(collector, &[kind]).await?;
        Ok(events.get(count - 1).cloned())
    })
    .await
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["kind"].as_str()).collect()
}

/// Whether the words come in this order, whatever stands between them.
fn come_in_order(words: &[&str], expect: &[&str]) -> bool {
    let mut words = words.iter();
    expect.iter().all(|next| words.any(|word| word == next))
}

fn status(agent: &Agent) -> Result<Value> {
    Ok(serde_json::from_str(&agent.command(&["status", "--json"])?.success()?)?)
}

/// Waits until the agent's status is as wanted, and gives it.
async fn status_that(
    agent: &Agent,
    what: &str,
    is_wanted: impl Fn(&Value) -> bool,
) -> Result<Value> {
    until(what, SOON, || async {
        let status = status(agent)?;
        let found = is_wanted(&status["agent"]);
        ensure!(found, "{status:#}");
        Ok(Some(status["agent"].clone()))
    })
    .await
}

async fn observed(agent: &Agent, more: usize) -> Result<()> {
    let before = agent.confirmed()?.len();
    until("observations", SOON, || {
        let confirmed = agent.confirmed();
        async move { Ok((confirmed?.len() >= before + more).then_some(())) }
    })
    .await
}

/// A collector and a host whose agent has delivered something.
async fn delivering(settings: &str) -> Result<(Collector, FakeHost, Agent)> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let agent = Agent::start(&collector, &options(&host, settings))?;
    observed(&agent, 5).await?;
    every_confirmed_once(&collector, &agent, SOON).await?;
    Ok((collector, host, agent))
}

fn now_ms() -> Result<i64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_millis())?)
}

/// Leaves in the buffer of an agent that does not run what an hour's outage would have left, and little
/// room.
fn nearly_fill(agent: &Agent) -> Result<()> {
    let keep_free = KeepFree { percent: 0, bytes: 0 };
    let options = Options { limit_bytes: LIMIT_BYTES, keep_free };
    let mut buffer = Buffer::open(&agent.state_dir().join("buffer"), options, now_ms()?)?;
    let mut at_ms = now_ms()? - 3_600_000;
    while buffer.statistics().bytes < LIMIT_BYTES - LEFT_BYTES {
        let observed = (0..100).map(|step| {
            let mut observation = Observation::at(at_ms + step * STEP_MS);
            observation.gauge("story_missed", "", &[], step as f64);
            Draft::Observation(observation)
        });
        buffer.append(&observed.collect::<Vec<_>>())?;
        at_ms += 100 * STEP_MS;
    }
    Ok(())
}

#[tokio::test]
async fn an_outage_of_the_collector_and_of_the_agent_reads_as_a_story() -> Result<()> {
    let (mut collector, _host, mut agent) = delivering("").await?;

    collector.kill()?;
    observed(&agent, OBSERVED_AGAIN).await?;
    let is_told = |agent: &Value| {
        agent["buffer"]["room_seconds"].as_f64().is_some_and(|seconds| seconds > 60.0)
            && agent["buffer"]["samples"].as_u64().is_some_and(|waiting| waiting >= 20)
    };
    let away = status_that(&agent, "what waits, and for how long there is room", is_told).await?;
    assert_eq!(
        (&away["connected"], &away["buffer"]["losses"]),
        (&false.into(), &Value::Array(vec![]))
    );
    assert!(away["since_ms"].is_i64() && away["reason"].is_string(), "{away:#}");
    assert!(away["buffer"]["oldest_ms"].as_i64() <= away["written_at_ms"].as_i64(), "{away:#}");
    let text = agent.command(&["status"])?.success()?;
    for part in ["connection   down since", "if nothing is delivered", "nothing since the start"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    collector.launch().await?;
    let backlog = nth(&collector, "backlog_delivered", 1).await?;
    assert!(backlog["details"]["records"].as_u64() >= Some(15), "{backlog:#}");
    let started = nth(&collector, "collector_started", 2).await?;
    assert_eq!(started["details"]["after"], "unclean", "{started:#}");
    assert!(started["text"].as_str().unwrap_or_default().contains("not been stopped"), "{started}");

    agent.kill()?;
    nth(&collector, "host_lost", 1).await?;
    agent.launch()?;
    let back = nth(&collector, "host_back", 1).await?;
    assert!(back["details"]["since"].is_string(), "{back:#}");
    let interrupted = nth(&collector, "agent_interrupted", 1).await?;
    assert!(interrupted["before"].as_str().unwrap_or_default().contains('T'), "{interrupted:#}");
    agent.stop().await?;
    nth(&collector, "agent_stopped", 1).await?;
    nth(&collector, "host_lost", 2).await?;
    agent.launch()?;
    nth(&collector, "host_back", 2).await?;

    let all = events(&collector, &[]).await?;
    let story = [
        "collector_started",
        "collector_started",
        "backlog_delivered",
        "host_lost",
        "agent_interrupted",
        "host_back",
        "agent_stopped",
        "host_lost",
        "host_back",
    ];
    assert!(come_in_order(&kinds(&all), &story), "{all:#?}");
    let count = |kind: &str| kinds(&all).into_iter().filter(|one| *one == kind).count();
    assert_eq!((count("collector_started"), count("host_lost")), (2, count("host_back")));
    assert!(all.iter().all(|event| event["text"] != ""), "{all:#?}");
    assert!(count("gap_declared") + count("buffer_replaced") == 0, "{all:#?}");
    Ok(())
}

#[tokio::test]
async fn a_buffer_that_overflows_tells_what_was_lost() -> Result<()> {
    let settings = format!(
        "[buffer]\nlimit_bytes = {LIMIT_BYTES}\nkeep_free_percent = 0\nkeep_free_bytes = 0\n"
    );
    let (mut collector, _host, mut agent) = delivering(&settings).await?;

    agent.stop().await?;
    collector.stop().await?;
    nearly_fill(&agent)?;
    agent.launch()?;
    let overflowed = |agent: &Value| {
        let loss = &agent["buffer"]["losses"][0];
        loss["records"].as_u64() > Some(0) && loss["reason"] == "the buffer was full"
    };
    let full = status_that(&agent, "a loss", overflowed).await?;
    assert!(full["buffer"]["losses"][0]["last_ms"].is_i64(), "{full:#}");
    collector.launch().await?;
    let gap = nth(&collector, "gap_declared", 1).await?;
    assert_eq!(gap["details"]["reason"], "the buffer was full", "{gap:#}");
    for time in ["from", "to"] {
        assert!(gap["details"][time].is_string(), "{gap:#}");
    }
    nth(&collector, "backlog_delivered", 1).await?;
    let all = events(&collector, &[]).await?;
    let story = ["collector_stopped", "collector_started", "gap_declared", "backlog_delivered"];
    assert!(come_in_order(&kinds(&all), &story), "{all:#?}");
    let started = nth(&collector, "collector_started", 2).await?;
    assert_eq!(started["details"]["after"], "clean", "{started:#}");
    // Dropped in many portions, it is one loss.
    assert_eq!(events(&collector, &["gap_declared"]).await?.len(), 1, "{all:#?}");
    let declared = collector.gaps("web1").await?;
    let records: u64 = declared.iter().filter_map(|gap| gap["records"].as_u64()).sum();
    let gap = nth(&collector, "gap_declared", 1).await?;
    assert_eq!(gap["details"]["records"].as_u64(), Some(records), "{declared:#?}");
    // There were observations, so the host ran.
    let found = collector.json("/api/v1/hosts/web1/availability").await?;
    let reasons: Vec<&str> = found["data"]["intervals"]
        .as_array()
        .context("no intervals")?
        .iter()
        .filter(|one| one["state"] == "up")
        .filter_map(|one| one["reason"].as_str())
        .collect();
    assert!(reasons.iter().any(|reason| reason.contains("the buffer was full")), "{reasons:?}");
    Ok(())
}

#[tokio::test]
async fn a_host_that_was_down_is_told_from_one_that_was_not_heard() -> Result<()> {
    let (mut collector, host, mut agent) = delivering("").await?;
    collector.kill()?;
    observed(&agent, OBSERVED_AGAIN).await?;
    collector.launch().await?;
    nth(&collector, "backlog_delivered", 1).await?;

    agent.kill()?;
    nth(&collector, "host_lost", 1).await?;
    let stat = std::fs::read_to_string(host.path().join("root/proc/stat"))?;
    let booted_s = now_ms()? / 1000;
    host.write("proc/stat", &stat.replace("btime 1700000000", &format!("btime {booted_s}")))?;
    // What it was is not known as long as nothing of it comes.
    let of_state = async |state: &str| {
        let found = collector.json("/api/v1/hosts/web1/availability").await?;
        let intervals = found["data"]["intervals"].as_array().context("no intervals")?.clone();
        let chosen = intervals.into_iter().filter(|one| one["state"] == state);
        Ok::<_, anyhow::Error>((chosen.collect::<Vec<_>>(), found["data"]["totals"].clone()))
    };
    let (unknown, totals) = of_state("unknown").await?;
    let last = unknown.last().context("nothing is unknown")?;
    assert_eq!(last["reason"], "nothing came from it", "{unknown:#?}");
    assert_eq!(totals["availability"], 1.0, "{totals}");
    agent.launch()?;
    nth(&collector, "host_back", 1).await?;
    let (down, totals) = until("the boot", SOON, || async {
        let (down, totals) = of_state("down").await?;
        Ok((!down.is_empty()).then_some((down, totals)))
    })
    .await?;
    let [down] = down.as_slice() else { anyhow::bail!("{down:#?}") };
    assert!(down["reason"].as_str().unwrap_or_default().contains("was booted at"), "{down}");
    assert!(down["seconds"].as_f64() > Some(1.0), "{down}");
    assert!(totals["availability"].as_f64() < Some(1.0), "{totals}");
    Ok(())
}
