//! A host is enrolled, and what is not a good token is refused with its reason.

use std::time::Duration;

use anyhow::Result;
use upkeep_tests::{Agent, AgentOptions, Collector, CollectorOptions, FakeHost, until};
use upkeep_wire::{Fingerprint, Token, TokenSecret};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_host_is_enrolled_and_its_data_is_seen() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let options = AgentOptions { replay: Some(host.path().into()), ..AgentOptions::default() };
    let mut agent = Agent::start(&collector, &options)?;

    let load = until("the first sample", SOON, || async {
        let result = collector.query("node_load1{instance=\"web1\",job=\"node\"}").await?;
        Ok(result.into_iter().next())
    })
    .await?;
    assert_eq!(load["value"][1], "0.1");
    let up = collector.query("up{instance=\"web1\"}").await?;
    assert_eq!(up[0]["value"][1], "1");

    let facts = until("the host's facts", SOON, || async {
        let host = collector.json("/api/v1/hosts/web1").await?["data"].clone();
        Ok((!host["facts"].is_null()).then_some(host))
    })
    .await?;
    assert_eq!(facts["hostname"], "web1");
    assert_eq!(facts["facts"]["distribution"]["id"], "debian");
    assert_eq!(facts["id"], agent.identity()?["host_id"]);
    let hosts = collector.json("/api/v1/hosts").await?;
    assert_eq!(hosts["data"]["hosts"].as_array().map(Vec::len), Some(1));
    agent.stop().await
}

#[tokio::test]
async fn pending_updates_and_a_due_restart_are_shown_with_their_reason() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    host.write("usr/bin/apt-get", "")?;
    host.write("var/lib/dpkg/status", "")?;
    host.command(
        &["apt-get", "-s", "-o", "Debug::NoLocking=1", "dist-upgrade"],
        0,
        "Inst openssl [3.0.15-1~deb12u1] (3.0.17-1~deb12u2 Debian-Security:12/stable-security [amd64])\n\
         Inst tzdata [2024a-0] (2025b-0+deb12u1 Debian:12.11/stable [all])\n\
         Conf openssl (3.0.17-1~deb12u2 Debian-Security:12/stable-security [amd64])\n",
    )?;
    host.write("run/reboot-required", "*** System restart required ***\n")?;
    host.write("run/reboot-required.pkgs", "linux-image-amd64\n")?;
    let options = AgentOptions { replay: Some(host.path().into()), ..AgentOptions::default() };
    let _agent = Agent::start(&collector, &options)?;

    let patches = until("the host's patches", SOON, || async {
        let answer = collector.get("/api/v1/hosts/web1/patches").send().await?;
        let body: serde_json::Value = answer.json().await?;
        Ok((body["data"]["summary"]["status"] == "known").then(|| body["data"].clone()))
    })
    .await?;
    let updates = patches["updates"].as_array().cloned().unwrap_or_default();
    let named: Vec<_> = updates.iter().map(|one| (&one["package"], &one["security"])).collect();
    assert_eq!(named.len(), 2, "{patches:#}");
    assert!(named.iter().any(|(package, security)| *package == "openssl" && **security == true));
    assert!(named.iter().any(|(package, security)| *package == "tzdata" && **security == false));
    assert_eq!(patches["summary"]["security"], 1);
    assert_eq!(patches["reboot"]["required"], true);
    assert!(patches["reboot"].to_string().contains("linux-image-amd64"), "{patches:#}");
    let pending = until("the metric of pending updates", SOON, || async {
        let result = collector.query("sum(apt_upgrades_pending{instance=\"web1\"})").await?;
        Ok(result.into_iter().next())
    })
    .await?;
    assert_eq!(pending["value"][1], "2");
    Ok(())
}

#[tokio::test]
async fn tokens_that_are_not_good_are_refused_with_their_reason() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let used = collector.token()?;
    Agent::new(&AgentOptions::default())?.enroll(&used)?.success()?;
    let expired = collector
        .command(&["token", "create", "--address", collector.grpc(), "--ttl", "0s"])?
        .success()?;
    let revoked = collector.token()?;
    let list: serde_json::Value =
        serde_json::from_str(&collector.command(&["token", "list", "--json"])?.success()?)?;
    let newest = list
        .as_array()
        .and_then(|all| all.iter().max_by_key(|token| token["created_at"].as_i64()))
        .and_then(|token| token["id"].as_str().map(str::to_owned))
        .unwrap_or_default();
    collector.command(&["token", "revoke", &newest])?.success()?;
    let good: Token = collector.token()?.parse()?;
    let forged =
        Token::new(good.id(), TokenSecret::new([7; 32]), good.address(), good.pins().into())?;
    let secret = TokenSecret::new(*good.secret().reveal());
    let elsewhere = Token::new(good.id(), secret, good.address(), vec![Fingerprint([9; 32])])?;

    let mut identities = Vec::new();
    for (token, reason) in [
        (used.as_str(), "used"),
        (expired.trim(), "expired"),
        (revoked.as_str(), "revoked"),
        (&forged.to_text(), "not"),
        (&elsewhere.to_text(), "fingerprint"),
        ("upkeep1.cut", "token"),
    ] {
        let agent = Agent::new(&AgentOptions::default())?;
        let output = agent.enroll(token)?;
        assert_eq!(output.code, Some(1), "{reason}: {output:?}");
        assert!(output.stderr.contains(reason), "{reason}: {}", output.stderr);
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
        identities.push(agent.identity().is_ok());
    }
    assert!(identities.iter().all(|enrolled| !enrolled), "{identities:?}");

    let audit = collector.json("/api/v1/audit").await?["data"].to_string();
    for reason in ["used", "expired", "revoked"] {
        assert!(audit.contains(reason), "{reason} is not in the audit log: {audit}");
    }
    Ok(())
}

#[tokio::test]
async fn a_second_host_of_the_same_name_does_not_take_the_first_ones_place() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let mut agents = Vec::new();
    for _ in 0..2 {
        let host = FakeHost::new("web1")?;
        let options = AgentOptions { replay: Some(host.path().into()), ..AgentOptions::default() };
        agents.push((Agent::start(&collector, &options)?, host));
    }
    let up = until("both hosts", SOON, || async {
        let result = collector.query("up == 1").await?;
        Ok((result.len() == 2).then_some(result))
    })
    .await?;
    let mut names: Vec<_> =
        up.iter().filter_map(|row| row["metric"]["instance"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names[0], "web1");
    assert!(names[1].starts_with("web1~") && names[1].len() == 9, "{names:?}");
    Ok(())
}

#[tokio::test]
async fn a_revoked_host_delivers_no_more() -> Result<()> {
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let host = FakeHost::new("web1")?;
    let options = AgentOptions { replay: Some(host.path().into()), ..AgentOptions::default() };
    let mut agent = Agent::start(&collector, &options)?;
    until("the first sample", SOON, || async {
        Ok(collector.query("node_load1").await?.into_iter().next())
    })
    .await?;
    collector.command(&["host", "revoke", "web1"])?.success()?;
    until("the agent to be told", SOON, || {
        let log = agent.log();
        async move { Ok(log?.contains("revoked").then_some(())) }
    })
    .await?;
    let before = collector.samples("node_load1").await?.len();
    let made = agent.confirmed()?.len();
    until("three more observations", SOON, || {
        let confirmed = agent.confirmed();
        async move { Ok((confirmed?.len() >= made + 3).then_some(())) }
    })
    .await?;
    assert_eq!(collector.samples("node_load1").await?.len(), before);
    assert!(agent.is_running()?);
    Ok(())
}

#[tokio::test]
async fn the_ends_of_both_certificates_are_series() -> Result<()> {
    let settings = "[certificates]\nhost_lifetime = \"3days\"\n".to_owned();
    let collector =
        Collector::start(&CollectorOptions { settings, ..CollectorOptions::default() }).await?;
    let host = FakeHost::new("web1")?;
    let options = AgentOptions { replay: Some(host.path().into()), ..AgentOptions::default() };
    let _agent = Agent::start(&collector, &options)?;
    let of_collector = "upkeep_collector_certificate_not_after_timestamp_seconds";
    for (series, days) in [
        ("upkeep_agent_certificate_not_after_timestamp_seconds{instance=\"web1\"}", "3"),
        ("upkeep_agent_certificate_not_before_timestamp_seconds{instance=\"web1\"}", "0"),
        (of_collector, "90"),
    ] {
        let left = format!("abs(round(({series} - time()) / 86400))");
        let told =
            until(series, SOON, || async { Ok(collector.query(&left).await?.into_iter().next()) })
                .await?;
        assert_eq!(told["value"][1], days, "{series}");
    }
    let page = collector.get("/metrics").send().await?.text().await?;
    assert!(page.contains(&format!("\n{of_collector} ")), "{page}");
    Ok(())
}
