//! A recording of a real host: the agent of this machine observes it every second for some minutes under
//! changing load. It is kept beside the build, and made once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use upkeep_codec::Encoder;
use upkeep_model::{MetricKind, Series};
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, RemoteWriter, TimeSeries, WriteRequest,
};

use super::data::host_name;

/// How long it is, and how long each kind of load lasts in turn.
const LENGTH: Duration = Duration::from_secs(180);
const PHASE: Duration = Duration::from_secs(20);

/// So many hosts tell the same, as if each were one.
pub(super) const HOSTS: usize = 60;

/// What was observed.
#[derive(Deserialize, Serialize)]
pub(super) struct Recording {
    /// Labels by name, without those of the host.
    series: Vec<BTreeMap<String, String>>,
    rows: Vec<Row>,
}

#[derive(Deserialize, Serialize)]
struct Row {
    at_ms: i64,
    /// Numbers of series and the bits of their values.
    values: Vec<(u32, u64)>,
}

impl Recording {
    /// Reads the recording, or makes it where there is none.
    pub(super) async fn of_this_machine() -> Result<Self> {
        let file = place()?;
        if let Ok(text) = std::fs::read_to_string(&file) {
            return serde_json::from_str(&text).with_context(|| format!("{}", file.display()));
        }
        println!("recording this machine for {LENGTH:?} into {}", file.display());
        let recording = Self::make().await?;
        std::fs::write(&file, serde_json::to_string(&recording)?)?;
        Ok(recording)
    }

    async fn make() -> Result<Self> {
        let collector = Collector::start(&CollectorOptions::default()).await?;
        let options = AgentOptions { interval: Some("1s".to_owned()), ..AgentOptions::default() };
        let agent = Agent::start(&collector, &options)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let load = std::thread::spawn(move || load(&stopped));
        tokio::time::sleep(LENGTH).await;
        stop.store(true, Ordering::Relaxed);
        let loaded = load.join();
        drop(agent);
        ensure!(loaded.is_ok_and(|result| result.is_ok()), "the load could not be made");
        let selector = format!("{{job=\"node\"}}[{}s]", LENGTH.as_secs());
        Self::parse(&collector.query(&selector).await?)
    }

    fn parse(matrix: &[serde_json::Value]) -> Result<Self> {
        let mut series = Vec::new();
        let mut rows: BTreeMap<i64, Vec<(u32, u64)>> = BTreeMap::new();
        for one in matrix {
            let mut labels: BTreeMap<String, String> =
                serde_json::from_value(one["metric"].clone())?;
            labels.retain(|name, _| !["instance", "job"].contains(&name.as_str()));
            // The collector writes it by itself.
            if labels.get("__name__").is_some_and(|name| name == "up") {
                continue;
            }
            let number = u32::try_from(series.len())?;
            series.push(labels);
            for point in one["values"].as_array().context("values")? {
                let at_ms = (point[0].as_f64().context("a time")? * 1000.0).round() as i64;
                let value: f64 = point[1].as_str().context("a value")?.parse()?;
                rows.entry(at_ms).or_default().push((number, value.to_bits()));
            }
        }
        ensure!(!rows.is_empty(), "nothing was recorded");
        let rows = rows.into_iter().map(|(at_ms, values)| Row { at_ms, values }).collect();
        Ok(Self { series, rows })
    }

    /// The series as an agent describes them.
    pub(super) fn series(&self) -> Vec<Series> {
        let series = |labels: &BTreeMap<String, String>| {
            let name = labels.get("__name__").map(String::as_str).unwrap_or_default();
            let rest: Vec<(&str, &str)> = labels
                .iter()
                .filter(|(name, _)| *name != "__name__")
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            Series::new(MetricKind::Gauge, name, "As the agent tells it.", &rest)
        };
        self.series.iter().map(series).collect()
    }

    /// Samples of all hosts together.
    pub(super) fn samples(&self) -> u64 {
        HOSTS as u64 * self.rows.iter().map(|row| row.values.len() as u64).sum::<u64>()
    }

    /// So much later it is told that its last row is now.
    fn shift_ms(&self, now_ms: i64) -> i64 {
        now_ms - self.rows.last().map_or(now_ms, |row| row.at_ms)
    }

    /// The frames of a host.
    pub(super) fn frames(&self, now_ms: i64) -> Vec<Bytes> {
        let (mut encoder, shift_ms) = (Encoder::default(), self.shift_ms(now_ms));
        let frame = |(row, sequence): (&Row, u64)| {
            let values = row.values.iter().map(|(number, bits)| (*number, f64::from_bits(*bits)));
            encoder.encode(sequence, row.at_ms + shift_ms, values.collect()).bytes.into()
        };
        self.rows.iter().zip(1..).map(frame).collect()
    }

    /// Sends all hosts by remote write, a row of one host a request.
    pub(super) async fn send(&self, writer: &RemoteWriter, now_ms: i64) -> Result<()> {
        let shift_ms = self.shift_ms(now_ms);
        for row in &self.rows {
            for host in 0..HOSTS {
                let instance = host_name(host);
                let series = |(number, bits): &(u32, u64)| {
                    let labels = self.series.get(*number as usize).context("a series")?;
                    let mut labels: Vec<(&str, &str)> = labels
                        .iter()
                        .map(|(name, value)| (name.as_str(), value.as_str()))
                        .collect();
                    labels.extend([("instance", instance.as_str()), ("job", "node")]);
                    Ok(TimeSeries::new(&labels, &[(row.at_ms + shift_ms, f64::from_bits(*bits))]))
                };
                let request = row.values.iter().map(series).collect::<Result<_>>()?;
                writer.send(&WriteRequest::of(request)).await?;
            }
        }
        Ok(())
    }
}

/// Beside the program, which is beside the rest of the build.
fn place() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of the running program")?;
    let folder = own.parent().context("a folder")?.join("recordings");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join("this-machine.json"))
}

/// Idles, computes, writes to the disk, and begins processes, each for a phase in turn.
fn load(stop: &AtomicBool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let begin = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        match begin.elapsed().as_secs() / PHASE.as_secs() % 4 {
            0 => std::thread::sleep(Duration::from_millis(200)),
            1 => compute(),
            2 => write(folder.path())?,
            _ => {
                std::process::Command::new("true").status()?;
            }
        }
    }
    Ok(())
}

fn compute() {
    let mut sum = 0_u64;
    for number in 0..20_000_000_u64 {
        sum = sum.wrapping_mul(31).wrapping_add(number);
    }
    std::hint::black_box(sum);
}

fn write(folder: &Path) -> Result<()> {
    let file = folder.join("bytes");
    std::fs::write(&file, vec![7_u8; 8 * 1024 * 1024])?;
    std::fs::File::open(&file)?.sync_all()?;
    std::thread::sleep(Duration::from_millis(300));
    Ok(())
}
