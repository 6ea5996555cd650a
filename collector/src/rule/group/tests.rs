mod ahead;

use std::path::Path;

use super::*;
use crate::notify::Annotations;
use crate::rule::file;
use crate::rule::memory::Memory;
use crate::rule::snapshot::Phase;

pub(super) fn live(text: &str, memory: &Arc<Memory>) -> LiveGroup {
    let group = file::parse(Path::new("r.yml"), text).unwrap().remove(0);
    let surroundings = Surroundings {
        source: memory.clone(),
        recorder: memory.clone(),
        limits: Limits::default(),
        timeout: Duration::from_secs(60),
        external_url: "https://upkeep.example.org/".to_owned(),
        external_labels: Labels::default(),
        tell_again: Duration::from_mins(1),
        settle: Duration::from_mins(5),
    };
    LiveGroup::new(group, Duration::from_secs(15), true, surroundings)
}

fn health(group: &LiveGroup, rule: usize) -> String {
    match &group.status().rules[rule].health {
        Health::Ok => "ok".to_owned(),
        Health::Unknown => "unknown".to_owned(),
        Health::Failed(reason) => reason.clone(),
    }
}

const DOWN: &str = "
groups:
  - name: hosts
    rules:
      - alert: HostDown
        expr: up == 0
        for: 10s
        labels: {severity: critical, host: '{{ $labels.instance }}', job: ''}
        annotations:
          summary: '{{ $labels.instance }} is {{ $value }}'
          broken: '{{ query \"up +\" }}'
          action: look at it
          outcome: it runs
";

#[test]
fn an_alert_is_told_shown_stored_and_written() {
    let memory = Arc::new(Memory::default());
    let mut group = live(DOWN, &memory);
    memory.put("up", &[("instance", "web1"), ("job", "node")], 0, 0.0);
    memory.put("up", &[("instance", "web2"), ("job", "node")], 0, 1.0);

    let evaluation = group.evaluate(1_000);
    assert!(evaluation.alerts.is_empty() && !evaluation.changes.is_empty());
    let evaluation = group.evaluate(11_000);
    let alert = &evaluation.alerts[0];
    assert_eq!(
        alert.labels.to_string(),
        "{alertname=\"HostDown\", host=\"web1\", instance=\"web1\", severity=\"critical\"}"
    );
    assert_eq!(alert.annotations.get("summary"), Some("web1 is 0"));
    assert!(
        alert.annotations.get("broken").unwrap().starts_with("<template `broken`: "),
        "{alert:?}"
    );
    assert_eq!((alert.starts_at_ms, alert.ends_at_ms), (11_000, None));
    assert_eq!(alert.holds_for, Some(Duration::from_mins(4)), "longer than until it is told again");
    assert_eq!(
        &*alert.generator_url,
        "https://upkeep.example.org/graph?g0.expr=up+%3D%3D+0&g0.tab=1"
    );
    let status = group.status();
    let RuleKind::Alerting { alerts, .. } = &status.rules[0].kind else { panic!("{status:?}") };
    assert_eq!((alerts[0].phase, alerts[0].active_at_ms), (Phase::Firing, 1_000));

    memory.put("up", &[("instance", "web1"), ("job", "node")], 20_000, 1.0);
    let evaluation = group.evaluate(21_000);
    assert_eq!(evaluation.alerts[0].ends_at_ms, Some(21_000));
    let pending = "ALERTS{alertname=\"HostDown\", alertstate=\"pending\", host=\"web1\", \
                   instance=\"web1\", severity=\"critical\"}";
    let samples = memory.samples(pending);
    assert_eq!(samples[0], (1_000, 1.0));
    assert!(samples[1].0 == 11_000 && upkeep_model::is_stale(samples[1].1), "{samples:?}");
    let firing = memory.samples(&pending.replace("pending", "firing"));
    assert!(firing[0] == (11_000, 1.0) && upkeep_model::is_stale(firing[1].1), "{firing:?}");
}

#[test]
fn recorded_series_are_seen_by_the_rules_after_them_and_end() {
    let memory = Arc::new(Memory::default());
    let text = "
groups:
  - name: g
    query_offset: 5s
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
        labels: {team: ops}
      - record: job:up:double
        expr: job:up:sum * 2
";
    let mut group = live(text, &memory);
    memory.put("up", &[("instance", "a"), ("job", "node")], 0, 1.0);
    memory.put("up", &[("instance", "b"), ("job", "node")], 0, 1.0);
    group.evaluate(10_000);
    assert_eq!(memory.samples("job:up:sum{job=\"node\", team=\"ops\"}"), [(5_000, 2.0)]);
    assert_eq!(memory.samples("job:up:double{job=\"node\", team=\"ops\"}"), [(5_000, 4.0)]);
    group.evaluate(400_000);
    let samples = memory.samples("job:up:sum{job=\"node\", team=\"ops\"}");
    assert!(samples[1].0 == 395_000 && upkeep_model::is_stale(samples[1].1), "{samples:?}");
}

#[test]
fn a_rule_that_fails_stops_no_other_and_keeps_its_alerts() {
    let memory = Arc::new(Memory::default());
    let text = "
groups:
  - name: g
    limit: 1
    rules:
      - record: many
        expr: up
      - record: same
        expr: up
        labels: {instance: x}
      - alert: Same
        expr: sum by (instance) (up) > 0
        labels: {instance: x}
      - record: text
        expr: '\"text\"'
      - record: one
        expr: '1'
";
    let mut group = live(text, &memory);
    memory.put("up", &[("instance", "a")], 0, 1.0);
    memory.put("up", &[("instance", "b")], 0, 1.0);
    group.evaluate(1_000);
    for rule in [0, 1] {
        let expect = "the rule gives 2 alerts or series, its group's limit is 1";
        assert_eq!(health(&group, rule), expect);
    }
    assert!(health(&group, 2).starts_with("two series of the result"));
    assert!(health(&group, 3).starts_with("the expression gives a string"));
    assert_eq!(health(&group, 4), "ok");
    assert_eq!(memory.samples("one"), [(1_000, 1.0)]);

    let mut group = live(&text.replace("limit: 1", "limit: 0"), &memory);
    group.evaluate(2_000);
    assert_eq!(health(&group, 0), "ok");
    for rule in [1, 2] {
        assert!(health(&group, rule).starts_with("two series of the result"), "{rule}");
    }
    memory.breaks(true);
    group.evaluate(3_000);
    assert_eq!(health(&group, 4), "the result could not be stored: no space left");
    assert_eq!(group.status().rules[4].failures, 1);
    memory.breaks(false);
    group.evaluate(4_000);
    assert_eq!(health(&group, 4), "ok");
}

#[test]
fn a_muted_rule_is_shown_but_told_to_nobody() {
    let memory = Arc::new(Memory::default());
    memory.put("up", &[("instance", "web1")], 0, 0.0);
    let mut group = live(&DOWN.replace("outcome: it runs", "note: x"), &memory);
    group.evaluate(1_000);
    let evaluation = group.evaluate(11_000);
    assert!(evaluation.alerts.is_empty());
    let status = group.status();
    let RuleKind::Alerting { alerts, muted, .. } = &status.rules[0].kind else { panic!() };
    assert_eq!((alerts.len(), *muted), (1, Some(Muted::WithoutOutcome)));
}

#[test]
fn a_long_outage_lets_pending_alerts_begin_anew() {
    let memory = Arc::new(Memory::default());
    let mut group = live(DOWN, &memory);
    let labels = Labels::new([
        ("alertname", "HostDown"),
        ("host", "web1"),
        ("instance", "web1"),
        ("severity", "critical"),
    ]);
    let stored = RuleAlert {
        rule: "HostDown".to_owned(),
        fingerprint: crate::notify::Fingerprint::of(&labels).to_string(),
        labels,
        annotations: Annotations::new(),
        value: 0.0,
        active_at_ms: 0,
        fired_at_ms: None,
        resolved_at_ms: None,
        keep_firing_since_ms: None,
    };
    let mut check = |outage_ms: i64, fires: bool| {
        group.restore(vec![stored.clone()], Some(0), outage_ms);
        memory.put("up", &[("instance", "web1")], outage_ms, 0.0);
        assert_eq!(!group.evaluate(outage_ms).alerts.is_empty(), fires, "{outage_ms}");
    };
    check(60_000, true);
    check(OUTAGE_TOLERANCE_MS + 1, false);
}

#[test]
fn more_alerts_than_the_limit_are_none() {
    let memory = Arc::new(Memory::default());
    let text = "
groups:
  - name: g
    limit: 1
    rules:
      - alert: Down
        expr: up == 0
        keep_firing_for: 1h
        annotations: {action: look, outcome: it runs}
";
    let (_folder, state) = crate::state::temporary();
    let mut group = live(text, &memory);
    let mut evaluate = |at_ms: i64| {
        let evaluation = group.evaluate(at_ms);
        state.change_rule_alerts("g", &evaluation.changes, at_ms).unwrap();
        let stored = state.rule_alerts("g").unwrap().0.len();
        (evaluation.alerts.len(), stored, health(&group, 0))
    };
    memory.put("up", &[("instance", "a")], 0, 0.0);
    assert_eq!(evaluate(1_000), (1, 1, "ok".to_owned()));
    memory.put("up", &[("instance", "a")], 2_000, 1.0);
    memory.put("up", &[("instance", "b")], 2_000, 0.0);
    let why = "the rule gives 2 alerts or series, its group's limit is 1".to_owned();
    assert_eq!(evaluate(2_000), (0, 0, why), "one that is kept firing counts, too");
    assert_eq!(evaluate(3_000), (1, 1, "ok".to_owned()), "what still holds begins anew");
}

#[test]
fn alerts_that_turn_out_informational_are_told_to_nobody() {
    let memory = Arc::new(Memory::default());
    let check = |labels: &str, told: usize, muted: Option<Muted>| {
        let text = format!(
            "groups: [{{name: g, rules: [{{alert: A, expr: up == 0, {labels}\
             annotations: {{action: look, outcome: it runs}}}}]}}]"
        );
        let mut group = live(&text, &memory);
        assert_eq!(group.evaluate(1_000).alerts.len(), told, "{labels}");
        let RuleKind::Alerting { alerts, muted: shown, .. } = &group.status().rules[0].kind else {
            panic!()
        };
        assert_eq!((alerts.len(), *shown), (3, muted), "{labels}");
    };
    for severity in ["info", "warning", "critical"] {
        memory.put("up", &[("severity", severity)], 0, 0.0);
    }
    check("", 2, None);
    let template = "labels: {severity: '{{ $labels.severity }}'}, ";
    check(template, 2, Some(Muted::WhenInformational));
    check("labels: {level: '{{ $labels.severity }}', severity: page}, ", 3, None);
}

#[test]
fn an_evaluation_for_some_hosts_leaves_the_others_alone() {
    let memory = Arc::new(Memory::default());
    let hosts = |names: &[&str]| {
        let mut hosts = crate::rule::hosts::Hosts::default();
        names.iter().for_each(|name| hosts.insert((*name).to_owned()));
        hosts
    };
    let text = format!("{DOWN}      - record: down\n        expr: count(up == 0)\n");
    let text = text.replace("for: 10s", "for: 0s").replace("query ", "humanize ");
    let mut group = live(&text, &memory);
    for host in ["web1", "web2"] {
        memory.put("up", &[("instance", host)], 0, 0.0);
    }
    let told = |evaluation: &Evaluation| -> Vec<String> {
        let alerts = evaluation.alerts.iter();
        let told = alerts.map(|alert| {
            let end = if alert.ends_at_ms.is_some() { "-" } else { "+" };
            format!("{end}{}", alert.labels.get("instance").unwrap())
        });
        told.collect()
    };
    let firing = "ALERTS{alertname=\"HostDown\", alertstate=\"firing\", host=\"web1\", \
                  instance=\"web1\", severity=\"critical\"}";
    assert_eq!(told(&group.evaluate_hosts(&hosts(&["web1"]), 1_000)), ["+web1"]);
    assert_eq!(memory.samples(firing), [(1_000, 1.0)]);
    assert_eq!(told(&group.evaluate_hosts(&hosts(&["web1"]), 2_000)), [] as [&str; 0]);
    assert_eq!(memory.samples(firing).len(), 1, "nothing has changed");
    assert_eq!(told(&group.evaluate_hosts(&hosts(&["web3"]), 3_000)), [] as [&str; 0]);
    assert_eq!(memory.samples("down"), []);
    assert_eq!(told(&group.evaluate(4_000)), ["+web2"]);
    assert_eq!(memory.samples("down"), [(4_000, 2.0)]);

    memory.put("up", &[("instance", "web1")], 5_000, 1.0);
    memory.put("up", &[("instance", "web2")], 5_000, 1.0);
    assert_eq!(told(&group.evaluate_hosts(&hosts(&["web1"]), 5_000)), ["-web1"]);
    let samples = memory.samples(firing);
    assert!(samples.last().unwrap().0 == 5_000 && upkeep_model::is_stale(samples[2].1));
    let second = firing.replace("web1", "web2");
    assert_eq!(memory.samples(&second), [(4_000, 1.0)]);
    assert_eq!(told(&group.evaluate(6_000)), ["-web2"]);
    assert!(upkeep_model::is_stale(memory.samples(&second)[1].1));
}

#[test]
fn only_alerting_rules_that_look_at_one_host_are_evaluated_for_some() {
    let memory = Arc::new(Memory::default());
    let check = |rule: &str, more: &str, expect: bool| {
        let text = format!("groups: [{{name: g, {more} rules: [{{{rule}}}]}}]");
        assert_eq!(live(&text, &memory).looks_at_hosts(), expect, "{text}");
    };
    check("alert: A, expr: up == 0", "", true);
    check("alert: A, expr: up == 0, labels: {host: '{{ $labels.instance }}'}", "", true);
    check("alert: A, expr: sum(up) == 0", "", false);
    check("record: a, expr: up == 0", "", false);
    check("alert: A, expr: up == 0, labels: {instance: x}", "", false);
    check("alert: A, expr: up == 0", "labels: {instance: x},", false);
    check("alert: A, expr: up == 0", "query_offset: 10s,", false);
    check("alert: A, expr: up == 0, annotations: {a: '{{ query \"up\" | first }}'}", "", false);
}
