//! What docs/delivery.md says of failures, row by row, over the real programs. Rows that other files
//! hold are named in its table, too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use rand::RngExt;
use serde_json::Value;
use upkeep_agent::buffer::{Buffer, Draft, KeepFree, Options};
use upkeep_disk::Ordering;
use upkeep_model::Observation;
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, CutDisk, FORGOTTEN, FakeHost, Proxy,
    Snapshot, accounted_for, audit, seeded, setting, until,
};

const SOON: Duration = Duration::from_secs(60);

/// How often the power goes in a story, unless told otherwise; a tenth of what is told.
const POWER_CUTS: u64 = 5;

const POWER_SEED: &str = "UPKEEP_POWER_CUT_SEED";

/// The smallest buffer that an agent takes, and what some observations need of it.
const SMALL_BYTES: u64 = 1024 * 1024;
const SPARE_BYTES: u64 = 16 * 1024;

fn options(host: &FakeHost) -> AgentOptions {
    AgentOptions {
        interval: Some("100ms".to_owned()),
        replay: Some(host.path().into()),
        settings: "[uplink]\nbackoff_max = \"100ms\"\n".to_owned(),
        ledger: true,
        ..AgentOptions::default()
    }
}

/// Waits until the collector has so many samples more than now.
async fn more_stored(collector: &Collector, more: usize) -> Result<()> {
    let before = collector.samples("node_load1").await?.len();
    until("more samples", SOON, || async {
        let stored = collector.samples("node_load1").await?.len();
        Ok((stored >= before + more).then_some(()))
    })
    .await
}

/// Waits until the agent confirmed so many observations more than now.
async fn more_confirmed(agent: &Agent, more: usize) -> Result<()> {
    let before = agent.confirmed()?.len();
    until("more observations", SOON, || {
        let confirmed = agent.confirmed();
        async move { Ok((confirmed?.len() >= before + more).then_some(())) }
    })
    .await
}

/// The reasons of all gaps of the only host.
async fn reasons(collector: &Collector) -> Result<Vec<String>> {
    let reason = |gap: &Value| gap["reason"].as_str().unwrap_or_default().to_owned();
    Ok(collector.gaps("web1").await?.iter().map(reason).collect())
}

async fn declares(collector: &Collector, reason: &str) -> Result<()> {
    until(&format!("a gap with {reason:?}"), SOON, || async {
        let reasons = reasons(collector).await?;
        ensure!(reasons.iter().any(|one| one.contains(reason)), "{reasons:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn acknowledgements_that_are_lost_double_nothing() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let proxy = Proxy::start(collector.grpc()).await?;
    let host = FakeHost::new("web1")?;
    let agent =
        Agent::start(&collector, &AgentOptions { settings: proxy.settings(), ..options(&host) })?;
    for _ in 0..3 {
        more_stored(&collector, 5).await?;
        proxy.mute();
        more_stored(&collector, 5).await?;
        proxy.heal();
    }
    audit(&collector, "web1", &agent, SOON).await?.whole()?;
    assert_eq!(reasons(&collector).await?, Vec::<String>::new());
    ensure!(!agent.log()?.contains(FORGOTTEN), "the collector forgot");
    Ok(())
}

/// An agent whose keys and buffer are on a disk whose power can be cut.
async fn agent_on(disk: &CutDisk, collector: &Collector, host: &FakeHost) -> Result<Agent> {
    let agent = Agent::start(
        collector,
        &AgentOptions { state_dir: Some(disk.path().join("state")), ..options(host) },
    )?;
    more_stored(collector, 3).await?;
    Ok(agent)
}

/// A collector whose samples are on such a disk. Its SQLite database is beside it: that maps a file,
/// which is refused there.
async fn collector_on(disk: &CutDisk, folder: &Path) -> Result<Collector> {
    std::os::unix::fs::symlink(disk.path(), folder.join("samples"))?;
    let data_dir = Some(folder.to_owned());
    Collector::start(&CollectorOptions { data_dir, ..CollectorOptions::default() }).await
}

fn disk() -> Result<Option<CutDisk>> {
    let disk = CutDisk::mount()?;
    if disk.is_none() {
        ensure!(setting("UPKEEP_POWER_CUTS").is_none(), "no disk can be mounted");
        eprintln!("SKIPPED: power cuts take root and /dev/fuse");
    }
    Ok(disk)
}

fn power_cuts() -> u64 {
    setting("UPKEEP_POWER_CUTS").map_or(POWER_CUTS, |cuts| cuts.div_ceil(10))
}

#[tokio::test]
async fn an_agent_that_loses_power_loses_nothing_it_confirmed() -> Result<()> {
    let Some(mut disk) = disk()? else { return Ok(()) };
    let mut random = seeded(POWER_SEED);
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let mut agent = agent_on(&disk, &collector, &host).await?;
    for cut in 0..power_cuts() {
        let ordering = if random.random() { Ordering::Journalled } else { Ordering::Loose };
        // Every other time with something that only the agent has.
        let is_away = cut % 2 == 0;
        if is_away {
            collector.stop().await?;
        }
        let moment = Duration::from_millis(random.random_range(0..200));
        more_confirmed(&agent, 3).await?;
        tokio::time::sleep(moment).await;
        agent.kill()?;
        disk = disk.cut(ordering, &mut random)?;
        if is_away {
            collector.launch().await?;
        }
        agent.launch()?;
        more_stored(&collector, 3).await?;
    }
    let audit = audit(&collector, "web1", &agent, SOON).await?;
    println!("power cuts of an agent: {}; {audit}", power_cuts());
    audit.whole()?;
    assert_eq!(reasons(&collector).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_collector_that_loses_power_loses_nothing_it_acknowledged() -> Result<()> {
    let Some(mut disk) = disk()? else { return Ok(()) };
    let mut random = seeded(POWER_SEED);
    let folder = tempfile::tempdir()?;
    let mut collector = collector_on(&disk, folder.path()).await?;
    let host = FakeHost::new("web1")?;
    let agent = Agent::start(&collector, &options(&host))?;
    for _ in 0..power_cuts() {
        let ordering = if random.random() { Ordering::Journalled } else { Ordering::Loose };
        more_stored(&collector, 3).await?;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..200))).await;
        collector.kill()?;
        disk = disk.cut(ordering, &mut random)?;
        collector.launch().await?;
    }
    let audit = audit(&collector, "web1", &agent, SOON).await?;
    println!("power cuts of a collector: {}; {audit}", power_cuts());
    audit.whole()?;
    ensure!(!agent.log()?.contains(FORGOTTEN), "the collector forgot");
    ensure!(!collector.log()?.contains("damage"), "{}", collector.log()?);
    Ok(())
}

#[tokio::test]
async fn a_sync_that_fails_at_the_agent_loses_nothing_it_confirmed() -> Result<()> {
    let Some(mut disk) = disk()? else { return Ok(()) };
    let mut random = seeded(POWER_SEED);
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let mut agent = agent_on(&disk, &collector, &host).await?;
    // What follows is on the agent's disk alone.
    collector.stop().await?;
    more_confirmed(&agent, 3).await?;
    disk.fail_syncs("db", 1);
    until("a sync that fails", SOON, || async { Ok(disk.has_failed().then_some(())) }).await?;
    more_confirmed(&agent, 5).await?;
    ensure!(agent.is_running()?, "the agent ended: {}", agent.log()?);
    agent.kill()?;
    disk = disk.cut(Ordering::Journalled, &mut random)?;
    agent.launch()?;
    collector.launch().await?;
    more_stored(&collector, 5).await?;
    audit(&collector, "web1", &agent, SOON).await?.whole()?;
    drop(disk);
    Ok(())
}

#[tokio::test]
async fn a_sync_that_fails_at_the_collector_ends_it_and_loses_nothing() -> Result<()> {
    let Some(mut disk) = disk()? else { return Ok(()) };
    let mut random = seeded(POWER_SEED);
    let folder = tempfile::tempdir()?;
    let mut collector = collector_on(&disk, folder.path()).await?;
    let host = FakeHost::new("web1")?;
    let agent = Agent::start(&collector, &options(&host))?;
    more_stored(&collector, 3).await?;
    disk.fail_syncs(".segment", 1);
    until("the collector's end", SOON, || {
        let ended = collector.has_ended();
        async move { Ok(ended?.then_some(())) }
    })
    .await?;
    ensure!(collector.log()?.contains("cannot be trusted any more"), "{}", collector.log()?);
    collector.launch().await?;
    more_stored(&collector, 5).await?;
    collector.kill()?;
    disk = disk.cut(Ordering::Journalled, &mut random)?;
    collector.launch().await?;
    more_stored(&collector, 5).await?;
    audit(&collector, "web1", &agent, SOON).await?.whole()?;
    ensure!(!agent.log()?.contains(FORGOTTEN), "the collector forgot");
    drop(disk);
    Ok(())
}

/// The database's file in an agent's buffer.
fn database(agent: &Agent) -> Result<PathBuf> {
    for entry in std::fs::read_dir(agent.state_dir().join("buffer"))? {
        let path = entry?.path().join("db");
        if path.exists() {
            return Ok(path);
        }
    }
    bail!("the buffer has no database")
}

/// An agent's buffer comes to harm while it holds what nobody else has.
async fn harm_buffer(harm: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let mut agent = Agent::start(&collector, &options(&host))?;
    more_stored(&collector, 5).await?;
    collector.stop().await?;
    more_confirmed(&agent, 5).await?;
    agent.kill()?;
    harm(&database(&agent)?)?;
    collector.launch().await?;
    agent.launch()?;
    more_stored(&collector, 5).await?;
    declares(&collector, "the buffer's database was lost").await?;
    let audit = audit(&collector, "web1", &agent, SOON).await?.honest()?;
    ensure!(audit.lost > 0, "what was harmed is there: {audit}");
    ensure!(agent.state_dir().join("buffer/quarantine").is_dir(), "nothing was put aside");
    Ok(())
}

#[tokio::test]
async fn a_damaged_buffer_is_declared() -> Result<()> {
    harm_buffer(|database| {
        let mut bytes = std::fs::read(database)?;
        bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x40);
        Ok(std::fs::write(database, bytes)?)
    })
    .await
}

#[tokio::test]
async fn a_buffer_that_opens_empty_is_declared() -> Result<()> {
    harm_buffer(|database| {
        let folder = database.parent().context("a folder")?;
        std::fs::remove_dir_all(folder)?;
        Ok(std::fs::create_dir(folder)?)
    })
    .await
}

#[tokio::test]
async fn an_older_copy_of_an_agents_disk_is_found_out_and_declared() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let mut agent = Agent::start(&collector, &options(&host))?;
    more_stored(&collector, 5).await?;
    agent.stop().await?;
    let snapshot = Snapshot::of(&agent.state_dir())?;
    agent.launch()?;
    more_stored(&collector, 20).await?;
    agent.kill()?;
    snapshot.put_back(&agent.state_dir())?;
    agent.launch()?;
    declares(&collector, "older copy").await?;
    more_stored(&collector, 5).await?;
    audit(&collector, "web1", &agent, SOON).await?.honest()?;
    Ok(())
}

#[tokio::test]
async fn an_older_copy_that_observes_past_what_the_collector_has_is_declared() -> Result<()> {
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let mut agent = Agent::start(&collector, &options(&host))?;
    more_stored(&collector, 5).await?;
    agent.stop().await?;
    let snapshot = Snapshot::of(&agent.state_dir())?;
    let before = agent.confirmed()?.len();
    agent.launch()?;
    more_stored(&collector, 5).await?;
    agent.kill()?;
    collector.stop().await?;
    snapshot.put_back(&agent.state_dir())?;
    let since = agent.confirmed()?.len() - before;
    agent.launch()?;
    // So many that no number gives it away.
    more_confirmed(&agent, since + 10).await?;
    collector.launch().await?;
    declares(&collector, "older copy").await?;
    more_stored(&collector, 5).await?;
    let audit = audit(&collector, "web1", &agent, SOON).await?.honest()?;
    ensure!(audit.lost > 0, "nothing was lost: {audit}");
    Ok(())
}

#[tokio::test]
async fn of_two_copies_of_a_disk_that_observe_on_the_second_is_declared() -> Result<()> {
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let mut agent = Agent::start(&collector, &options(&host))?;
    more_stored(&collector, 5).await?;
    agent.stop().await?;
    collector.stop().await?;
    let disk = Snapshot::of(&agent.state_dir())?;
    agent.launch()?;
    more_confirmed(&agent, 100).await?;
    agent.stop().await?;
    let first = Snapshot::of(&agent.state_dir())?;
    disk.put_back(&agent.state_dir())?;
    agent.launch()?;
    more_confirmed(&agent, 10).await?;
    agent.kill()?;
    // The one that the collector gets to know has fewer records, so no number tells them apart.
    collector.launch().await?;
    agent.launch()?;
    more_stored(&collector, 10).await?;
    assert_eq!(reasons(&collector).await?, Vec::<String>::new());
    agent.kill()?;
    let second = Snapshot::of(&agent.state_dir())?;
    first.put_back(&agent.state_dir())?;
    agent.launch()?;
    declares(&collector, "older copy").await?;
    more_stored(&collector, 5).await?;
    // What it observes from now on, nobody but the collector can declare.
    collector.stop().await?;
    more_confirmed(&agent, 5).await?;
    agent.kill()?;
    second.put_back(&agent.state_dir())?;
    collector.launch().await?;
    agent.launch()?;
    more_stored(&collector, 5).await?;
    let found = reasons(&collector).await?;
    ensure!(found.iter().all(|one| one.contains("older copy")), "{found:?}");
    let audit = audit(&collector, "web1", &agent, SOON).await?.honest()?;
    ensure!(audit.lost > 0, "nothing was lost: {audit}");
    Ok(())
}

/// Fills an agent's buffer but for what some ten observations take; gives with how many.
fn nearly_fill(agent: &Agent) -> Result<i64> {
    let keep_free = KeepFree { percent: 0, bytes: 0 };
    let options = Options { limit_bytes: SMALL_BYTES, keep_free };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let first_ms = i64::try_from(since.as_millis())? - 3_600_000;
    let mut buffer = Buffer::open(&agent.state_dir().join("buffer"), options, first_ms)?;
    let mut filled = 0;
    while buffer.statistics().bytes < SMALL_BYTES - SPARE_BYTES {
        let drafts: Vec<Draft> = (filled..filled + 100)
            .map(|step| {
                let mut observation = Observation::at(first_ms + step * 50);
                observation.gauge("story_missed", "", &[], step as f64);
                Draft::Observation(observation)
            })
            .collect();
        buffer.append(&drafts)?;
        filled += 100;
    }
    Ok(filled)
}

#[tokio::test]
async fn a_collector_away_beyond_the_buffer_costs_the_oldest_samples_and_a_gap() -> Result<()> {
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let mut settings = options(&host).settings;
    settings.push_str(&format!(
        "[buffer]\nlimit_bytes = {SMALL_BYTES}\nkeep_free_percent = 0\nkeep_free_bytes = 0\n"
    ));
    let mut agent = Agent::new(&AgentOptions { settings, ..options(&host) })?;
    agent.enroll(&collector.token()?)?.success()?;
    collector.stop().await?;
    let filled = nearly_fill(&agent)?;
    agent.launch()?;
    until("a full buffer", SOON, || {
        let log = agent.log();
        async move { Ok(log?.contains("the buffer is full").then_some(())) }
    })
    .await?;
    collector.launch().await?;
    declares(&collector, "the buffer was full").await?;
    let account = accounted_for(&collector, "web1", &agent, "story_missed", filled, SOON).await?;
    ensure!(account.lost == 0 && account.declared > 0, "{account:?}");
    ensure!(account.declared < filled / 2, "{account:?} of {filled}");
    // The oldest went, and nothing else.
    let least = collector.query("min_over_time(story_missed[2h])").await?;
    let least: f64 = least[0]["value"][1].as_str().context("a value")?.parse()?;
    ensure!(least as i64 == account.declared, "{least} is the oldest, {account:?}");
    Ok(())
}

/// Names of all tests in a folder.
fn tests_in(folder: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    for entry in walkdir::WalkDir::new(folder) {
        let path = entry?.into_path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            match name.and_then(|name| name.split_once('(')) {
                Some((name, _)) if is_test => {
                    found.insert(name.to_owned());
                    is_test = false;
                }
                _ => is_test |= matches!(line, "#[test]" | "#[tokio::test]"),
            }
        }
    }
    Ok(())
}

#[test]
fn every_failure_of_the_table_has_a_test() -> Result<()> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository")?;
    let mut tests = BTreeSet::new();
    for folder in ["agent", "collector", "tests"] {
        tests_in(&top.join(folder), &mut tests)?;
    }
    let page = std::fs::read_to_string(top.join("docs/delivery.md"))?;
    let (_, table) = page.split_once("## Failures\n").context("a table of failures")?;
    let mut rows = 0;
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [failure, _, held_by] = cells.as_slice() else { bail!("{row}") };
        if failure.contains("---") {
            continue;
        }
        rows += 1;
        let names: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        ensure!(!names.is_empty(), "{failure} is held by no test");
        for name in names {
            ensure!(tests.contains(name), "{failure}: there is no test {name}");
        }
    }
    ensure!(rows >= 10, "{rows} failures");
    Ok(())
}
