use std::fs;

use tempfile::TempDir;

use super::*;

const RULES: &str = "
groups:
  - name: late
    rules:
      - record: doubled
        expr: up * 2
  - name: early
    interval: 1h
    rules:
      - alert: HostDown
        expr: up == 0
        for: 2m
        labels: {severity: critical, site: '{{ $externalLabels.site }}'}
        annotations: {summary: '{{ $labels.instance }} at {{ externalURL }}'}
      - record: quadrupled
        expr: doubled * 2
";

/// A folder with rules and one file of unit tests.
fn folder(test: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("rules")).unwrap();
    fs::write(folder.path().join("rules/hosts.yml"), RULES).unwrap();
    let file = folder.path().join("test.yml");
    fs::write(&file, test).unwrap();
    (folder, file)
}

/// What a file of unit tests comes to, without the folder's name.
fn outcome(text: &str) -> (TestReport, Vec<String>) {
    let (folder, file) = folder(text);
    let report = test(&[file]);
    let faults = report.faults.iter().map(Fault::to_string);
    let lines = faults.chain(report.failures.iter().map(Failure::to_string));
    let prefix = format!("{}/", folder.path().display());
    let lines = lines.map(|line| line.replace(&prefix, "")).collect();
    (report, lines)
}

const GOOD: &str = r#"
rule_files: ["rules/*.yml"]
evaluation_interval: 1m
group_eval_order: [late, early]
tests:
  - name: a host goes down
    interval: 30s
    external_labels: {site: north}
    external_url: https://upkeep.example.org
    input_series:
      - series: 'up{instance="web1"}'
        values: '1x3 0x20'
      - series: 'up{instance="web2"}'
        values: '1x23'
    alert_rule_test:
      - eval_time: 3m
        alertname: HostDown
      - eval_time: 4m59s
        alertname: HostDown
        exp_alerts:
          - exp_labels: {severity: critical, site: north, instance: web1}
            exp_annotations: {summary: 'web1 at https://upkeep.example.org'}
    promql_expr_test:
      - expr: quadrupled
        eval_time: 0s
        exp_samples:
          - {labels: 'quadrupled{instance="web2"}', value: 4}
          - {labels: 'quadrupled{instance="web1"}', value: 4}
      - expr: count(ALERTS{alertstate="firing"})
        eval_time: 4m
        exp_samples: [{labels: '{}', value: 1}]
      - expr: absent_metric
        eval_time: 1m
"#;

#[test]
fn what_holds_passes() {
    let (report, lines) = outcome(GOOD);
    assert_eq!(lines, [] as [String; 0]);
    assert_eq!((report.files, report.tests, report.checks), (1, 1, 5));
    assert!(report.is_good());
}

#[test]
fn what_does_not_hold_says_where_what_was_expected_and_what_was_got() {
    let check = |from: &str, to: &str, expect: &str| {
        assert!(GOOD.contains(from), "{from}");
        let (report, lines) = outcome(&GOOD.replace(from, to));
        assert_eq!(lines, [expect], "{from} -> {to}");
        assert!(!report.is_good());
    };
    let got = r#"{alertname="HostDown", instance="web1", severity="critical", site="north"} annotations {summary="web1 at https://upkeep.example.org"}"#;
    check(
        "severity: critical, site: north",
        "severity: page, site: north",
        &format!(
            "test.yml:18:9: test `a host goes down`: alerts `HostDown` at 4m 59s\n  expected:\n    {}\n  got:\n    {got}",
            got.replace("critical", "page")
        ),
    );
    check(
        "eval_time: 3m\n",
        "eval_time: 4m\n",
        &format!(
            "test.yml:16:9: test `a host goes down`: alerts `HostDown` at 4m\n  expected: nothing\n  got:\n    {got}"
        ),
    );
    check(
        "eval_time: 4m59s",
        "eval_time: 3m59s",
        &format!(
            "test.yml:18:9: test `a host goes down`: alerts `HostDown` at 3m 59s\n  expected:\n    {got}\n  got: nothing"
        ),
    );
    check(
        "web2\"}', value: 4}",
        "web2\"}', value: 4.5}",
        "test.yml:24:9: test `a host goes down`: expression `quadrupled` at 0s\n  expected:\n    \
         quadrupled{instance=\"web1\"} 4\n    quadrupled{instance=\"web2\"} 4.5\n  got:\n    \
         quadrupled{instance=\"web1\"} 4\n    quadrupled{instance=\"web2\"} 4",
    );
    // Evaluated the other way round, what is doubled is not there yet.
    check(
        "group_eval_order: [late, early]",
        "group_eval_order: [early, late]",
        "test.yml:24:9: test `a host goes down`: expression `quadrupled` at 0s\n  expected:\n    \
         quadrupled{instance=\"web1\"} 4\n    quadrupled{instance=\"web2\"} 4\n  got: nothing",
    );
    check(
        "expr: absent_metric",
        "expr: '\"text\"'",
        "test.yml:32:9: test `a host goes down`: expression `\"text\"` at 1m gives a string, a \
         vector or scalar is wanted",
    );
}

#[test]
fn a_rule_that_fails_fails_its_test() {
    let (folder, file) = folder(
        "rule_files: [bad.yml]\ntests: [{promql_expr_test: [{expr: vector(1), exp_samples: [{value: 1}], eval_time: 5m}]}]",
    );
    let rules = "groups: [{name: g, rules: [{record: r, expr: '\"text\"'}]}]";
    fs::write(folder.path().join("bad.yml"), rules).unwrap();
    let report = test(&[file]);
    let failures: Vec<_> = report.failures.iter().map(Failure::to_string).collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(
        failures[0].contains("test 1: the rule `r` fails at 0s: the expression gives a string")
    );
}

#[test]
fn values_are_exact_unless_the_last_bit_may_differ() {
    let check = |fuzzy: bool, value: &str, passes: bool| {
        let text = format!(
            "fuzzy_compare: {fuzzy}\ntests: [{{promql_expr_test: [{{expr: '0.1+0.2', \
             exp_samples: [{{value: {value}}}]}}]}}]"
        );
        let (report, lines) = outcome(&text);
        assert_eq!(report.is_good(), passes, "{lines:?}");
    };
    check(false, "0.30000000000000004", true);
    check(false, "0.3", false);
    check(true, "0.3", true);
    check(true, "0.30000000000000016", false);
}

#[test]
fn faults_of_test_files_and_rule_files_have_their_places() {
    let check = |text: &str, expect: &[&str]| {
        let (report, lines) = outcome(text);
        assert_eq!(lines, expect, "{text}");
        assert_eq!(report.checks, 0, "{text}");
    };
    check("tests: [{input: 1}]", &["test.yml:1:10: unknown key `input` in a test"]);
    check("rule_files: [absent.yml]", &["test.yml:1:14: there is no file absent.yml"]);
    check(
        "evaluation_interval: often",
        &["test.yml:1:22: `often` is not a duration such as 30s, 5m or 1h30m"],
    );
    check(
        "tests: [{input_series: [{series: 'up{a=~\"b\"}', values: 1}, {series: up, values: 1 two}, {series: up}]}]",
        &[
            "test.yml:1:34: `a` must have one value, given by `=`",
            "test.yml:1:81: `two` is no value such as 1, 1+2x3, _x3 or stale",
            "test.yml:1:89: `values` is missing",
        ],
    );
    check(
        "tests: [{input_series: [{series: up, values: '{{sum:1}}'}]}]",
        &["test.yml:1:46: native histograms are not kept here"],
    );
    check(
        "tests: [{alert_rule_test: [{eval_time: 1m}]}]",
        &["test.yml:1:28: `alertname` is missing"],
    );
    check("group_eval_order: [a, a]", &["test.yml:1:23: group `a` stands twice in the order"]);
    check(
        "{group_eval_order: [a], tests: [{}]}",
        &["test.yml: group_eval_order names `a`, which no rule file has"],
    );
}
