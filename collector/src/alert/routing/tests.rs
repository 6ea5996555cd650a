use std::path::PathBuf;

use upkeep_model::Labels;

use super::*;

mod receivers;

fn read_text(text: &str) -> Result<Routing, Faults> {
    parse(Path::new("routing.yml"), text, &Allowed::default())
}

const TREE: &str = "
global: {resolve_timeout: 10m}
route:
  receiver: all
  group_by: [alertname]
  group_wait: 10s
  repeat_interval: 1h
  routes:
    - matchers: [severity=\"critical\"]
      receiver: page
      continue: true
      group_by: ['...']
    - match: {team: db}
      match_re: {service: a|b}
      receiver: db
      routes:
        - matchers: '{env=\"test\"}'
          group_interval: 1m
    - matchers: [team=~\"d.\"]
      receiver: rest
receivers:
  - name: all
  - name: page
  - name: db
  - name: rest
";

#[test]
fn an_alert_takes_the_routes_that_match() {
    let routing = read_text(TREE).unwrap();
    let check = |labels: &[(&str, &str)], expect: &[&str]| {
        let labels = Labels::new(labels.iter().copied());
        let routes = routing.root.matching(&labels);
        let found: Vec<_> = routes
            .iter()
            .map(|route| {
                format!("{} {}", route.receiver, route.group_key(&route.group_labels(&labels)))
            })
            .collect();
        assert_eq!(found, expect);
    };
    check(&[("alertname", "A"), ("x", "1")], &["all {}:{alertname=\"A\"}"]);
    check(
        &[("alertname", "A"), ("severity", "critical")],
        &["page {}/{severity=\"critical\"}:{alertname=\"A\", severity=\"critical\"}"],
    );
    check(
        &[("severity", "critical"), ("team", "db"), ("service", "a")],
        &[
            "page {}/{severity=\"critical\"}:{service=\"a\", severity=\"critical\", team=\"db\"}",
            "db {}/{service=~\"a|b\",team=\"db\"}:{}",
        ],
    );
    check(
        &[("team", "db"), ("service", "b"), ("env", "test")],
        &["db {}/{service=~\"a|b\",team=\"db\"}/{env=\"test\"}:{}"],
    );
    check(&[("team", "db"), ("service", "c")], &["rest {}/{team=~\"d.\"}:{}"]);
    let seconds = |timing: &Timing| {
        (
            timing.group_wait.as_secs(),
            timing.group_interval.as_secs(),
            timing.repeat_interval.as_secs(),
        )
    };
    assert_eq!(seconds(&routing.root.timing), (10, 300, 3600));
    assert_eq!(seconds(&routing.root.routes[1].routes[0].timing), (10, 60, 3600));
    assert_eq!(routing.resolve_timeout, Duration::from_mins(10));
}

#[test]
fn every_fault_is_said_at_once_with_its_place() {
    let text = "\
global: {smtp_from: nobody}
route:
  receiver: gone
  matchers: [a=b]
  group_by: [x, x]
  group_interval: 0s
  continue: true
  routes:
    - matchers: ['severity']
      reciever: a
    - receiver: lost
receivers:
  - name: a
    webhook_configs:
      - send_resolved: maybe
      - url: ftp://example.org
        http_config: {proxy: x}
    email_configs:
      - to: a@example.org
        body: x
  - name: a
    carrier_pigeon_configs: []
colour: red
";
    let faults = read_text(text).unwrap_err().to_string();
    for expect in [
        "routing.yml:1:21: `nobody` is not an e-mail address",
        "routing.yml:3:3: the first route takes every alert",
        "routing.yml:3:3: the first route has nothing to continue to",
        "routing.yml:3:13: there is no receiver `gone`",
        "routing.yml:5:17: label `x` is empty or repeated",
        "routing.yml:6:19: `group_interval` must not be zero",
        "routing.yml:9:18: `severity` is not a matcher",
        "routing.yml:10:7: unknown key `reciever` in a route",
        "routing.yml:11:17: there is no receiver `lost`",
        "routing.yml:15:9: one of `url` and `url_file` must be set",
        "routing.yml:15:24: `maybe` is neither true nor false",
        "routing.yml:16:9: the URL must begin with http:// or https://",
        "routing.yml:17:23: unknown key `proxy` in http_config",
        "routing.yml:19:9: `from` must be set here",
        "routing.yml:19:9: `smarthost` must be set here",
        "routing.yml:20:9: unknown key `body` in an e-mail",
        "routing.yml:21:5: receiver `a` is repeated",
        "routing.yml:22:5: unknown key `carrier_pigeon_configs` in a receiver",
        "routing.yml:23:1: unknown key `colour` in a routing file",
    ] {
        assert!(faults.contains(expect), "missing: {expect}\n{faults}");
    }
    assert_eq!(faults.lines().count(), 19, "{faults}");
}

const MUTING: &str = "
route:
  receiver: a
  routes:
    - matchers: [team=x]
      mute_time_intervals: [nights, older]
      active_time_intervals: [always]
      routes:
        - matchers: [team=y]
inhibit_rules:
  - source_matchers: [severity=critical, 'team=~\"a|b\"']
    target_matchers: severity=warning
    equal: [alertname, instance]
  - source_match: {a: b}
    source_match_re: {c: d|e}
    target_match_re: {f: g.*}
  -
time_intervals:
  - name: nights
    time_intervals:
      - times:
          - {start_time: '00:00', end_time: '06:00'}
          - {start_time: '22:00', end_time: '24:00'}
        weekdays: ['monday:friday', sunday]
        days_of_month: ['1:5', '-3:-1']
        months: ['1:3', december]
        years: ['2026', '2030:2032']
        location: Europe/Berlin
      - {}
  - name: always
    time_intervals: [{times: ~}]
mute_time_intervals:
  - name: older
    time_intervals: [{weekdays: [saturday]}]
receivers: [{name: a}]
";

#[test]
fn what_mutes_is_read_whole() {
    let routing = read_text(MUTING).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(routing.warnings.is_empty());
    let texts = |matchers: &[Matcher]| {
        matchers.iter().map(Matcher::to_string).collect::<Vec<_>>().join(",")
    };
    let rules: Vec<_> = routing
        .inhibit_rules
        .iter()
        .map(|rule| format!("{} {} {:?}", texts(&rule.source), texts(&rule.target), rule.equal))
        .collect();
    assert_eq!(
        rules,
        [
            "severity=\"critical\",team=~\"a|b\" severity=\"warning\" [\"alertname\", \"instance\"]",
            "a=\"b\",c=~\"d|e\" f=~\"g.*\" []",
            "  []",
        ]
    );
    let hours = &routing.root.routes[0].hours;
    let names = |named: &[NamedInterval]| {
        named.iter().map(|one| one.name.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        (names(&hours.mute), names(&hours.active)),
        ("nights older".into(), "always".into())
    );
    assert_eq!(routing.root.routes[0].routes[0].hours, Hours::default());
    let [nights, any] = &hours.mute[0].intervals[..] else { panic!("{hours:?}") };
    assert_eq!(nights.times, Some(vec![0..=359, 1320..=1439]));
    assert_eq!(nights.weekdays, Some(vec![1..=5, 0..=0]));
    assert_eq!(nights.months, Some(vec![1..=3, 12..=12]));
    assert_eq!(nights.years, Some(vec![2026..=2026, 2030..=2032]));
    assert_eq!(nights.days_of_month.as_ref().map(Vec::len), Some(2));
    assert_eq!(nights.zone.iana_name(), Some("Europe/Berlin"));
    assert!(any.times.is_none() && any.weekdays.is_none());
}

#[test]
fn what_mutes_wrongly_is_said_with_its_place() {
    let text = "\
route:
  receiver: a
  mute_time_intervals: [x]
  routes:
    - active_time_intervals: [gone]
inhibit_rules:
  - source_matchers: [severity]
    equal: ['']
    colour: red
time_intervals:
  - name: x
    time_intervals:
      - times: [{start_time: '09:00'}]
      - times: [{start_time: '17:00', end_time: '09:00'}]
      - weekdays: [mon]
        location: Europe/Atlantis
        seconds: ['1']
  - time_intervals: []
mute_time_intervals:
  - name: x
receivers: [{name: a}]
";
    let faults = read_text(text).unwrap_err().to_string();
    for expect in [
        "routing.yml:2:3: the first route takes every alert at any time",
        "routing.yml:5:31: there is no time interval `gone`",
        "routing.yml:7:23: `severity` is not a matcher",
        "routing.yml:8:13: a label's name must not be empty",
        "routing.yml:9:5: unknown key `colour` in an inhibition rule",
        "routing.yml:11:5: time interval `x` is repeated",
        "routing.yml:13:17: both `start_time` and `end_time` must be set",
        "routing.yml:14:17: the end must come after the start, 17:00 is not before 09:00",
        "routing.yml:15:20: `mon` is not a day of the week",
        "routing.yml:16:19: `Europe/Atlantis` is not a time zone",
        "routing.yml:17:9: unknown key `seconds` in a time interval",
        "routing.yml:18:5: this time interval has no name",
    ] {
        assert!(faults.contains(expect), "missing: {expect}\n{faults}");
    }
    assert_eq!(faults.lines().count(), 12, "{faults}");
}

#[test]
fn alertmanagers_files_load_with_warnings() {
    let root = std::env::var_os("UPKEEP_CONFORMANCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
        PathBuf::from,
    );
    let folder = root.join("alertmanager");
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "yml") {
            let routing =
                read(&file, &Allowed::default()).unwrap_or_else(|faults| panic!("{faults}"));
            let is_full = file.ends_with("conf.good.yml");
            let warns = |what: &str| routing.warnings.iter().any(|one| one.message.contains(what));
            assert!(!warns("`inhibit_rules`"), "{:?}", routing.warnings);
            assert_eq!(usize::from(is_full), routing.inhibit_rules.len());
            assert_eq!(is_full, warns("`victorops_configs` is not served"));
            assert!(!warns("`pagerduty_configs`"));
            count += 1;
        }
    }
    assert!(count >= 4, "{count} files");
}

#[test]
fn the_shipped_file_loads_as_it_is_and_with_its_examples() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/routing.yml");
    let routing = read(&file, &Allowed::default()).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(routing.warnings.is_empty() && routing.receivers[0].channels.is_empty());
    let text = fs::read_to_string(&file).unwrap();
    let examples: Vec<_> = text
        .lines()
        .map(|line| match line.trim_start().strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') || rest.starts_with("  ") => {
                line.replacen('#', "", 1)
            }
            _ => line.to_owned(),
        })
        .collect();
    let routing = read_text(&examples.join("\n")).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(routing.receivers[0].channels.len(), 7);
}

#[test]
fn a_route_escalates_to_another_receiver() {
    let read = |keys: &str| {
        let text = format!(
            "{{route: {{receiver: a, escalate_after: 5m, escalate_to: b, routes: [{{matchers: [x=y]{keys}}}]}}, \
             receivers: [{{name: a}}, {{name: b}}, {{name: c}}]}}"
        );
        read_text(&text)
    };
    let check = |keys: &str, expect: Option<(u64, &str)>| {
        let routing = read(keys).unwrap();
        let escalation = routing.root.routes[0].escalation.as_ref();
        let found = escalation.map(|found| (found.after.as_secs(), found.to.as_str()));
        assert_eq!(found, expect, "{keys}");
        assert!(!routing.shown.contains("escalate"), "{}", routing.shown);
    };
    check("", Some((300, "b")));
    check(", escalate_after: 1m, escalate_to: c", Some((60, "c")));
    check(", receiver: b", None);
    let refuse = |keys: &str, expect: &str| {
        let faults = read(keys).unwrap_err().to_string();
        assert!(faults.contains(expect), "{keys}: {faults}");
    };
    refuse(", escalate_to: c", "stand together");
    refuse(", escalate_after: 1m", "stand together");
    refuse(", escalate_after: 1m, escalate_to: a", "does not escalate to its own receiver");
    refuse(", escalate_after: 0s, escalate_to: c", "`escalate_after` must not be zero");
    refuse(", escalate_after: 1m, escalate_to: z", "there is no receiver `z`");
}
