//! Unit tests of rules, in Prometheus' files: series that are made up, and what the rules and
//! expressions must make of them at which time.

mod file;
mod run;

use std::fmt;
use std::path::{Path, PathBuf};

use super::file::Group;
use crate::yaml::{Fault, FaultList, Faults, Place};
use file::TestFile;

/// What became of unit tests.
#[derive(Debug, Default)]
pub struct TestReport {
    /// How many files were read.
    pub files: usize,
    /// How many tests were run.
    pub tests: usize,
    /// How many expectations were held against what came out.
    pub checks: usize,
    /// What is wrong with the test files, or with the rule files that they name.
    pub faults: Vec<Fault>,
    /// What came out otherwise than expected.
    pub failures: Vec<Failure>,
}

/// One expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The file with the test.
    pub file: PathBuf,
    /// Where in it the expectation stands, or the test if it concerns the whole of it.
    pub place: Place,
    /// The test: its name, or its number.
    pub test: String,
    /// What is otherwise.
    pub what: String,
    /// What was expected, and what came instead; nothing if there is no more to say.
    pub difference: Option<Difference>,
}

/// What was expected and what was got, an alert or sample a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What should have come.
    pub expected: Vec<String>,
    /// What came.
    pub got: Vec<String>,
}

impl TestReport {
    /// Whether all files could be used and everything came out as expected.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty() && self.failures.is_empty()
    }
}

/// `file:line:column: test: what`, and below it what was expected and what was got.
impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, place, test, what, difference } = self;
        let Place { line, column } = place;
        write!(formatter, "{}:{line}:{column}: {test}: {what}", file.display())?;
        let Some(Difference { expected, got }) = difference else { return Ok(()) };
        for (title, list) in [("expected", expected), ("got", got)] {
            write!(formatter, "\n  {title}:")?;
            if list.is_empty() {
                write!(formatter, " nothing")?;
            }
            for one in list {
                write!(formatter, "\n    {one}")?;
            }
        }
        Ok(())
    }
}

/// Runs the unit tests of files.
pub fn test(files: &[PathBuf]) -> TestReport {
    let mut report = TestReport::default();
    for path in files {
        report.files += 1;
        if let Err(Faults(faults)) = test_file(path, &mut report) {
            report.faults.extend(faults);
        }
    }
    report
}

fn test_file(path: &Path, report: &mut TestReport) -> Result<(), Faults> {
    let file = TestFile::read(path)?;
    // Faults of the rules are told even if there is no test of them.
    groups(&file, path)?;
    for test in &file.tests {
        // A group remembers what it evaluated, so each test has its own.
        let groups = groups(&file, path)?;
        report.tests += 1;
        report.checks += test.alerts.len() + test.expressions.len();
        let failures = run::run(&file, test, groups);
        report.failures.extend(failures.into_iter().map(|failure| Failure {
            file: path.to_owned(),
            test: test.name.clone(),
            place: failure.place,
            what: failure.what,
            difference: failure.difference,
        }));
    }
    Ok(())
}

/// The groups of the rule files in the order in which they are evaluated: first those that the file
/// does not name, then those that it does.
fn groups(file: &TestFile, path: &Path) -> Result<Vec<Group>, Faults> {
    let mut groups = super::load(&file.rule_files, None)?;
    let turn = |group: &Group| file.group_order.iter().position(|name| *name == group.name);
    groups.sort_by_key(turn);
    let mut faults = FaultList::new(path);
    for name in &file.group_order {
        if groups.iter().all(|group| group.name != *name) {
            faults.whole(format!("group_eval_order names `{name}`, which no rule file has"));
        }
    }
    faults.into_result(groups)
}

#[cfg(test)]
mod tests;
