//! `make demo`: a collector and an agent of this very machine under a temporary folder, the first
//! data as a table, and then everything runs until Ctrl-C.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use upkeep_tests::{Agent, AgentOptions, Collector, CollectorOptions, until};

/// How long the first data may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the table shows of health: words, PromQL, unit.
const HEALTH: [(&str, &str, Unit); 8] = [
    ("up for", "time() - node_boot_time_seconds", Unit::Seconds),
    ("processors", "count(count by (cpu) (node_cpu_seconds_total))", Unit::Count),
    ("processor use", "1 - avg(rate(node_cpu_seconds_total{mode=\"idle\"}[1m]))", Unit::Percent),
    ("load over 1 minute", "node_load1", Unit::Number),
    ("memory", "node_memory_MemTotal_bytes", Unit::Bytes),
    (
        "memory in use",
        "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
        Unit::Percent,
    ),
    (
        "fullest file system",
        "max(1 - node_filesystem_avail_bytes / node_filesystem_size_bytes)",
        Unit::Percent,
    ),
    ("series", "count({instance!=\"\"})", Unit::Count),
];

#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Count,
    Number,
    Percent,
    Bytes,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    println!("Starting a collector and an agent of this machine under a temporary folder …");
    let mut collector = Collector::start(&CollectorOptions {
        rules: shipped_rules()?,
        ..CollectorOptions::default()
    })
    .await?;
    let options = AgentOptions { interval: Some("2s".to_owned()), ..AgentOptions::default() };
    let mut agent = Agent::start(&collector, &options)?;
    let host = first_data(&collector).await?;

    print_host(&host);
    for (words, expression, unit) in HEALTH {
        let result = collector.query(expression).await?;
        let value = result.first().and_then(|row| row["value"][1].as_str());
        println!("  {words:<22} {}", value.map_or("unknown".to_owned(), |value| unit.show(value)));
    }
    print_patches(&collector, &host).await?;
    print_access(&collector)?;

    tokio::signal::ctrl_c().await?;
    println!("\nStopping …");
    agent.stop().await?;
    collector.stop().await
}

/// Waits until the host has delivered facts, patches and enough samples for a rate.
async fn first_data(collector: &Collector) -> Result<Value> {
    until("the first data of this machine", PATIENCE, || async {
        let rate = collector.query("avg(rate(node_cpu_seconds_total{mode=\"idle\"}[1m]))").await?;
        let hosts = collector.json("/api/v1/hosts").await?;
        let host = hosts["data"]["hosts"][0].clone();
        let complete = !host["facts"].is_null() && !host["updates"]["checked_at"].is_null();
        Ok((complete && !rate.is_empty()).then_some(host))
    })
    .await
}

fn print_host(host: &Value) {
    let facts = &host["facts"];
    let text = |value: &Value| match value.as_str() {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => "unknown".to_owned(),
    };
    println!("\n{}", text(&host["instance"]));
    println!("  {:<22} {}", "distribution", text(&facts["distribution"]["name"]));
    println!("  {:<22} {}", "kernel", text(&facts["kernel"]));
    println!("  {:<22} {}", "processor", text(&facts["hardware"]["processor"]));
}

async fn print_patches(collector: &Collector, host: &Value) -> Result<()> {
    let instance = host["instance"].as_str().context("the host's name")?;
    let patches = collector.json(&format!("/api/v1/hosts/{instance}/patches")).await?;
    let patches = &patches["data"];
    let summary = &patches["summary"];
    let reason = |part: &Value| part.as_str().unwrap_or("no reason given").to_owned();
    match patches["updates"].as_array() {
        Some(updates) if summary["status"] == "known" => {
            let (pending, security) = (&summary["pending"], &summary["security"]);
            println!("  {:<22} {pending} ({security} for security)", "pending updates");
            for update in updates.iter().take(10) {
                let part = |key: &str| update[key].as_str().unwrap_or_default().to_owned();
                println!("    {} {} → {}", part("package"), part("installed"), part("offered"));
            }
            if updates.len() > 10 {
                println!("    and {} more", updates.len() - 10);
            }
        }
        _ => println!("  {:<22} unknown: {}", "pending updates", reason(&summary["reason"])),
    }
    let reboot = &patches["reboot"];
    match reboot["required"].as_bool() {
        Some(true) => {
            let reasons = reboot["reasons"].as_array().into_iter().flatten();
            let reasons: Vec<_> = reasons.filter_map(|one| one["reason"].as_str()).collect();
            println!("  {:<22} yes: {}", "restart due", reasons.join("; "));
        }
        Some(false) => println!("  {:<22} no", "restart due"),
        None => println!("  {:<22} unknown: {}", "restart due", reason(&reboot["unknown_reason"])),
    }
    Ok(())
}

fn print_access(collector: &Collector) -> Result<()> {
    let header = collector.configuration_dir().join("authorization");
    std::fs::write(&header, format!("Authorization: Bearer {}\n", collector.api_token()))?;
    println!("\nHTTP API   {}", collector.url("/api/v1/hosts"));
    println!("API token  {}", collector.api_token());
    println!("\nTry, in another terminal:");
    let root = collector.data_dir().join("ca/root.pem");
    let curl = format!("curl -s --cacert {} -H @{}", root.display(), header.display());
    println!("  {curl} {}", collector.url("/api/v1/hosts"));
    println!("  {curl} {} --data-urlencode query=node_load1", collector.url("/api/v1/query"));
    println!("\nRunning until Ctrl-C.");
    Ok(())
}

/// The rules that the package ships.
fn shipped_rules() -> Result<Vec<(String, String)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/rules");
    let mut rules = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().context("a rule file's name")?.to_string_lossy().into_owned();
        rules.push((name, std::fs::read_to_string(&path)?));
    }
    Ok(rules)
}

impl Unit {
    fn show(self, value: &str) -> String {
        let Ok(number) = value.parse::<f64>() else { return value.to_owned() };
        match self {
            Self::Seconds => {
                let minutes = (number / 60.0) as u64;
                format!("{} d {} h {} min", minutes / 1440, minutes / 60 % 24, minutes % 60)
            }
            Self::Count => format!("{number:.0}"),
            Self::Number => format!("{number:.2}"),
            Self::Percent => format!("{:.1} %", number * 100.0),
            Self::Bytes => format!("{:.1} GiB", number / f64::from(1 << 30)),
        }
    }
}
