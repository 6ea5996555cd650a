//! `simulate TEMPLATE [SEED]`: runs the simulation of a seed and prints how it went, or makes the
//! template that all seeds begin with. `RUST_LOG=info` tells what happens meanwhile.
//!
//! A process runs one seed, so that nothing is left of another.

mod agent;
mod ambient;
mod collector;
mod history;
mod plan;
mod template;
mod trace;
mod world;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use tracing_subscriber::EnvFilter;

/// Whether anything panicked; a task of the network's library that does would else go unnoticed.
static PANICKED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    match simulate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn simulate() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let template = PathBuf::from(arguments.next().context("simulate TEMPLATE [SEED]")?);
    let Some(seed) = arguments.next() else { return template::prepare(&template) };
    let seed = seed.parse().with_context(|| format!("{seed:?} is no seed"))?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    note_panics();
    let folder = tempfile::tempdir_in(template.parent().unwrap_or(Path::new(".")))?;
    let path = folder.path().to_owned();
    let simulation = thread::Builder::new().spawn(move || world::run(seed, &template, &path))?;
    let outcome = simulation.join().map_err(|_| anyhow!("the simulation panicked"))??;
    if PANICKED.load(Ordering::Relaxed) {
        bail!("something panicked");
    }
    println!("{outcome}");
    Ok(())
}

fn note_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICKED.store(true, Ordering::Relaxed);
        tell(panic);
    }));
}
