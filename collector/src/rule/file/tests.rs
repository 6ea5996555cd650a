use super::*;

fn parse_text(text: &str) -> Result<Vec<Group>, Faults> {
    parse(Path::new("r.yml"), text)
}

/// The conformance folder's subfolder, or `None` with a plain word that the test is skipped.
fn conformance(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("UPKEEP_CONFORMANCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
        PathBuf::from,
    );
    let folder = root.join(folder);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: {} is not there", folder.display());
    None
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_fault_of_a_file_is_said_at_once_with_its_place() {
    let text = "\
groups:
  - name: a
    interval: soon
    rules:
      - alert: One
        expr: up ==
        labels: {__name__: x}
        annotations:
          summary: '{{ $lables.x }}'
        fro: 5m
      - record: two
      - expr: up
      - record: ok
        expr: up
        for: 5m
  - name: a
    rule: []
other: 1
";
    let faults = parse_text(text).unwrap_err().to_string();
    let expect = [
        "r.yml:3:15: `soon` is not a duration such as 30s, 5m or 1h30m",
        "r.yml:6:15: ",
        "r.yml:7:18: the label `__name__` is set by the rule's name",
        "r.yml:9:20: template `summary`: variable `$lables` is not defined",
        "r.yml:10:9: unknown key `fro` in a rule",
        "r.yml:11:9: field `expr` must be set in a rule",
        "r.yml:12:9: one of `record` and `alert` must be set",
        "r.yml:15:9: `for` has no place in a recording rule",
        "r.yml:16:5: group `a` is repeated in this file",
        "r.yml:17:5: unknown key `rule` in a group",
        "r.yml:18:1: unknown key `other` in a rule file",
    ];
    for (line, expect) in faults.lines().zip(expect) {
        assert!(line.starts_with(expect), "{line}\nwant {expect}");
    }
    assert_eq!(faults.lines().count(), expect.len(), "{faults}");
}

#[test]
fn a_rule_is_read_whole() {
    let text = "\
groups:
  - name: hosts
    interval: 30s
    limit: 7
    query_offset: 1m
    labels: {team: ops, severity: page}
    rules:
      - alert: Down
        expr: up == 0
        for: 1m30s
        keep_firing_for: 5m
        labels: {severity: critical}
        annotations: {action: look, outcome: it runs}
";
    let groups = parse_text(text).unwrap();
    let group = &groups[0];
    assert_eq!((group.name.as_str(), group.limit), ("hosts", 7));
    assert_eq!(group.interval, Some(Duration::from_secs(30)));
    assert_eq!(group.query_offset, Duration::from_secs(60));
    let rule = &group.rules[0];
    let labels: Vec<_> = rule.labels.iter().map(|label| (label.name(), label.text())).collect();
    assert_eq!(labels, [("severity", "critical"), ("team", "ops")]);
    let Kind::Alert(alert) = &rule.kind else { panic!("{rule:?}") };
    assert_eq!((alert.hold.as_secs(), alert.keep_firing.as_secs()), (90, 300));
    assert_eq!(rule.muted(true), None);
}

#[test]
fn a_rule_notifies_only_with_action_and_outcome() {
    let check = |severity: &str, annotations: &str, expect: Option<Muted>| {
        let text = format!(
            "groups: [{{name: g, rules: [{{alert: A, expr: up, labels: {{severity: {severity}}}, \
             annotations: {{{annotations}}}}}]}}]"
        );
        let groups = parse_text(&text).unwrap();
        let rule = &groups[0].rules[0];
        assert_eq!(rule.muted(true), expect, "{text}");
        assert_eq!(rule.muted(false), None, "{text}");
    };
    check("warning", "action: do, outcome: so", None);
    check("info", "action: do, outcome: so", Some(Muted::Informational));
    check("warning", "outcome: so", Some(Muted::WithoutAction));
    check("warning", "action: do, outcome: ' '", Some(Muted::WithoutOutcome));
    check("warning", "upkeep_action: restart, outcome: so", None);
    check("warning", "upkeep_action: ' ', outcome: so", Some(Muted::WithoutAction));
    check("critical", "summary: x", Some(Muted::WithoutActionAndOutcome));
    check("'{{ $labels.level }}'", "action: do, outcome: so", Some(Muted::WhenInformational));
    check("'{{ $labels.level }}'", "action: do", Some(Muted::WithoutOutcome));
}

#[test]
fn rule_files_of_others_load_unchanged() {
    let Some(folder) = conformance("rules") else { return };
    let mut rules = 0;
    for file in files(&folder).iter().filter(|file| file.extension().is_some_and(|e| e == "yml")) {
        let groups = read(file).unwrap_or_else(|faults| panic!("{faults}"));
        rules += groups.iter().map(|group| group.rules.len()).sum::<usize>();
    }
    assert!(rules >= 76, "{rules} rules");
}

#[test]
fn good_and_bad_files_are_told_apart_as_prometheus_does() {
    let Some(folder) = conformance("prometheus/rulefmt") else { return };
    let files = files(&folder);
    assert!(files.len() >= 14, "{files:?}");
    for file in files {
        let is_bad = file.to_string_lossy().contains(".bad.");
        let result = read(&file);
        assert_eq!(result.is_err(), is_bad, "{}: {result:?}", file.display());
        if let Err(faults) = result {
            assert!(faults.0.iter().all(|fault| fault.place.is_some()), "{faults}");
        }
    }
}
