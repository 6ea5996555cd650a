//! What a process takes.

use std::fs;

use anyhow::{Context, Result};

/// The processor's time that all threads of a process took so far, in seconds: the scheduler's own
/// count, since the usual one knows only hundredths of a second.
pub(super) fn cpu_seconds(id: u32) -> Result<f64> {
    let mut nanoseconds = 0_u64;
    for task in fs::read_dir(format!("/proc/{id}/task"))? {
        // A thread that ended since it was listed is left out.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        nanoseconds += text.split_whitespace().next().context("schedstat")?.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// A line of a process' memory in MiB.
pub(super) fn memory(id: u32, line: &str) -> Result<f64> {
    let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    let found = rollup.lines().find_map(|one| one.strip_prefix(line)).context("smaps_rollup")?;
    let kib: f64 = found.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// The middle of some figures.
pub(super) fn median(figures: &mut [f64]) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let upper = figures.get(figures.len() / 2)?;
    let lower = figures.get((figures.len() - 1) / 2)?;
    Some((upper + lower) / 2.0)
}
