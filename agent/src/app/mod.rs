//! The agent's commands: reads the command line and the configuration, and wires the parts.

mod answer;
mod arguments;
#[cfg(not(unix))]
#[path = "as_itself.rs"]
mod as_user;
#[cfg(unix)]
mod as_user;
mod certificate;
mod enroll;
mod life;
#[cfg(target_os = "linux")]
mod one_heap;
mod report;
mod run;
mod show;
mod status;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result};
use clap::Parser;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::config::{self, Config};
use crate::host::{Host, HostPaths};
use crate::patch;
use crate::probe::{self, UnitChoice, smart};
use crate::scheduler::PROCESS_METRICS;

use arguments::{Arguments, Command, MetricsArguments};

/// The folder of the buffer, in the state folder.
const BUFFER_FOLDER: &str = "buffer";

/// The version of this agent.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the command that the arguments name: 0 is success, 1 failure, 2 wrong usage.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(target_os = "linux")]
    if matches!(arguments.command, Command::Run) {
        one_heap::ensure();
    }
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output, `head` say, has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("upkeep-agent: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let plain = error.downcast_ref().map(io::Error::kind);
    let kind = plain.or_else(|| error.downcast_ref::<serde_json::Error>()?.io_error_kind());
    kind == Some(io::ErrorKind::BrokenPipe)
}

/// The error with its causes; a cause that an error's own text tells already is not told twice.
fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn dispatch(arguments: &Arguments) -> Result<()> {
    let config = config::load(arguments.config.as_deref())?;
    let is_service = matches!(arguments.command, Command::Run);
    start_logging(if is_service { &config.log.0 } else { "warn" })?;
    match &arguments.command {
        Command::Run => run::run(&config, &probes(&config), host(arguments, &config)?),
        Command::Enroll(given) => {
            enroll::enroll_host(&config, &host(arguments, &config)?, arguments, given)
        }
        Command::Status { json } => status::show(&config, *json),
        Command::Metrics(metrics) => {
            show::metrics(&host(arguments, &config)?, &probes_shown(&config, metrics))
        }
        Command::Disks { json } => show::disks(&host(arguments, &config)?, *json),
        Command::Updates { json } => show::updates(&host(arguments, &config)?, *json),
        Command::Refresh => show::refresh(&host(arguments, &config)?),
        Command::Helper => answer::answer(&config, &host(arguments, &config)?),
        Command::CheckConfig => Ok(writeln!(io::stdout(), "The configuration is valid.")?),
    }
}

fn host(arguments: &Arguments, config: &Config) -> Result<Host> {
    if let Some(folder) = &arguments.replay {
        return Ok(Host::replay(folder)?);
    }
    let usual = HostPaths::default();
    let (given, set) = (&arguments.paths, &config.path);
    Ok(Host::new(HostPaths {
        rootfs: given.rootfs.clone().or(set.rootfs.clone()).unwrap_or(usual.rootfs),
        procfs: given.procfs.clone().or(set.procfs.clone()).unwrap_or(usual.procfs),
        sysfs: given.sysfs.clone().or(set.sysfs.clone()).unwrap_or(usual.sysfs),
        udev_data: given.udev_data.clone().or(set.udev_data.clone()).unwrap_or(usual.udev_data),
    }))
}

/// What the configuration says about the probes.
fn probes(config: &Config) -> probe::Settings {
    probe::Settings {
        all: false,
        enable: config.probes.enable.clone(),
        disable: config.probes.disable.clone(),
        textfile_folders: config.textfile.directories.clone(),
        own_metrics: [&patch::METRICS[..], &PROCESS_METRICS[..]].concat(),
        stat_softirq: config.probes.stat.softirq,
        sysctl_numbers: config.probes.sysctl.include.clone(),
        sysctl_words: config.probes.sysctl.include_info.clone(),
        units: UnitChoice {
            include: config.probes.systemd.include.clone(),
            exclude: config.probes.systemd.exclude.clone(),
        },
        disks: smart::Settings { interval: config.smart.interval, ..smart::Settings::default() },
    }
}

/// What `metrics` is told beyond it.
fn probes_shown(config: &Config, arguments: &MetricsArguments) -> probe::Settings {
    let mut settings = probe::Settings { all: arguments.all, ..probes(config) };
    settings.disks.patience = show::DISKS_PATIENCE;
    if !arguments.textfile_directory.is_empty() {
        settings.textfile_folders.clone_from(&arguments.textfile_directory);
    }
    settings
}

/// Logs to standard error, which the journal takes; it puts the time to each line itself.
fn start_logging(default: &str) -> Result<()> {
    let text = std::env::var("RUST_LOG").unwrap_or_else(|_| default.to_owned());
    // Levels by module suffice; the filter by patterns brings a whole engine of regular expressions.
    let filter: Targets = text.parse().with_context(|| format!("log filter {text:?}"))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        tracing_subscriber::registry().with(lines.without_time().with_filter(filter)).init();
    } else {
        tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    }
    Ok(())
}

/// The wall clock in milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("no such file").context("cannot read x: no such file");
        assert_eq!(explain(&error), "cannot read x: no such file");
        let error = anyhow::anyhow!("no such file").context("the buffer cannot be opened");
        assert_eq!(explain(&error), "the buffer cannot be opened: no such file");
    }
}
