//! What is wrong is named with its place, and harms nobody else.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use upkeep_tests::{
    Agent, AgentOptions, Collector, CollectorOptions, FakeHost, SmallDisk, every_confirmed_once,
    until,
};

const SOON: Duration = Duration::from_secs(60);

fn observing(host: &FakeHost) -> AgentOptions {
    AgentOptions {
        interval: Some("200ms".to_owned()),
        replay: Some(host.path().into()),
        ..AgentOptions::default()
    }
}

/// Waits until the collector has stored more of the host than now.
async fn more_data(collector: &Collector) -> Result<()> {
    let before = collector.samples("node_load1").await?.len();
    until("more data", SOON, || async {
        let stored = collector.samples("node_load1").await?.len();
        Ok((stored > before + 2).then_some(()))
    })
    .await
}

#[tokio::test]
async fn unknown_configuration_keys_are_named_with_file_line_and_key() -> Result<()> {
    let wrong = "\n[buffer]\nlimmit_bytes = 5\n";
    let agent = Agent::new(&AgentOptions { settings: wrong.to_owned(), ..Default::default() })?;
    for command in ["check-config", "run", "status"] {
        let output = agent.command(&[command])?;
        assert_ne!(output.code, Some(0), "{command}: {output:?}");
        assert!(
            output.stderr.contains("10-story.toml:3: buffer.limmit_bytes"),
            "{}",
            output.stderr
        );
    }
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let drop_in = collector.configuration_dir().join("conf.d/90-wrong.toml");
    std::fs::write(drop_in, "[http]\nlisten = \"nowhere\"\ntsl = true\n")?;
    let output = collector.command(&["check-config"])?;
    assert_ne!(output.code, Some(0), "{output:?}");
    for place in ["90-wrong.toml:2: http.listen", "90-wrong.toml:3: http.tsl"] {
        assert!(output.stderr.contains(place), "{place}: {}", output.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_rule_is_named_with_file_and_line() -> Result<()> {
    let rules = "groups:\n  - name: story\n    rules:\n      - alert: Broken\n        expr: rate(up[5m)\n      - alert: Odd\n        exprs: up\n";
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let file = collector.configuration_dir().join("broken.yml");
    std::fs::write(&file, rules)?;
    let path = file.to_string_lossy().into_owned();
    let output = collector.command(&["rules", "check", &path])?;
    assert_eq!(output.code, Some(1), "{output:?}");
    for place in ["broken.yml:5:", "broken.yml:7:"] {
        assert!(output.stderr.contains(place), "{place}: {}", output.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn bad_queries_are_refused_in_prometheus_words() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    for (path, status, error_type) in [
        ("/api/v1/query?query=rate(up[5m", 400, "bad_data"),
        ("/api/v1/query?query=up&time=soon", 400, "bad_data"),
        ("/api/v1/query", 400, "bad_data"),
        ("/api/v1/query_range?query=up&start=0&end=10&step=0", 400, "bad_data"),
        ("/api/v1/query_range?query=up&start=0&end=1e9&step=1", 400, "bad_data"),
        ("/api/v1/hosts/nobody", 404, "not_found"),
        ("/api/v1/nothing", 404, "not_found"),
    ] {
        let answer = collector.get(path).send().await?;
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let body: serde_json::Value = answer.json().await?;
        assert_eq!(body["errorType"], error_type, "{path}: {body}");
        assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{path}: {body}");
    }
    let without = collector.get_unauthorized("/api/v1/hosts").send().await?;
    assert_eq!(without.status().as_u16(), 401);
    assert!(collector.get_unauthorized("/-/healthy").send().await?.status().is_success());
    Ok(())
}

#[tokio::test]
async fn noise_on_the_agents_port_harms_nobody() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let _agent = Agent::start(&collector, &observing(&host))?;
    more_data(&collector).await?;
    let mut held = Vec::new();
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], &[0x16, 3, 1, 0xff, 0xff], b""] {
        for _ in 0..50 {
            let mut stream = TcpStream::connect(collector.grpc())?;
            // The collector may have hung up already, which is as good.
            let _ = stream.write_all(noise);
            held.push(stream);
        }
    }
    more_data(&collector).await?;
    assert!(!collector.log()?.contains("panicked"));
    Ok(())
}

#[tokio::test]
async fn a_full_disk_of_the_collector_loses_nothing() -> Result<()> {
    let Some(disk) = SmallDisk::mount(64)? else {
        eprintln!("skipped: this system does not allow a file system to be mounted");
        return Ok(());
    };
    let collector = Collector::start(&CollectorOptions {
        data_dir: Some(disk.path().join("data")),
        ..CollectorOptions::default()
    })
    .await?;
    let host = FakeHost::new("web1")?;
    let agent = Agent::start(&collector, &observing(&host))?;
    more_data(&collector).await?;
    disk.fill();
    until("the collector to say that its disk is full", SOON, || async {
        let log = collector.log()?;
        Ok((log.contains("No space left") || log.contains("disk is full")).then_some(()))
    })
    .await?;
    let before = agent.confirmed()?.len();
    until("observations meanwhile", SOON, || {
        let confirmed = agent.confirmed();
        async move { Ok((confirmed?.len() >= before + 10).then_some(())) }
    })
    .await?;
    disk.empty()?;
    every_confirmed_once(&collector, &agent, SOON).await?;
    Ok(())
}

#[tokio::test]
async fn a_full_disk_of_the_agent_loses_nothing_that_was_confirmed() -> Result<()> {
    let Some(disk) = SmallDisk::mount(32)? else {
        eprintln!("skipped: this system does not allow a file system to be mounted");
        return Ok(());
    };
    let mut collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let options = AgentOptions {
        state_dir: Some(disk.path().join("state")),
        settings: "[buffer]\nkeep_free_percent = 0\nkeep_free_bytes = 0\n".to_owned(),
        ..observing(&host)
    };
    let mut agent = Agent::start(&collector, &options)?;
    more_data(&collector).await?;
    collector.stop().await?;
    let before = agent.confirmed()?.len();
    until("observations in the buffer", SOON, || {
        let confirmed = agent.confirmed();
        async move { Ok((confirmed?.len() >= before + 10).then_some(())) }
    })
    .await?;
    disk.fill();
    until("the agent to say that its disk is full", SOON, || {
        let log = agent.log();
        async move { Ok(log?.contains("No space left").then_some(())) }
    })
    .await?;
    ensure!(agent.is_running()?, "the agent ended: {}", agent.log()?);
    disk.empty()?;
    let before = agent.confirmed()?.len();
    until("observations after that", SOON, || {
        let confirmed = agent.confirmed();
        async move { Ok((confirmed?.len() >= before + 5).then_some(())) }
    })
    .await?;
    collector.launch().await?;
    every_confirmed_once(&collector, &agent, SOON).await?;
    Ok(())
}

#[tokio::test]
async fn series_that_no_collector_takes_keep_nothing_from_being_delivered() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let folder = tempfile::tempdir()?;
    let long = "v".repeat(5000);
    let text = format!("good 7\nclaim{{instance=\"web2\"}} 1\nwide{{a=\"{long}\"}} 1\n");
    std::fs::write(folder.path().join("script.prom"), text)?;
    let settings = format!("[textfile]\ndirectories = [{:?}]\n", folder.path());
    let options = AgentOptions { settings, ..AgentOptions::default() };
    let _agent = Agent::start(&collector, &options)?;
    let counted = "upkeep_agent_unreadable_values_total{collector=\"textfile\"} >= 2";
    until("what was left out", SOON, || async {
        Ok(collector.query(counted).await?.into_iter().next())
    })
    .await?;
    assert_eq!(collector.query("good").await?[0]["value"][1], "7");
    for left_out in ["claim", "wide"] {
        assert_eq!(collector.query(left_out).await?, Vec::<serde_json::Value>::new());
    }
    Ok(())
}
