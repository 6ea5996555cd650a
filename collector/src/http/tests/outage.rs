//! What is shown of an outage: gaps in answers, what waits at a host, when it was up.

use serde_json::{Value, json};
use upkeep_model::{
    Change, ChangeKind, EventKind, Gap, HostId, INSTANCE, Labels, Lane, METRIC_NAME,
};
use upkeep_store::Append;

use super::world::{START_MS, World};

/// Samples of a host, each with its distance from the start in seconds.
fn observe(
    world: &World,
    host: HostId,
    name: &str,
    labels: &[(&str, &str)],
    samples: &[(i64, f64)],
) {
    let own = [(METRIC_NAME, name), (INSTANCE, "web1")];
    let labels = Labels::new(own.into_iter().chain(labels.iter().copied()));
    let point = |(seconds, value): &(i64, f64)| (labels.clone(), START_MS + seconds * 1000, *value);
    let points = samples.iter().map(point).collect();
    world.store.commit(vec![Append::Points { home: host, points }]).unwrap();
}

fn gap(first: u64, last: u64, from: i64, to: i64) -> EventKind {
    let [from_ms, to_ms] = [from, to].map(|seconds| Some(START_MS + seconds * 1000));
    let reason = "the buffer was full".to_owned();
    EventKind::Gap(Gap { lane: Lane::Samples, first, last, from_ms, to_ms, reason })
}

fn clock(world: &World, seconds: i64) {
    world.time_ms.store(START_MS + seconds * 1000, std::sync::atomic::Ordering::Relaxed);
}

#[tokio::test]
async fn a_gap_is_a_gap_in_every_answer_with_its_reason() {
    let world = World::plain().await;
    let web = world.enroll("web1");
    let samples: Vec<(i64, f64)> = (0..=20).chain(41..=60).map(|at| (at, 1.0)).collect();
    observe(&world, web, "load", &[], &samples);
    observe(&world, web, "up", &[], &[(0, 1.0), (20, 1.0), (35, 0.0), (41, 1.0)]);
    world.commit("load", &[("instance", "db1")], &[(0, 5.0), (60, 5.0)]);
    let range = |query: &str| {
        let (start, end) = (START_MS / 1000 + 10, START_MS / 1000 + 50);
        format!("/api/v1/query_range?query={query}&start={start}&end={end}&step=10")
    };
    let times = async |query: &str, row: usize| {
        let (_, body) = world.get(&range(query)).await;
        let values = body["data"]["result"][row]["values"].as_array().cloned().unwrap_or_default();
        let at = |value: &Value| value[0].as_i64().unwrap() - START_MS / 1000;
        (values.iter().map(at).collect::<Vec<_>>(), body["infos"].clone())
    };
    let all = vec![10, 20, 30, 40, 50];
    assert_eq!(times("load{instance=\"web1\"}", 0).await, (all.clone(), Value::Null));
    world.report(web, 1, gap(5, 24, 21, 40));
    let infos =
        json!(["web1: samples from 2023-11-14T22:13:41Z to 2023-11-14T22:14:00Z are lost: \
        the buffer was full"]);
    let holed = (vec![10, 20, 50], infos.clone());
    assert_eq!(times("load{instance=\"web1\"}", 0).await, holed);
    assert_eq!(times("count(load{instance=\"web1\"})", 0).await, holed);
    // Another host has none, what the collector itself says goes on, and a range reaches across.
    assert_eq!(times("load{instance=\"db1\"}", 0).await, (all.clone(), Value::Null));
    assert_eq!(times("up", 0).await, (all.clone(), infos.clone()));
    assert_eq!(times("max_over_time(load{instance=\"web1\"}[1m])", 0).await, (all, infos.clone()));
    let at = |seconds: i64| {
        format!("/api/v1/query?query=load{{instance=\"web1\"}}&time={}", START_MS / 1000 + seconds)
    };
    for (seconds, found) in [(20, 1), (21, 0), (40, 0), (41, 1)] {
        let (_, body) = world.get(&at(seconds)).await;
        assert_eq!(body["data"]["result"].as_array().unwrap().len(), found, "{seconds}: {body}");
    }
}

#[tokio::test]
async fn a_host_shows_what_waits_there() {
    let world = World::plain().await;
    let web = world.enroll("web1");
    let buffer = async |path: &str| {
        let (_, body) = world.get(path).await;
        let data = &body["data"];
        if data["hosts"].is_array() {
            data["hosts"][0]["buffer"].clone()
        } else {
            data["buffer"].clone()
        }
    };
    let nothing = buffer("/api/v1/hosts").await;
    assert_eq!(nothing["unknown_reason"], "no report of its agent came in the last 10 minutes");
    assert_eq!((&nothing["samples"], &nothing["reported_at"]), (&Value::Null, &Value::Null));
    // A value that is no longer told is not known.
    observe(&world, web, "upkeep_agent_buffer_capacity_seconds", &[], &[(50, 500.0)]);
    for (name, labels, value) in [
        ("records", &[("lane", "samples")][..], 7.0),
        ("records", &[("lane", "events")], 2.0),
        ("bytes", &[], 400.0),
        ("limit_bytes", &[], 8_000.0),
        ("oldest_age_seconds", &[], 30.0),
        ("dropped_records_total", &[("lane", "samples")], 4.0),
    ] {
        let name = format!("upkeep_agent_buffer_{name}");
        observe(&world, web, &name, labels, &[(50, 99.0), (60, value)]);
    }
    world.report(web, 1, gap(5, 24, 21, 40));
    clock(&world, 61);
    let expect = json!({
        "reported_at": "2023-11-14T22:14:20Z", "unknown_reason": null, "samples": 7.0,
        "events": 2.0, "bytes": 400.0, "limit_bytes": 8000.0, "oldest": "2023-11-14T22:13:50Z",
        "room_seconds": null, "room_unknown_reason": "the agent does not know its pace yet",
        "dropped_samples": 4.0, "dropped_events": null, "refused_observations": null,
        "declared": {"gaps": 1, "records": 20, "last_at": "2023-11-14T22:13:20Z"},
    });
    assert_eq!(buffer("/api/v1/hosts/web1").await, expect);
    assert_eq!(buffer("/api/v1/hosts").await, expect);
    clock(&world, 3_600);
    assert_eq!(buffer("/api/v1/hosts/web1").await, expect);
    let old = buffer("/api/v1/hosts").await;
    assert_eq!((&old["samples"], &old["declared"]), (&Value::Null, &expect["declared"]));
}

#[tokio::test]
async fn a_host_is_up_down_or_unknown_with_the_reason() {
    let world = World::plain().await;
    let web = world.enroll("web1");
    world.state.note_alive(START_MS, START_MS).unwrap();
    let stretch = |from: i64, to: i64| (from..=to).step_by(10).map(|at| (at, 1.0));
    let seen: Vec<_> = stretch(0, 100).chain(stretch(400, 500)).collect();
    observe(&world, web, "upkeep_agent_build_info", &[("version", "1")], &seen);
    let boot = |at: i64| if at < 300 { -50 } else { 380 };
    let boots: Vec<_> =
        seen.iter().map(|(at, _)| (*at, (START_MS / 1000 + boot(*at)) as f64)).collect();
    observe(&world, web, "node_boot_time_seconds", &[], &boots);
    world.report(web, 1, gap(12, 21, 110, 200));
    let change = Change {
        id: "a".to_owned(),
        kind: ChangeKind::AgentStopped,
        subject: String::new(),
        before: String::new(),
        after: String::new(),
    };
    world.report(web, 2, EventKind::Change(change));
    clock(&world, 600);
    let (_, body) = world
        .get(&format!("/api/v1/hosts/web1/availability?start={}", START_MS / 1000 - 100))
        .await;
    let data = &body["data"];
    let found: Vec<(&str, f64, &str)> = data["intervals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap();
            (text("state"), one["seconds"].as_f64().unwrap(), text("reason"))
        })
        .collect();
    let ran = "its kernel ran all the while, and it was not observed";
    let expect = [
        ("unknown", 50.0, "the collector did not run, and nothing came later"),
        ("up", 50.0, ran),
        ("up", 100.0, "it was observed"),
        ("up", 100.0, "it was observed, and the samples are lost: the buffer was full"),
        ("down", 180.0, "it ended without a word and was booted at 2023-11-14T22:19:40Z"),
        ("up", 20.0, ran),
        ("up", 100.0, "it was observed"),
        ("unknown", 100.0, "nothing came from it"),
    ];
    assert_eq!(found, expect, "{data:#}");
    let totals = json!({"up_seconds": 370.0, "down_seconds": 180.0, "unknown_seconds": 150.0,
        "availability": 370.0 / 550.0});
    assert_eq!(data["totals"], totals);
    let wrong = |why: &str| format!("invalid parameter \"start\": {why}");
    for (query, why) in [
        ("start=2700000000", "it is not before the end, or not before now"),
        ("start=1600000000", "at most 31 days are answered for at once"),
    ] {
        let path = format!("/api/v1/hosts/web1/availability?{query}");
        world.check_error(&path, 400, "bad_data", &wrong(why)).await;
    }
    let path = "/api/v1/hosts/web9/availability";
    world.check_error(path, 404, "not_found", "no host \"web9\"").await;
}
