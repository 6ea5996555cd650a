//! `metrics` and `updates`: what the agent would deliver, printed once; and `refresh`.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use anyhow::{Result, bail};

use super::{VERSION, now_ms, report};
use crate::host::Host;
use crate::scheduler::{Observer, Settings};
use crate::{exposition, patch, probe};

/// How long one probe may take when a person waits for it.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// Prints one observation.
pub(super) fn metrics(host: &Host, probes: &probe::Settings) -> Result<()> {
    let settings = Settings {
        interval: PROBE_PATIENCE,
        updates_interval: PROBE_PATIENCE,
        agent_version: VERSION.to_owned(),
    };
    let at_ms = host.recorded_at_ms().unwrap_or_else(now_ms);
    let mut observation = Observer::new(host, probe::chosen(probes), &settings).observe(at_ms);
    patch::observe(&patch::report(host, at_ms, &mut patch::Memory::default()), &mut observation);
    let mut out = BufWriter::new(io::stdout().lock());
    exposition::write(&observation, &mut out)?;
    Ok(out.flush()?)
}

/// Prints the pending updates.
pub(super) fn updates(host: &Host, json: bool) -> Result<()> {
    let at_ms = host.recorded_at_ms().unwrap_or_else(now_ms);
    let found = patch::report(host, at_ms, &mut patch::Memory::default());
    let mut out = BufWriter::new(io::stdout().lock());
    if json {
        serde_json::to_writer_pretty(&mut out, &found)?;
        writeln!(out)?;
    } else {
        report::write(&found, &mut out)?;
    }
    Ok(out.flush()?)
}

/// Refreshes the package lists and prints how each manager did.
pub(super) fn refresh(host: &Host) -> Result<()> {
    let refreshed = patch::refresh(host);
    if refreshed.is_empty() {
        bail!("no package manager was found whose lists can be refreshed");
    }
    let mut out = io::stdout().lock();
    for (manager, outcome) in &refreshed {
        let outcome = outcome.as_ref().map_or_else(String::as_str, |()| "refreshed");
        writeln!(out, "{manager}: {outcome}")?;
    }
    if refreshed.iter().any(|(_, outcome)| outcome.is_err()) {
        bail!("not every package list was refreshed");
    }
    Ok(())
}
