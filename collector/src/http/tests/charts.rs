//! Control charts: how they stand, and their points.

use serde_json::{Value, json};

use super::world::{START_MS, World};
use crate::tolerance::{ChartLimits, ChartRule, ChartStatus, Judged, Learned, Phase};

fn chart(instance: &str, signal: &str, broken: &[ChartRule]) -> ChartStatus {
    ChartStatus {
        instance: instance.to_owned(),
        signal: signal.to_owned(),
        unit: "processes".to_owned(),
        last: Judged {
            at_ms: START_MS,
            value: 9.5,
            limits: Some(ChartLimits { center: 5.0, lower: 2.0, upper: 8.0 }),
            broken: broken.to_vec(),
        },
        broken_since_ms: (!broken.is_empty()).then_some(START_MS - 600_000),
        learned: Learned {
            phase: Phase::Weekly,
            since_ms: Some(START_MS - 40 * 86_400_000),
            points: 11_000,
            hours_odd: 3,
            hours_paused: 2,
            adopted_ms: None,
        },
    }
}

fn no_limits(mut chart: ChartStatus) -> ChartStatus {
    chart.last.limits = None;
    chart.learned.since_ms = None;
    chart.learned.phase = Phase::Learning;
    chart
}

async fn world() -> World {
    let world = World::plain().await;
    let broken = [ChartRule::BeyondThreeSigma, ChartRule::Drift];
    let counts = [chart("db1", "process_count", &[]), chart("web1", "process_count", &broken)];
    world.charts.post("process_count", counts.to_vec());
    world.charts.post("swap_in", vec![no_limits(chart("web1", "swap_in", &[]))]);
    world
}

#[tokio::test]
async fn charts_are_listed_and_those_out_of_tolerance_come_first() {
    let world = world().await;
    let check = async |parameters: &str, names: &[&str], total: u64, broken: u64| {
        let (_, body) = world.get(&format!("/api/v1/charts{parameters}")).await;
        let data = &body["data"];
        let name = |one: &Value| format!("{}/{}", one["instance"], one["signal"]).replace('"', "");
        let seen: Vec<_> = data["charts"].as_array().unwrap().iter().map(name).collect();
        assert_eq!(seen, names, "{parameters}");
        assert_eq!((&data["total"], &data["broken"]), (&json!(total), &json!(broken)));
    };
    let (first, second, third) = ("web1/process_count", "db1/process_count", "web1/swap_in");
    check("", &[first, second, third], 3, 1).await;
    check("?limit=1", &[first], 3, 1).await;
    check("?host=web1", &[first, third], 2, 1).await;
    check("?signal=process_count", &[first, second], 2, 1).await;
    check("?broken=true", &[first], 1, 1).await;
    check("?broken=false&host=nobody", &[], 0, 0).await;
    let (_, body) = world.get("/api/v1/charts?broken=true").await;
    let expect = json!({
        "instance": "web1", "signal": "process_count", "unit": "processes",
        "at": "2023-11-14T22:13:20Z", "value": 9.5, "center": 5.0, "lower_limit": 2.0,
        "upper_limit": 8.0, "broken": ["beyond_3_sigma", "drift"],
        "broken_since": "2023-11-14T22:03:20Z", "phase": "hour_of_week",
    });
    assert_eq!(body["data"]["charts"], json!([expect]));
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_named() {
    let world = world().await;
    let check = async |path: &str, status: u16, kind: &str, error: &str| {
        world.check_error(&format!("/api/v1/charts{path}"), status, kind, error).await;
    };
    let why = r#"invalid parameter "broken": cannot parse "yes" to a valid boolean"#;
    check("?broken=yes", 400, "bad_data", why).await;
    let why = r#"there is no chart of "swap_in" of the host "db1""#;
    check("/db1/swap_in", 404, "not_found", why).await;
    let why = r#"invalid parameter "start": it is not before the end, or not before now"#;
    check("/web1/swap_in?start=2023-11-14T22:13:20Z", 400, "bad_data", why).await;
    let why = r#"invalid parameter "start": at most 31 days are shown at once"#;
    check("/web1/swap_in?start=2023-10-01T00:00:00Z", 400, "bad_data", why).await;
}

#[tokio::test]
async fn a_chart_shows_its_points_and_how_it_came_to_its_limits() {
    let world = world().await;
    let labels = |rest: &[(&'static str, &'static str)]| {
        let chart = [("instance", "web1"), ("job", "upkeep"), ("signal", "process_count")];
        [chart.as_slice(), rest].concat()
    };
    // Two points, and between them what only repeats the first; START_MS lies 200 s after a step.
    let points = [(-500, 9.0), (-350, 9.0), (-200, 5.0)];
    world.commit("upkeep_chart_value", &labels(&[]), &points);
    let constant = |value: f64| points.map(|(at, _)| (at, value));
    world.commit("upkeep_chart_center", &labels(&[]), &constant(5.0));
    world.commit("upkeep_chart_lower_limit", &labels(&[]), &constant(2.0));
    world.commit("upkeep_chart_upper_limit", &labels(&[]), &constant(8.0));
    let broken = [(-500, 1.0), (-350, 1.0), (-200, 0.0)];
    world.commit("upkeep_chart_broken", &labels(&[("rule", "drift")]), &broken);
    let (_, body) = world.get("/api/v1/charts/web1/process_count").await;
    let point = |at: &str, value: f64, broken: &[&str]| {
        json!({
            "at": at, "value": value, "center": 5.0, "lower_limit": 2.0, "upper_limit": 8.0,
            "broken": broken,
        })
    };
    let (first, second) = ("2023-11-14T22:05:00Z", "2023-11-14T22:10:00Z");
    let expect = json!([point(first, 9.0, &["drift"]), point(second, 5.0, &[])]);
    assert_eq!(body["data"]["points"], expect);
    let baseline = &body["data"]["baseline"];
    let told = baseline["explanation"].as_str().unwrap();
    for part in [
        "the median of this hour of the week",
        "learned from 11000 points since 2023-10-05T22:13:20Z",
        "3 hours out of tolerance were left out",
        "2 hours of maintenance or incidents were left out",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let only = "/api/v1/charts/web1/process_count?start=2023-11-14T22:06:00Z";
    assert_eq!(world.get(only).await.1["data"]["points"], json!([point(second, 5.0, &[])]));

    let (_, young) = world.get("/api/v1/charts/web1/swap_in").await;
    let young = &young["data"];
    assert_eq!((&young["upper_limit"], &young["phase"]), (&Value::Null, &json!("learning")));
    assert_eq!(
        young["baseline"]["explanation"],
        "nothing is known yet: the first hour is not over"
    );
    assert_eq!(young["points"], json!([]));
}
