//! What agents confirmed, held against what the collector has.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{Agent, Collector, until};

/// A series that is in every observation.
const SERIES: &str = "node_load1";

/// Waits until the collector has every observation that the agent confirmed as durable, and checks
/// that it has each once. Gives how many it has.
///
/// # Errors
/// When some are missing for longer than that, or any is there twice.
pub async fn every_confirmed_once(
    collector: &Collector,
    agent: &Agent,
    within: Duration,
) -> Result<usize> {
    let confirmed: BTreeSet<i64> = agent.confirmed()?.into_iter().collect();
    let stored = until("every confirmed observation", within, || async {
        let stored = collector.samples(SERIES).await?;
        let stamps: BTreeSet<i64> = stored.iter().map(|(stamp, _)| *stamp).collect();
        let missing = confirmed.difference(&stamps).count();
        ensure!(missing == 0, "{missing} of {} are missing", confirmed.len());
        Ok(Some(stored))
    })
    .await?;
    let stamps: BTreeSet<i64> = stored.iter().map(|(stamp, _)| *stamp).collect();
    ensure!(stamps.len() == stored.len(), "{} are doubled", stored.len() - stamps.len());
    Ok(stored.len())
}

/// What became of all that an agent ever made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Observations that the collector has.
    pub stored: i64,
    /// Observations that are declared as gaps.
    pub declared: i64,
    /// Observations that are neither: what nobody knows of.
    pub lost: i64,
}

/// Waits until every observation of an agent is stored or declared lost: those that it confirmed, and
/// `more` under another series. Gives what became of them.
///
/// # Errors
/// When some are neither for longer than that, or more are there than were ever observed.
pub async fn accounted_for(
    collector: &Collector,
    host: &str,
    agent: &Agent,
    series: &str,
    more: i64,
    within: Duration,
) -> Result<Account> {
    until("every observation stored or declared", within, || async {
        let confirmed: BTreeSet<i64> = agent.confirmed()?.into_iter().collect();
        let stored = collector.samples(SERIES).await?.into_iter();
        // What is confirmed after the log was read may be stored already.
        let stored = stored.filter(|(stamp, _)| confirmed.contains(stamp)).count();
        let found = collector.query(&format!("count_over_time({series}[2h])")).await?;
        let count = found.first().and_then(|row| row["value"][1].as_str()?.parse::<f64>().ok());
        let stored = i64::try_from(stored)? + count.unwrap_or_default() as i64;
        let gaps = collector.gaps(host).await?;
        let samples = gaps.iter().filter(|gap| gap["lane"] == "samples");
        let declared = samples.filter_map(|gap| gap["records"].as_i64()).sum();
        let lost = i64::try_from(confirmed.len())? + more - stored - declared;
        ensure!(lost <= 0, "{lost} are neither stored nor declared");
        Ok(Some(Account { stored, declared, lost }))
    })
    .await
}
