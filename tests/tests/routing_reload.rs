//! The routing file is changed while the collector runs: it is taken up with the rules or not at all, and
//! nobody is told again because of it.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use upkeep_tests::{Collector, CollectorOptions, WebhookServer, until};

const SOON: Duration = Duration::from_secs(30);

const RULES: &str = "
groups:
  - name: story
    interval: 200ms
    rules:
      - alert: Always
        expr: vector(1)
        annotations: { summary: 'It is so.', action: 'Look.', outcome: 'It runs.' }
";

/// Everything goes to `all`, and with `more` what is of a team to `team`.
fn routing(all: &WebhookServer, team: &WebhookServer, more: bool) -> String {
    let routes = if more { ", routes: [{ receiver: team, matchers: [team=db] }]" } else { "" };
    let interval = if more { "400ms" } else { "300ms" };
    format!(
        "route: {{ receiver: all, group_by: [alertname], group_wait: 0s, group_interval: {interval}{routes} }}\n\
         receivers:\n  - name: all\n    webhook_configs: [{{ url: '{}' }}]\n  \
         - name: team\n    webhook_configs: [{{ url: '{}' }}]\n",
        all.url(),
        team.url()
    )
}

fn write(collector: &Collector, text: &str) -> Result<()> {
    Ok(std::fs::write(collector.configuration_dir().join("routing.yml"), text)?)
}

async fn reload(collector: &Collector) -> Result<(u16, Value)> {
    let answer = collector.post("/-/reload").send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

async fn post(collector: &Collector, labels: Value) -> Result<()> {
    let alerts = json!([{ "labels": labels }]);
    collector.post("/api/v2/alerts").json(&alerts).send().await?.error_for_status()?;
    Ok(())
}

fn told(server: &WebhookServer) -> Vec<String> {
    let alerts = |body: &Value| body["alerts"].as_array().cloned().unwrap_or_default();
    let received = server.received();
    let names = received.iter().flat_map(|(_, body)| alerts(body));
    names
        .map(|alert| alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn another_routing_file_is_taken_up_and_nobody_is_told_again() -> Result<()> {
    let (all, team) = (WebhookServer::start().await?, WebhookServer::start().await?);
    let options = CollectorOptions {
        rules: vec![("story.yml".to_owned(), RULES.to_owned())],
        routing: Some(routing(&all, &team, false)),
        settings: "[alerts]\nallow_networks = [\"127.0.0.0/8\"]\n".to_owned(),
        ..CollectorOptions::default()
    };
    let collector = Collector::start(&options).await?;
    all.await_alert("Always", "firing", SOON).await?;
    let silence = json!({
        "matchers": [{ "name": "alertname", "value": "Quiet", "isRegex": false }],
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z",
        "createdBy": "me", "comment": "new disks",
    });
    collector.post("/api/v2/silences").json(&silence).send().await?.error_for_status()?;
    post(&collector, json!({ "alertname": "Quiet", "team": "db" })).await?;
    let before = collector.json("/api/v2/status").await?["config"]["original"].clone();

    // A file with faults leaves both as they were, the good rules beside it, too.
    write(&collector, &routing(&all, &team, true).replace("receiver: team", "receiver: nobody"))?;
    collector.write_rules("more.yml", &RULES.replace("Always", "More").replace("story", "more"))?;
    let (status, answer) = reload(&collector).await?;
    let error = answer["error"].as_str().context("no error")?;
    assert_eq!(status, 500);
    assert!(
        error.starts_with("rules and routing stay as they were: ") && error.contains("nobody"),
        "{error}"
    );
    assert!(error.contains("routing.yml:1:"), "it says where: {error}");
    assert!(collector.log()?.contains("rules and routing stay as they were"));
    let rules = collector.json("/api/v1/rules").await?["data"]["groups"].clone();
    assert_eq!(rules.as_array().map(Vec::len), Some(1), "{rules}");
    assert_eq!(collector.json("/api/v2/status").await?["config"]["original"], before);
    // So do rules with faults beside a good routing file.
    write(&collector, &routing(&all, &team, true))?;
    collector.write_rules("broken.yml", "groups: [{}]")?;
    assert_eq!(reload(&collector).await?.0, 500);
    assert_eq!(collector.json("/api/v2/status").await?["config"]["original"], before);
    let file = collector.configuration_dir().join("routing.yml");
    collector.write_rules("broken.yml", "groups: []")?;
    std::fs::remove_file(&file)?;
    assert_eq!(reload(&collector).await?.0, 500, "a file that is gone is no wish for silence");
    post(&collector, json!({ "alertname": "First", "team": "db" })).await?;
    all.await_alert("First", "firing", SOON).await?;

    write(&collector, &routing(&all, &team, true))?;
    let (status, answer) = reload(&collector).await?;
    assert_eq!((status, &answer["data"]["routing_changed"]), (200, &true.into()), "{answer}");
    assert_eq!(answer["data"]["added"], 1);
    post(&collector, json!({ "alertname": "Second", "team": "db" })).await?;
    team.await_alert("Second", "firing", SOON).await?;
    all.await_alert("More", "firing", SOON).await?;
    assert_eq!(reload(&collector).await?.1["data"]["routing_changed"], false);

    // The receiver of the same name at another address, by a signal: what it was told, it was told.
    write(
        &collector,
        &routing(&team, &team, true).replace("- name: team", "- name: other\n  - name: team"),
    )?;
    collector.hang_up()?;
    until("the other file", SOON, || async {
        let receivers = collector.json("/api/v2/receivers").await?;
        Ok((receivers.as_array().map(Vec::len) == Some(3)).then_some(()))
    })
    .await?;
    post(&collector, json!({ "alertname": "Third" })).await?;
    team.await_alert("Third", "firing", SOON).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut of_all, mut of_team) = (told(&all), told(&team));
    of_all.sort();
    of_team.sort();
    assert_eq!(of_all, ["Always", "First", "More"]);
    // Of what goes to another receiver since the file changed, that one is told.
    assert_eq!(of_team, ["First", "Second", "Third"]);
    let silences = collector.json("/api/v2/silences").await?;
    assert_eq!(silences[0]["status"]["state"], "active");
    Ok(())
}
