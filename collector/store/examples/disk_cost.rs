//! What samples cost on disk:
//! `cargo run --release -p upkeep-store --example disk_cost -- [HOSTS [HOURS]]`.
//!
//! Hosts with 300 series each, 157 of them constant, 19 rarely moving, 82 counters and 42 gauges,
//! a row every ten seconds for an hour, or some; the folder's size is told as it fills, is sealed and is
//! compacted, and as its days become summaries of five minutes and of an hour.

use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use redb::{ReadableDatabase, ReadableTableMetadata, TableDefinition};
use upkeep_codec::Encoder;
use upkeep_model::{Epoch, HostId, Labels, StreamKey};
use upkeep_store::{Append, Downsampling, Options, Store};
use uuid::Uuid;

const STEPS_AN_HOUR: i64 = 360;
const STEP_MS: i64 = 10_000;
const HOUR_MS: i64 = 3_600_000;

/// A time within its hour, as most hours of measuring begin.
const BEGIN_MS: i64 = 1_790_000_000_000 / HOUR_MS * HOUR_MS + 17 * 60_000;

fn main() -> Result<(), Box<dyn Error>> {
    let hosts: u32 = std::env::args().nth(1).map_or(Ok(200), |text| text.parse())?;
    let hours: i64 = std::env::args().nth(2).map_or(Ok(1), |text| text.parse())?;
    let steps = hours * STEPS_AN_HOUR;
    let folder = tempfile::tempdir()?;
    let options = Options {
        hold: Duration::ZERO,
        seal_every: Duration::from_hours(24),
        journal_bytes: u64::MAX,
        ..Options::default()
    };
    let store = Store::open(folder.path(), options.clone())?;
    let samples = f64::from(hosts) * 300.0 * steps as f64;
    let mut fleet: Vec<Host> = (0..hosts).map(Host::new).collect();
    for host in &fleet {
        store.describe(host.stream, 0, &host.labels())?;
    }
    let begun = Instant::now();
    for step in 0..steps {
        let appends = fleet.iter_mut().map(|host| host.frame(step));
        store.commit(appends.collect())?;
    }
    tell("taken", begun, folder.path(), samples)?;

    let now_ms = BEGIN_MS + steps * STEP_MS + 2 * HOUR_MS;
    let begun = Instant::now();
    store.seal(now_ms)?;
    tell("sealed", begun, folder.path(), samples)?;

    let begun = Instant::now();
    store.compact(now_ms + HOUR_MS)?;
    tell("compacted", begun, folder.path(), samples)?;

    drop(store);
    tables(&folder.path().join("samples.redb"), samples)?;
    let begun = Instant::now();
    drop(Store::open(folder.path(), options.clone())?);
    tell("opened", begun, folder.path(), samples)?;

    let after = Some(Duration::from_hours(24));
    let five_minutes = Downsampling { five_minutes_after: after, one_hour_after: None };
    let one_hour = Downsampling { five_minutes_after: None, one_hour_after: after };
    for (what, downsampling) in [("of five minutes", five_minutes), ("of an hour", one_hour)] {
        let store = Store::open(folder.path(), Options { downsampling, ..options.clone() })?;
        let begun = Instant::now();
        store.downsample(now_ms + 48 * HOUR_MS)?;
        tell(what, begun, folder.path(), samples)?;
    }
    Ok(())
}

/// A host and what its series showed last.
struct Host {
    number: u32,
    stream: StreamKey,
    encoder: Encoder,
    sequence: u64,
    random: u64,
    values: Vec<f64>,
}

impl Host {
    fn new(number: u32) -> Self {
        let host = HostId(Uuid::from_u128(0x5eed_0000_0000 + u128::from(number)));
        Self {
            number,
            stream: StreamKey { host, epoch: Epoch([7; 16]) },
            encoder: Encoder::default(),
            sequence: 0,
            random: u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            values: (0..300).map(|series| f64::from(series % 7) * 1024.0).collect(),
        }
    }

    fn labels(&self) -> Vec<Labels> {
        let instance = format!("host-{:04}.example.com", self.number);
        let of = |series: u32| {
            let name = format!("node_area{}_some_metric{}_total", series / 40, series / 4);
            let device = format!("device{}", series % 4);
            let pairs = [
                ("__name__", name.as_str()),
                ("device", &device),
                ("instance", &instance),
                ("job", "node"),
            ];
            Labels::new(pairs)
        };
        (0..300).map(of).collect()
    }

    fn frame(&mut self, step: i64) -> Append {
        for series in 0..300 {
            self.advance(series);
        }
        self.sequence += 1;
        let at_ms = BEGIN_MS + step * STEP_MS + i64::from(self.number * 37 % 10_000);
        let row = (0..).zip(self.values.iter().copied()).collect();
        let body = self.encoder.encode(self.sequence, at_ms, row).bytes.into();
        Append::Frame { stream: self.stream, sequence: self.sequence, body }
    }

    fn advance(&mut self, series: usize) {
        let random = self.draw();
        let Some(value) = self.values.get_mut(series) else { return };
        let below = |bound: u64| (random % bound) as f64;
        // Spread over the numbers as they are over a real host's.
        match series * 7 % 300 {
            0..157 => {}
            157..176 => *value += if random.is_multiple_of(60) { 1.0 } else { 0.0 },
            // Processor time, in hundredths of a second.
            176..208 => *value = ((*value * 100.0).round() + below(60)) / 100.0,
            // Bytes, and things counted.
            208..228 => *value += below(20) * below(9_000),
            228..258 => *value += below(40),
            // Memory in pages, loads, and small numbers.
            258..272 => *value = (*value + (below(129) - 64.0) * 4096.0).abs(),
            272..284 => *value = (((*value * 100.0).round() + below(21) - 10.0).abs()) / 100.0,
            _ => *value = below(12),
        }
    }

    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 11
    }
}

fn tell(what: &str, begun: Instant, folder: &Path, samples: f64) -> Result<(), Box<dyn Error>> {
    let took = begun.elapsed();
    let (length, taken) = sizes(folder)?;
    println!(
        "{what}: {} ms, {:.3} bytes a sample on disk, files {:.3}",
        took.as_millis(),
        taken as f64 / samples,
        length as f64 / samples
    );
    Ok(())
}

/// The length of all files in a folder, and what they take on disk.
fn sizes(folder: &Path) -> Result<(u64, u64), Box<dyn Error>> {
    let (mut length, mut taken) = (0, 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            let (inner_length, inner_taken) = sizes(&entry.path())?;
            length += inner_length;
            taken += inner_taken;
        } else {
            length += metadata.len();
            taken += metadata.blocks() * 512;
        }
    }
    Ok((length, taken))
}

fn tables(database: &Path, samples: f64) -> Result<(), Box<dyn Error>> {
    let database = redb::Database::open(database)?;
    let transaction = database.begin_read()?;
    let chunks: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("chunks");
    let blocks: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("series_blocks");
    let streams: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("streams");
    let dictionaries: TableDefinition<'_, &[u8; 40], &[u8]> = TableDefinition::new("dictionaries");
    for (name, stats) in [
        ("chunks", transaction.open_table(chunks)?.stats()?),
        ("series", transaction.open_table(blocks)?.stats()?),
        ("streams", transaction.open_table(streams)?.stats()?),
        ("dictionaries", transaction.open_table(dictionaries)?.stats()?),
    ] {
        let each = |bytes: u64| bytes as f64 / samples;
        println!(
            "  {name}: stored {:.3}, metadata {:.3}, wasted {:.3}",
            each(stats.stored_bytes()),
            each(stats.metadata_bytes()),
            each(stats.fragmented_bytes())
        );
    }
    Ok(())
}
