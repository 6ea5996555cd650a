//! The agent's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    upkeep_agent::app::main()
}
