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
