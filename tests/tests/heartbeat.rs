//! The heartbeat comes while samples come in, rules are evaluated and people are told, and stops when one
//! of them does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeHost, WebhookServer, until,
};

const SOON: Duration = Duration::from_secs(60);

/// Longer than a few beats take.
const SILENCE: Duration = Duration::from_secs(3);

/// The service outside that waits for beats.
struct Waiting {
    url: String,
    beats: Arc<AtomicUsize>,
}

impl Waiting {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/beat", listener.local_addr()?);
        let beats = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&beats);
        let beat = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            std::future::ready("OK")
        };
        let router = Router::new().route("/beat", get(beat));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, beats })
    }

    async fn comes(&self, when: &str) -> Result<()> {
        let before = self.beats.load(Ordering::SeqCst);
        until(&format!("the heartbeat {when}"), SOON, || async {
            Ok((self.beats.load(Ordering::SeqCst) > before + 3).then_some(()))
        })
        .await
    }

    async fn stops(&self, when: &str) -> Result<()> {
        until(&format!("no heartbeat {when}"), SOON, || async {
            let before = self.beats.load(Ordering::SeqCst);
            tokio::time::sleep(SILENCE).await;
            Ok((self.beats.load(Ordering::SeqCst) == before).then_some(()))
        })
        .await
    }

    fn options(&self, rule: &str, hook: &WebhookServer) -> CollectorOptions {
        let rules = format!("groups:\n  - name: story\n    interval: 200ms\n    rules:\n{rule}");
        CollectorOptions {
            rules: vec![("story.yml".to_owned(), rules)],
            routing: Some(format!(
                "route: {{ receiver: hook, group_wait: 0s, group_interval: 300ms }}\n\
                 receivers: [{{ name: hook, webhook_configs: [{{ url: '{}' }}] }}]\n",
                hook.url()
            )),
            settings: format!(
                "[alerts]\nallow_networks = [\"127.0.0.0/8\"]\n\
                 [heartbeat]\nurl = \"{}\"\ninterval = \"200ms\"\npatience = \"2s\"\n",
                self.url
            ),
            ..CollectorOptions::default()
        }
    }
}

fn agent(collector: &Collector, host: &FakeHost) -> Result<Agent> {
    let options = AgentOptions {
        interval: Some("200ms".to_owned()),
        replay: Some(host.path().into()),
        ..AgentOptions::default()
    };
    Agent::start(collector, &options)
}

#[tokio::test]
async fn it_stops_when_nothing_comes_in_and_when_nobody_can_be_told() -> Result<()> {
    const RULE: &str = "      - alert: LoadHigh
        expr: node_load1 > 4
        annotations: { action: 'Look.', outcome: 'All is well.' }
";
    let (waiting, hook) = (Waiting::start().await?, WebhookServer::start().await?);
    let collector = Collector::start(&waiting.options(RULE, &hook)).await?;
    waiting.comes("without any host").await?;
    let host = FakeHost::new("web1")?;
    let mut agent = agent(&collector, &host)?;
    waiting.comes("with a host").await?;

    agent.kill()?;
    waiting.stops("once the host is gone").await?;
    agent.launch()?;
    waiting.comes("once the host is back").await?;

    hook.answer_with(503);
    host.set_load(9.5)?;
    waiting.stops("while nobody can be told").await?;
    hook.answer_with(200);
    hook.await_alert("LoadHigh", "firing", SOON).await?;
    waiting.comes("once people were told").await
}

#[tokio::test]
async fn it_stops_when_no_rule_can_be_evaluated() -> Result<()> {
    // On the right there are many series of one group as soon as the load is high.
    const RULE: &str = "      - record: broken_when_the_load_is_high
        expr: vector(1) + on() (node_cpu_seconds_total and on() (node_load1 > 4))
";
    let (waiting, hook) = (Waiting::start().await?, WebhookServer::start().await?);
    let collector = Collector::start(&waiting.options(RULE, &hook)).await?;
    let host = FakeHost::new("web1")?;
    let _agent = agent(&collector, &host)?;
    until("the first sample", SOON, || async {
        Ok(collector.query("node_load1").await?.into_iter().next())
    })
    .await?;
    waiting.comes("while the rule works").await?;
    host.set_load(9.5)?;
    waiting.stops("while the rule fails").await?;
    host.set_load(0.5)?;
    waiting.comes("once it works again").await
}
