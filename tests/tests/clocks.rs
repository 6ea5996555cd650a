//! A clock that jumps by a year, forwards or backwards, and comes back: that of a host, while it is
//! connected and while it is away, and that of the collector.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use upkeep_model::{HostId, Labels};
use upkeep_store::{Append, Options, Store};
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeClock, FakeHost, WebhookServer,
    every_confirmed_once, until,
};

const SOON: Duration = Duration::from_secs(60);

/// A year ahead, and a year back.
const JUMPS: [i64; 2] = [365, -365];

const HOUR_MS: i64 = 3_600_000;

/// So many samples of yesterday are in the store.
const YESTERDAY: i64 = 600;

fn options(host: &FakeHost) -> AgentOptions {
    AgentOptions {
        interval: Some("200ms".to_owned()),
        replay: Some(host.path().into()),
        settings: "[uplink]\nbackoff_max = \"200ms\"\n".to_owned(),
        ..AgentOptions::default()
    }
}

fn now_ms() -> Result<i64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_millis())?)
}

fn clock() -> Result<Option<FakeClock>> {
    let clock = FakeClock::new()?;
    if clock.is_none() {
        eprintln!("SKIPPED: libfaketime is not installed (apt-get install libfaketime)");
    }
    Ok(clock)
}

/// Waits until the agent has confirmed five more observations whose times are so many days ahead.
async fn five_more(agent: &Agent, days_ahead: i64) -> Result<()> {
    let count = |agent: &Agent| -> Result<usize> {
        let about_ms = now_ms()? + days_ahead * 24 * HOUR_MS;
        let confirmed = agent.confirmed()?;
        Ok(confirmed.iter().filter(|at_ms| (*at_ms - about_ms).abs() < HOUR_MS).count())
    };
    let before = count(agent)?;
    until(&format!("observations {days_ahead} days ahead"), SOON, || {
        let now = count(agent);
        async move { Ok((now? >= before + 5).then_some(())) }
    })
    .await
}

/// The times of what is stored of the host, those of the right year and how many there are of others.
async fn stored(collector: &Collector) -> Result<(Vec<i64>, usize)> {
    let samples = collector.samples("node_load1").await?;
    let mut elsewhere = 0;
    for days in JUMPS {
        let time = (now_ms()? + days * 24 * HOUR_MS) / 1000;
        let query = [("query", "node_load1[2h]"), ("time", &time.to_string())];
        let answer: Value =
            collector.get("/api/v1/query").query(&query).send().await?.json().await?;
        let rows = answer["data"]["result"].as_array().context("a result")?;
        elsewhere +=
            rows.iter().filter_map(|row| Some(row["values"].as_array()?.len())).sum::<usize>();
    }
    Ok((samples.into_iter().map(|(at_ms, _)| at_ms).collect(), elsewhere))
}

const RULES: &str = "groups:
- name: story
  interval: 200ms
  rules:
  - alert: LoadWasHigh
    expr: node_load1 > 4
    labels: {severity: warning}
    annotations: {summary: s, action: a, outcome: o}
";

#[tokio::test]
async fn a_host_whose_clock_jumps_a_year_and_back_loses_nothing_and_its_times_are_put_right()
-> Result<()> {
    let Some(clock) = clock()? else { return Ok(()) };
    let rules = vec![("story.yml".to_owned(), RULES.to_owned())];
    let mut collector =
        Collector::start(&CollectorOptions { rules, ..CollectorOptions::default() }).await?;
    let host = FakeHost::new("web1")?;
    let mut agent = Agent::new(&options(&host))?;
    agent.enroll(&collector.token()?)?.success()?;
    agent.set_environment(clock.environment());
    agent.launch()?;
    let began_ms = now_ms()?;
    for is_away in [false, true] {
        for days in JUMPS {
            five_more(&agent, 0).await?;
            if is_away {
                collector.kill()?;
            }
            five_more(&agent, 0).await?;
            host.set_load(9.0)?;
            clock.set_days_ahead(days)?;
            five_more(&agent, days).await?;
            host.set_load(0.5)?;
            five_more(&agent, days).await?;
            clock.set_days_ahead(0)?;
            five_more(&agent, 0).await?;
            if is_away {
                collector.launch().await?;
            }
            every_observation_in_its_place(&collector, &agent, began_ms)
                .await
                .with_context(|| format!("away: {is_away}, {days} days"))?;
        }
    }
    assert_eq!(collector.gaps("web1").await?, Vec::<Value>::new());
    let alerts = collector.query("count_over_time(ALERTS[1h])").await?;
    assert_eq!(alerts, Vec::<Value>::new(), "the past raised an alert");
    assert!(collector.log()?.contains("the host's clock was wrong; its times are corrected"));
    Ok(())
}

/// Every observation that the agent confirmed is stored under a time of its own, none before the story
/// began and none to come; those that it made while its clock was right under that very time.
async fn every_observation_in_its_place(
    collector: &Collector,
    agent: &Agent,
    began_ms: i64,
) -> Result<()> {
    until("every observation in its place", SOON, || async {
        let confirmed = agent.confirmed()?;
        let (stored, elsewhere) = stored(collector).await?;
        let now_ms = now_ms()?;
        let places: BTreeSet<i64> = stored.iter().copied().collect();
        let right = |at_ms: &&i64| (began_ms - 1000..=now_ms).contains(*at_ms);
        let missing = confirmed.iter().filter(right).filter(|at_ms| !places.contains(at_ms)).count();
        let outside = stored.iter().filter(|at_ms| !right(at_ms)).count();
        ensure!(
            (missing, outside, elsewhere) == (0, 0, 0) && stored.len() >= confirmed.len(),
            "{missing} missing, {outside} before or after, {elsewhere} in other years, {} of {} stored",
            stored.len(),
            confirmed.len()
        );
        Ok(Some(()))
    })
    .await
}

/// One alert fires all the time; another would fire only after an hour that nobody has waited.
const LASTING: &str = "groups:
- name: story
  interval: 200ms
  rules:
  - alert: LoadIsHigh
    expr: node_load1 > 4
    labels: {severity: warning}
    annotations: {summary: s, action: a, outcome: o}
  - alert: NobodyWaitedAnHour
    expr: absent(story_never)
    for: 1h
    labels: {severity: warning}
    annotations: {summary: s, action: a, outcome: o}
";

#[tokio::test]
async fn a_collector_whose_clock_jumps_a_year_and_back_keeps_what_it_has_and_tells_nobody()
-> Result<()> {
    let Some(clock) = clock()? else { return Ok(()) };
    let hook = WebhookServer::start().await?;
    let mut collector = Collector::start(&CollectorOptions {
        rules: vec![("story.yml".to_owned(), LASTING.to_owned())],
        routing: Some(format!(
            "route: {{ receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 300ms }}\n\
             receivers:\n  - name: hook\n    webhook_configs: [{{ url: '{}' }}]\n",
            hook.url()
        )),
        settings: "[alerts]\nallow_networks = [\"127.0.0.0/8\"]\n".to_owned(),
        ..CollectorOptions::default()
    })
    .await?;
    collector.stop().await?;
    fill_yesterday(&collector)?;
    collector.set_environment(clock.environment());
    collector.launch().await?;
    let host = FakeHost::new("web1")?;
    host.set_load(9.0)?;
    let agent = Agent::start(&collector, &options(&host))?;
    hook.await_alert("LoadIsHigh", "firing", SOON).await?;
    for days in JUMPS {
        five_more(&agent, 0).await?;
        let noticed = collector.log()?.matches("clock was set").count();
        clock.set_days_ahead(days)?;
        until("the collector to notice that its clock was set", SOON, || {
            let log = collector.log();
            async move { Ok((log?.matches("clock was set").count() > noticed).then_some(())) }
        })
        .await?;
        five_more(&agent, 0).await?;
        clock.set_days_ahead(0)?;
        every_confirmed_once(&collector, &agent, SOON).await?;
        // The rules have had their turn by the right clock.
        five_more(&agent, 0).await?;

        collector.stop().await?;
        clock.set_days_ahead(days)?;
        collector.launch_unseen().await?;
        five_more(&agent, 0).await?;
        clock.set_days_ahead(0)?;
        every_confirmed_once(&collector, &agent, SOON).await?;
        let kept = collector.query("count_over_time(story_yesterday[3d])").await?;
        assert_eq!(kept[0]["value"][1], YESTERDAY.to_string(), "{days} days: {kept:?}");
    }
    let (stored, elsewhere) = stored(&collector).await?;
    assert!(!stored.is_empty() && elsewhere == 0, "{elsewhere} are in other years");
    assert_eq!(collector.gaps("web1").await?, Vec::<Value>::new());
    until("the host to be up", SOON, || async {
        let shown = collector.json("/api/v1/hosts/web1").await?;
        Ok((shown["data"]["up"] == json!(true)).then_some(()))
    })
    .await?;
    let told = hook.received();
    let told: Vec<_> = told.iter().map(|(_, body)| body.to_string()).collect();
    assert!(!told.iter().any(|body| body.contains("NobodyWaitedAnHour")), "{told:#?}");
    assert!(!told.iter().any(|body| body.contains("\"status\":\"resolved\"")), "{told:#?}");
    // It says why nothing is dropped, and that it goes on.
    let log = collector.log()?;
    for line in ["old samples are not dropped", "old samples are dropped again"] {
        assert!(log.contains(line), "{line} is not in {log}");
    }
    Ok(())
}

/// Puts sealed samples of yesterday into a collector that does not run: what retention could drop.
fn fill_yesterday(collector: &Collector) -> Result<()> {
    let store = Store::open(&collector.data_dir().join("samples"), Options::default())?;
    let (labels, now_ms) = (Labels::new([("__name__", "story_yesterday")]), now_ms()?);
    let points = (0..YESTERDAY)
        .map(|step| (labels.clone(), now_ms - 24 * HOUR_MS + step * 1000, step as f64))
        .collect();
    let home: HostId = serde_json::from_value(json!("00000000-0000-0000-0000-000000000001"))?;
    store.commit(vec![Append::Points { home, points }])?;
    store.seal_all(now_ms)?;
    store.close()?;
    Ok(())
}
