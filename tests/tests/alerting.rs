//! A threshold is crossed and people hear of it, once, and of its end.

use std::time::Duration;

use anyhow::{Context, Result};
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeHost, SmtpServer, WebhookServer, until,
};

const SOON: Duration = Duration::from_secs(30);

const RULES: &str = "
groups:
  - name: story
    interval: 200ms
    rules:
      - alert: LoadHigh
        expr: node_load1 > 4
        for: 500ms
        labels: { severity: warning }
        annotations:
          summary: 'Load on {{ $labels.instance }} is {{ $value }}'
          action: 'Find the process that uses the processor.'
          outcome: 'Customers do not wait for answers.'
          runbook_url: '{{ externalURL }}/runbooks/HostLoadHigh'
      - alert: LoadNoted
        expr: node_load1 > 4
        labels: { severity: warning }
        annotations: { summary: 'Only informs.' }
      - alert: HostSilent
        expr: up == 0
        labels: { severity: critical }
        annotations:
          summary: '{{ $labels.instance }} is silent'
          action: 'Look at its console.'
          outcome: 'Its customers are served.'
";

fn options(routing: String) -> CollectorOptions {
    CollectorOptions {
        rules: vec![("story.yml".to_owned(), RULES.to_owned())],
        routing: Some(routing),
        settings: "[alerts]\nallow_networks = [\"127.0.0.0/8\"]\n".to_owned(),
        ..CollectorOptions::default()
    }
}

fn webhook_routing(url: &str) -> String {
    format!(
        "route: {{ receiver: hook, group_by: [alertname, instance], group_wait: 0s, group_interval: 300ms }}\n\
         receivers:\n  - name: hook\n    webhook_configs: [{{ url: '{url}' }}]\n"
    )
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

#[tokio::test]
async fn a_crossed_threshold_reaches_the_webhook_firing_and_then_resolved() -> Result<()> {
    let hook = WebhookServer::start().await?;
    let collector = Collector::start(&options(webhook_routing(hook.url()))).await?;
    let (host, _agent) = loaded_host(&collector).await?;
    assert!(hook.received().is_empty());

    host.set_load(9.5)?;
    let (_, firing) = hook.await_alert("LoadHigh", "firing", SOON).await?;
    assert_eq!(firing["labels"]["instance"], "web1");
    assert_eq!(firing["annotations"]["summary"], "Load on web1 is 9.5");
    assert_eq!(firing["annotations"]["outcome"], "Customers do not wait for answers.");
    assert_eq!(firing["endsAt"], "0001-01-01T00:00:00Z");
    let (_, body) = hook.received().remove(0);
    assert_eq!(body["version"], "4");
    assert_eq!(body["receiver"], "hook");
    let shown = collector.json("/api/v1/alerts").await?["data"]["alerts"].to_string();
    assert!(shown.contains("LoadHigh") && shown.contains("LoadNoted"), "{shown}");

    host.set_load(0.5)?;
    let (_, resolved) = hook.await_alert("LoadHigh", "resolved", SOON).await?;
    assert_eq!(resolved["startsAt"], firing["startsAt"]);
    assert_ne!(resolved["endsAt"], "0001-01-01T00:00:00Z");
    let told: Vec<_> = hook.received();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(!format!("{told:?}").contains("LoadNoted"), "a rule that only informs told someone");
    Ok(())
}

#[tokio::test]
async fn the_link_in_a_message_leads_to_the_page_by_the_address_that_people_use() -> Result<()> {
    let check = async |configured: Option<&str>| -> Result<()> {
        let hook = WebhookServer::start().await?;
        let mut options = options(webhook_routing(hook.url()));
        if let Some(url) = configured {
            options.settings.push_str(&format!("external_url = \"{url}/\"\n"));
        }
        let collector = Collector::start(&options).await?;
        let (host, _agent) = loaded_host(&collector).await?;
        host.set_load(9.5)?;
        let (_, firing) = hook.await_alert("LoadHigh", "firing", SOON).await?;
        let link = firing["annotations"]["runbook_url"].as_str().context("no link")?;
        let own = collector.url("");
        let begin = configured.unwrap_or(&own);
        let path = link.strip_prefix(begin).with_context(|| format!("{link} is not on {begin}"))?;
        let page = collector.get_unauthorized(path).send().await?.error_for_status()?;
        let text = page.text().await?;
        assert!(text.starts_with("# HostLoadHigh\n"), "{text}");
        Ok(())
    };
    check(None).await?;
    check(Some("https://upkeep.example.org/behind/a/proxy")).await
}

#[tokio::test]
async fn a_host_that_falls_silent_is_an_alert_by_itself() -> Result<()> {
    let hook = WebhookServer::start().await?;
    let collector = Collector::start(&options(webhook_routing(hook.url()))).await?;
    let (_host, mut agent) = loaded_host(&collector).await?;
    agent.kill()?;
    let (_, firing) = hook.await_alert("HostSilent", "firing", Duration::from_secs(60)).await?;
    assert_eq!(firing["labels"]["instance"], "web1");
    agent.launch()?;
    hook.await_alert("HostSilent", "resolved", SOON).await?;
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_fails_is_told_when_it_recovers_even_after_a_restart() -> Result<()> {
    let hook = WebhookServer::start().await?;
    hook.answer_with(503);
    let mut collector = Collector::start(&options(webhook_routing(hook.url()))).await?;
    let (host, _agent) = loaded_host(&collector).await?;
    host.set_load(9.5)?;
    until("a refused post", SOON, || async { Ok((hook.refused() > 0).then_some(())) }).await?;
    collector.kill()?;
    collector.launch().await?;
    let refused = hook.refused();
    until("another try", SOON, || async { Ok((hook.refused() > refused).then_some(())) }).await?;
    hook.answer_with(200);
    hook.await_alert("LoadHigh", "firing", SOON).await?;
    host.set_load(0.5)?;
    hook.await_alert("LoadHigh", "resolved", SOON).await?;
    let states: Vec<_> =
        hook.received().into_iter().map(|(_, body)| body["status"].clone()).collect();
    assert_eq!(states, ["firing", "resolved"]);
    Ok(())
}

#[tokio::test]
async fn a_restart_tells_nobody_twice() -> Result<()> {
    let hook = WebhookServer::start().await?;
    let mut collector = Collector::start(&options(webhook_routing(hook.url()))).await?;
    let (host, agent) = loaded_host(&collector).await?;
    host.set_load(9.5)?;
    hook.await_alert("LoadHigh", "firing", SOON).await?;
    collector.stop().await?;
    collector.launch().await?;
    let made = agent.confirmed()?.len();
    until("ten more observations", SOON, || {
        let confirmed = agent.confirmed();
        async move { Ok((confirmed?.len() >= made + 10).then_some(())) }
    })
    .await?;
    host.set_load(0.5)?;
    hook.await_alert("LoadHigh", "resolved", SOON).await?;
    assert_eq!(hook.received().len(), 2, "{:#?}", hook.received());
    Ok(())
}

#[tokio::test]
async fn the_mail_arrives_over_starttls() -> Result<()> {
    let server = SmtpServer::start().await?;
    let routing = format!(
        "global: {{ smtp_smarthost: '{}', smtp_from: 'upkeep@example.org' }}\n\
         route: {{ receiver: post, group_by: [alertname], group_wait: 0s, group_interval: 300ms }}\n\
         receivers:\n  - name: post\n    email_configs:\n      - to: 'ops@example.org'\n        send_resolved: true\n        tls_config: {{ ca_file: {:?} }}\n",
        server.address(),
        server.ca_file(),
    );
    let collector = Collector::start(&options(routing)).await?;
    let (host, _agent) = loaded_host(&collector).await?;
    host.set_load(9.5)?;
    let mail = server.await_mail("LoadHigh", SOON).await?;
    assert!(mail.encrypted);
    assert_eq!(
        (mail.from.as_str(), mail.to.as_slice()),
        ("upkeep@example.org", &["ops@example.org".to_owned()][..])
    );
    assert!(mail.data.contains("Find the process that uses the processor."), "{}", mail.data);
    Ok(())
}

/// Its turn comes once an hour.
const SELDOM: &str = "
groups:
  - name: seldom
    interval: 1h
    rules:
      - alert: LoadHigh
        expr: node_load1 > 4
        annotations: { summary: 'Load is high.', action: 'Look.', outcome: 'It runs.' }
      - alert: LoadOfAllHigh
        expr: sum(node_load1) > 4
        annotations: { summary: 'Load is high.', action: 'Look.', outcome: 'It runs.' }
";

#[tokio::test]
async fn an_alert_of_one_host_comes_with_its_sample_and_does_not_wait_for_its_group() -> Result<()>
{
    let hook = WebhookServer::start().await?;
    let mut options = options(webhook_routing(hook.url()));
    options.rules = vec![("seldom.yml".to_owned(), SELDOM.to_owned())];
    let collector = Collector::start(&options).await?;
    let (host, _agent) = loaded_host(&collector).await?;
    host.set_load(9.5)?;
    let soon = Duration::from_secs(10);
    let (_, firing) = hook.await_alert("LoadHigh", "firing", soon).await?;
    assert_eq!(firing["labels"]["instance"], "web1");
    let series = collector.query("ALERTS{alertname=\"LoadHigh\", alertstate=\"firing\"}").await?;
    assert_eq!(series.len(), 1, "{series:?}");
    host.set_load(0.5)?;
    hook.await_alert("LoadHigh", "resolved", soon).await?;
    let told = format!("{:?}", hook.received());
    assert!(!told.contains("LoadOfAllHigh"), "what looks at all hosts waits: {told}");
    Ok(())
}
