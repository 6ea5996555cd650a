//! What became of alerts is kept and judged; what comes and goes is damped; digests tell of both.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeHost, WebhookServer, until,
};

const SOON: Duration = Duration::from_secs(30);

const RULES: &str = "
groups:
  - name: story
    interval: 200ms
    rules:
      - alert: LoadHigh
        expr: node_load1 > 4
        labels: { severity: warning }
        annotations: { action: 'Find the process.', outcome: 'Customers do not wait.' }
      - alert: NeverFires
        expr: node_load1 < 0
        labels: { severity: warning }
        annotations: { action: 'Wonder.', outcome: 'It is known why.' }
";

fn options(hook: &WebhookServer, settings: &str) -> CollectorOptions {
    let routing = format!(
        "route: {{ receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 300ms }}\n\
         receivers:\n  - name: hook\n    webhook_configs: [{{ url: '{}' }}]\n",
        hook.url()
    );
    CollectorOptions {
        rules: vec![("story.yml".to_owned(), RULES.to_owned())],
        routing: Some(routing),
        settings: format!("[alerts]\nallow_networks = [\"127.0.0.0/8\"]\n{settings}"),
        ..CollectorOptions::default()
    }
}

async fn loaded_host(collector: &Collector) -> Result<(FakeHost, Agent)> {
    let host = FakeHost::new("web1")?;
    let options = AgentOptions {
        interval: Some("200ms".to_owned()),
        replay: Some(host.path().into()),
        ..AgentOptions::default()
    };
    let agent = Agent::start(collector, &options)?;
    until("the first sample", SOON, || async {
        Ok(collector.query("node_load1").await?.into_iter().next())
    })
    .await?;
    Ok((host, agent))
}

/// Waits until a rule's entry in the ledger is as it should be.
async fn rule(
    collector: &Collector,
    name: &str,
    is_wanted: impl Fn(&Value) -> bool,
) -> Result<Value> {
    until(&format!("the numbers of {name}"), SOON, || async {
        let answer = collector.json("/api/v1/rules/usefulness").await?;
        let rules = answer["data"]["rules"].as_array().context("no rules")?.clone();
        let rule = rules.into_iter().find(|rule| rule["rule"] == name);
        Ok(rule.filter(|rule| is_wanted(rule)))
    })
    .await
}

/// Runs a command with the API token in a file.
fn run(collector: &Collector, arguments: &[&str]) -> Result<String> {
    let token = collector.configuration_dir().join("token");
    std::fs::write(&token, collector.api_token())?;
    let token = token.to_string_lossy().into_owned();
    collector.command(&[arguments, &["--token-file", &token]].concat())?.success()
}

// The command that sends a digest waits for the webhook, which this program serves meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_knows_what_became_of_an_alert_and_the_digest_is_sent() -> Result<()> {
    let hook = WebhookServer::start().await?;
    let settings = "[digest]\nreceiver = \"hook\"\nzone = \"Europe/Berlin\"\n";
    let mut collector = Collector::start(&options(&hook, settings)).await?;
    let (host, _agent) = loaded_host(&collector).await?;
    host.set_load(9.5)?;
    let (_, firing) = hook.await_alert("LoadHigh", "firing", SOON).await?;
    let fingerprint = firing["fingerprint"].as_str().context("no fingerprint")?;
    run(&collector, &["alert", "acknowledge", fingerprint, "--note", "on my way"])?;
    let so_far = rule(&collector, "LoadHigh", |rule| rule["acknowledged"] == 1).await?;
    assert_eq!((&so_far["fired"], &so_far["resolved"]), (&json!(1), &json!(0)));

    // What is open is known after a restart, too.
    collector.stop().await?;
    collector.launch().await?;
    host.set_load(0.5)?;
    hook.await_alert("LoadHigh", "resolved", SOON).await?;
    let known = rule(&collector, "LoadHigh", |rule| rule["resolved"] == 1).await?;
    let expect = json!({"fired": 1, "told": 1, "notified": 1, "acknowledged": 1, "acted_on": 0,
        "silenced": 0, "flapped": 0, "resolved": 1, "resolved_by_itself": 0,
        "verdict": "too few to say"});
    for (name, number) in expect.as_object().context("no object")? {
        assert_eq!(&known[name], number, "{name}: {known}");
    }
    assert!(known["acknowledged_after_seconds"]["p50"].is_i64(), "{known}");
    let never = rule(&collector, "NeverFires", |_| true).await?;
    assert_eq!((&never["verdict"], &never["fired"]), (&json!("never fired"), &json!(0)));

    let table = run(&collector, &["rules", "usefulness", "--weeks", "1"])?;
    let line = table.lines().find(|line| line.contains("LoadHigh")).context("no line")?;
    let cells: Vec<_> = line.split_whitespace().skip(4).take(8).collect();
    assert_eq!(cells, ["story", "LoadHigh", "1", "1", "1", "0", "0", "0"], "{table}");

    let shown = run(&collector, &["digest", "show"])?;
    assert!(shown.contains("for hook") && shown.contains("1 alerts of 1 rules"), "{shown}");
    let before = hook.received().len();
    assert!(run(&collector, &["digest", "send", "weekly"])?.contains("sent by webhook"));
    let (_, digest) = hook.received().pop().context("nothing came")?;
    assert_eq!(hook.received().len(), before + 1);
    assert_eq!(digest["commonLabels"], json!({"alertname": "WeeklyDigest", "severity": "info"}));
    let summary = digest["alerts"][0]["annotations"]["summary"].as_str().context("no summary")?;
    assert!(summary.ends_with("of which 1 were acknowledged or acted on"), "{summary}");
    // A day without anything to tell of has no digest.
    assert!(run(&collector, &["digest", "send", "daily"])?.contains("nothing to tell: not sent"));
    assert_eq!(hook.received().len(), before + 1);
    Ok(())
}

#[tokio::test]
async fn of_an_alert_that_flaps_people_hear_that_it_does_and_of_its_end() -> Result<()> {
    let hook = WebhookServer::start().await?;
    let settings = "[alerts.flapping]\nchanges = 2\nwindow = \"10m\"\nquiet = \"8s\"\n";
    let collector = Collector::start(&options(&hook, settings)).await?;
    let (host, _agent) = loaded_host(&collector).await?;
    // Waits until so many messages have come, or the ledger has seen so many ends.
    let told = async |count: usize| {
        until(&format!("{count} messages"), SOON, || async {
            Ok((hook.received().len() >= count).then_some(()))
        })
        .await
    };
    let fired = async |count: u64| {
        rule(&collector, "LoadHigh", |rule| rule["fired"] == count).await.map(drop)
    };
    let over = async |count: u64| {
        rule(&collector, "LoadHigh", |rule| rule["resolved"] == count).await.map(drop)
    };
    host.set_load(9.5)?;
    told(1).await?;
    host.set_load(0.5)?;
    told(2).await?;
    host.set_load(9.5)?;
    told(3).await?;
    let shown = collector.json("/api/v2/alerts").await?;
    assert_eq!(shown[0]["flapping"], true, "{shown}");
    for count in 2..4 {
        host.set_load(0.5)?;
        over(count).await?;
        if count < 3 {
            host.set_load(9.5)?;
            fired(count + 1).await?;
        }
    }
    told(4).await?;
    let said: Vec<_> = hook
        .received()
        .into_iter()
        .map(|(_, body)| {
            let says = body["alerts"][0]["annotations"]["flapping"].is_string();
            (body["status"].as_str().unwrap_or_default().to_owned(), says)
        })
        .collect();
    let expect = [("firing", false), ("resolved", false), ("firing", true), ("resolved", false)];
    let said: Vec<_> = said.iter().map(|(status, says)| (status.as_str(), *says)).collect();
    assert_eq!(said, expect, "{:#?}", hook.received());
    let known = rule(&collector, "LoadHigh", |rule| rule["flapped"] == 1).await?;
    assert_eq!((&known["fired"], &known["resolved"]), (&json!(3), &json!(3)), "{known}");
    Ok(())
}
