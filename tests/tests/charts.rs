//! Something is out of its tolerance, although no threshold was ever set: the chart shows it, and a rule
//! pages.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use upkeep_tests::{
    Collector, CollectorOptions, RemoteWriter, TimeSeries, WebhookServer, WriteRequest, until,
};

const SOON: Duration = Duration::from_secs(60);

const STEP_MS: i64 = 300_000;

const RULES: &str = "
groups:
  - name: tolerance
    interval: 1s
    rules:
      - alert: ProcessesOutOfTolerance
        expr: upkeep_chart_broken{signal='process_count', rule='beyond_3_sigma'} > 0
        labels: { severity: warning }
        annotations:
          summary: '{{ $labels.instance }}: {{ $labels.signal }} is out of tolerance'
          action: 'Look at what runs there.'
          outcome: 'A program that starts itself over and over is found before it fills the host.'
";

/// How many processes the host has: around 200, now a few more, now a few less, and 60 more in the end.
fn processes(end_ms: i64, days: i64, host: &str, more: f64) -> TimeSeries {
    let labels = [("__name__", "upkeep_processes"), ("instance", host), ("job", "node")];
    let sample = |step: i64| {
        let at_ms = end_ms - step * STEP_MS;
        let noise = (at_ms / STEP_MS).rem_euclid(7) as f64 - 3.0;
        let more = if step < 4 { more } else { 0.0 };
        // Those of a point lie a moment before it.
        (at_ms - 1000, 200.0 + noise * 4.0 + more)
    };
    let samples: Vec<_> = (0..days * 288).rev().map(sample).collect();
    TimeSeries::new(&labels, &samples)
}

/// A collector with ten days of two hosts, of which one has just left its tolerance.
async fn collector(hook: &WebhookServer) -> Result<Collector> {
    let options = CollectorOptions {
        rules: vec![("tolerance.yml".to_owned(), RULES.to_owned())],
        routing: Some(format!(
            "route: {{ receiver: hook, group_wait: 0s }}\n\
             receivers:\n  - name: hook\n    webhook_configs: [{{ url: '{}' }}]\n",
            hook.url()
        )),
        settings: "[alerts]\nallow_networks = [\"127.0.0.0/8\"]\n[tolerance]\nenabled = false\n"
            .to_owned(),
        ..CollectorOptions::default()
    };
    let mut collector = Collector::start(&options).await?;
    let root = std::fs::read(collector.data_dir().join("ca/root.pem"))?;
    let token = collector.command(&["api-token", "create", "sender", "--scope", "write"])?;
    let token = token.success()?.trim().to_owned();
    let url = collector.url("/api/v1/write");
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let end_ms = now_ms - 60_000 - (now_ms - 60_000).rem_euclid(STEP_MS);
    let hosts = [processes(end_ms, 10, "web1", 60.0), processes(end_ms, 10, "web2", 0.0)];
    let request = WriteRequest::of(hosts.to_vec());
    RemoteWriter::trusting(&url, &root, &token)?.send(&request).await?;
    assert_eq!(collector.json("/api/v1/charts").await?["data"]["total"], 0);
    // A collector that begins to chart learns of all that it has.
    collector.stop().await?;
    let settings = collector.configuration_dir().join("conf.d/60-tolerance.toml");
    std::fs::write(settings, "[tolerance]\nenabled = true\n")?;
    collector.launch().await?;
    Ok(collector)
}

async fn chart(collector: &Collector, host: &str) -> Result<Value> {
    until("the chart", SOON, || async {
        let charts = collector.json("/api/v1/charts?signal=process_count").await?;
        let charts = charts["data"]["charts"].as_array().context("charts")?.clone();
        Ok(charts.into_iter().find(|chart| chart["instance"] == host && !chart["center"].is_null()))
    })
    .await
}

#[tokio::test]
async fn a_host_out_of_its_tolerance_is_marked_and_a_rule_pages() -> Result<()> {
    let hook = WebhookServer::start().await?;
    let mut collector = collector(&hook).await?;
    let (_, firing) = hook.await_alert("ProcessesOutOfTolerance", "firing", SOON).await?;
    assert_eq!(firing["labels"]["instance"], "web1");
    assert_eq!(firing["annotations"]["summary"], "web1: process_count is out of tolerance");

    let marked = chart(&collector, "web1").await?;
    assert!(marked["broken"].to_string().contains("beyond_3_sigma"), "{marked}");
    assert_eq!((&marked["phase"], &marked["unit"]), (&json!("average"), &json!("processes")));
    let (value, upper) = (marked["value"].as_f64(), marked["upper_limit"].as_f64());
    assert!(value > upper && upper > Some(210.0), "{marked}");
    let quiet = chart(&collector, "web2").await?;
    assert_eq!(quiet["broken"], json!([]), "{quiet}");

    // Its lines are series like any other.
    let beyond = "upkeep_chart_value > on (instance, signal) upkeep_chart_upper_limit";
    let found = collector.query(beyond).await?;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["metric"]["instance"], "web1");
    let rules = collector.query("upkeep_chart_broken{instance='web2'} > 0").await?;
    assert!(rules.is_empty(), "{rules:?}");
    let lines = "{__name__=~'upkeep_chart_(center|lower_limit|upper_limit)', instance='web2'}";
    assert_eq!(collector.query(lines).await?.len(), 3);

    // What was learned outlives a restart, and nobody is told twice.
    collector.stop().await?;
    collector.launch().await?;
    let again = chart(&collector, "web1").await?;
    assert_eq!(again["broken_since"], marked["broken_since"]);
    let told: Vec<_> = hook.received();
    assert_eq!(told.len(), 1, "{told:#?}");
    shown_by_the_command_line(&collector)
}

fn shown_by_the_command_line(collector: &Collector) -> Result<()> {
    let token = collector.configuration_dir().join("token");
    std::fs::write(&token, collector.api_token())?;
    let token = token.to_string_lossy().into_owned();
    let run = |arguments: &[&str]| -> Result<String> {
        collector.command(&[arguments, &["--token-file", &token]].concat())?.success()
    };
    let listed = run(&["chart", "list", "--signal", "process_count"])?;
    let lines: Vec<_> = listed.lines().collect();
    let [heading, first, second] = lines.as_slice() else { bail!("{listed}") };
    assert!(heading.starts_with("HOST"), "{listed}");
    assert!(first.starts_with("web1 ") && first.contains("beyond_3_sigma"), "{listed}");
    assert!(second.starts_with("web2 ") && second.contains(" -  "), "{listed}");
    let broken: Value = serde_json::from_str(&run(&["chart", "list", "--broken", "--json"])?)?;
    assert_eq!((&broken["total"], &broken["broken"]), (&json!(1), &json!(1)), "{broken}");
    let shown = run(&["chart", "show", "web1", "process_count"])?;
    assert!(shown.contains("beyond_3_sigma"), "{shown}");
    assert!(shown.contains("baseline: the centre is the exponentially weighted mean"), "{shown}");
    Ok(())
}
