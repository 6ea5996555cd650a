//! An operator takes a backup while hosts report, goes on from it elsewhere, deletes a host, and has the
//! samples verified.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeHost, Output, audit, until,
};

const SOON: Duration = Duration::from_secs(60);

fn options(host: &FakeHost) -> AgentOptions {
    AgentOptions {
        interval: Some("100ms".to_owned()),
        replay: Some(host.path().into()),
        settings: "[uplink]\nbackoff_max = \"200ms\"\n".to_owned(),
        ledger: true,
        ..AgentOptions::default()
    }
}

async fn await_more(collector: &Collector, host: &str, than: usize) -> Result<usize> {
    let series = format!("node_load1{{instance=\"{host}\"}}");
    until("more samples", SOON, || async {
        let stored = collector.samples(&series).await?.len();
        Ok((stored > than).then_some(stored))
    })
    .await
}

/// What a command said, and that it ended with this.
fn ended(output: &Output, code: i32) -> Result<String> {
    let told = format!("{}{}", output.stdout, output.stderr);
    ensure!(output.code == Some(code), "ended with {:?}: {told}", output.code);
    Ok(told)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// Every file and folder below one, with its mode.
fn modes(folder: &Path) -> Result<Vec<(PathBuf, u32)>> {
    let mut found = vec![(folder.to_owned(), fs::metadata(folder)?.permissions().mode() & 0o777)];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(modes(&path)?);
        } else {
            found.push((path.clone(), fs::metadata(&path)?.permissions().mode() & 0o777));
        }
    }
    Ok(found)
}

/// An agent of each host, `web1` and so on, with so many observations of it at the collector.
async fn agents_of(
    collector: &Collector,
    hosts: &[FakeHost],
    observations: usize,
) -> Result<Vec<Agent>> {
    let agents = hosts.iter().map(|host| Agent::start(collector, &options(host)));
    let agents = agents.collect::<Result<_>>()?;
    for number in 1..=hosts.len() {
        await_more(collector, &format!("web{number}"), observations).await?;
    }
    Ok(agents)
}

#[tokio::test]
async fn a_collector_goes_on_elsewhere_from_a_backup_that_was_taken_under_ingest() -> Result<()> {
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let hosts = [FakeHost::new("web1")?, FakeHost::new("web2")?];
    let mut agents = agents_of(&collector, &hosts, 10).await?;
    let place = tempfile::tempdir()?;
    let backup = place.path().join("backup");
    let said = ended(&collector.command(&["backup", text(&backup)?])?, 0)?;
    ensure!(said.contains("files"), "{said}");
    for (path, mode) in modes(&backup)? {
        ensure!(mode & 0o077 == 0, "{} has mode {mode:o}", path.display());
    }
    let manifest: Value = serde_json::from_slice(&fs::read(backup.join("manifest.json"))?)?;
    let files = manifest["files"].as_array().context("files")?;
    for wanted in [
        "data/samples/samples.redb",
        "data/state.db",
        "data/ca/root.pem",
        "configuration/collector.toml",
    ] {
        ensure!(files.iter().any(|file| file["path"] == wanted), "{wanted}: {manifest:#}");
    }
    let left = fs::read_dir(collector.data_dir())?.map(|entry| Ok(entry?.file_name()));
    let left: Vec<_> = left.collect::<Result<_>>()?;
    ensure!(!left.iter().any(|name| name.to_string_lossy().starts_with("backup")), "{left:?}");

    // What was there at the moment of the backup is in it, whatever agents still keep.
    let before = collector.samples("node_load1{instance=\"web1\"}").await?.len();
    await_more(&collector, "web1", before + 5).await?;
    let error = ended(&collector.command(&["restore", text(&backup)?])?, 1)?;
    ensure!(error.contains("not empty"), "{error}");
    collector.kill()?;
    fs::rename(collector.data_dir(), place.path().join("lost"))?;
    ended(&collector.command(&["restore", text(&backup)?])?, 0)?;
    ended(&collector.command(&["store", "verify"])?, 0)?;
    collector.launch().await?;
    for (agent, host) in agents.iter_mut().zip(["web1", "web2"]) {
        agent.stop().await?;
        agent.launch()?;
        audit(&collector, host, agent, SOON).await?.whole()?;
        ensure!(collector.gaps(host).await?.is_empty(), "gaps of {host}");
    }
    let entries = collector.json("/api/v1/audit").await?;
    ensure!(entries.to_string().contains("\"restore\""), "{entries:#}");

    // A backup that lost or changed anything is refused.
    let lost = backup.join("data/samples/samples.redb");
    let mut bytes = fs::read(&lost)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&lost, bytes)?;
    collector.stop().await?;
    fs::rename(collector.data_dir(), place.path().join("again"))?;
    let error = ended(&collector.command(&["restore", text(&backup)?])?, 1)?;
    ensure!(error.contains("samples.redb is not what was written"), "{error}");
    ensure!(!collector.data_dir().exists(), "the data folder was made");
    Ok(())
}

#[tokio::test]
async fn a_host_is_deleted_with_all_that_is_known_of_it() -> Result<()> {
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let hosts = [FakeHost::new("web1")?, FakeHost::new("web2")?];
    let mut agents = agents_of(&collector, &hosts, 5).await?;
    let error = ended(&collector.command(&["host", "delete", "web1"])?, 1)?;
    ensure!(error.contains("--yes") && error.contains("all samples"), "{error}");
    await_more(&collector, "web1", 6).await?;
    ended(&collector.command(&["host", "delete", "web1", "--yes"])?, 0)?;

    let is_gone = async |collector: &Collector| -> Result<()> {
        ensure!(collector.query("{instance=\"web1\"}[1h]").await?.is_empty(), "samples");
        let names = collector.json("/api/v1/label/instance/values").await?;
        ensure!(!names.to_string().contains("web1"), "{names}");
        let hosts = collector.json("/api/v1/hosts").await?;
        ensure!(hosts["data"]["hosts"].as_array().map(Vec::len) == Some(1), "{hosts}");
        Ok(())
    };
    is_gone(&collector).await?;
    let audited = collector.json("/api/v1/audit").await?;
    ensure!(audited.to_string().contains("host-delete"), "{audited}");
    let error = ended(&collector.command(&["host", "delete", "web1", "--yes"])?, 1)?;
    ensure!(error.contains("there is no host"), "{error}");
    // Its agent is refused, and the others go on.
    let stored = collector.samples("node_load1{instance=\"web2\"}").await?.len();
    await_more(&collector, "web2", stored + 5).await?;
    is_gone(&collector).await?;
    collector.kill()?;
    collector.launch().await?;
    await_more(&collector, "web2", stored + 10).await?;
    is_gone(&collector).await?;

    // Enrolled again it is another host, of the same name, that begins clean.
    agents.remove(0).stop().await?;
    let _again = Agent::start(&collector, &options(&hosts[0]))?;
    await_more(&collector, "web1", 5).await?;
    // While the collector does not run, the command deletes by itself.
    collector.stop().await?;
    ended(&collector.command(&["host", "delete", "web2", "--yes"])?, 0)?;
    collector.launch().await?;
    let left = collector.json("/api/v1/label/instance/values").await?;
    ensure!(!left.to_string().contains("web2"), "{left}");
    Ok(())
}

#[tokio::test]
async fn damage_is_told_by_verification_whether_the_collector_runs_or_not() -> Result<()> {
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let agent = Agent::start(&collector, &options(&host))?;
    await_more(&collector, "web1", 5).await?;
    let said = ended(&collector.command(&["store", "verify"])?, 0)?;
    ensure!(said.contains(" entries in "), "{said}");
    drop(agent);
    // The verification ended this segment, so nobody writes it any more.
    let journal = collector.data_dir().join("samples/journal");
    let segments = fs::read_dir(&journal)?.map(|entry| Ok(entry?.path()));
    let segments = segments.collect::<Result<Vec<_>>>()?.into_iter();
    let first = segments.filter(|path| path.extension().is_some_and(|one| one == "segment")).min();
    let first = first.context("a segment")?;
    let mut bytes = fs::read(&first)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 8;
    fs::write(&first, bytes)?;

    let told = collector.command(&["store", "verify", "--json"])?;
    ended(&told, 1)?;
    let read: Value = serde_json::from_str(&told.stdout)?;
    let place = read["damage"][0]["place"].as_str().context("a place")?;
    ensure!(place.contains(text(&first)?), "{read:#}");
    let declared = collector.json("/api/v1/damage").await?;
    ensure!(declared["data"][0]["place"].as_str() == Some(place), "{declared:#}");
    // A backup has it as it is, and says so.
    let backup = collector.configuration_dir().join("backup");
    let said = ended(&collector.command(&["backup", text(&backup)?])?, 1)?;
    ensure!(said.contains("damaged: "), "{said}");
    ensure!(backup.join("manifest.json").exists(), "no backup");
    collector.stop().await?;
    ended(&collector.command(&["store", "verify"])?, 1)?;
    fs::remove_dir_all(collector.data_dir().join("ca"))?;
    ended(&collector.command(&["store", "verify"])?, 2)?;
    Ok(())
}
