//! How soon an alert arrives.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeHost, WebhookServer, until,
};

use super::SOON;

/// How often a threshold is crossed for each pair of intervals.
const CROSSINGS: usize = 10;

/// From the moment a file of the host changes to the arrival of the webhook.
pub(super) async fn latency(period: Duration) -> Result<()> {
    let interval = &format!("{}s", period.as_secs());
    let hook = WebhookServer::start().await?;
    let rule = format!(
        "groups: [{{ name: bench, interval: {interval}, rules: [{{ alert: LoadHigh, expr: node_load1 > 4, \
         labels: {{ severity: warning }}, annotations: {{ action: a, outcome: b }} }}] }}]"
    );
    let routing = format!(
        "route: {{ receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s }}\n\
         receivers: [{{ name: hook, webhook_configs: [{{ url: '{}' }}] }}]\n",
        hook.url()
    );
    let collector = Collector::start(&CollectorOptions {
        rules: vec![("bench.yml".to_owned(), rule)],
        routing: Some(routing),
        settings: "[alerts]\nallow_networks = [\"127.0.0.0/8\"]\n".to_owned(),
        ..CollectorOptions::default()
    })
    .await?;
    let host = FakeHost::new("web1")?;
    let _agent = Agent::start(
        &collector,
        &AgentOptions {
            interval: Some(interval.clone()),
            replay: Some(host.path().into()),
            ..AgentOptions::default()
        },
    )?;
    until("the first sample", SOON, || async {
        Ok(collector.query("node_load1").await?.into_iter().next())
    })
    .await?;
    let mut seconds = Vec::new();
    for crossing in 0..CROSSINGS {
        // The moments are spread evenly over the interval, so that the median says something of all.
        tokio::time::sleep(to_phase(period, crossing)?).await;
        let crossed = Instant::now();
        host.set_load(9.0)?;
        let firing = nth(&hook, 2 * crossing + 1).await?;
        seconds.push((firing - crossed).as_secs_f64());
        host.set_load(0.1)?;
        nth(&hook, 2 * crossing + 2).await?;
    }
    seconds.sort_by(f64::total_cmp);
    let median = (seconds[(CROSSINGS - 1) / 2] + seconds[CROSSINGS / 2]) / 2.0;
    let most = seconds[CROSSINGS - 1];
    println!(
        "threshold to webhook at {interval}/{interval}: median {median:.2} s, most {most:.2} s"
    );
    Ok(())
}

/// How long it is to the given tenth of the interval by the wall clock.
fn to_phase(period: Duration, crossing: usize) -> Result<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let phase = period * crossing as u32 / CROSSINGS as u32;
    let since = Duration::from_nanos((now.as_nanos() % period.as_nanos()) as u64);
    Ok((phase + period).saturating_sub(since))
}

async fn nth(hook: &WebhookServer, count: usize) -> Result<Instant> {
    let received = until("the next notification", SOON, || {
        let received = hook.received();
        async move { Ok((received.len() >= count).then_some(received)) }
    });
    Ok(received.await?[count - 1].0)
}
