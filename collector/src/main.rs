//! The collector's command line.

use std::process::ExitCode;

use clap::Parser;
use upkeep_collector::app;
use upkeep_collector::command::{self, Command, CommandLine};

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let result = match line.command {
        Command::Serve => app::serve(&line.config).map_err(|error| (1, error)),
        _ => command::run(&line).map_err(|error| (error.exit_code(), error.into())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => {
            eprintln!("upkeep-collector: {}", told(&error));
            ExitCode::from(code)
        }
    }
}

/// An error and its causes. Most errors name their cause themselves; it is not said twice.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
