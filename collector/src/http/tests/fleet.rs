//! Hosts and their patches.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use reqwest::Method;
use serde_json::{Value, json};
use upkeep_model::{
    Epoch, EventKind, Gap, HostFacts, Knowledge, Lane, ManagerReport, PackageUpdate, RebootReport,
    Refresh, RestartReason, Stay, UpdateReport,
};

use super::world::{START_MS, World, answer, by};
use crate::state::{Contact, DamagedPart, FoundDamage};

fn contact() -> Contact {
    Contact {
        at_ms: START_MS,
        agent_version: "0.2.0".to_owned(),
        interval_ms: 10_000,
        clock_offset_ms: -250,
        clock_synchronized: Some(false),
        clock_is_wrong: false,
        epoch: Epoch([1; 16]),
    }
}

fn report() -> UpdateReport {
    let update = |package: &str, security, held| PackageUpdate {
        package: package.to_owned(),
        architecture: "amd64".to_owned(),
        installed: "1".to_owned(),
        offered: "2".to_owned(),
        origin: "Debian-Security".to_owned(),
        security,
        stays: held,
        ..PackageUpdate::default()
    };
    let updates = vec![update("openssl", true, None), update("vim", false, Some(Stay::KeptBack))];
    let reason = RestartReason {
        reason: "a newer kernel is installed".to_owned(),
        packages: vec!["linux-image".to_owned()],
    };
    UpdateReport {
        checked_at_ms: START_MS,
        managers: vec![ManagerReport {
            manager: "apt".to_owned(),
            lists_refreshed_at_ms: Some(START_MS - 1000),
            refresh: Knowledge::Known(Refresh::Works),
            updates: Knowledge::Known(updates),
            ..ManagerReport::default()
        }],
        reboot: Knowledge::Known(RebootReport { reasons: vec![reason] }),
        ..UpdateReport::default()
    }
}

#[tokio::test]
async fn a_host_of_which_nothing_is_known_is_shown_as_unknown() {
    let world = World::plain().await;
    let id = world.enroll("web1");
    let never = "the host has not reported its updates yet";
    let unreported = "no report of its agent came in the last 24 hours";
    let expect = json!({"status": "success", "data": {
        "id": id, "instance": "web1", "hostname": "web1", "tags": {},
        "up": null, "up_reason": "it has not connected yet", "last_seen": null,
        "enrolled_at": "2023-11-14T22:13:20Z", "agent_version": "0.1.0",
        "revoked": false, "revoked_at": null, "clock_offset_seconds": null,
        "clock_synchronized": null, "facts": null,
        "updates": {"status": "unknown", "reason": never, "checked_at": null,
            "pending": null, "security": null, "security_unknown_reason": null, "held": null},
        "reboot": {"required": null, "unknown_reason": never, "reasons": []},
        "buffer": {
            "reported_at": null, "samples": null, "events": null, "bytes": null,
            "limit_bytes": null, "oldest": null, "room_seconds": null,
            "unknown_reason": unreported, "room_unknown_reason": unreported,
            "dropped_samples": null, "dropped_events": null, "refused_observations": null,
            "declared": {"gaps": 0, "records": 0, "last_at": null},
        },
    }});
    world.check("/api/v1/hosts/web1", 200, expect.clone()).await;
    world.check(&format!("/api/v1/hosts/{id}"), 200, expect).await;
    world.check_error("/api/v1/hosts/web2", 404, "not_found", "no host \"web2\"").await;
    world.check_error("/api/v1/hosts/web2/patches", 404, "not_found", "no host \"web2\"").await;
}

#[tokio::test]
async fn a_host_shows_what_it_reported() {
    let world = World::plain().await;
    let id = world.enroll("web1");
    let facts = HostFacts { hostname: "web1".into(), kernel: "6.1".into(), ..HostFacts::default() };
    world.report(id, 1, EventKind::Facts(Box::new(facts)));
    world.report(id, 2, EventKind::Updates(report()));
    world.state.record_contact(id, &contact()).unwrap();
    world.fleet.member(id).unwrap().heard(START_MS + 1000);
    let (_, body) = world.get("/api/v1/hosts/web1").await;
    let host = &body["data"];
    assert_eq!((&host["up"], &host["up_reason"]), (&json!(true), &Value::Null));
    assert_eq!(host["facts"]["kernel"], "6.1");
    assert_eq!(
        (&host["agent_version"], &host["clock_offset_seconds"], &host["clock_synchronized"]),
        (&json!("0.2.0"), &json!(-0.25), &json!(false))
    );
    let updates = json!({"status": "known", "reason": null, "checked_at": "2023-11-14T22:13:20Z",
        "pending": 1, "security": 1, "security_unknown_reason": null, "held": 1});
    assert_eq!(host["updates"], updates);
    let reboot = json!({"required": true, "unknown_reason": null, "reasons":
        [{"reason": "a newer kernel is installed", "packages": ["linux-image"]}]});
    assert_eq!(host["reboot"], reboot);

    assert_eq!(host["last_seen"], "2023-11-14T22:13:21Z");
    world.time_ms.store(START_MS + 31_000, Ordering::Relaxed);
    assert_eq!(world.get("/api/v1/hosts/web1").await.1["data"]["up"], true);
    world.time_ms.store(START_MS + 31_001, Ordering::Relaxed);
    let (_, body) = world.get("/api/v1/hosts/web1").await;
    assert_eq!(body["data"]["up"], false);
    assert_eq!(body["data"]["up_reason"], "nothing came from it since 2023-11-14T22:13:21Z");

    world.state.revoke_host(id, &by()).unwrap();
    world.fleet.refresh(&world.state).unwrap();
    let (_, body) = world.get("/api/v1/hosts/web1").await;
    assert_eq!((&body["data"]["up"], &body["data"]["revoked"]), (&Value::Null, &json!(true)));
}

#[tokio::test]
async fn patches_name_packages_and_say_what_is_not_known() {
    let world = World::plain().await;
    let id = world.enroll("web1");
    world.report(id, 1, EventKind::Updates(report()));
    let (_, body) = world.get("/api/v1/hosts/web1/patches").await;
    let patches = &body["data"];
    let first = json!({"manager": "apt", "package": "openssl", "architecture": "amd64",
        "installed": "1", "offered": "2", "origin": "Debian-Security", "security": true,
        "severity": "", "advisories": [], "held": false, "stays": null, "pending_since": "2023-11-14T22:13:20Z", "confirmed": true});
    assert_eq!((&patches["updates"][0], &patches["id"]), (&first, &json!(id)));
    assert_eq!(patches["summary"]["pending"], 1);
    assert_eq!(
        patches["managers"],
        json!([{"manager": "apt", "status": "known", "reason": null,
        "lists_refreshed_at": "2023-11-14T22:13:19Z", "refresh": {"state": "works"},
        "refresh_unknown_reason": null}])
    );

    let mut unknown = report();
    unknown.managers[0].updates = Knowledge::Unknown("the lock is held".to_owned());
    unknown.reboot = Knowledge::Unknown("no permission".to_owned());
    world.report(id, 2, EventKind::Updates(unknown));
    let (_, body) = world.get("/api/v1/hosts/web1/patches").await;
    let patches = &body["data"];
    assert_eq!(patches["summary"]["reason"], "apt: the lock is held");
    assert_eq!(patches["summary"]["pending"], Value::Null);
    assert_eq!(patches["updates"][0]["confirmed"], false);
    assert_eq!(patches["reboot"]["required"], Value::Null);
    assert_eq!(patches["reboot"]["unknown_reason"], "no permission");
}

#[tokio::test]
async fn hosts_come_in_pages_and_by_tags() {
    let world = World::plain().await;
    for name in ["web1", "db1", "web2", "cache1", "web3"] {
        let id = world.enroll(name);
        let role = name.trim_end_matches(char::is_numeric);
        let tags = BTreeMap::from([("role".to_owned(), role.to_owned())]);
        world.state.tag_host(id, &tags, &by()).unwrap();
    }
    let check = async |path: &str, names: &[&str], next: Option<&str>| {
        let (_, body) = world.get(path).await;
        let hosts = body["data"]["hosts"].as_array().unwrap();
        let found: Vec<&str> =
            hosts.iter().map(|host| host["instance"].as_str().unwrap()).collect();
        assert_eq!(
            (found.as_slice(), &body["data"]["next_cursor"]),
            (names, &json!(next)),
            "{path}"
        );
    };
    let all = ["cache1", "db1", "web1", "web2", "web3"];
    check("/api/v1/hosts", &all, None).await;
    check("/api/v1/hosts?limit=5", &all, None).await;
    check("/api/v1/hosts?limit=2", &["cache1", "db1"], Some("db1")).await;
    check("/api/v1/hosts?limit=2&cursor=db1", &["web1", "web2"], Some("web2")).await;
    check("/api/v1/hosts?limit=2&cursor=web2", &["web3"], None).await;
    check("/api/v1/hosts?tag=role=web", &["web1", "web2", "web3"], None).await;
    check("/api/v1/hosts?tag=role%3Dweb&limit=2", &["web1", "web2"], Some("web2")).await;
    check("/api/v1/hosts?tag=role&tag=role=db", &["db1"], None).await;
    check("/api/v1/hosts?tag=site", &[], None).await;
    let error = "invalid parameter \"limit\": a page has at most 1000 entries";
    world.check_error("/api/v1/hosts?limit=1001", 400, "bad_data", error).await;
}

#[tokio::test]
async fn gaps_say_what_was_lost_and_why() {
    let world = World::plain().await;
    let id = world.enroll("web1");
    world.check("/api/v1/hosts/web1/gaps", 200, json!({"status": "success", "data": []})).await;
    let gap = Gap {
        lane: Lane::Samples,
        first: 5,
        last: 9,
        from_ms: Some(START_MS),
        to_ms: None,
        reason: "the buffer was full".to_owned(),
    };
    world.report(id, 1, EventKind::Gap(gap));
    let full = json!({"lane": "samples", "records": 5, "from": "2023-11-14T22:13:20Z", "to": null,
        "reason": "the buffer was full", "declared_at": "2023-11-14T22:13:20Z"});
    let expect = json!({"status": "success", "data": [full]});
    world.check("/api/v1/hosts/web1/gaps", 200, expect).await;

    let other = world.enroll("web2");
    let chunk = FoundDamage {
        part: DamagedPart::Samples,
        place: "samples.redb".to_owned(),
        lost: "chunk 7".to_owned(),
        host: Some(other),
        from_ms: Some(START_MS),
        through_ms: Some(START_MS + 60_000),
        found_at_ms: START_MS + 1000,
    };
    let rows = FoundDamage { part: DamagedPart::State, ..chunk.clone() };
    let whole = FoundDamage {
        lost: "everything".to_owned(),
        host: None,
        from_ms: None,
        through_ms: None,
        found_at_ms: START_MS + 2000,
        ..chunk.clone()
    };
    world.state.declare_damage(&[chunk, rows, whole]).unwrap();
    let chunk = json!({"lane": "samples", "records": null, "from": "2023-11-14T22:13:20Z",
        "to": "2023-11-14T22:14:20Z", "declared_at": "2023-11-14T22:13:21Z",
        "reason": "the collector's disk is damaged: samples.redb: chunk 7"});
    let reason =
        "the collector's disk is damaged: samples.redb: everything, which may be of any host";
    let whole = json!({"lane": "samples", "records": null, "from": null, "to": null,
        "reason": reason, "declared_at": "2023-11-14T22:13:22Z"});
    let expect = json!({"status": "success", "data": [whole, full]});
    world.check("/api/v1/hosts/web1/gaps", 200, expect).await;
    let expect = json!({"status": "success", "data": [whole, chunk]});
    world.check("/api/v1/hosts/web2/gaps", 200, expect).await;
    let found = json!({"part": "samples", "place": "samples.redb", "lost": "everything",
        "host": null, "from": null, "to": null, "found_at": "2023-11-14T22:13:22Z"});
    let expect = json!({"status": "success", "data": [found]});
    world.check("/api/v1/damage?limit=1", 200, expect).await;
    assert_eq!(world.get("/api/v1/damage").await.1["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn the_audit_log_comes_in_pages() {
    let world = World::plain().await;
    world.enroll("web1");
    let mut path = "/api/v1/audit?limit=2".to_owned();
    let mut actions = Vec::new();
    let mut pages = 0;
    loop {
        pages += 1;
        let (status, body) = answer(world.request(Method::GET, &path, Some("admin"))).await;
        assert!(status.is_success(), "{body}");
        for entry in body["data"]["entries"].as_array().unwrap() {
            actions.push(entry["action"].as_str().unwrap().to_owned());
        }
        let Some(cursor) = body["data"]["next_cursor"].as_str() else { break };
        path = format!("/api/v1/audit?limit=2&cursor={cursor}");
    }
    let tokens = ["api-token-create"; 4];
    let expect: Vec<String> =
        ["host-enroll", "token-create"].into_iter().chain(tokens).map(str::to_owned).collect();
    assert_eq!((actions, pages), (expect, 3));
}
