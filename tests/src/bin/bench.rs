//! `make bench`: what the agent costs and how soon an alert arrives. It prints the figures; the
//! README and docs/bench/ hold those that were measured, with their machine. With the argument
//! `latency` it leaves out the agent's cost, which takes some minutes.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeHost, WebhookServer, until,
};

const SOON: Duration = Duration::from_secs(60);

/// How long the agent's cost is measured, after a warm-up.
const WARM_UP: Duration = Duration::from_secs(30);
const MEASURE: Duration = Duration::from_secs(180);

/// How often a threshold is crossed for each pair of intervals.
const CROSSINGS: usize = 10;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    println!("{}", machine()?);
    let only = std::env::args().nth(1);
    if only.as_deref() != Some("latency") {
        footprint().await?;
    }
    for seconds in [1, 10] {
        latency(Duration::from_secs(seconds)).await?;
    }
    Ok(())
}

/// CPU, memory and bytes of an agent of this machine at the default interval.
async fn footprint() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let meter = Meter::start(collector.grpc()).await?;
    let options = AgentOptions {
        interval: Some("10s".to_owned()),
        settings: format!("[uplink]\naddress = \"{}\"\n", meter.address),
        ..AgentOptions::default()
    };
    let agent = Agent::start(&collector, &options)?;
    until("the first sample", SOON, || async {
        Ok(collector.query("node_load1").await?.into_iter().next())
    })
    .await?;
    tokio::time::sleep(WARM_UP).await;
    let (cpu, sent, frames) = (cpu_seconds(agent.id()?)?, meter.sent(), frames(&collector).await?);
    tokio::time::sleep(MEASURE).await;
    let cpu = cpu_seconds(agent.id()?)? - cpu;
    let sent = meter.sent() - sent;
    let frames = self::frames(&collector).await? - frames;
    let series = collector.query("count({job=\"node\"})").await?;
    let series: f64 = series[0]["value"][1].as_str().context("a count")?.parse()?;
    let samples = frames as f64 * series;
    println!("agent over {} s at 10 s:", MEASURE.as_secs());
    println!(
        "  CPU            {cpu:.2} s = {:.3} % of a core",
        100.0 * cpu / MEASURE.as_secs_f64()
    );
    println!(
        "  RSS, PSS       {:.1}, {:.1} MiB",
        memory(agent.id()?, "Rss:")?,
        memory(agent.id()?, "Pss:")?
    );
    println!("  series         {series}");
    println!("  sent           {sent} bytes, {:.2} a sample", sent as f64 / samples);
    Ok(())
}

async fn frames(collector: &Collector) -> Result<usize> {
    Ok(collector.samples("node_load1").await?.len())
}

/// From the moment a file of the host changes to the arrival of the webhook.
async fn latency(period: Duration) -> Result<()> {
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

/// A relay that counts what goes up through it, TLS and all.
struct Meter {
    address: String,
    sent: Arc<AtomicU64>,
}

impl Meter {
    async fn start(target: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let sent = Arc::new(AtomicU64::new(0));
        let (count, target) = (Arc::clone(&sent), target.to_owned());
        tokio::spawn(async move {
            while let Ok((down, _)) = listener.accept().await {
                let Ok(up) = TcpStream::connect(&target).await else { continue };
                let count = Arc::clone(&count);
                tokio::spawn(relay(down, up, count));
            }
        });
        Ok(Self { address, sent })
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

async fn relay(down: TcpStream, mut up: TcpStream, count: Arc<AtomicU64>) -> Result<()> {
    let mut down = tokio_util::io::InspectReader::new(down, move |bytes: &[u8]| {
        count.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    });
    copy_bidirectional(&mut down, &mut up).await?;
    Ok(())
}

/// User and system time of a process so far, in seconds.
fn cpu_seconds(id: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / 100.0)
}

/// A line of a process' memory in MiB.
fn memory(id: u32, line: &str) -> Result<f64> {
    let rollup = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    let found = rollup.lines().find_map(|one| one.strip_prefix(line)).context("smaps_rollup")?;
    let kib: f64 = found.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

fn machine() -> Result<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let processors = std::thread::available_parallelism()?;
    Ok(format!("{model}, {processors} processors, Linux {}", kernel.trim()))
}
