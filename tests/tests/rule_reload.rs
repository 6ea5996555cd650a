//! Rule files are changed while the collector runs: all of them are taken up, or none.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use upkeep_tests::{Collector, CollectorOptions, until};

const SOON: Duration = Duration::from_secs(30);

const WAITING: &str = "
groups:
  - name: waiting
    interval: 200ms
    rules:
      - alert: Always
        expr: vector(7)
        for: 1h
        annotations: { summary: 'It is {{ $value }}.', action: 'Look.', outcome: 'It runs.' }
";

const RECORDING: &str = "
groups:
  - name: recording
    interval: 200ms
    rules:
      - record: seven
        expr: vector(7)
";

#[tokio::test]
async fn changed_rules_are_taken_up_and_alerts_go_on_waiting() -> Result<()> {
    let rules = vec![("waiting.yml".to_owned(), WAITING.to_owned())];
    let collector =
        Collector::start(&CollectorOptions { rules, ..CollectorOptions::default() }).await?;
    let since = until("a waiting alert", SOON, || active_since(&collector)).await?;

    collector.write_rules("recording.yml", RECORDING)?;
    collector.hang_up()?;
    await_groups(&collector, &["recording", "waiting"]).await?;
    until("the recorded series", SOON, || async {
        Ok(collector.query("seven").await?.into_iter().next())
    })
    .await?;
    assert_eq!(active_since(&collector).await?.as_ref(), Some(&since));

    // Another text of the same rule: what waits has waited as long as before.
    collector.write_rules("waiting.yml", &WAITING.replace("'Look.'", "'Look again.'"))?;
    collector.write_rules("recording.yml", "groups: []")?;
    let answer = collector.post("/-/reload").send().await?;
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await?;
    assert_eq!(
        answer["data"],
        serde_json::json!({"unchanged": 0, "changed": 1, "added": 0, "removed": 1, "routing_changed": false})
    );
    assert_eq!(groups(&collector).await?, ["waiting"]);
    assert_eq!(active_since(&collector).await?.as_ref(), Some(&since));
    let rules = collector.json("/api/v1/rules").await?.to_string();
    assert!(rules.contains("Look again."), "{rules}");
    assert_eq!(collector.query("seven").await?, [] as [Value; 0], "its series has ended");
    Ok(())
}

#[tokio::test]
async fn faulty_rules_change_nothing_and_are_told() -> Result<()> {
    let rules = vec![("waiting.yml".to_owned(), WAITING.to_owned())];
    let collector =
        Collector::start(&CollectorOptions { rules, ..CollectorOptions::default() }).await?;
    let since = until("a waiting alert", SOON, || active_since(&collector)).await?;
    assert_eq!(reload_metric(&collector).await?, "1");

    collector.write_rules("recording.yml", RECORDING)?;
    collector.write_rules("broken.yml", "groups:\n  - name: g\n    rules:\n      - alert: A\n")?;
    let answer = collector.post("/-/reload").send().await?;
    assert_eq!(answer.status(), 500);
    let error = answer.json::<Value>().await?["error"].as_str().context("an error")?.to_owned();
    assert!(error.contains("broken.yml:4:9: field `expr` must be set"), "{error}");
    assert_eq!(reload_metric(&collector).await?, "0");
    assert_eq!(groups(&collector).await?, ["waiting"]);
    assert_eq!(active_since(&collector).await?.as_ref(), Some(&since));
    let log = collector.log()?;
    assert!(log.contains("broken.yml:4:9: field `expr` must be set"), "{log}");

    collector.write_rules("broken.yml", "groups: []")?;
    collector.hang_up()?;
    await_groups(&collector, &["recording", "waiting"]).await?;
    assert_eq!(reload_metric(&collector).await?, "1");
    assert_eq!(active_since(&collector).await?.as_ref(), Some(&since));
    Ok(())
}

/// Since when the alert is pending, once there is one.
async fn active_since(collector: &Collector) -> Result<Option<String>> {
    let alerts = collector.json("/api/v1/alerts").await?;
    let alert = &alerts["data"]["alerts"][0];
    assert!(alert.is_null() || alert["state"] == "pending", "{alert}");
    Ok(alert["activeAt"].as_str().map(str::to_owned))
}

async fn groups(collector: &Collector) -> Result<Vec<String>> {
    let rules = collector.json("/api/v1/rules").await?;
    let groups = rules["data"]["groups"].as_array().context("groups")?;
    Ok(groups.iter().filter_map(|group| group["name"].as_str().map(str::to_owned)).collect())
}

async fn await_groups(collector: &Collector, expect: &[&str]) -> Result<()> {
    until("the changed rules", SOON, || async {
        Ok((groups(collector).await? == expect).then_some(()))
    })
    .await
}

/// What the metric about the last reload says.
async fn reload_metric(collector: &Collector) -> Result<String> {
    let page = collector.get("/metrics").send().await?.text().await?;
    let name = "upkeep_collector_config_last_reload_successful ";
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.context("no such metric")?.to_owned())
}
