//! Rules and alerts in Prometheus' JSON.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use upkeep_model::Labels;

use super::world::{START_MS, World, answer};
use crate::rule::{AlertStatus, Arrival, GroupStatus, Health, Muted, Phase, RuleKind, RuleStatus};
use crate::yaml::{Fault, Faults, Place};

fn rule(name: &str, kind: RuleKind, health: Health) -> RuleStatus {
    RuleStatus {
        name: name.to_owned(),
        key: name.to_owned(),
        query: "up == 0".to_owned(),
        labels: Labels::new([("severity", "critical")]),
        kind,
        last_evaluation_ms: (health != Health::Unknown).then_some(START_MS),
        health,
        evaluation_time: Duration::from_millis(2),
        failures: 0,
    }
}

fn alerting(muted: Option<Muted>, alerts: Vec<AlertStatus>) -> RuleKind {
    RuleKind::Alerting {
        hold: Duration::from_mins(5),
        keep_firing: Duration::ZERO,
        annotations: [("summary", "{{ $labels.instance }}")].into(),
        muted,
        alerts,
    }
}

pub(super) fn post(world: &World) {
    let alert = AlertStatus {
        labels: Labels::new([("alertname", "HostSilent"), ("instance", "web1")]),
        annotations: [("summary", "web1")].into(),
        phase: Phase::Firing,
        active_at_ms: START_MS,
        keep_firing_since_ms: None,
        value: 0.0,
    };
    let rules = vec![
        rule("HostSilent", alerting(None, vec![alert]), Health::Ok),
        rule("Quiet", alerting(Some(Muted::Informational), vec![]), Health::Unknown),
        rule("job:up:sum", RuleKind::Recording, Health::Failed("no such function".into())),
    ];
    world.rules.arrange(vec![Arrival::New(Arc::new(GroupStatus {
        name: "hosts".to_owned(),
        file: "/etc/upkeep/rules.d/hosts.yml".into(),
        interval: Duration::from_secs(15),
        limit: 0,
        last_evaluation_ms: Some(START_MS),
        evaluation_time: Duration::from_millis(5),
        missed: 0,
        rules,
    }))]);
}

#[tokio::test]
async fn rules_have_prometheus_form() {
    let world = World::plain().await;
    world.check("/api/v1/rules", 200, json!({"status": "success", "data": {"groups": []}})).await;
    post(&world);
    let alert = json!({"labels": {"alertname": "HostSilent", "instance": "web1"},
        "annotations": {"summary": "web1"}, "state": "firing",
        "activeAt": "2023-11-14T22:13:20Z", "value": "0e+00"});
    let zero = "0001-01-01T00:00:00Z";
    let at = "2023-11-14T22:13:20Z";
    let labels = json!({"severity": "critical"});
    let annotations = json!({"summary": "{{ $labels.instance }}"});
    let rules = json!([
        {"type": "alerting", "name": "HostSilent", "query": "up == 0", "labels": labels,
         "state": "firing", "duration": 300.0, "keepFiringFor": 0.0, "annotations": annotations,
         "alerts": [alert], "health": "ok", "evaluationTime": 0.002, "lastEvaluation": at},
        {"type": "alerting", "name": "Quiet", "query": "up == 0", "labels": labels,
         "state": "unknown", "duration": 300.0, "keepFiringFor": 0.0, "annotations": annotations,
         "alerts": [], "health": "unknown", "evaluationTime": 0.002, "lastEvaluation": zero,
         "mutedReason": "its severity is info"},
        {"type": "recording", "name": "job:up:sum", "query": "up == 0", "labels": labels,
         "health": "err", "lastError": "no such function", "evaluationTime": 0.002,
         "lastEvaluation": at},
    ]);
    let group = json!({"name": "hosts", "file": "/etc/upkeep/rules.d/hosts.yml", "rules": rules,
        "interval": 15.0, "limit": 0, "evaluationTime": 0.005, "lastEvaluation": at});
    let all = json!({"status": "success", "data": {"groups": [group]}});
    world.check("/api/v1/rules", 200, all).await;
    let alerts = json!({"status": "success", "data": {"alerts": [alert]}});
    world.check("/api/v1/alerts", 200, alerts).await;
}

#[tokio::test]
async fn rules_are_filtered() {
    let world = World::plain().await;
    post(&world);
    let check = async |query: &str, expect: &[&str]| {
        let (_, body) = world.get(&format!("/api/v1/rules?{query}")).await;
        let groups = body["data"]["groups"].as_array().unwrap();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        let names: Vec<&str> = rules.map(|rule| rule["name"].as_str().unwrap()).collect();
        assert_eq!(names, expect, "{query}");
    };
    check("type=alert", &["HostSilent", "Quiet"]).await;
    check("type=record", &["job:up:sum"]).await;
    check("rule_name[]=Quiet&rule_name[]=job:up:sum", &["Quiet", "job:up:sum"]).await;
    check("rule_group[]=other", &[]).await;
    check("type=Alert&match[]={severity=\"critical\"}", &["HostSilent", "Quiet"]).await;
    check("match[]={severity=\"info\"}&match[]={team=~\".+\"}", &[]).await;
    check("file[]=/etc/upkeep/rules.d/hosts.yml&type=record", &["job:up:sum"]).await;
    let (_, body) = world.get("/api/v1/rules?exclude_alerts=true&type=alert").await;
    assert_eq!(body["data"]["groups"][0]["rules"][0]["alerts"], json!([]));
    let error = "invalid parameter \"type\": not supported value \"other\"";
    world.check_error("/api/v1/rules?type=other", 400, "bad_data", error).await;
}

#[tokio::test]
async fn groups_come_in_pages() {
    let world = World::plain().await;
    let kind = || vec![rule("job:up:sum", RuleKind::Recording, Health::Ok)];
    let group = |name: &str, rules| {
        Arc::new(GroupStatus {
            name: name.to_owned(),
            file: "/etc/upkeep/rules.d/hosts.yml".into(),
            interval: Duration::from_secs(15),
            limit: 0,
            last_evaluation_ms: None,
            evaluation_time: Duration::ZERO,
            missed: 0,
            rules,
        })
    };
    let groups = [("a", kind()), ("empty", Vec::new()), ("b", kind()), ("c", kind())];
    let arrivals = groups.into_iter().map(|(name, rules)| Arrival::New(group(name, rules)));
    world.rules.arrange(arrivals.collect());
    let page = async |query: &str| {
        let (_, body) = world.get(&format!("/api/v1/rules?{query}")).await;
        let groups = body["data"]["groups"].as_array().unwrap().clone();
        let names: Vec<String> =
            groups.iter().map(|group| group["name"].as_str().unwrap().to_owned()).collect();
        (names.join(" "), body["data"]["groupNextToken"].as_str().map(str::to_owned))
    };
    assert_eq!(page("").await, ("a b c".to_owned(), None));
    let (names, next) = page("group_limit=2").await;
    assert_eq!(names, "a b");
    let last = page(&format!("group_limit=2&group_next_token={}", next.unwrap())).await;
    assert_eq!(last, ("c".to_owned(), None));
    let check = async |query: &str, name: &str, why: &str| {
        let error = format!("invalid parameter {name:?}: {why}");
        world.check_error(&format!("/api/v1/rules?{query}"), 400, "bad_data", &error).await;
    };
    check("group_limit=0", "group_limit", "group_limit needs to be greater than 0").await;
    let alone = "group_limit needs to be present in order to paginate over the groups";
    check("group_next_token=x", "group_next_token", alone).await;
    let gone = "invalid group_next_token 'x'. were rule groups changed?";
    check("group_limit=1&group_next_token=x", "group_next_token", gone).await;
}

#[tokio::test]
async fn rules_are_read_again_on_demand_and_faults_are_answered() {
    let world = World::plain().await;
    let reload = || answer(world.request(Method::POST, "/-/reload", Some("operate")));
    let expect = |routing_changed: bool| {
        let data = json!({"unchanged": 1, "changed": 2, "added": 3, "removed": 4,
            "routing_changed": routing_changed});
        (StatusCode::OK, json!({"status": "success", "data": data}))
    };
    // Here nobody is told once the routing file was looked for, and did not exist before either.
    assert_eq!(reload().await, expect(true));
    assert_eq!(reload().await, expect(false));

    let fault = |line, message: &str| Fault {
        file: "/etc/upkeep/rules.d/a.yml".into(),
        place: Some(Place { line, column: 7 }),
        message: message.to_owned(),
    };
    *world.rule_faults.lock().unwrap() = Faults(vec![fault(3, "no name"), fault(9, "no `expr`")]);
    let (status, body) = reload().await;
    let why = "rules and routing stay as they were: /etc/upkeep/rules.d/a.yml:3:7: no name\n\
               /etc/upkeep/rules.d/a.yml:9:7: no `expr`";
    assert_eq!((status.as_u16(), &body["error"]), (500, &json!(why)));
}
