//! Runs test scripts in the format of Prometheus' own PromQL tests.
//!
//! A script is a list of blocks, which blank lines and comments end: `clear`, `load <step>` with
//! one series a line, and `eval instant|range …` with what is expected below it.

mod data;
mod eval;
mod notation;
mod pinned;

use data::Data;
use eval::{Eval, Outcome};

/// What became of a script.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Evals that gave what was expected.
    pub(crate) passed: usize,
    /// One text an eval that did not, beginning with its line.
    pub(crate) failures: Vec<String>,
    /// One text an eval that was not tried, with the reason.
    pub(crate) skipped: Vec<String>,
}

/// Runs a script, which is called `name` in the report.
pub(crate) fn run(name: &str, text: &str) -> Report {
    let mut report = Report::default();
    let mut data = Data::default();
    for block in blocks(text) {
        let place = format!("{name}:{}", block.line);
        if let Err(problem) = run_block(&block, &place, &mut data, &mut report) {
            report.failures.push(format!("{place}: {problem}"));
        }
    }
    report
}

fn run_block(
    block: &Block<'_>,
    place: &str,
    data: &mut Data,
    report: &mut Report,
) -> Result<(), String> {
    let (command, rest) = block.head.split_once(char::is_whitespace).unwrap_or((block.head, ""));
    match command {
        "clear" => *data = Data::default(),
        "load" | "load_with_nhcb" => {
            let step_ms = notation::duration_ms(rest.trim())?;
            data.load(step_ms, &block.body, command == "load_with_nhcb")?;
        }
        _ if command.starts_with("eval") => {
            let eval = Eval::parse(block.head, &block.body)?;
            let text = eval.text().to_owned();
            match eval.run(data) {
                Outcome::Passed => report.passed += 1,
                Outcome::Failed(why) => report.failures.push(format!("{place}: {text}: {why}")),
                Outcome::Skipped(why) => report.skipped.push(format!("{place}: {text}: {why}")),
            }
        }
        other => return Err(format!("unknown command {other:?}")),
    }
    Ok(())
}

struct Block<'a> {
    line: usize,
    head: &'a str,
    body: Vec<&'a str>,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            // A comment within an expectation does not end it, a blank line does.
            inside = inside && line.starts_with('#');
            continue;
        }
        match blocks.last_mut() {
            Some(block) if inside && !starts_block(line) => block.body.push(line),
            _ => blocks.push(Block { line: index + 1, head: line, body: Vec::new() }),
        }
        inside = true;
    }
    blocks
}

fn starts_block(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    matches!(word, "clear" | "load" | "load_with_nhcb") || word.starts_with("eval")
}
