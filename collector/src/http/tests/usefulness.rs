//! What became of alerts, and digests, as the API shows them.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::rules::post;
use super::world::{START_MS, World, answer};
use crate::ledger::{News, Origin};
use crate::notify::Fingerprint;

async fn rule(world: &World, path: &str, name: &str) -> Value {
    let (status, body) = world.get(path).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let rules = body["data"]["rules"].as_array().unwrap().clone();
    rules.into_iter().find(|rule| rule["rule"] == name).unwrap_or_default()
}

#[tokio::test]
async fn a_rule_is_shown_with_what_became_of_its_alerts() {
    const PATH: &str = "/api/v1/rules/usefulness";
    let world = World::plain().await;
    post(&world);
    let never = rule(&world, PATH, "HostSilent").await;
    assert_eq!((&never["verdict"], &never["fired"]), (&json!("never fired"), &json!(0)));
    assert_eq!(never["lasted_seconds"], json!({"p50": null, "p90": null}));

    let (file, group) = (never["file"].as_str().unwrap(), never["group"].as_str().unwrap());
    let origin = Arc::new(Origin::Rule {
        file: file.to_owned(),
        group: group.to_owned(),
        name: "HostSilent".to_owned(),
    });
    let mut news = Vec::new();
    for number in 0..12 {
        let alert = Fingerprint(number);
        let week_ago = if number == 11 { 7 * 24 * 3_600_000 } else { 0 };
        let at_ms = START_MS - week_ago;
        news.push(News::Fired { origin: Arc::clone(&origin), alert, at_ms });
        news.push(News::Notified { alerts: vec![alert] });
        news.push(News::Resolved { origin: Arc::clone(&origin), alert, at_ms: at_ms + 9_000 });
    }
    world.reporter.tell(news);
    let mut loud = rule(&world, PATH, "HostSilent").await;
    while loud["resolved"] != 12 {
        loud = rule(&world, PATH, "HostSilent").await;
    }
    assert_eq!(
        (&loud["verdict"], &loud["told"], &loud["notified"]),
        (&json!("demote"), &json!(12), &json!(12))
    );
    assert!(loud["reason"].as_str().unwrap().contains("12 of 12 ended by themselves"), "{loud}");
    assert_eq!(loud["lasted_by_itself_seconds"]["p50"], 10);
    let this_week = rule(&world, "/api/v1/rules/usefulness?weeks=1", "HostSilent").await;
    assert_eq!(this_week["fired"], 11);
    for weeks in ["0", "54", "x"] {
        let path = format!("{PATH}?weeks={weeks}");
        let error = "invalid parameter \"weeks\": it must be from 1 to 53";
        world.check_error(&path, 400, "bad_data", error).await;
    }

    let (_, digest) = world.get("/api/v1/digest").await;
    let digest = &digest["data"];
    assert_eq!((&digest["kind"], &digest["receiver"]), (&json!("weekly"), &Value::Null));
    assert_eq!(digest["title"], "Weekly digest: 1 to demote, 0 flapping");
    assert_eq!(digest["entries"][1]["summary"], "demote: HostSilent");
    assert_eq!(digest["entries"][1]["labels"]["file"], file);
}

#[tokio::test]
async fn the_daily_digest_reads_series() {
    let world = World::plain().await;
    let labels = [("instance", "web1"), ("signal", "load"), ("rule", "drift")];
    world.commit("upkeep_chart_broken", &labels, &[(-7_200, 1.0), (-3_600, 0.0)]);
    world.commit("upkeep_chart_broken", &[("instance", "web2"), ("signal", "load")], &[(-60, 0.0)]);
    world.commit("up", &[("instance", "db1")], &[(-10, 0.0)]);
    world.commit("up", &[("instance", "web1")], &[(-10, 1.0)]);
    let (_, digest) = world.get("/api/v1/digest?kind=daily").await;
    let entries = &digest["data"]["entries"];
    assert_eq!(entries[0]["summary"], "web1: 1 control chart broken");
    assert_eq!(entries[0]["texts"], json!({"load": "drift"}));
    assert_eq!(entries[1]["texts"], json!({"hosts": "db1"}));
    assert_eq!(entries[2], Value::Null);

    world
        .check_error(
            "/api/v1/digest?kind=hourly",
            400,
            "bad_data",
            "invalid parameter \"kind\": it must be weekly or daily",
        )
        .await;
    let (status, refused) =
        answer(world.request(Method::POST, "/api/v1/digest?kind=daily", Some("operate"))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(refused["error"].as_str().unwrap().starts_with("nobody is told"), "{refused}");
}
