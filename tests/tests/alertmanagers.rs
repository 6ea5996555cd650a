//! Alerts of our rules are sent on to Debian's `prometheus-alertmanager`, as a Prometheus would.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;
use upkeep_tests::{Collector, CollectorOptions, Peer, PeerKind, WebhookServer, until};

const SOON: Duration = Duration::from_secs(90);

/// A rule that fires until a moment.
fn rules(until_s: u64) -> String {
    format!(
        "groups:\n  - name: story\n    interval: 500ms\n    rules:\n      - alert: Brief\n        \
         expr: vector(time()) < {until_s}\n        labels: {{ severity: page }}\n        \
         annotations: {{ summary: 'It is brief.', action: 'Wait.', outcome: 'It is over.' }}\n"
    )
}

#[tokio::test]
async fn another_alertmanager_hears_of_an_alert_and_of_its_end_though_it_was_away() -> Result<()> {
    let Some(program) = PeerKind::Alertmanager.program()? else { return Ok(()) };
    let hook = WebhookServer::start().await?;
    let routing = format!(
        "route: {{ receiver: hook, group_wait: 0s, group_interval: 1s }}\n\
         receivers:\n  - name: hook\n    webhook_configs: [{{ url: '{}' }}]\n",
        hook.url()
    );
    let mut peer = Peer::start(PeerKind::Alertmanager, &program, &routing, &[]).await?;
    let settings = format!(
        "[alerts]\nallow_networks = [\"127.0.0.0/8\"]\n[[alertmanagers]]\nurl = \"{}\"\n",
        peer.url("")
    );
    // The other one is away at first.
    peer.stop().await?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let options = CollectorOptions {
        rules: vec![("story.yml".to_owned(), rules(now_s + 25))],
        settings,
        ..CollectorOptions::default()
    };
    let collector = Collector::start(&options).await?;
    let shown = async || -> Result<Value> {
        let answer = collector.json("/api/v1/alertmanagers").await?;
        Ok(answer["data"]["activeAlertmanagers"][0].clone())
    };
    let failing = until("an error", SOON, || async {
        let one = shown().await?;
        Ok((one["lastError"] != "").then_some(one))
    })
    .await?;
    assert_eq!(failing["url"], peer.url("/api/v2/alerts"));
    assert!(failing["lastError"].to_string().contains("could not be reached"), "{failing}");
    assert_eq!((&failing["waiting"], &failing["sent"]), (&1.into(), &0.into()));

    peer.launch().await?;
    let (_, firing) = hook.await_alert("Brief", "firing", SOON).await?;
    assert_eq!(firing["labels"]["severity"], "page");
    assert_eq!(firing["annotations"]["action"], "Wait.");
    assert!(firing["generatorURL"].to_string().contains("/graph?"), "{firing}");
    let alerts = peer.json("/api/v2/alerts", &[]).await?;
    let ends_at = alerts[0]["endsAt"].as_str().context("no end")?;
    let starts_at = alerts[0]["startsAt"].as_str().context("no start")?;
    assert!(ends_at > starts_at, "it holds for a while: {alerts}");
    let well = shown().await?;
    assert_eq!((&well["lastError"], &well["waiting"]), (&"".into(), &0.into()));

    // Its end is told, before the time for which it held.
    let (_, resolved) = hook.await_alert("Brief", "resolved", SOON).await?;
    assert_eq!(resolved["startsAt"], firing["startsAt"]);
    assert!(resolved["endsAt"].as_str().unwrap_or_default() < ends_at, "{resolved}");
    Ok(())
}
