//! The collector's command line.

use std::process::ExitCode;

use clap::Parser;
use upkeep_collector::command::{self, CommandLine};

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match command::run(&line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("upkeep-collector: {error}");
            ExitCode::FAILURE
        }
    }
}
