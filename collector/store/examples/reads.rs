//! Times what queries read: an hour of 200 hosts with 300 series each, every ten seconds, once while it
//! is in the head and once sealed, and how long the store takes to open in between.
//!
//! `cargo run --release -p upkeep-store --example reads [HOSTS]`

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use upkeep_codec::Encoder;
use upkeep_model::{Epoch, HostId, Labels, MatchOperator, Matcher, StreamKey};
use upkeep_store::{Append, Options, Store};
use uuid::Uuid;

const ROWS: u64 = 360;
const STEP_MS: i64 = 10_000;
/// The start of an hour.
const START_MS: i64 = 1_790_000_000_000 / 3_600_000 * 3_600_000;
const END_MS: i64 = START_MS + ROWS as i64 * STEP_MS;
const TURNS: usize = 9;

type Fallible<T> = Result<T, Box<dyn Error>>;

fn main() -> Fallible<()> {
    let hosts: u64 = std::env::args().nth(1).map_or(Ok(200), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let options = Options { hold: Duration::ZERO, ..Options::default() };
    let store = Store::open(folder.path(), options.clone())?;
    println!("resident before: {} KiB", resident_kib()?);
    let began = Instant::now();
    fill(&store, hosts)?;
    println!("written in {:.2?}; resident {} KiB", began.elapsed(), resident_kib()?);
    read_all("in the head", &store)?;
    drop(store);
    let store = open(folder.path(), &options)?;
    println!("resident after opening {} KiB", resident_kib()?);
    read_all("in the head, opened again", &store)?;
    let began = Instant::now();
    store.seal_all(END_MS)?;
    println!("sealed in {:.2?}", began.elapsed());
    read_all("sealed", &store)?;
    drop(store);
    let store = open(folder.path(), &options)?;
    read_all("sealed, opened again", &store)
}

fn open(folder: &Path, options: &Options) -> Fallible<Store> {
    let began = Instant::now();
    let store = Store::open(folder, options.clone())?;
    println!("opened in {:.2?}", began.elapsed());
    Ok(store)
}

fn resident_kib() -> Fallible<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn fill(store: &Store, hosts: u64) -> Fallible<()> {
    let mut encoders: Vec<Encoder> = (0..hosts).map(|_| Encoder::default()).collect();
    for host in 0..hosts {
        store.describe(stream(host), 0, &descriptions(host))?;
    }
    for row in 0..ROWS {
        let mut appends = Vec::new();
        for (host, encoder) in (0..hosts).zip(&mut encoders) {
            let at_ms = START_MS + row as i64 * STEP_MS + (host % 10) as i64;
            let encoded = encoder.encode(row + 1, at_ms, values(host, row));
            let body = Bytes::from(encoded.bytes);
            appends.push(Append::Frame { stream: stream(host), sequence: row + 1, body });
        }
        store.commit(appends)?;
    }
    Ok(())
}

fn stream(host: u64) -> StreamKey {
    StreamKey { host: HostId(Uuid::from_u128(u128::from(host) + 1)), epoch: Epoch([1; 16]) }
}

/// 32 counters of processors and 50 others, 42 gauges, 19 that rarely move, 157 that never do.
fn descriptions(host: u64) -> Vec<Labels> {
    let instance = format!("host-{host:04}.example.org");
    let one = |number: u64| {
        let labels = match number {
            0..32 => {
                let modes = ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"];
                let mode = modes.get((number % 8) as usize).copied().unwrap_or_default();
                Labels::new([("__name__", "node_cpu_seconds_total"), ("mode", mode)])
                    .with("cpu", (number / 8).to_string())
            }
            32..82 => Labels::new([("__name__", "node_network_receive_bytes_total")])
                .with("device", format!("eth{number}")),
            82..124 => Labels::new([("__name__", format!("node_memory_{number}_bytes"))]),
            _ => Labels::new([("__name__", format!("node_thing_{}", number / 4))])
                .with("thing", (number % 4).to_string()),
        };
        labels.with("instance", &instance).with("job", "node")
    };
    (0..300).map(one).collect()
}

fn values(host: u64, row: u64) -> Vec<(u32, f64)> {
    let one = |number: u32| {
        let noise = (host * 7919 + row * 104_729 + u64::from(number) * 1_299_709) % 1009;
        let value = match number {
            0..32 => ((row * 90 + noise % 17) as f64 + f64::from(number) * 1000.0) / 100.0,
            32..82 => (row * 51_234 + noise * 7) as f64,
            82..110 => (4_000_000 + noise * 4096) as f64,
            110..124 => 0.1 + noise as f64 / 7.0,
            124..143 => (row / 97) as f64,
            _ => f64::from(number),
        };
        (number, value)
    };
    (0..300).map(one).collect()
}

fn read_all(place: &str, store: &Store) -> Fallible<()> {
    let name = |value: &str| Matcher::new("__name__", MatchOperator::Equal, value);
    let instance = |value: &str| Matcher::new("instance", MatchOperator::Equal, value);
    let one = vec![
        name("node_cpu_seconds_total")?,
        instance("host-0003.example.org")?,
        Matcher::new("cpu", MatchOperator::Equal, "1")?,
        Matcher::new("mode", MatchOperator::Equal, "user")?,
    ];
    let processors = vec![name("node_cpu_seconds_total")?];
    let host = vec![instance("host-0003.example.org")?];
    println!("{place}:");
    for (what, matchers, stretch_ms) in [
        ("one series, 1 h", &one, 3_600_000),
        ("processors of all hosts, 5 min", &processors, 300_000),
        ("processors of all hosts, 65 min", &processors, 3_900_000),
        ("one host, 5 min", &host, 300_000),
        ("everything, 5 min", &vec![], 300_000),
    ] {
        time(what, || {
            let series = store.select(matchers, END_MS - stretch_ms, END_MS)?;
            Ok((series.len(), series.iter().map(|one| one.values.len()).sum()))
        })?;
    }
    time("label sets of everything", || {
        let sets = store.label_sets(&[], END_MS - 3_600_000, END_MS)?;
        Ok((sets.len(), 0))
    })
}

fn time(what: &str, mut work: impl FnMut() -> Fallible<(usize, usize)>) -> Fallible<()> {
    let (mut times, mut costs) = (Vec::new(), Vec::new());
    let mut found = (0, 0);
    for _ in 0..TURNS {
        let (began, cost) = (Instant::now(), processor_time());
        found = work()?;
        times.push(began.elapsed());
        costs.push(processor_time().saturating_sub(cost));
    }
    let first = times.first().copied().unwrap_or_default();
    let (time, cost) = (median(&mut times), median(&mut costs));
    let (series, samples) = found;
    println!(
        "  {what}: first {first:.2?}, median {time:.2?}, of processors {cost:.2?} \
         ({series} series, {samples} samples)"
    );
    Ok(())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// What all threads of this process took of the processors, which others do not change much.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
