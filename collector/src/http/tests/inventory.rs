//! What changed on the hosts, what is installed there, and what takes the most.

use serde_json::{Value, json};
use upkeep_model::{
    Change, ChangeKind, EventKind, HostId, InstalledPackage, PackageInventory, ProcessReport,
    ProcessUsage, state_hash,
};

use super::world::{START_MS, World};
use crate::state::{Occurrence, PresenceNews};

fn change(id: &str, kind: ChangeKind, subject: &str) -> EventKind {
    EventKind::Change(Change {
        id: id.to_owned(),
        kind,
        subject: subject.to_owned(),
        before: "1".to_owned(),
        after: "2".to_owned(),
    })
}

fn packages(names: &[&str]) -> EventKind {
    let package = |name: &&str| InstalledPackage {
        name: (*name).to_owned(),
        architecture: "amd64".to_owned(),
        version: "1".to_owned(),
    };
    let installed: Vec<_> = names.iter().map(package).collect();
    let hash = state_hash(&installed);
    let manager = "dpkg".to_owned();
    EventKind::Packages(PackageInventory { manager, base: None, hash, installed, removed: vec![] })
}

async fn two_hosts() -> (World, HostId) {
    let world = World::plain().await;
    let (web, database) = (world.enroll("web1"), world.enroll("db1"));
    world.report(web, 1, change("a", ChangeKind::Boot, ""));
    world.report(web, 2, change("b", ChangeKind::PackageUpdated, "bash"));
    world.report(database, 1, change("a", ChangeKind::PackageUpdated, "zlib"));
    (world, web)
}

#[tokio::test]
async fn events_are_listed_by_host_kind_and_time_in_pages() {
    let (world, web) = two_hosts().await;
    let check = async |parameters: &str, subjects: &[&str], next: Value| {
        let (_, body) = world.get(&format!("/api/v1/events{parameters}")).await;
        let events = body["data"]["events"].as_array().unwrap();
        let seen: Vec<_> = events.iter().map(|one| one["subject"].as_str().unwrap()).collect();
        assert_eq!((seen.as_slice(), &body["data"]["next_cursor"]), (subjects, &next), "{body}");
    };
    check("", &["zlib", "bash", ""], Value::Null).await;
    check("?host=web1", &["bash", ""], Value::Null).await;
    check("?kind=boot", &[""], Value::Null).await;
    check("?kind=boot&kind=package_updated&host=db1", &["zlib"], Value::Null).await;
    check("?end=2023-11-14T22:13:19Z", &[], Value::Null).await;
    check(
        "?start=2023-11-14T22:13:20Z&end=2023-11-14T22:13:20Z",
        &["zlib", "bash", ""],
        Value::Null,
    )
    .await;
    check("?limit=2", &["zlib", "bash"], json!("1700000000000.2")).await;
    check("?limit=2&cursor=1700000000000.2", &[""], Value::Null).await;
    check("?limit=3", &["zlib", "bash", ""], Value::Null).await;
    let (_, body) = world.get("/api/v1/events?host=web1&limit=1").await;
    let expect = json!({"id": 2, "host": web, "instance": "web1", "at": "2023-11-14T22:13:20Z",
        "received_at": "2023-11-14T22:13:20Z", "kind": "package_updated", "subject": "bash",
        "before": "1", "after": "2", "text": "the package bash was updated from 1 to 2",
        "details": null, "repeated": 0});
    assert_eq!(body["data"]["events"][0], expect);
}

#[tokio::test]
async fn what_hosts_tell_and_what_the_collector_saw_is_one_list() {
    let (world, web) = two_hosts().await;
    let news = [
        Occurrence::HostLost { since_ms: START_MS },
        Occurrence::HostBack { since_ms: START_MS, backlog_records: 4 },
    ];
    let news = news.map(|occurrence| PresenceNews { host: web, occurrence });
    world.state.note_presence(&news[..1], START_MS + 60_000).unwrap();
    world.report(web, 3, change("c", ChangeKind::Kernel, ""));
    world.state.note_alive(START_MS + 70_000, START_MS + 70_000).unwrap();
    world.state.note_presence(&news[1..], START_MS + 80_000).unwrap();
    let kinds = async |parameters: &str| {
        let (_, body) = world.get(&format!("/api/v1/events{parameters}")).await;
        let events = body["data"]["events"].as_array().unwrap().clone();
        let kinds = events.iter().map(|one| one["kind"].as_str().unwrap().to_owned());
        (kinds.collect::<Vec<_>>(), body["data"]["next_cursor"].as_str().map(str::to_owned))
    };
    let all = [
        "host_back",
        "collector_started",
        "host_lost",
        "kernel",
        "package_updated",
        "package_updated",
        "boot",
    ];
    assert_eq!(kinds("").await, (all.map(str::to_owned).to_vec(), None));
    let (mut seen, mut cursor) = (Vec::new(), Some(String::new()));
    while let Some(from) = cursor {
        let (page, next) = kinds(&format!("?limit=2&cursor={from}")).await;
        seen.extend(page);
        cursor = next;
    }
    assert_eq!(seen, all, "page by page");
    assert_eq!(kinds("?host=web1&kind=host_lost&kind=kernel").await.0, ["host_lost", "kernel"]);

    let (_, body) = world.get("/api/v1/events?kind=collector_started&kind=host_back").await;
    let [back, started] = body["data"]["events"].as_array().unwrap().as_slice() else {
        panic!("{body}")
    };
    let details = json!({"since": "2023-11-14T22:13:20Z", "backlog_records": 4});
    assert_eq!((&back["details"], &back["instance"]), (&details, &json!("web1")));
    assert!(back["text"].as_str().unwrap().starts_with("the host is back after 1m 20s"), "{back}");
    assert_eq!((&started["host"], &started["instance"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_named() {
    let (world, _) = two_hosts().await;
    let check = async |path: &str, status, kind: &str, error: &str| {
        world.check_error(path, status, kind, error).await;
    };
    check("/api/v1/events?host=web9", 404, "not_found", "no host \"web9\"").await;
    let known = "package_installed, package_updated, package_removed, kernel, boot, configuration, \
        agent_version, unit_failed, agent_stopped, shutdown, agent_interrupted, host_lost, \
        host_back, backlog_delivered, gap_declared, buffer_replaced, clock_corrected, clock_right, \
        record_set_aside, collector_started, collector_stopped";
    let error = format!("invalid parameter \"kind\": \"reboot\" is none of {known}");
    check("/api/v1/events?kind=reboot", 400, "bad_data", &error).await;
    for path in ["/api/v1/events?cursor=7", "/api/v1/inventory?cursor=7"] {
        let error = "invalid parameter \"cursor\": it is none that an earlier page gave";
        check(path, 400, "bad_data", error).await;
    }
    let error = "invalid parameter \"limit\": a page has at most 1000 entries";
    check("/api/v1/events?limit=1001", 400, "bad_data", error).await;
}

#[tokio::test]
async fn packages_are_found_where_they_are_installed() {
    let (world, web) = two_hosts().await;
    let never = "the host has not reported its packages yet";
    let expect = json!({"status": "success", "data": {"id": web, "instance": "web1",
        "unknown_reason": never, "managers": []}});
    world.check("/api/v1/hosts/web1/inventory", 200, expect).await;
    world.report(web, 3, packages(&["bash", "zlib"]));
    let (_, body) = world.get("/api/v1/hosts/web1/inventory").await;
    let manager = &body["data"]["managers"][0];
    assert_eq!((&manager["manager"], &manager["complete"]), (&json!("dpkg"), &json!(true)));
    let (_, body) = world.get("/api/v1/inventory?package=zlib").await;
    let zlib = json!({"host": web, "instance": "web1", "manager": "dpkg", "package": "zlib",
        "architecture": "amd64", "version": "1"});
    assert_eq!(body["data"], json!({"packages": [zlib], "next_cursor": null}));
    let (_, body) = world.get("/api/v1/inventory?limit=1&host=web1").await;
    assert_eq!(body["data"]["packages"][0]["package"], "bash");
    let cursor = body["data"]["next_cursor"].as_str().unwrap();
    let (_, body) = world.get(&format!("/api/v1/inventory?limit=1&cursor={cursor}")).await;
    assert_eq!(body["data"], json!({"packages": [zlib], "next_cursor": null}));
}

#[tokio::test]
async fn the_heaviest_processes_are_shown() {
    let (world, web) = two_hosts().await;
    let (_, body) = world.get("/api/v1/hosts/web1/processes").await;
    let never = "the host has not reported its processes yet";
    assert_eq!(
        (&body["data"]["unknown_reason"], &body["data"]["at"]),
        (&json!(never), &Value::Null)
    );
    let usage = ProcessUsage { pid: 7, name: "postgres".to_owned(), ..ProcessUsage::default() };
    let report = ProcessReport {
        at_ms: 1_700_000_000_000,
        over_seconds: 60.0,
        by_cpu: vec![usage],
        by_memory: Vec::new(),
    };
    world.report(web, 3, EventKind::Processes(report));
    let (_, body) = world.get("/api/v1/hosts/web1/processes").await;
    let data = &body["data"];
    assert_eq!(
        (&data["unknown_reason"], &data["by_cpu"][0]["name"]),
        (&Value::Null, &json!("postgres"))
    );
    assert_eq!(
        (&data["at"], &data["over_seconds"]),
        (&json!("2023-11-14T22:13:20Z"), &json!(60.0))
    );
}
