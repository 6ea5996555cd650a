//! `metrics`, `disks` and `updates`: what the agent would deliver, printed once; and `refresh`.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::{VERSION, now_ms, report};
use crate::host::Host;
use crate::probe::smart::{self, DiskHealth};
use crate::scheduler::{Observer, Settings};
use crate::{exposition, patch, probe};

/// How long one probe may take when a person waits for it.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// How long `metrics` waits for the disks, which must be less than a probe may take at all.
pub(super) const DISKS_PATIENCE: Duration = Duration::from_secs(4);

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

/// Prints how the disks are.
pub(super) fn disks(host: &Host, json: bool) -> Result<()> {
    let disks = smart::look(host).map_err(|unread| anyhow!("disks cannot be asked: {unread}"))?;
    let mut out = BufWriter::new(io::stdout().lock());
    if json {
        serde_json::to_writer_pretty(&mut out, &disks)?;
        writeln!(out)?;
    } else {
        write_disks(&disks, &mut out)?;
    }
    Ok(out.flush()?)
}

fn write_disks(disks: &[DiskHealth], out: &mut impl Write) -> io::Result<()> {
    if disks.is_empty() {
        writeln!(out, "smartctl knows of no disk that could be asked")?;
    }
    let longest = disks.iter().map(|disk| disk.device.len()).max().unwrap_or_default();
    for DiskHealth { device, model, serial, health, reasons } in disks {
        let model = if model.is_empty() { "unknown model" } else { model };
        let serial = if serial.is_empty() { "no serial number" } else { serial };
        writeln!(out, "{device:longest$}  {health:11}  {model} ({serial})")?;
        for reason in reasons {
            writeln!(out, "{:longest$}  {:11}  {reason}", "", "")?;
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_shown_with_their_reasons_below_them() {
        let disk = |device: &str, health, reasons: &[&str]| DiskHealth {
            device: device.into(),
            model: "ST3500418AS".into(),
            serial: String::new(),
            health,
            reasons: reasons.iter().map(ToString::to_string).collect(),
        };
        let check = |disks: &[DiskHealth], expect: &[&str]| {
            let mut out = Vec::new();
            write_disks(disks, &mut out).unwrap();
            let shown = String::from_utf8(out).unwrap();
            assert_eq!(shown.lines().collect::<Vec<_>>(), expect);
        };
        check(
            &[disk("sda", "fine", &[]), disk("bus_0_megaraid_1", "failing", &["it says so"])],
            &[
                "sda               fine         ST3500418AS (no serial number)",
                "bus_0_megaraid_1  failing      ST3500418AS (no serial number)",
                "                               it says so",
            ],
        );
        check(&[], &["smartctl knows of no disk that could be asked"]);
    }
}
