//! How soon an alert arrives.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeHost, NodeExporter, Peer, PeerKind,
    WebhookServer, peer_program, until,
};

use super::figures::{Aim, Figure, OURS, table};

/// How often a threshold is crossed for each interval.
const CROSSINGS: usize = 10;

/// How long anything may take to begin, or a notification to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who is held against ours.
const PEERS: &str = "prometheus + alertmanager";

/// What says that a host's load is high, whoever evaluates it.
const CONDITION: &str = "alert: LoadHigh, expr: node_load1 > 4, labels: { severity: warning }";

/// From the moment a file of the host changes to the arrival of the webhook.
pub(super) async fn latency() -> Result<String> {
    let mut figures = Vec::new();
    for (seconds, median, worst) in
        [(1, Some(Aim::Most(0.7)), None), (10, None, Some(Aim::Most(10.3)))]
    {
        let what = format!("threshold to webhook at {seconds} s");
        let mut all = Figure::new(format!("{what}, each crossing"), "s", median);
        let mut most = Figure::new(format!("{what}, worst"), "s", worst);
        for (who, crossings) in at_interval(seconds).await? {
            crossings.iter().for_each(|crossing| all.note(who, *crossing));
            most.note(who, crossings.into_iter().fold(0.0, f64::max));
        }
        figures.extend([all, most]);
    }
    let notes = "A host's load goes over a threshold ten times, at moments spread evenly over the interval, and both see the same file \
                 change: an agent that observes and Prometheus that scrapes node_exporter every so many seconds; rules without `for`, \
                 evaluated as often; `group_wait: 0s`.";
    table("From threshold to webhook", notes, &figures)
}

/// Seconds from each crossing to the webhook, by who sent it.
async fn at_interval(seconds: u64) -> Result<Vec<(&'static str, Vec<f64>)>> {
    let period = Duration::from_secs(seconds);
    let host = FakeHost::new("web1")?;
    let ours = Ours::start(&host, seconds).await?;
    let theirs = Theirs::start(&host, seconds).await?;
    let mut hooks = vec![(OURS, &ours.hook, Vec::new())];
    hooks.extend(theirs.as_ref().map(|theirs| (PEERS, &theirs.hook, Vec::new())));
    for crossing in 0..CROSSINGS {
        tokio::time::sleep(to_phase(period, crossing)?).await;
        let crossed = Instant::now();
        host.set_load(9.0)?;
        for (_, hook, came) in &mut hooks {
            let firing = after(hook, "firing", crossed).await?;
            came.push((firing - crossed).as_secs_f64());
        }
        let crossed = Instant::now();
        host.set_load(0.1)?;
        for (_, hook, _) in &hooks {
            after(hook, "resolved", crossed).await?;
        }
    }
    Ok(hooks.into_iter().map(|(who, _, came)| (who, came)).collect())
}

/// A collector and an agent.
struct Ours {
    hook: WebhookServer,
    _agent: Agent,
    _collector: Collector,
}

impl Ours {
    async fn start(host: &FakeHost, seconds: u64) -> Result<Self> {
        let hook = WebhookServer::start().await?;
        let told = "annotations: { action: a, outcome: b }";
        let collector = Collector::start(&CollectorOptions {
            rules: vec![("bench.yml".to_owned(), rules(seconds, &format!("{CONDITION}, {told}")))],
            routing: Some(routing(&hook)),
            settings: "[alerts]\nallow_networks = [\"127.0.0.0/8\"]\n".to_owned(),
            ..CollectorOptions::default()
        })
        .await?;
        let agent = Agent::start(
            &collector,
            &AgentOptions {
                interval: Some(format!("{seconds}s")),
                replay: Some(host.path().into()),
                ..AgentOptions::default()
            },
        )?;
        until("the first sample", PATIENCE, || async {
            Ok(collector.query("node_load1").await?.into_iter().next())
        })
        .await?;
        Ok(Self { hook, _agent: agent, _collector: collector })
    }
}

/// node_exporter, Prometheus and Alertmanager.
struct Theirs {
    hook: WebhookServer,
    _exporter: NodeExporter,
    _prometheus: Peer,
    _alertmanager: Peer,
    _folder: tempfile::TempDir,
}

impl Theirs {
    /// `None`, with a word about it, where one of them cannot be had.
    async fn start(host: &FakeHost, seconds: u64) -> Result<Option<Self>> {
        let Some(exporter) = NodeExporter::program()? else { return Ok(None) };
        let Some(prometheus) = PeerKind::Prometheus.program()? else { return Ok(None) };
        let Some(alertmanager) = peer_program(PeerKind::Alertmanager.name())? else {
            return Ok(None);
        };
        let hook = WebhookServer::start().await?;
        let procfs = format!("--path.procfs={}", host.path().join("root/proc").display());
        let only = ["--collector.disable-defaults", "--collector.loadavg"].map(str::to_owned);
        let arguments: Vec<_> = only.into_iter().chain([procfs]).collect();
        let exporter = NodeExporter::start(&exporter, &arguments).await?;
        let alertmanager =
            Peer::start(PeerKind::Alertmanager, &alertmanager, &routing(&hook), &[]).await?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("bench.yml");
        std::fs::write(&file, rules(seconds, CONDITION))?;
        let configuration = format!(
            "global: {{ scrape_interval: {seconds}s, scrape_timeout: {seconds}s, evaluation_interval: {seconds}s }}\n\
             rule_files: ['{}']\n\
             alerting: {{ alertmanagers: [{{ static_configs: [{{ targets: ['{}'] }}] }}] }}\n\
             scrape_configs: [{{ job_name: node, static_configs: [{{ targets: ['{}'] }}] }}]\n",
            file.display(),
            address(&alertmanager.url(""))?,
            address(exporter.url())?
        );
        let prometheus =
            Peer::start(PeerKind::Prometheus, &prometheus, &configuration, &[]).await?;
        until("the first scrape", PATIENCE, || async {
            let found = prometheus.json("/api/v1/query", &[("query", "node_load1")]).await?;
            Ok(found["data"]["result"].get(0).map(|_| ()))
        })
        .await?;
        Ok(Some(Self {
            hook,
            _exporter: exporter,
            _prometheus: prometheus,
            _alertmanager: alertmanager,
            _folder: folder,
        }))
    }
}

fn rules(seconds: u64, rule: &str) -> String {
    format!("groups: [{{ name: bench, interval: {seconds}s, rules: [{{ {rule} }}] }}]")
}

fn routing(hook: &WebhookServer) -> String {
    format!(
        "route: {{ receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s }}\n\
         receivers: [{{ name: hook, webhook_configs: [{{ url: '{}' }}] }}]\n",
        hook.url()
    )
}

/// Host and port of a URL.
fn address(url: &str) -> Result<&str> {
    let rest = url.strip_prefix("http://").context("a URL of HTTP")?;
    Ok(rest.split('/').next().unwrap_or(rest))
}

/// How long it is to the given tenth of the interval by the wall clock.
fn to_phase(period: Duration, crossing: usize) -> Result<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let phase = period * crossing as u32 / CROSSINGS as u32;
    let since = Duration::from_nanos((now.as_nanos() % period.as_nanos()) as u64);
    Ok((phase + period).saturating_sub(since))
}

/// When the first notification of this status came that came after a moment.
async fn after(hook: &WebhookServer, status: &str, moment: Instant) -> Result<Instant> {
    until(&format!("a notification that is {status}"), PATIENCE, || {
        let received = hook.received();
        let mut received = received.into_iter().filter(|(_, body)| body["status"] == status);
        let came = received.find(|(at, _)| *at > moment).map(|(at, _)| at);
        async move { Ok(came) }
    })
    .await
}
