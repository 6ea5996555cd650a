//! `rules`: checks rule files, runs their unit tests, and shows what rules are good for.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{CommandError, DEFAULT_CONFIG, usefulness};
use crate::config::Config;
use crate::rule::{self, Report, RequireOutcome, TestReport};

/// What to do about rules.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say everything that is wrong with rule files, with file, line and column.
    Check(CheckArguments),
    /// Run unit tests of rules, in Prometheus' files.
    Test(TestArguments),
    /// Show what became of the alerts of each rule and what that says about it, by the HTTP API.
    Usefulness(usefulness::Arguments),
}

/// Which files to check, and how strictly.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Rule files, and folders of them.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Let rules without `action` or `outcome`, which notify nobody, count as faults.
    #[arg(long)]
    pub strict: bool,
}

/// Which tests to run.
#[derive(Debug, Args)]
pub struct TestArguments {
    /// Files of unit tests; the rule files that they name stand relative to them.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Runs a command about rules.
pub(super) fn run(config: &Path, command: &Command) -> Result<(), CommandError> {
    match command {
        Command::Check(arguments) => {
            let (require, actions) = required(config)?;
            let report = rule::check(&arguments.files, &require, actions.as_ref());
            tell(&report)?;
            verdict(&report, arguments.strict)
        }
        Command::Usefulness(arguments) => usefulness::run(config, arguments),
        Command::Test(arguments) => {
            let report = rule::test(&arguments.files);
            tell_tests(&report)?;
            if report.is_good() {
                return Ok(());
            }
            let (failures, faults) = (report.failures.len(), report.faults.len());
            Err(CommandError::RuleTests { failures, faults })
        }
    }
}

/// What the configuration requires, and the actions that it has; rules are also checked where no collector
/// is set up.
fn required(config: &Path) -> Result<(RequireOutcome, Option<BTreeSet<String>>), CommandError> {
    if config == Path::new(DEFAULT_CONFIG) && !config.exists() {
        return Ok((RequireOutcome::default(), None));
    }
    let config = Config::load(config)?;
    let rules = &config.rules;
    let require = RequireOutcome::new(rules.require_outcome, &rules.require_outcome_except);
    Ok((require, Some(config.action_names())))
}

/// Faults and failures go to standard error, what was run to standard output.
fn tell_tests(report: &TestReport) -> io::Result<()> {
    let mut errors = io::stderr().lock();
    for fault in &report.faults {
        writeln!(errors, "{fault}")?;
    }
    for failure in &report.failures {
        writeln!(errors, "{failure}")?;
    }
    let TestReport { files, tests, checks, .. } = report;
    writeln!(io::stdout().lock(), "{files} files, {tests} tests, {checks} expectations")
}

/// Faults, advice and notes go to standard error, one a line, what was read to standard output.
fn tell(report: &Report) -> io::Result<()> {
    let mut errors = io::stderr().lock();
    for fault in &report.faults {
        writeln!(errors, "{fault}")?;
    }
    for advice in &report.advice {
        writeln!(errors, "{advice} (advice)")?;
    }
    for note in &report.notes {
        writeln!(errors, "{note} (note)")?;
    }
    let Report { files, groups, rules, .. } = report;
    writeln!(io::stdout().lock(), "{files} files, {groups} groups, {rules} rules")
}

fn verdict(report: &Report, strict: bool) -> Result<(), CommandError> {
    let faults = report.faults.len() + if strict { report.advice.len() } else { 0 };
    match faults {
        0 => Ok(()),
        1 => Err(CommandError::Rules("1 fault".to_owned())),
        faults => Err(CommandError::Rules(format!("{faults} faults"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_a_fault_only_if_that_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let check = |text: &str, strict: bool, passes: bool| {
            let file = folder.path().join("rules.yml");
            std::fs::write(&file, text).unwrap();
            let command = Command::Check(CheckArguments { files: vec![file], strict });
            let config = folder.path().join("collector.toml");
            assert_eq!(run(&config, &command).is_ok(), passes, "{text}, strict: {strict}");
        };
        let configure = |text: &str| {
            std::fs::write(folder.path().join("collector.toml"), text).unwrap();
        };
        configure("");
        let silent = "groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]";
        check(silent, false, true);
        check(silent, true, false);
        check(&silent.replace("== 0", "=="), false, false);
        check("groups: [{name: g, rules: [{record: r, expr: up}]}]", true, true);
        check(&silent.replace("up == 0", "up == 0, labels: {severity: info}"), true, true);
        configure("[rules]\nrequire_outcome_except = [\"rules.yml\"]\n");
        check(silent, true, true);
        configure("[rules]\nrequire_outcome_except = \"rules.yml\"\n");
        check(silent, false, false);
    }

    #[test]
    fn unit_tests_that_fail_fail_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let check = |expect: &str, passes: bool| {
            let file = folder.path().join("test.yml");
            let text =
                format!("tests: [{{promql_expr_test: [{{expr: '1', exp_samples: [{expect}]}}]}}]");
            std::fs::write(&file, text).unwrap();
            let command = Command::Test(TestArguments { files: vec![file] });
            assert_eq!(run(Path::new(DEFAULT_CONFIG), &command).is_ok(), passes, "{expect}");
        };
        check("{value: 1}", true);
        check("{value: 2}", false);
        check("{valeu: 1}", false);
    }
}
