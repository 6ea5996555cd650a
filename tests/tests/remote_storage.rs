//! Remote write between the collector and those who speak it: what Prometheus and vmagent scrape comes
//! in, what the collector has goes to Prometheus and VictoriaMetrics, every sample of it, whoever is away
//! meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, Peer, PeerKind, RemoteWriter, TimeSeries,
    WriteRequest, until,
};

const SOON: Duration = Duration::from_secs(60);

/// How many series the page has whose values follow from the number of the scrape.
const SERIES: u64 = 50;

/// Something to be scraped, whose page is another one each time.
struct Target {
    address: String,
    scrapes: Arc<AtomicU64>,
}

impl Target {
    async fn start() -> Result<Self> {
        let scrapes = Arc::new(AtomicU64::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let counted = Arc::clone(&scrapes);
        let page = async move || page(counted.fetch_add(1, Ordering::Relaxed) + 1);
        let router = Router::new().route("/metrics", get(page));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, scrapes })
    }

    fn scrapes(&self) -> u64 {
        self.scrapes.load(Ordering::Relaxed)
    }

    async fn scraped(&self, more: u64) -> Result<()> {
        let wanted = self.scrapes() + more;
        let what = format!("{more} more scrapes");
        until(&what, SOON, || async { Ok((self.scrapes() >= wanted).then_some(())) }).await
    }
}

fn page(scrape: u64) -> String {
    let mut page = format!(
        "# HELP story_scrapes_total How often it was asked.\n\
         # TYPE story_scrapes_total counter\nstory_scrapes_total {scrape}\n"
    );
    for number in 0..SERIES {
        let value = value_of(number, scrape);
        page += &format!(
            "story_series{{number=\"{number}\",text=\"grün \\\"{number}\\\"\"}} {value}\n"
        );
    }
    for odd in ["NaN", "+Inf", "-Inf", "-0", "5e-324"] {
        page += &format!("story_odd{{value=\"{odd}\"}} {odd}\n");
    }
    if scrape < 4 {
        page += "story_vanishing 1\n";
    }
    page
}

fn value_of(number: u64, scrape: u64) -> f64 {
    (number * scrape) as f64 + 0.1
}

/// Series by their labels: milliseconds and the bits of values.
type Found = BTreeMap<BTreeMap<String, String>, Vec<(i64, u64)>>;

/// The result of a query, of whoever answered it.
fn found(answer: &Value) -> Result<Found> {
    let mut all = Found::new();
    for row in answer["data"]["result"].as_array().with_context(|| answer.to_string())? {
        let metric = row["metric"].as_object().context("no metric")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = metric.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        let points = row["values"].as_array().cloned();
        let points = points.unwrap_or_else(|| vec![row["value"].clone()]);
        let point = |point: &Value| {
            let seconds = point[0].as_f64().context("a time")?;
            let value: f64 = point[1].as_str().context("a value")?.parse()?;
            Ok(((seconds * 1000.0).round() as i64, value.to_bits()))
        };
        all.insert(labels, points.iter().map(point).collect::<Result<_>>()?);
    }
    Ok(all)
}

async fn ours(collector: &Collector, query: &str, at_ms: i64) -> Result<Found> {
    let time = (at_ms as f64 / 1000.0).to_string();
    let request = collector.get("/api/v1/query").query(&[("query", query), ("time", &time)]);
    found(&request.send().await?.json().await?)
}

async fn theirs(peer: &Peer, query: &str, at_ms: i64) -> Result<Found> {
    let time = (at_ms as f64 / 1000.0).to_string();
    found(&peer.json("/api/v1/query", &[("query", query), ("time", &time)]).await?)
}

/// Waits until two answers are the same and not empty; tells what differs if they never are.
async fn same<F: Future<Output = Result<(Found, Found)>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> Result<()> {
    until(what, SOON, || {
        let asked = ask();
        async move {
            let (one, other) = asked.await?;
            let differs = one.iter().find(|(labels, points)| other.get(*labels) != Some(*points));
            if let Some((labels, points)) = differs {
                anyhow::bail!("{labels:?}: {points:?} and {:?}", other.get(labels));
            }
            anyhow::ensure!(one.len() == other.len(), "{} and {} series", one.len(), other.len());
            Ok((!one.is_empty()).then_some(()))
        }
    })
    .await
}

/// The counter of scrapes as the collector has it: milliseconds and values.
async fn scrapes_in(collector: &Collector) -> Result<Vec<(i64, u64)>> {
    let samples = collector.samples("story_scrapes_total").await?;
    samples.into_iter().map(|(at_ms, value)| Ok((at_ms, value.parse()?))).collect()
}

async fn at_least(collector: &Collector, scrapes: usize) -> Result<Vec<(i64, u64)>> {
    until("scrapes to arrive", SOON, || async {
        let arrived = scrapes_in(collector).await?;
        Ok((arrived.len() >= scrapes).then_some(arrived))
    })
    .await
}

fn write_token(collector: &Collector) -> Result<String> {
    let created = collector.command(&["api-token", "create", "sender", "--scope", "write"])?;
    Ok(created.success()?.trim().to_owned())
}

#[tokio::test]
async fn what_prometheus_sends_is_what_prometheus_has() -> Result<()> {
    let Some(program) = PeerKind::Prometheus.program()? else { return Ok(()) };
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let target = Target::start().await?;
    let configuration = format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 400ms}}\n\
         scrape_configs: [{{job_name: story, static_configs: [{{targets: ['{}']}}]}}]\n\
         remote_write:\n\
         - url: {}\n  \
           authorization: {{credentials: {}}}\n  \
           tls_config: {{ca_file: {}}}\n  \
           queue_config: {{batch_send_deadline: 200ms, max_backoff: 200ms}}\n  \
           metadata_config: {{send_interval: 1s}}\n",
        target.address,
        collector.url("/api/v1/write"),
        write_token(&collector)?,
        collector.data_dir().join("ca/root.pem").display(),
    );
    let prometheus = Peer::start(PeerKind::Prometheus, &program, &configuration, &[]).await?;
    let before = at_least(&collector, 4).await?.len();
    // What it sends meanwhile it sends again.
    collector.stop().await?;
    target.scraped(3).await?;
    collector.launch().await?;
    let arrived = at_least(&collector, before + 6).await?;
    let (last_ms, _) = *arrived.last().context("nothing arrived")?;
    // Prometheus leaves a value that equals zero out of its message, and with it the sign of -0.
    for query in [
        "{__name__=~\"story_.+|up|scrape_.+\",value!=\"-0\"}[10m]",
        "{__name__=~\"story_.+|up|scrape_.+\",value!=\"-0\"}",
        "count_over_time(story_vanishing[10m])",
    ] {
        same(query, async || {
            Ok((
                ours(&collector, query, last_ms).await?,
                theirs(&prometheus, query, last_ms).await?,
            ))
        })
        .await?;
    }
    let gone = ours(&collector, "story_vanishing", last_ms).await?;
    assert!(gone.is_empty(), "staleness did not arrive: {gone:?}");
    let expect = json!([{"type": "counter", "help": "How often it was asked.", "unit": ""}]);
    until("what the metrics are", SOON, || async {
        let known = collector.json("/api/v1/metadata?metric=story_scrapes_total").await?;
        Ok((known["data"]["story_scrapes_total"] == expect).then_some(()))
    })
    .await?;
    Ok(())
}

/// A program that ends with this.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait());
        ended.expect("the program ends when it is told to");
    }
}

#[tokio::test]
async fn what_vmagent_scrapes_arrives_whole() -> Result<()> {
    let Some(program) = PeerKind::VictoriaMetrics.program()? else { return Ok(()) };
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let target = Target::start().await?;
    let folder = tempfile::tempdir()?;
    let jobs = format!(
        "global: {{scrape_interval: 500ms}}\n\
         scrape_configs: [{{job_name: story, static_configs: [{{targets: ['{}']}}]}}]\n",
        target.address,
    );
    let file = folder.path().join("scrape.yml");
    std::fs::write(&file, jobs)?;
    let root = collector.data_dir().join("ca/root.pem");
    let argument = |name: &str, value: &Path| format!("-{name}={}", value.display());
    let started = Command::new(program.with_file_name("vmagent"))
        .arg(argument("promscrape.config", &file))
        .arg(format!("-remoteWrite.url={}", collector.url("/api/v1/write")))
        .arg(format!("-remoteWrite.bearerToken={}", write_token(&collector)?))
        .arg(argument("remoteWrite.tlsCAFile", &root))
        .arg(argument("remoteWrite.tmpDataPath", &folder.path().join("queue")))
        .args(["-remoteWrite.flushInterval=200ms", "-httpListenAddr=127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let _vmagent = Ending(started);
    let before = at_least(&collector, 4).await?.len();
    collector.stop().await?;
    target.scraped(3).await?;
    collector.launch().await?;
    let arrived = at_least(&collector, before + 6).await?;
    let numbers: Vec<u64> = arrived.iter().map(|(_, scrape)| *scrape).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "a scrape is missing");
    let (last_ms, _) = *arrived.last().context("nothing arrived")?;
    let series = ours(&collector, "story_series[10m]", last_ms).await?;
    assert_eq!(series.len() as u64, SERIES);
    for (labels, points) in &series {
        let number: u64 = labels["number"].parse()?;
        assert_eq!(labels["text"], format!("grün \"{number}\""));
        let expect = |(at_ms, scrape): &(i64, u64)| (*at_ms, value_of(number, *scrape).to_bits());
        assert_eq!(*points, arrived.iter().map(expect).collect::<Vec<_>>(), "{labels:?}");
    }
    Ok(())
}

/// What the collector has, under the label that it gives to others.
async fn with_site(collector: &Collector, query: &str, at_ms: i64) -> Result<Found> {
    let mut found = ours(collector, query, at_ms).await?;
    let sited = std::mem::take(&mut found).into_iter().map(|(mut labels, points)| {
        labels.insert("site".to_owned(), "a".to_owned());
        (labels, points)
    });
    Ok(sited.collect())
}

fn now_ms() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?)
}

/// Writes a step of a few series, and gives its time.
async fn write(writer: &RemoteWriter, step: i64) -> Result<i64> {
    let at_ms = now_ms()?;
    let series = (0..20).map(|number| {
        let labels = [("__name__", "story_series"), ("number", &number.to_string())];
        TimeSeries::new(&labels, &[(at_ms, (step * number) as f64 + 0.5)])
    });
    writer.send(&WriteRequest::of(series.collect())).await?;
    Ok(at_ms)
}

#[tokio::test]
async fn prometheus_gets_everything_although_it_and_the_collector_were_away() -> Result<()> {
    let configuration = "storage: {tsdb: {out_of_order_time_window: 1h}}\n";
    goes_out(PeerKind::Prometheus, configuration).await
}

#[tokio::test]
async fn victoria_metrics_gets_everything_although_it_and_the_collector_were_away() -> Result<()> {
    goes_out(PeerKind::VictoriaMetrics, "").await
}

async fn goes_out(kind: PeerKind, configuration: &str) -> Result<()> {
    let Some(program) = kind.program()? else { return Ok(()) };
    let mut peer = Peer::start(kind, &program, configuration, &[]).await?;
    let settings = format!(
        "[[remote_write]]\nname = \"peer\"\nurl = \"{}\"\nkeep = [\"up\", \"story_.*\", \"node_load.*\"]\n\
         external_labels = {{ site = \"a\" }}\n",
        peer.url("/api/v1/write")
    );
    let options = CollectorOptions { settings, ..CollectorOptions::default() };
    let mut collector = Collector::start(&options).await?;
    let root = std::fs::read(collector.data_dir().join("ca/root.pem"))?;
    let token = write_token(&collector)?;
    let writer = RemoteWriter::trusting(&collector.url("/api/v1/write"), &root, &token)?;
    let _agent = Agent::start(&collector, &AgentOptions::default())?;

    let loads = async || {
        until("the agent's samples", SOON, || async {
            Ok((collector.samples("node_load1").await?.len() > 1).then_some(()))
        })
        .await
    };
    loads().await?;
    write(&writer, 1).await?;
    let first_ms = write(&writer, 2).await?;
    all_there(&collector, &peer, first_ms).await?;

    peer.stop().await?;
    write(&writer, 3).await?;
    collector.stop().await?;
    collector.launch().await?;
    write(&writer, 4).await?;
    peer.launch().await?;
    let last_ms = write(&writer, 5).await?;
    all_there(&collector, &peer, last_ms).await?;

    let others = theirs(&peer, "{__name__=~\"node_(memory|cpu).+\"}[10m]", last_ms).await?;
    assert!(others.is_empty(), "what is not kept was sent: {:?}", others.keys().next());
    let page = collector.get("/metrics").send().await?.text().await?;
    let taken = "upkeep_remote_write_sent_samples_total{target=\"peer\",result=\"Taken\"}";
    assert!(page.contains(taken) && !page.contains("result=\"Refused\""), "{page}");
    Ok(())
}

/// Waits until the peer has exactly what the collector has.
async fn all_there(collector: &Collector, peer: &Peer, at_ms: i64) -> Result<()> {
    let query = "{__name__=~\"up|story_.+|node_load.+\"}[10m]";
    same(peer.kind().name(), async || {
        peer.flush().await?;
        let expect = with_site(collector, query, at_ms).await?;
        Ok((expect, theirs(peer, query, at_ms).await?))
    })
    .await
}
