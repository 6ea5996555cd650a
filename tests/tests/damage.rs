//! Files of the collector's data folder are damaged while it is away: it starts all the same, serves
//! nothing that was not so, and says everywhere what is missing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use upkeep_model::HostId;
use upkeep_store::Store;
use upkeep_tests::{Agent, AgentOptions, Collector, CollectorOptions, FakeHost, until};

/// It is told every 15 seconds what queries found.
const SOON: Duration = Duration::from_secs(40);

/// Whatever is damaged, opening takes no longer.
const OPENS_WITHIN: Duration = Duration::from_secs(10);

/// The shipped rules about the collector itself.
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/rules/upkeep-collector.yml");

/// So many observations are sealed before the damage, and so many more are in the journal.
const OBSERVATIONS: usize = 20;

fn options() -> Result<CollectorOptions> {
    Ok(CollectorOptions {
        rules: vec![("upkeep-collector.yml".to_owned(), fs::read_to_string(RULES)?)],
        settings: "[rules]\ninterval = \"200ms\"\n".to_owned(),
        ..CollectorOptions::default()
    })
}

/// Load by the time of its observation.
async fn observed(collector: &Collector) -> Result<BTreeMap<i64, String>> {
    Ok(collector.samples("node_load1").await?.into_iter().collect())
}

/// Waits until there are so many observations of a load.
async fn await_load(collector: &Collector, load: &str, wanted: usize) -> Result<()> {
    until("observations of a load", SOON, || async {
        let observed = observed(collector).await?;
        Ok((observed.values().filter(|value| *value == load).count() >= wanted).then_some(()))
    })
    .await
}

/// Seals all that is in the journal, as the collector does by itself once an hour is over.
fn seal(samples: &Path) -> Result<()> {
    let store = Store::open(samples, Default::default())?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    store.seal_all(i64::try_from(now.as_millis())?)?;
    Ok(store.close()?)
}

/// Flips bits of one byte in the longest segment of the journal.
fn damage_journal(samples: &Path) -> Result<()> {
    let entries = fs::read_dir(samples.join("journal"))?;
    let mut segments: Vec<(Vec<u8>, PathBuf)> = Vec::new();
    for entry in entries {
        let path = entry?.path();
        segments.push((fs::read(&path)?, path));
    }
    let longest = segments.into_iter().max_by_key(|(bytes, _)| bytes.len());
    let (mut bytes, path) = longest.context("a segment")?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x21;
    Ok(fs::write(path, bytes)?)
}

/// Flips bits of a byte in the first chunk of each of a host's pages of sealed samples. A page has its
/// keys one after the other (host, beginning of the span with its sign inverted, number), then the chunks.
fn damage_chunks(samples: &Path, host: HostId) -> Result<()> {
    const KEY_BYTES: usize = 32;
    let path = samples.join("samples.redb");
    let mut bytes = fs::read(&path)?;
    let key = [host.0.as_bytes().as_slice(), &[0x80, 0, 1]].concat();
    let ends: Vec<usize> = bytes
        .windows(KEY_BYTES + key.len())
        .enumerate()
        .filter(|(_, page)| page.starts_with(&key) && !page.ends_with(&key))
        .map(|(at, _)| at + KEY_BYTES)
        .collect();
    ensure!(!ends.is_empty(), "no chunks of {host} in {}", path.display());
    for end in ends {
        if let Some(byte) = bytes.get_mut(end + 30) {
            *byte ^= 0x10;
        }
    }
    Ok(fs::write(path, bytes)?)
}

/// Changes a letter of a name everywhere in a database, so that its pages and indices still agree.
fn damage_name(database: &Path, name: &[u8], other: &[u8]) -> Result<()> {
    let mut bytes = fs::read(database)?;
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(name)).collect();
    ensure!(!places.is_empty(), "no such name in {}", database.display());
    for at in places {
        bytes[at..at + other.len()].copy_from_slice(other);
    }
    Ok(fs::write(database, bytes)?)
}

fn has_files(folder: &Path) -> Result<()> {
    let count = fs::read_dir(folder).with_context(|| folder.display().to_string())?.count();
    ensure!(count > 0, "{} is empty", folder.display());
    Ok(())
}

/// What is told as damaged of one part, in words.
fn lost(damage: &Value, part: &str) -> Vec<String> {
    let all = damage["data"].as_array().cloned().unwrap_or_default();
    let of_part = all.iter().filter(|one| one["part"] == part);
    of_part.map(|one| format!("{}: {}", one["place"], one["lost"])).collect()
}

async fn number(collector: &Collector, expression: &str) -> Result<f64> {
    let found = collector.query(expression).await?;
    let value = found.first().and_then(|row| row["value"][1].as_str()?.parse().ok());
    Ok(value.unwrap_or(f64::NAN))
}

#[tokio::test]
async fn damaged_files_are_set_aside_and_what_is_lost_is_told_everywhere() -> Result<()> {
    let mut collector = Collector::start(&options()?).await?;
    let (web1, web2) = (FakeHost::new("web1")?, FakeHost::new("web2")?);
    let agent_options = |host: &FakeHost| AgentOptions {
        interval: Some("100ms".to_owned()),
        replay: Some(host.path().into()),
        ..AgentOptions::default()
    };
    web1.set_load(1.0)?;
    let mut agent = Agent::start(&collector, &agent_options(&web1))?;
    Agent::new(&agent_options(&web2))?.enroll(&collector.token()?)?.success()?;
    await_load(&collector, "1", OBSERVATIONS).await?;
    let id = collector.json("/api/v1/hosts/web1").await?["data"]["id"].clone();
    let id = HostId(id.as_str().context("a host's id")?.parse()?);

    collector.stop().await?;
    let samples = collector.data_dir().join("samples");
    seal(&samples)?;
    collector.launch().await?;
    web1.set_load(2.0)?;
    await_load(&collector, "2", OBSERVATIONS).await?;
    ensure!(lost(&collector.json("/api/v1/damage").await?, "samples").is_empty());
    agent.stop().await?;
    let before = observed(&collector).await?;
    collector.stop().await?;

    damage_journal(&samples)?;
    damage_chunks(&samples, id)?;
    damage_name(&collector.data_dir().join("state.db"), b"web2", b"web6")?;
    let begun = Instant::now();
    collector.launch().await?;
    let took = begun.elapsed();
    ensure!(took < OPENS_WITHIN, "it took {took:?}");

    let after = observed(&collector).await?;
    ensure!(
        after.iter().all(|(at, value)| before.get(at) == Some(value)),
        "{after:?} of {before:?}"
    );
    ensure!(after.len() < before.len(), "nothing was damaged");
    let damage = until("every damage in the list", SOON, || async {
        let damage = collector.json("/api/v1/damage").await?;
        let has = |part, words: &str| lost(&damage, part).iter().any(|one| one.contains(words));
        let is_whole = has("samples", "journal")
            && has("samples", "chunk ")
            && has("state", "1 rows of hosts do not pass their checksum");
        ensure!(is_whole, "{damage}");
        Ok(Some(damage))
    })
    .await?;
    let gaps = collector.json("/api/v1/hosts/web1/gaps").await?["data"].to_string();
    ensure!(gaps.contains("the collector's disk is damaged"), "{gaps}");
    let hosts = collector.json("/api/v1/hosts").await?["data"].to_string();
    ensure!(hosts.contains("web1") && !hosts.contains("web2"), "{hosts}");
    ensure!(!hosts.contains("web6"), "a name that no host ever had: {hosts}");

    has_files(&collector.data_dir().join("quarantine"))?;
    for part in ["samples", "state"] {
        let series = format!("upkeep_collector_damage_found_last_day{{part=\"{part}\"}}");
        let found = lost(&damage, part).len() as f64;
        until("the series and the metric", SOON, || async {
            let told = number(&collector, &series).await?;
            let page = collector.get("/metrics").send().await?.text().await?;
            let shown =
                page.lines().find_map(|line| line.strip_prefix(&series)?.trim().parse().ok());
            ensure!(told >= found && shown == Some(told), "{told} and {shown:?} of {found}");
            Ok(Some(()))
        })
        .await?;
        until("the shipped rule to fire", SOON, || async {
            let alerts = collector.json("/api/v1/alerts").await?["data"]["alerts"].clone();
            let is_firing = |alert: &Value| {
                let labels = &alert["labels"];
                labels["alertname"] == "CollectorDataDamaged" && labels["part"] == part
            };
            let alerts = alerts.as_array().cloned().unwrap_or_default();
            Ok(alerts.iter().any(is_firing).then_some(()))
        })
        .await?;
    }

    // Life goes on, and a start finds nothing again.
    web1.set_load(3.0)?;
    agent.launch()?;
    await_load(&collector, "3", 3).await?;
    collector.stop().await?;
    collector.launch().await?;
    let again = collector.json("/api/v1/damage").await?;
    ensure!(lost(&again, "state") == lost(&damage, "state"), "{again}");
    // A damaged segment is set aside once what is good of it is sealed.
    collector.stop().await?;
    seal(&samples)?;
    has_files(&samples.join("quarantine"))
}
