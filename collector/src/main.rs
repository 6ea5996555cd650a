//! The collector's command line.

use std::process::ExitCode;

use clap::Parser;
use upkeep_collector::app;
use upkeep_collector::command::{self, Command, CommandLine};

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let result = match line.command {
        Command::Serve => app::serve(&line.config),
        _ => command::run(&line).map_err(anyhow::Error::from),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("upkeep-collector: {error:#}");
            ExitCode::FAILURE
        }
    }
}
