//! Runs test scripts in the format of Prometheus' own PromQL tests against this evaluator.
//!
//! `promqltest FILE…` prints each eval that fails, the reasons for which evals were skipped, and
//! closes with `N passed, M failed, K skipped`. It exits with 1 if any eval failed.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

#[path = "../tests/script/mod.rs"]
mod script;

fn main() -> ExitCode {
    let files: Vec<String> = env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: promqltest FILE…");
        return ExitCode::from(2);
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for file in files {
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::from(2);
            }
        };
        let name = Path::new(&file).file_name().unwrap_or_default().to_string_lossy();
        let report = script::run(&name, &text);
        report.failures.iter().for_each(|failure| println!("FAIL {failure}"));
        report.skipped.iter().for_each(|skip| println!("skip {skip}"));
        println!(
            "{name}: {} passed, {} failed, {} skipped",
            report.passed,
            report.failures.len(),
            report.skipped.len()
        );
        passed += report.passed;
        failed += report.failures.len();
        skipped += report.skipped.len();
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
