//! After an outage the present comes first and then everything that was missed; a collector that was
//! restored from a backup gets again what it had, or says what it no longer has.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use upkeep_agent::buffer::{Buffer, Draft, KeepFree, Options};
use upkeep_model::{Event, EventKind, Gap, HostFacts, Lane, Observation};
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeHost, Leases, Snapshot, accounted_for,
    every_confirmed_once, until,
};

const SOON: Duration = Duration::from_secs(60);

/// So many observations an outage left, one every `STEP_MS`.
const MISSED: i64 = 60_000;
const STEP_MS: i64 = 50;

/// An alert that would be raised if the past were taken for the present.
const RULES: &str = "groups:
- name: story
  interval: 1s
  rules:
  - alert: PastTakenForPresent
    expr: story_missed >= 0
    labels: {severity: warning}
    annotations: {summary: s, action: a, outcome: o}
";

fn options(host: &FakeHost, settings: &str) -> AgentOptions {
    AgentOptions {
        interval: Some("200ms".to_owned()),
        replay: Some(host.path().into()),
        settings: format!("[uplink]\nbackoff_max = \"200ms\"\n{settings}"),
        ..AgentOptions::default()
    }
}

fn now_ms() -> Result<i64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_millis())?)
}

/// The buffer of an agent that does not run.
fn buffer(agent: &Agent) -> Result<Buffer> {
    let options = Options { keep_free: KeepFree { percent: 0, bytes: 0 }, ..Options::default() };
    Ok(Buffer::open(&agent.state_dir().join("buffer"), options, now_ms()?)?)
}

/// Leaves in an agent's buffer what an outage that ended ten minutes ago would have left.
fn miss(agent: &Agent) -> Result<()> {
    let mut buffer = buffer(agent)?;
    let first_ms = now_ms()? - 600_000 - MISSED * STEP_MS;
    for begin in (0..MISSED).step_by(1_000) {
        let observed = (begin..begin + 1_000).map(|step| {
            let mut observation = Observation::at(first_ms + step * STEP_MS);
            observation.gauge("story_missed", "", &[], step as f64);
            Draft::Observation(observation)
        });
        buffer.append(&observed.collect::<Vec<_>>())?;
    }
    Ok(())
}

/// One number that a query gives, 0 if it gives none.
async fn number(collector: &Collector, expression: &str) -> Result<i64> {
    let found = collector.query(expression).await?;
    let Some(row) = found.first() else { return Ok(0) };
    let value: f64 = row["value"][1].as_str().context("a value")?.parse()?;
    Ok(value as i64)
}

async fn missed_that_came(collector: &Collector) -> Result<i64> {
    number(collector, "count_over_time(story_missed[2h])").await
}

#[tokio::test]
async fn the_present_is_shown_while_an_outage_is_caught_up_with() -> Result<()> {
    let rules = vec![("story.yml".to_owned(), RULES.to_owned())];
    let collector =
        Collector::start(&CollectorOptions { rules, ..CollectorOptions::default() }).await?;
    let host = FakeHost::new("web1")?;
    let mut agent = Agent::new(&options(&host, ""))?;
    agent.enroll(&collector.token()?)?.success()?;
    miss(&agent)?;
    agent.launch()?;
    until("the present", SOON, || async {
        let present = collector.query("node_load1").await?;
        Ok((!present.is_empty()).then_some(()))
    })
    .await?;
    let came = missed_that_came(&collector).await?;
    assert!(came < MISSED - 1_000, "{came} of the past came before the present");
    until("the past", SOON, || async {
        Ok((missed_that_came(&collector).await? == MISSED).then_some(()))
    })
    .await?;
    let sum = number(&collector, "sum_over_time(story_missed[2h])").await?;
    assert_eq!(sum, MISSED * (MISSED - 1) / 2);
    every_confirmed_once(&collector, &agent, SOON).await?;
    assert_eq!(collector.gaps("web1").await?, Vec::<Value>::new());
    // It was not heard of in the past, and nothing of the past is a reason for an alert.
    let heard = number(&collector, "count_over_time(up[2h])").await?;
    assert!(heard <= i64::try_from(agent.confirmed()?.len())?, "{heard}");
    let alerts = collector.json("/api/v1/alerts").await?;
    assert_eq!(alerts["data"]["alerts"], serde_json::json!([]));
    Ok(())
}

#[tokio::test]
async fn a_collector_restored_from_a_backup_gets_everything_again() -> Result<()> {
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let agent = Agent::start(&collector, &options(&host, ""))?;
    let (mut backup, mut seen) = (None, 0);
    for _ in 0..2 {
        seen = until("more samples", SOON, || async {
            let stored = collector.samples("node_load1").await?.len();
            Ok((stored > seen + 20).then_some(stored))
        })
        .await?;
        collector.stop().await?;
        match &backup {
            None => backup = Some(Snapshot::of(&collector.data_dir())?),
            Some(backup) => backup.put_back(&collector.data_dir())?,
        }
        collector.launch().await?;
    }
    let stored = every_confirmed_once(&collector, &agent, SOON).await?;
    assert!(stored >= seen, "{stored} of {seen}");
    assert_eq!(collector.gaps("web1").await?, Vec::<Value>::new());
    Ok(())
}

#[tokio::test]
async fn what_nobody_has_any_more_after_a_restore_is_declared_a_gap() -> Result<()> {
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    // Of what was delivered it keeps a sixteenth of this.
    let settings = "[buffer]\nlimit_bytes = 8388608\nkeep_free_percent = 0\nkeep_free_bytes = 0\n";
    let mut agent = Agent::new(&options(&host, settings))?;
    agent.enroll(&collector.token()?)?.success()?;
    collector.stop().await?;
    let backup = Snapshot::of(&collector.data_dir())?;
    collector.launch().await?;
    miss(&agent)?;
    agent.launch()?;
    until("the past", SOON, || async {
        Ok((missed_that_came(&collector).await? == MISSED).then_some(()))
    })
    .await?;
    collector.stop().await?;
    backup.put_back(&collector.data_dir())?;
    collector.launch().await?;

    let came = until("the newest of the past", SOON, || async {
        let last = number(&collector, "last_over_time(story_missed[2h])").await?;
        let came = missed_that_came(&collector).await?;
        Ok((last == MISSED - 1).then_some(came))
    })
    .await?;
    assert!((100..MISSED).contains(&came), "{came}");
    let account = accounted_for(&collector, "web1", &agent, "story_missed", MISSED, SOON).await?;
    assert_eq!((account.lost, account.declared), (0, MISSED - came));
    let gaps = collector.gaps("web1").await?;
    let reasons = gaps.iter().map(|gap| gap["reason"].as_str().unwrap_or_default());
    assert!(reasons.clone().all(|reason| reason.contains("no longer has")), "{gaps:?}");
    Ok(())
}

#[tokio::test]
async fn what_was_written_under_former_numbers_is_declared_after_a_restore() -> Result<()> {
    const MOST_ROUNDS: usize = 20;
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let mut leases = Leases::new(&host)?;
    let agent = Agent::start(&collector, &options(&host, Leases::SETTINGS))?;
    leases.next_round(&collector, SOON).await?;
    collector.stop().await?;
    let backup = Snapshot::of(&collector.data_dir())?;
    collector.launch().await?;
    while !agent.log()?.contains("numbered anew") {
        ensure!(leases.rounds() < MOST_ROUNDS, "the series of all rounds are kept");
        leases.next_round(&collector, SOON).await?;
    }
    collector.stop().await?;
    backup.put_back(&collector.data_dir())?;
    collector.launch().await?;
    let account = accounted_for(&collector, "web1", &agent, "story_missed", 0, SOON).await?;
    assert!(account.lost == 0 && account.declared > 0 && account.stored > 0, "{account:?}");
    let found = leases.check(&collector).await?;
    assert!((2..leases.rounds()).contains(&found), "{found} of {} rounds", leases.rounds());
    Ok(())
}

#[tokio::test]
async fn a_record_that_cannot_be_understood_is_set_aside_and_the_rest_arrives() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let mut agent = Agent::new(&options(&host, ""))?;
    agent.enroll(&collector.token()?)?.success()?;
    {
        let facts = HostFacts { kernel: "of the story".to_owned(), ..HostFacts::default() };
        // No gap ends before it begins.
        let (lane, reason) = (Lane::Samples, "nonsense".to_owned());
        let gap = Gap { lane, first: 9, last: 8, from_ms: None, to_ms: None, reason };
        let kinds = [EventKind::Gap(gap), EventKind::Facts(Box::new(facts))];
        let at_ms = now_ms()?;
        let drafts = kinds.map(|kind| Draft::Event(Event { at_ms, kind }));
        buffer(&agent)?.append(&drafts)?;
    }
    agent.launch()?;
    every_confirmed_once(&collector, &agent, SOON).await?;
    let gaps = until("what was set aside", SOON, || async {
        let gaps = collector.gaps("web1").await?;
        Ok((!gaps.is_empty()).then_some(gaps))
    })
    .await?;
    let [gap] = gaps.as_slice() else { anyhow::bail!("{gaps:?}") };
    assert_eq!((&gap["lane"], &gap["records"]), (&"events".into(), &1.into()));
    assert!(gap["reason"].as_str().unwrap_or_default().contains("set aside"), "{gap}");
    until("the events behind it", SOON, || async {
        let host = collector.json("/api/v1/hosts/web1").await?;
        ensure!(host["data"]["facts"]["kernel"] != Value::Null, "{host}");
        Ok(Some(()))
    })
    .await
}
