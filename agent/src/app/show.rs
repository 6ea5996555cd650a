//! `metrics` and `updates`: what the agent would deliver, printed once; and `refresh`.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use anyhow::{Result, bail};
use upkeep_model::{Knowledge, ManagerReport, PackageUpdate, RebootReport, UpdateReport};

use super::{VERSION, now_ms};
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
    let at_ms = now_ms();
    let mut observation = Observer::new(host, probe::chosen(probes), &settings).observe(at_ms);
    patch::observe(&patch::report(host, at_ms), &mut observation);
    let mut out = BufWriter::new(io::stdout().lock());
    exposition::write(&observation, &mut out)?;
    Ok(out.flush()?)
}

/// Prints the pending updates.
pub(super) fn updates(host: &Host, json: bool) -> Result<()> {
    let report = patch::report(host, now_ms());
    let mut out = BufWriter::new(io::stdout().lock());
    if json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write_report(&report, &mut out)?;
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

fn write_report(report: &UpdateReport, out: &mut impl Write) -> io::Result<()> {
    if report.managers.is_empty() {
        writeln!(out, "pending updates unknown: no package manager was found")?;
    }
    for manager in &report.managers {
        write_manager(manager, out)?;
    }
    match &report.reboot {
        Knowledge::Unknown(reason) => writeln!(out, "restart of the host: unknown: {reason}"),
        Knowledge::Known(RebootReport { reasons }) if reasons.is_empty() => {
            writeln!(out, "restart of the host: not needed")
        }
        Knowledge::Known(RebootReport { reasons }) => {
            for reason in reasons {
                let packages = reason.packages.join(", ");
                writeln!(out, "restart of the host: needed: {} {packages}", reason.reason)?;
            }
            Ok(())
        }
    }
}

fn write_manager(report: &ManagerReport, out: &mut impl Write) -> io::Result<()> {
    let manager = &report.manager;
    match &report.updates {
        Knowledge::Unknown(reason) => writeln!(out, "{manager}: unknown: {reason}"),
        Knowledge::Known(updates) => {
            let security = updates.iter().filter(|update| update.security).count();
            write!(out, "{manager}: {} pending, {security} for security", updates.len())?;
            let untold = updates.iter().filter(|one| report.is_security(one).is_none()).count();
            if untold > 0 {
                let origins = report.without_advisories.join(", ");
                write!(out, ", {untold} unknown without advisories ({origins})")?;
            }
            writeln!(out)?;
            updates.iter().try_for_each(|update| write_update(update, out))
        }
    }
}

fn write_update(update: &PackageUpdate, out: &mut impl Write) -> io::Result<()> {
    let installed = if update.installed.is_empty() { "(new)" } else { &update.installed };
    let mut marks = String::new();
    for (is_set, mark) in [(update.security, " security"), (update.stays.is_some(), " held")] {
        marks.push_str(if is_set { mark } else { "" });
    }
    writeln!(
        out,
        "  {} {} {installed} -> {} ({}){marks}",
        update.package, update.architecture, update.offered, update.origin
    )
}

#[cfg(test)]
mod tests {
    use upkeep_model::RestartReason;

    use super::*;

    #[test]
    fn what_is_unknown_is_shown_as_unknown() {
        let check = |report: &UpdateReport, expect: &str| {
            let mut out = Vec::new();
            write_report(report, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        };
        let unknown = UpdateReport {
            checked_at_ms: 0,
            managers: Vec::new(),
            reboot: Knowledge::Unknown("no permission".into()),
            ..UpdateReport::default()
        };
        check(
            &unknown,
            "pending updates unknown: no package manager was found\n\
             restart of the host: unknown: no permission\n",
        );
        let update = PackageUpdate {
            package: "openssl".into(),
            architecture: "amd64".into(),
            installed: "1".into(),
            offered: "2".into(),
            origin: "Debian-Security".into(),
            security: true,
            ..PackageUpdate::default()
        };
        let untold = PackageUpdate { origin: "core".into(), ..update.clone() };
        let untold = PackageUpdate { security: false, ..untold };
        let apt = ManagerReport {
            manager: "apt".into(),
            updates: Knowledge::Known(vec![update, untold]),
            without_advisories: vec!["core".into()],
            ..ManagerReport::default()
        };
        let reason = RestartReason { reason: "a new kernel:".into(), packages: vec!["l".into()] };
        let known = UpdateReport {
            checked_at_ms: 0,
            managers: vec![apt],
            reboot: Knowledge::Known(RebootReport { reasons: vec![reason] }),
            ..UpdateReport::default()
        };
        check(
            &known,
            "apt: 2 pending, 1 for security, 1 unknown without advisories (core)\n  \
             openssl amd64 1 -> 2 (Debian-Security) security\n  \
             openssl amd64 1 -> 2 (core)\n\
             restart of the host: needed: a new kernel: l\n",
        );
    }
}
