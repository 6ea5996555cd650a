//! A program that gets no more memory ends as if it had been killed, comes back as its service manager
//! would bring it back, and nothing that was confirmed is lost. With a large backlog both programs stay
//! within their bounds.

use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use upkeep_agent::buffer::{Buffer, Draft, KeepFree, Options};
use upkeep_model::Observation;
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeHost, every_confirmed_once, peak_memory,
    until,
};

const SOON: Duration = Duration::from_secs(60);

/// So often a program runs out of memory.
const SHORTAGES: usize = 3;

/// The pages that make an agent grow, and the lines of each. No page is so large that reading it would
/// find out first that there is no memory.
const PAGES: usize = 150;
const LINES: usize = 100;

/// What an outage left: so many records of so many series. `UPKEEP_BACKLOG` sets another number.
const MISSED: i64 = 5_000;
const SERIES: usize = 100;

/// What a program as the tests build it may take while that is delivered.
const AGENT_BYTES: u64 = 96 * 1024 * 1024;
const COLLECTOR_BYTES: u64 = 512 * 1024 * 1024;

fn options(host: &FakeHost) -> AgentOptions {
    AgentOptions {
        interval: Some("200ms".to_owned()),
        replay: Some(host.path().into()),
        settings: "[uplink]\nbackoff_max = \"200ms\"\n[textfile]\ndirectory = \"/page\"\n"
            .to_owned(),
        ..AgentOptions::default()
    }
}

/// Lets a program have no more memory than it has, but for so many bytes. Its heaps reserve addresses long
/// before they use them, so what it may write to is limited.
fn limit_memory(id: u32, more: u64) -> Result<()> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).context("VmData")?;
    let bytes = kilobytes.trim().parse::<u64>()? * 1024 + more;
    let mut prlimit = Command::new("prlimit");
    let set = prlimit.args(["--pid", &id.to_string(), &format!("--data={bytes}:")]).output()?;
    ensure!(set.status.success(), "{set:?}");
    Ok(())
}

/// A page of the host with so many series, which take memory.
fn page(host: &FakeHost, name: &str, lines: usize) -> Result<()> {
    let line = |number: usize| {
        format!(
            "story_page{{page=\"{name}\",number=\"{number}\",text=\"{}\"}} 1\n",
            "n".repeat(200)
        )
    };
    host.write(&format!("page/{name}.prom"), &(0..lines).map(line).collect::<String>())
}

async fn five_more(agent: &Agent) -> Result<()> {
    let before = agent.confirmed()?.len();
    until("more observations", SOON, || {
        let confirmed = agent.confirmed();
        async move { Ok((confirmed?.len() >= before + 5).then_some(())) }
    })
    .await
}

/// Nothing is missing, doubled or declared lost, and the log names the lack of memory each time.
async fn nothing_is_lost(collector: &Collector, agent: &Agent, log: &str) -> Result<usize> {
    let stored = every_confirmed_once(collector, agent, SOON).await?;
    let gaps = collector.gaps("web1").await?;
    ensure!(gaps.is_empty(), "{gaps:?}");
    // Several threads may meet it before the program has ended, and new ones find no room for a stack.
    let words = ["memory allocation of", "Cannot allocate memory"];
    let named: usize = words.iter().map(|words| log.matches(words).count()).sum();
    ensure!(named >= SHORTAGES, "{named} times of {SHORTAGES}: {log}");
    Ok(stored)
}

#[tokio::test]
async fn a_collector_that_gets_no_memory_comes_back_and_loses_nothing_that_it_acknowledged()
-> Result<()> {
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    page(&host, "story", 1_500)?;
    let agent = Agent::start(&collector, &options(&host))?;
    for _ in 0..SHORTAGES {
        five_more(&agent).await?;
        limit_memory(collector.id()?, 1024 * 1024)?;
        until("the collector to end", SOON, || {
            // Answers take memory; that there is none is the purpose.
            let all =
                collector.get("/api/v1/query?query=count_over_time({__name__=~\".%2B\"}[1h])");
            let runs = collector.is_running();
            async move {
                drop(all.send().await);
                Ok((!runs?).then_some(()))
            }
        })
        .await?;
        collector.launch().await?;
    }
    five_more(&agent).await?;
    let stored = nothing_is_lost(&collector, &agent, &collector.log()?).await?;
    println!("memory: {SHORTAGES} shortages of a collector, {stored} observations stored, lost 0");
    Ok(())
}

#[tokio::test]
async fn an_agent_that_gets_no_memory_comes_back_and_loses_nothing_that_it_confirmed() -> Result<()>
{
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    page(&host, "0", LINES)?;
    let mut agent = Agent::start(&collector, &options(&host))?;
    for _ in 0..SHORTAGES {
        five_more(&agent).await?;
        limit_memory(agent.id()?, 0)?;
        for number in 1..PAGES {
            page(&host, &number.to_string(), LINES)?;
        }
        until("the agent to end", SOON, || {
            let runs = agent.is_running();
            async move { Ok((!runs?).then_some(())) }
        })
        .await?;
        for number in 1..PAGES {
            std::fs::remove_file(host.path().join(format!("root/page/{number}.prom")))?;
        }
        agent.launch()?;
    }
    five_more(&agent).await?;
    let stored = nothing_is_lost(&collector, &agent, &agent.log()?).await?;
    println!("memory: {SHORTAGES} shortages of an agent, {stored} observations stored, lost 0");
    Ok(())
}

#[tokio::test]
async fn a_large_backlog_leaves_both_programs_within_their_memory() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let mut agent = Agent::new(&options(&host))?;
    agent.enroll(&collector.token()?)?.success()?;
    let told = std::env::var("UPKEEP_BACKLOG").ok();
    let missed = told.map_or(Ok(MISSED), |told| told.parse()).context("UPKEEP_BACKLOG")?;
    miss(&agent, missed)?;
    agent.launch()?;
    until("the backlog", Duration::from_secs(180), || async {
        let found = collector.query("count_over_time(story_missed{number=\"0\"}[12h])").await?;
        Ok(found.first().filter(|row| row["value"][1] == missed.to_string().as_str()).map(|_| ()))
    })
    .await?;
    let (agent, collector) = (peak_memory(agent.id()?)?, peak_memory(collector.id()?)?);
    println!(
        "memory: a backlog of {missed} records of {SERIES} series: agent {} MB, collector {} MB at most",
        agent / 1_000_000,
        collector / 1_000_000
    );
    ensure!(agent <= AGENT_BYTES && collector <= COLLECTOR_BYTES, "{agent} and {collector} bytes");
    Ok(())
}

/// Leaves in an agent's buffer what an outage of hours would have left.
fn miss(agent: &Agent, missed: i64) -> Result<()> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let now_ms = i64::try_from(since.as_millis())?;
    let options = Options { keep_free: KeepFree { percent: 0, bytes: 0 }, ..Options::default() };
    let mut buffer = Buffer::open(&agent.state_dir().join("buffer"), options, now_ms)?;
    let numbers: Vec<String> = (0..SERIES).map(|number| number.to_string()).collect();
    for begin in (0..missed).step_by(500) {
        let observed = (begin..missed.min(begin + 500)).map(|step| {
            let mut observation = Observation::at(now_ms - 600_000 - (missed - step) * 1_000);
            for (number, place) in numbers.iter().zip(0_u32..) {
                let value = if place % 3 == 0 { step as f64 } else { f64::from(place) };
                observation.gauge("story_missed", "", &[("number", number)], value);
            }
            Draft::Observation(observation)
        });
        buffer.append(&observed.collect::<Vec<_>>())?;
    }
    Ok(())
}
