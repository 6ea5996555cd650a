//! `make bench`: what the agent costs beside its peers. It prints the figures; the README and docs/bench/ hold those
//! that were measured, with their machine.
//!
//! The peers' programs are taken from the folder that `UPKEEP_PEERS` names; `packaging/peers` fills
//! one. What is not there is said to be missing.

mod footprint;
mod meter;
mod peers;
mod usage;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

/// How long anything may take to begin.
const SOON: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    println!("{}", machine()?);
    footprint::footprint().await
}

fn machine() -> Result<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let processors = std::thread::available_parallelism()?;
    Ok(format!("{model}, {processors} processors, Linux {}", kernel.trim()))
}
