//! Alertmanager's API: alerts of others, silences, and what is refused.

use reqwest::Method;
use serde_json::{Value, json};

use super::world::{START_MS, World, answer};
use crate::state::{AlertChanges, Delivery, DeliveryOutcome};

const START: &str = "2023-11-14T22:13:20.000Z";
const LATER: &str = "2023-11-14T23:13:20.000Z";

async fn post(world: &World, path: &str, token: &str, body: &Value) -> (u16, String) {
    let request = world.request(Method::POST, path, Some(token));
    let response = request.json(body).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

fn silence(name: &str) -> Value {
    json!({
        "matchers": [{"name": "alertname", "value": name, "isRegex": false, "isEqual": true}],
        "startsAt": START, "endsAt": LATER, "createdBy": "me", "comment": "new disks",
    })
}

/// Makes a silence and gives its identity.
async fn made(world: &World, silence: &Value) -> String {
    let (status, body) = post(world, "/api/v2/silences", "operate", silence).await;
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    body["silenceID"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn alerts_of_others_are_taken_and_shown() {
    let world = World::plain().await;
    let alerts = json!([
        {"labels": {"alertname": "A", "team": "db"}, "annotations": {"summary": "it is slow"},
         "generatorURL": "http://prometheus/graph"},
        {"labels": {"alertname": "B"}, "startsAt": START, "endsAt": LATER},
    ]);
    assert_eq!(post(&world, "/api/v2/alerts", "write", &alerts).await, (200, String::new()));
    let id = made(&world, &silence("B")).await;
    let status = |state: &str, silenced: &[&str]| json!({"inhibitedBy": [], "mutedBy": [], "silencedBy": silenced, "state": state});
    let of_db = json!({
        "annotations": {"summary": "it is slow"}, "startsAt": START, "updatedAt": START,
        "endsAt": "2023-11-14T22:18:20.000Z", "fingerprint": "7c645696d60f2876",
        "receivers": [{"name": "databases"}], "status": status("active", &[]),
        "generatorURL": "http://prometheus/graph", "labels": {"alertname": "A", "team": "db"},
    });
    let silenced = json!({
        "annotations": {}, "startsAt": START, "updatedAt": START, "endsAt": LATER,
        "fingerprint": "d2c2efc389db2050", "receivers": [{"name": "ops"}],
        "status": status("suppressed", &[&id]), "generatorURL": "", "labels": {"alertname": "B"},
    });
    let list = "/api/v2/alerts";
    world.check(list, 200, json!([of_db, silenced])).await;
    world.check(&format!("{list}?filter=team%3Ddb"), 200, json!([of_db])).await;
    world.check(&format!("{list}?filter=alertname%3D~%22B%7CC%22"), 200, json!([silenced])).await;
    world.check(&format!("{list}?silenced=false"), 200, json!([of_db])).await;
    world.check(&format!("{list}?active=false"), 200, json!([silenced])).await;
    world.check(&format!("{list}?receiver=op."), 200, json!([silenced])).await;
    world.check(&format!("{list}?receiver=op"), 200, json!([])).await;
    world.check(&format!("{list}?receiver_matchers=owner%3Dx"), 200, json!([])).await;
    let group = |alert: &Value, name: &str, receiver: &str| {
        json!({"alerts": [alert], "labels": {"alertname": name},
               "receiver": {"name": receiver}, "routeLabels": {}})
    };
    let groups = json!([group(&of_db, "A", "databases"), group(&silenced, "B", "ops")]);
    world.check("/api/v2/alerts/groups", 200, groups).await;
    let told = json!([group(&of_db, "A", "databases")]);
    world.check("/api/v2/alerts/groups?muted=false", 200, told).await;

    let over = json!([{"labels": {"alertname": "A", "team": "db"}, "endsAt": START}]);
    assert_eq!(post(&world, "/api/v2/alerts", "write", &over).await.0, 200);
    world.check(&format!("{list}?silenced=false"), 200, json!([])).await;
}

#[tokio::test]
async fn what_makes_sense_is_taken_beside_what_does_not() {
    let world = World::plain().await;
    let alerts = json!([{"labels": {}}, {"labels": {"alertname": "A"}},
        {"labels": {"alertname": "B"}, "startsAt": LATER, "endsAt": START}]);
    let (status, body) = post(&world, "/api/v2/alerts", "write", &alerts).await;
    assert_eq!(status, 400);
    let expect = "\"alert 0: at least one label pair required; \
                  alert 2: start time must be before end time\"";
    assert_eq!(body, expect);
    let (_, shown) = world.get("/api/v2/alerts").await;
    assert_eq!(shown.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_silence_is_made_changed_shown_and_ended() {
    let world = World::plain().await;
    let mut wanted = silence("A");
    wanted["recurrence"] = json!([{"weekdays": ["tuesday"]}]);
    let id = made(&world, &wanted).await;
    let shown = |state: &str, ends_at: &str, comment: &str| {
        json!({
            "id": id, "status": {"state": state}, "updatedAt": START, "comment": comment,
            "createdBy": "me", "endsAt": ends_at, "startsAt": START, "annotations": {},
            "recurrence": [{"weekdays": ["tuesday"]}],
            "matchers": [{"isEqual": true, "isRegex": false, "name": "alertname", "value": "A"}],
        })
    };
    let path = format!("/api/v2/silence/{id}");
    world.check(&path, 200, shown("active", LATER, "new disks")).await;
    wanted["id"] = json!(id);
    wanted["comment"] = json!("more disks");
    assert_eq!(made(&world, &wanted).await, id);
    let list = "/api/v2/silences";
    world.check(list, 200, json!([shown("active", LATER, "more disks")])).await;
    world.check(&format!("{list}?active=false"), 200, json!([])).await;
    world.check(&format!("{list}?filter=alertname%3DB"), 200, json!([])).await;
    world
        .check(
            &format!("{list}?filter=alertname%3DA"),
            200,
            json!([shown("active", LATER, "more disks")]),
        )
        .await;

    let delete = || world.request(Method::DELETE, &path, Some("operate"));
    assert_eq!(delete().send().await.unwrap().status().as_u16(), 200);
    world.check(&path, 200, shown("expired", START, "more disks")).await;
    world.check(&format!("{list}?expired=false"), 200, json!([])).await;
    let (status, body) = answer(delete()).await;
    assert_eq!((status.as_u16(), body), (500, json!(format!("silence {id} already expired"))));
    let audit = world.state.audit(None, 1).unwrap().remove(0);
    assert_eq!((audit.actor.as_str(), audit.subject), ("api-token:operate", id));
    assert_eq!(audit.at_ms, START_MS);
}

#[tokio::test]
async fn what_cannot_be_done_is_said_as_a_bare_string() {
    let world = World::plain().await;
    let check = async |change: fn(&mut Value), status: u16, expect: &str| {
        let mut wanted = silence("A");
        change(&mut wanted);
        let (code, body) = post(&world, "/api/v2/silences", "operate", &wanted).await;
        let told: String = serde_json::from_str(&body).unwrap();
        assert!(code == status && told.starts_with(expect), "{code} {told}");
    };
    check(|one| one["endsAt"] = json!(START), 400, "start time must be before end time").await;
    check(|one| one["matchers"] = json!([]), 400, "at least one matcher").await;
    check(|one| one["matchers"][0]["value"] = json!(""), 400, "at least one matcher").await;
    check(|one| one["matchers"][0]["name"] = json!(""), 400, "a matcher's name is empty").await;
    check(
        |one| one["matchers"][0] = json!({"name": "a", "value": "(", "isRegex": true}),
        400,
        "matcher a: ",
    )
    .await;
    check(|one| one["startsAt"] = json!("soon"), 400, "the body: \"soon\" is not a time").await;
    check(|one| one["startsAt"] = Value::Null, 400, "startsAt must be given").await;
    check(|one| drop(one.as_object_mut().unwrap().remove("comment")), 400, "the body: ").await;
    check(|one| one["id"] = json!("x"), 400, "silence \"x\": ").await;
    check(|one| one["id"] = json!(uuid::Uuid::from_u128(7)), 404, "there is no silence 00").await;
    check(|one| one["recurrence"] = json!([{"zone": 1}]), 400, "recurrence: ").await;

    let check = async |path: &str, status: u16, expect: &str| {
        let (code, told) = world.get(path).await;
        assert!(code.as_u16() == status, "{code} {told}");
        assert!(told.as_str().unwrap().starts_with(expect), "{told}");
    };
    check("/api/v2/alerts?filter=x", 400, "invalid parameter \"filter\": `x` is not a matcher")
        .await;
    check("/api/v2/alerts?active=perhaps", 400, "invalid parameter \"active\"").await;
    check("/api/v2/alerts?receiver=(", 400, "invalid parameter \"receiver\"").await;
    check("/api/v2/silence/x", 400, "silence \"x\": ").await;
    let nobody = uuid::Uuid::from_u128(7);
    check(&format!("/api/v2/silence/{nobody}"), 404, "there is no silence 00").await;
    let too_long = json!([{"labels": {"a": "x".repeat(1024 * 1024)}}]);
    let (status, body) = post(&world, "/api/v2/alerts", "write", &too_long).await;
    assert_eq!((status, body.as_str()), (413, "\"the body is longer than 1048576 bytes\""));
}

#[tokio::test]
async fn the_routing_is_shown_without_its_secrets() {
    let world = World::plain().await;
    world.check("/api/v2/receivers", 200, json!([{"name": "ops"}, {"name": "databases"}])).await;
    world.check("/api/v2/receivers?receiver_matchers=a%3Db", 200, json!([])).await;
    let (_, status) = world.get("/api/v2/status").await;
    assert_eq!(status["cluster"], json!({"peers": [], "status": "disabled"}));
    assert_eq!(
        (&status["uptime"], &status["versionInfo"]["version"]),
        (&json!(START), &json!("0.28.0"))
    );
    let expect = "global:\n  resolve_timeout: 5m\nroute:\n  receiver: ops\n  group_by:\n    - alertname\n  \
        routes:\n    -\n      matchers:\n        - \"team=db\"\n      receiver: databases\nreceivers:\n\
        - name: ops\n- name: databases\n";
    assert_eq!(status["config"]["original"], expect);
}

#[tokio::test]
async fn whoever_takes_care_of_an_alert_is_shown_on_it() {
    let world = World::plain().await;
    let alerts = json!([{"labels": {"alertname": "B"}}]);
    assert_eq!(post(&world, "/api/v2/alerts", "write", &alerts).await.0, 200);
    let path = "/api/v1/alerts/d2c2efc389db2050/acknowledgement";
    let acknowledge = async |path: &str, body: Value| {
        let request = world.request(Method::POST, path, Some("operate"));
        let (status, told) = answer(request.json(&body)).await;
        (status.as_u16(), told)
    };
    let shown = async || world.get("/api/v2/alerts").await.1[0]["acknowledgement"].clone();
    let made = |author: &str, expires_at: Value| {
        let made_at = "2023-11-14T22:13:20Z";
        json!({"author": author, "note": "on my way", "made_at": made_at, "expires_at": expires_at})
    };
    assert_eq!(shown().await, Value::Null);
    let (status, told) = acknowledge(path, json!({"note": "on my way"})).await;
    assert_eq!((status, &told["data"]), (200, &made("test", Value::Null)));
    assert_eq!(shown().await, made("test", Value::Null));
    let posted = json!({"note": "on my way", "author": "me", "expires_at": LATER});
    assert_eq!(acknowledge(path, posted).await.0, 200);
    assert_eq!(shown().await, made("me", json!("2023-11-14T23:13:20Z")));

    let check = async |path: &str, body: Value, expect: (u16, &str)| {
        let (status, told) = acknowledge(path, body).await;
        assert_eq!(status, expect.0, "{told}");
        assert!(told["error"].as_str().unwrap().starts_with(expect.1), "{told}");
    };
    check(path, json!({"note": "", "expires_at": START}), (400, "expires_at is in the past")).await;
    check(path, json!({"author": "me"}), (400, "the body: missing field `note`")).await;
    check(path, json!({"note": "", "until": 1}), (400, "the body: unknown field `until`")).await;
    check(path, json!({"note": "x".repeat(20_000)}), (400, "author and note have 16384")).await;
    let other = path.replace("d2c2efc389db2050", "d2c2efc389db2051");
    check(&other, json!({"note": ""}), (404, "no alert fires with the fingerprint d2c2")).await;
    check(&path.replace("d2c2", ""), json!({"note": ""}), (400, "\"efc389db2050\" is not")).await;

    let withdraw = world.request(Method::DELETE, path, Some("operate"));
    assert_eq!(answer(withdraw).await.0.as_u16(), 200);
    assert_eq!(shown().await, Value::Null);
}

#[tokio::test]
async fn what_was_sent_is_shown_on_the_alert() {
    let world = World::plain().await;
    let sent = |at_ms: i64, outcome, answer: &str| Delivery {
        at_ms,
        receiver: "ops".to_owned(),
        channel: 0,
        kind: "webhook".to_owned(),
        group: "{}:{}".to_owned(),
        reason: "first".to_owned(),
        outcome,
        answer: answer.to_owned(),
        alerts: vec![("00000000000000ff".to_owned(), true)],
    };
    let mut changes = AlertChanges::default();
    changes.deliver(sent(START_MS, DeliveryOutcome::Refused, "https://x answered 404"));
    changes.deliver(sent(START_MS, DeliveryOutcome::Told, ""));
    world.state.change_alerts(&changes).unwrap();
    let shown = |outcome: &str, answer: Value| {
        let at = "2023-11-14T22:13:20Z";
        json!({"first_at": at, "last_at": at, "tries": 1, "receiver": "ops", "channel": 0,
            "kind": "webhook", "group_key": "{}:{}", "reason": "first", "outcome": outcome,
            "answer": answer, "alerts": 1, "status": "firing"})
    };
    let (told, refused) =
        (shown("told", Value::Null), shown("refused", json!("https://x answered 404")));
    let page = |deliveries: Value, next_cursor: Value| {
        let data = json!({"deliveries": deliveries, "next_cursor": next_cursor});
        json!({"status": "success", "data": data})
    };
    let path = "/api/v1/alerts/00000000000000ff/deliveries";
    world.check(path, 200, page(json!([told, refused]), Value::Null)).await;
    world.check(&format!("{path}?limit=1"), 200, page(json!([told]), json!("2"))).await;
    world
        .check(&format!("{path}?limit=9&cursor=2"), 200, page(json!([refused]), Value::Null))
        .await;
    world.check(&path.replace("ff", "fe"), 200, page(json!([]), Value::Null)).await;
    let refusal = "\"ff\" is not a fingerprint of sixteen hexadecimal digits";
    world.check_error("/api/v1/alerts/ff/deliveries", 400, "bad_data", refusal).await;
}
