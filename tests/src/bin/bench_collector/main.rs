//! `make bench-store` and `make bench-alerts`: what the collector's store and its alerts cost, side by side with
//! Debian's victoria-metrics, prometheus and prometheus-alertmanager. It prints its tables and, with `--write FILE`, writes them down
//! with machine and versions. The first argument is the part, `store` or `alerts`; names of scenarios after
//! it let it do only those.

mod data;
mod disk;
mod figures;
mod growth;
mod latency;
mod native;
mod native_ingest;
mod queries;
mod recording;
mod remote_ingest;
mod restart;
mod rules;
mod series;
mod storm;
mod subject;

use std::process::{Command, ExitCode};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use tokio::time::Instant;
use upkeep_tests::PeerKind;

/// How often each is measured where one is held against the other.
const RUNS: usize = 4;

/// A part of the collector that is measured by itself.
struct Part {
    name: &'static str,
    title: &'static str,
    /// In the order in which they run.
    scenarios: &'static [&'static str],
}

const PARTS: [Part; 2] = [
    Part {
        name: "store",
        title: "What the store costs beside its peers",
        scenarios: &["native", "paced", "remote", "queries", "restart", "growth", "disk"],
    },
    Part {
        name: "alerts",
        title: "What rules and alerts cost beside their peers",
        scenarios: &["latency", "rules", "storm"],
    },
];

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench_collector: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let file = match arguments.iter().position(|argument| argument == "--write") {
        Some(at) if at + 1 < arguments.len() => arguments.drain(at..at + 2).nth(1),
        Some(_) => bail!("--write needs a file"),
        None => None,
    };
    let named = (!arguments.is_empty()).then(|| arguments.remove(0));
    let part = PARTS.iter().find(|part| named.as_deref() == Some(part.name));
    let part = part.context("the first argument is the part, `store` or `alerts`")?;
    let scenarios = part.scenarios;
    if let Some(unknown) = arguments.iter().find(|name| !scenarios.contains(&name.as_str())) {
        bail!("no scenario is called {unknown:?}; there are {}", scenarios.join(", "));
    }
    let mut report = head(part, &arguments)?;
    println!("{report}");
    for &name in scenarios {
        if !arguments.is_empty() && !arguments.iter().any(|argument| argument == name) {
            continue;
        }
        let begin = Instant::now();
        let table = scenario(name).await.with_context(|| format!("scenario {name}"))?;
        println!("{table}\n({name} took {:.0} s)\n", begin.elapsed().as_secs_f64());
        report.push_str(&format!("\n{table}"));
    }
    if let Some(file) = file {
        std::fs::write(&file, report).with_context(|| format!("writing {file}"))?;
    }
    Ok(())
}

async fn scenario(name: &str) -> Result<String> {
    match name {
        "native" => native_ingest::bulk().await,
        "paced" => native_ingest::paced().await,
        "remote" => remote_ingest::bulk().await,
        "queries" => queries::queries().await,
        "restart" => restart::restart().await,
        "growth" => growth::growth().await,
        "disk" => disk::bytes().await,
        "latency" => latency::latency().await,
        "rules" => rules::rules().await,
        "storm" => storm::storm().await,
        other => bail!("scenario {other} is not joined"),
    }
}

/// When, where, and what.
fn head(part: &Part, arguments: &[String]) -> Result<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let memory = memory.lines().next().unwrap_or_default().trim_start_matches("MemTotal:").trim();
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let processors = std::thread::available_parallelism()?;
    let day = jiff::Timestamp::now().strftime("%Y-%m-%d");
    let mut text = format!(
        "# {}\n{day}, {model}, {processors} processors, {memory}, Linux {}, load {} as it \
         began. `make bench-{} SCENARIOS=\"{}\"`; upkeep {}",
        part.title,
        kernel.trim(),
        load.split_whitespace().next().unwrap_or_default(),
        part.name,
        arguments.join(" "),
        env!("CARGO_PKG_VERSION"),
    );
    for kind in [PeerKind::VictoriaMetrics, PeerKind::Prometheus] {
        if let Some(program) = kind.program()? {
            text.push_str(&format!(", {}", version(&program)?));
        }
    }
    text.push_str(".\n");
    Ok(text)
}

/// The first line of what a program says of itself.
fn version(program: &std::path::Path) -> Result<String> {
    let package = program.file_name().and_then(|name| name.to_str()).context("a program's name")?;
    let told = Command::new("apt-cache").args(["policy", package]).output();
    let told = told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let line = |text: &str| {
        let candidate = text.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
        Some(candidate.to_owned())
    };
    let version = told.ok().and_then(|text| line(&text));
    Ok(format!("{package} {}", version.as_deref().unwrap_or("of an unknown version")))
}

fn now_ms() -> Result<i64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
