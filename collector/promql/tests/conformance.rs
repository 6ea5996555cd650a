//! Prometheus' own test scripts: how many of their evals pass may only grow.
//!
//! The scripts are data by others and are not part of the project. They are read from the folder
//! that `UPKEEP_CONFORMANCE` names, or from `shared/conformance` beside the project's folder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

mod script;

/// The least number of evals that pass, by file. No eval of these files may fail; what needs
/// native histograms or an experimental feature is skipped.
const FLOORS: &[(&str, usize)] = &[
    ("aggregators.test", 69),
    ("at_modifier.test", 70),
    ("collision.test", 1),
    ("duration_expression.test", 2),
    ("extended_vectors.test", 15),
    ("fill-modifier.test", 0),
    ("functions.test", 239),
    ("histograms.test", 83),
    ("info.test", 0),
    ("limit.test", 0),
    ("literals.test", 25),
    ("name_label_dropping.test", 30),
    ("native_histograms.test", 3),
    ("operators.test", 53),
    ("range_queries.test", 12),
    ("selectors.test", 31),
    ("staleness.test", 17),
    ("start_timestamps.test", 0),
    ("subquery.test", 7),
    ("trig_functions.test", 18),
    ("type_and_unit.test", 0),
];

fn folder() -> PathBuf {
    let root = env::var_os("UPKEEP_CONFORMANCE").map(PathBuf::from).unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance")
    });
    root.join("promql")
}

#[test]
fn no_eval_fails_and_as_many_pass_as_ever() {
    let folder = folder();
    if !folder.is_dir() {
        // Written past the harness, which keeps what passing tests print to itself.
        let note = format!("skipped: there is no conformance data at {}\n", folder.display());
        std::io::stderr().write_all(note.as_bytes()).expect("standard error takes text");
        return;
    }
    let mut problems = Vec::new();
    for &(name, floor) in FLOORS {
        let text = fs::read_to_string(folder.join(name)).expect(name);
        let report = script::run(name, &text);
        if report.passed < floor {
            problems.push(format!("{name}: {} passed, there were {floor}", report.passed));
        }
        assert!(report.passed + report.skipped.len() > 0, "{name} has no evals");
        problems.extend(report.failures);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A harness that lets everything pass would keep any floor.
#[test]
fn the_harness_sees_wrong_results() {
    let check = |text: &str, failures: usize, passed: usize| {
        let report = script::run("own", text);
        assert_eq!(
            (report.failures.len(), report.passed),
            (failures, passed),
            "{text}: {report:?}"
        );
    };
    let load = "load 1m\n  a{x=\"1\"} 1+1x5\n  h {{count:1}}\n\n";
    check(&format!("{load}eval instant at 1m a\n  a{{x=\"1\"}} 2\n"), 0, 1);
    check(&format!("{load}eval instant at 1m a\n  a{{x=\"1\"}} 3\n"), 1, 0);
    check(&format!("{load}eval instant at 1m a\n  a{{x=\"2\"}} 2\n"), 1, 0);
    check(&format!("{load}eval instant at 1m a\n"), 1, 0);
    check(&format!("{load}eval instant at 1m b\n  b 1\n"), 1, 0);
    check(&format!("{load}eval range from 0 to 2m step 1m a\n  a{{x=\"1\"}} 1 2 4\n"), 1, 0);
    check(&format!("{load}eval instant at 1m a +\n"), 1, 0);
    check(&format!("{load}eval instant at 1m a\n  expect fail\n"), 1, 0);
    check(&format!("{load}eval instant at 1m a\n  expect warn\n  a{{x=\"1\"}} 2\n"), 1, 0);
    check(&format!("{load}eval instant at 1m h\n"), 0, 0);
    // Only what is read matters, not what the series has at other times.
    check(&format!("{load}eval instant at 10m h\n"), 0, 1);
    let warned = "eval instant at 1m quantile(2, a)\n  {} Inf\n  expect warn msg: PromQL warning: \
                  quantile value should be between 0 and 1, got 2\n";
    check(&format!("{load}{warned}"), 0, 1);
    check(&format!("{load}{warned}  expect warn regex: other\n"), 1, 0);
    check(&format!("{load}eval instant at 1m info(a)\n"), 0, 0);
    check(&format!("{load}eval instant at 1m info(a\n"), 1, 0);
    check("eval instant at 0 1\n  2\n", 1, 0);
    check("evil instant at 0 1\n  1\n", 1, 0);
}

/// Scripts of our own, for what the others' do not show.
#[test]
fn our_own_scripts_pass_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evals");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).expect("the folder of own scripts") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let report = script::run(&name, &fs::read_to_string(&path).expect("text"));
        assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
        assert!(report.skipped.is_empty(), "{}", report.skipped.join("\n"));
        assert!(report.passed > 0, "{name} has no evals");
        names.push(name);
    }
    assert!(!names.is_empty());
}
