//! What a running program takes of its machine, and the bounds that are set to it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::run;

/// The kernel counts processor time in these.
const TICK: Duration = Duration::from_millis(10);

/// The most memory that a program had at any time, in bytes.
///
/// # Errors
/// When the program does not run.
pub fn peak_memory(id: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.context("VmHWM is not told")?.trim().parse::<u64>()? * 1024)
}

/// The processor time that a program took since its start.
///
/// # Errors
/// When the program does not run.
pub fn processor_time(id: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("the name's end")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |index: usize| -> Result<u32> { Ok(fields.get(index).context("times")?.parse()?) };
    Ok(TICK * (ticks(11)? + ticks(12)?))
}

/// How many file descriptors a program has open.
///
/// # Errors
/// When the program does not run.
pub fn open_files(id: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{id}/fd"))?.count())
}

/// Lets a running program have so many file descriptors open, and no more.
///
/// # Errors
/// When `prlimit` fails.
pub fn limit_open_files(id: u32, count: u64) -> Result<()> {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &id.to_string(), &format!("--nofile={count}:")]);
    run(&mut prlimit, "")?.success()?;
    Ok(())
}
