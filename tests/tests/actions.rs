//! A rule asks for an action of the configuration: it is run with the alert's labels, once, within its
//! limit, and what came of it is shown.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;
use upkeep_tests::{Collector, CollectorOptions, WebhookServer, until};

const SOON: Duration = Duration::from_secs(60);

/// Each alert has a label that the command gets.
fn rules(names: &[(&str, &str)]) -> String {
    let rules = names.iter().map(|(name, value)| {
        format!(
            "      - alert: {name}\n        expr: vector(1)\n        labels: {{ what: {value:?} }}\n        \
             annotations: {{ upkeep_action: note, outcome: 'It is known.' }}\n"
        )
    });
    let rules: String = rules.collect();
    format!("groups:\n  - name: story\n    interval: 200ms\n    rules:\n{rules}")
}

/// A program that writes down its arguments, one a line, and the names of the alerts that it is given.
fn program(folder: &Path) -> Result<()> {
    let (path, told) = (folder.join("note"), folder.join("told"));
    let script = format!(
        "#!/bin/sh\nfor argument; do echo \"<$argument>\" >> {told:?}; done\n\
         /usr/bin/grep -o '\"alertname\":\"[A-Za-z]*\"' | /usr/bin/head -n 1\n"
    );
    std::fs::write(&path, script)?;
    Ok(std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?)
}

fn options(folder: &Path, limit: &str, hook: &WebhookServer, rules: String) -> CollectorOptions {
    let program = folder.join("note");
    let settings = format!(
        "[alerts]\nallow_networks = [\"127.0.0.0/8\"]\nallow_commands = [{program:?}]\n\
         [[actions]]\nname = \"note\"\ncommand = {program:?}\nlimit = \"{limit}\"\n\
         arguments = [\"--about={{{{ $labels.alertname }}}}\", \"{{{{ $labels.what }}}}\"]\n"
    );
    let routing = format!(
        "route: {{ receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 300ms }}\n\
         receivers:\n  - name: hook\n    webhook_configs: [{{ url: '{}' }}]\n",
        hook.url()
    );
    CollectorOptions {
        rules: vec![("story.yml".to_owned(), rules)],
        routing: Some(routing),
        settings,
        ..CollectorOptions::default()
    }
}

/// The alert as it is shown, once the action that it asked for came to something.
async fn acted(collector: &Collector, name: &str) -> Result<Value> {
    until(&format!("what came of the action of {name}"), SOON, || async {
        let alerts = collector.json("/api/v2/alerts").await?;
        let alerts = alerts.as_array().context("no list")?.clone();
        let is_over = |alert: &Value| {
            let outcome = alert["action"]["outcome"].as_str();
            !matches!(outcome, None | Some("waiting" | "running"))
        };
        let named = |alert: &Value| alert["labels"]["alertname"] == name;
        Ok(alerts.into_iter().find(|alert| named(alert) && is_over(alert)))
    })
    .await
}

/// How many alerts of a rule the ledger of usefulness counts as acted on.
async fn acted_on(collector: &Collector, name: &str) -> Result<Option<u64>> {
    let rules = collector.json("/api/v1/rules/usefulness").await?["data"]["rules"].clone();
    let rules = rules.as_array().context("no rules")?;
    Ok(rules.iter().find(|rule| rule["rule"] == name).and_then(|rule| rule["acted_on"].as_u64()))
}

async fn audit(collector: &Collector) -> Result<Vec<String>> {
    let entries = collector.json("/api/v1/audit").await?["data"]["entries"].clone();
    let entries = entries.as_array().context("no audit log")?.clone();
    let line = |entry: &Value| {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}: {}", text("action"), text("subject"), text("outcome"), text("detail"))
    };
    Ok(entries.iter().map(line).filter(|line| line.starts_with("action-")).rev().collect())
}

#[tokio::test]
async fn a_rule_has_a_command_run_once_and_its_result_is_shown_on_the_alert() -> Result<()> {
    let (folder, hook) = (TempDir::new()?, WebhookServer::start().await?);
    program(folder.path())?;
    let rules = rules(&[("Full", "web1; rm -rf $HOME"), ("Hostile", "--force")]);
    let options = options(folder.path(), "9 in 1h", &hook, rules);
    let mut collector = Collector::start(&options).await?;
    let full = acted(&collector, "Full").await?;
    let action = &full["action"];
    assert_eq!((&action["action"], &action["outcome"]), (&"note".into(), &"done".into()));
    assert_eq!((&action["status"], &action["kind"]), (&0.into(), &"command".into()));
    assert_eq!(action["answer"], "\"alertname\":\"Full\"");
    let hostile = acted(&collector, "Hostile").await?;
    assert_eq!(hostile["action"]["outcome"], "refused");
    let reason = hostile["action"]["answer"].as_str().unwrap_or_default();
    assert!(reason.contains("could make it an option"), "{reason}");
    let told = || std::fs::read_to_string(folder.path().join("told"));
    assert_eq!(told()?, "<--about=Full>\n<web1; rm -rf $HOME>\n");
    until("the ledger's word of the action", SOON, || async {
        Ok((acted_on(&collector, "Full").await? == Some(1)).then_some(()))
    })
    .await?;
    assert_eq!(acted_on(&collector, "Hostile").await?, Some(0));

    // Somebody else's alert asks for nothing.
    let outside = serde_json::json!([{
        "labels": { "alertname": "Outside", "what": "x" },
        "annotations": { "upkeep_action": "note" },
    }]);
    let posted = collector.post("/api/v2/alerts").json(&outside).send().await?;
    assert_eq!(posted.status(), 200);
    hook.await_alert("Outside", "firing", SOON).await?;

    collector.stop().await?;
    collector.launch().await?;
    let later = serde_json::json!([{ "labels": { "alertname": "Later" } }]);
    collector.post("/api/v2/alerts").json(&later).send().await?.error_for_status()?;
    hook.await_alert("Later", "firing", SOON).await?;
    acted(&collector, "Full").await?;
    assert_eq!(told()?, "<--about=Full>\n<web1; rm -rf $HOME>\n", "it was run again");

    let fingerprint = full["fingerprint"].as_str().context("no fingerprint")?;
    let path = format!("/api/v1/alerts/{fingerprint}/actions");
    let runs = collector.json(&path).await?["data"]["actions"].clone();
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs}");
    let log = audit(&collector).await?;
    let has = |begin: &str, end: &str| {
        log.iter().filter(|line| line.starts_with(begin) && line.ends_with(end)).count()
    };
    assert_eq!(has("action-run note done: for {", "[\"--about=Full\", \"web1; rm -rf $HOME\"]"), 1);
    assert_eq!(
        has("action-end note done: run ", "done with 0: \"alertname\":\"Full\""),
        1,
        "{log:?}"
    );
    assert_eq!(has("action-run note refused: for {", "could make it an option"), 1, "{log:?}");
    assert_eq!(log.len(), 3, "{log:?}");
    Ok(())
}

#[tokio::test]
async fn beyond_its_limit_an_action_is_not_run_and_this_is_shown() -> Result<()> {
    let (folder, hook) = (TempDir::new()?, WebhookServer::start().await?);
    program(folder.path())?;
    let rules = rules(&[("One", "web1"), ("Two", "web2")]);
    let collector = Collector::start(&options(folder.path(), "1 in 10m", &hook, rules)).await?;
    let (one, two) = (acted(&collector, "One").await?, acted(&collector, "Two").await?);
    let mut outcomes = [&one, &two].map(|alert| {
        let action = &alert["action"];
        let text = |name: &str| action[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("outcome"), text("answer"))
    });
    outcomes.sort();
    assert!(outcomes[0].starts_with("done \"alertname\""), "{outcomes:?}");
    assert_eq!(outcomes[1], "refused the limit of 1 in 10m is reached");
    let told = std::fs::read_to_string(folder.path().join("told"))?;
    assert_eq!(told.lines().count(), 2, "{told}");
    let refused = audit(&collector).await?.into_iter().filter(|line| line.contains(" refused: "));
    assert_eq!(refused.count(), 1);
    // People are told of both.
    hook.await_alert("One", "firing", SOON).await?;
    hook.await_alert("Two", "firing", SOON).await?;

    // A file that asks for what there is not is refused, and the rules stay as they are.
    collector
        .write_rules("other.yml", &self::rules(&[("Three", "web3")]).replace("note", "nota"))?;
    let answer = collector.post("/-/reload").send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    assert_eq!(status, 500);
    assert!(text.contains("other.yml:5:9: `Three` asks for the action `nota`"), "{text}");
    Ok(())
}
