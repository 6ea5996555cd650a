//! What clients of Prometheus ask beside queries: Grafana's ways, metadata, targets, expressions, gzip.

use std::sync::atomic::Ordering;

use reqwest::{Method, header};
use serde_json::{Value, json};

use super::world::{START_MS, World, answer};
use crate::http::error::ErrorType;
use crate::state::{MetricMetadata, MetricType};

fn success(data: Value) -> Value {
    json!({"status": "success", "data": data})
}

/// What Grafana sends as it saves and tests a data source and fills its menus, in its form.
#[tokio::test]
async fn grafana_finds_what_it_asks() {
    let world = World::plain().await;
    world.commit("up", &[("job", "node"), ("http.status", "x")], &[(0, 1.0)]);
    let check = async |method: Method, path: &str, form: &[(&str, &str)], expect: Value| {
        let mut request = world.request(method.clone(), path, Some("read"));
        if method == Method::POST {
            request = request.form(form);
        } else {
            request = request.query(form);
        }
        let (status, body) = answer(request).await;
        assert_eq!((status.as_u16(), &body), (200, &expect), "{method} {path} {form:?}");
    };
    let (get, post) = (Method::GET, Method::POST);
    let two = success(json!({"resultType": "scalar", "result": [4, "2"]}));
    check(post.clone(), "/api/v1/query", &[("query", "1+1"), ("time", "4")], two).await;
    let stretch = [("start", "1699999000"), ("end", "1700003600")];
    let names = success(json!(["__name__", "http.status", "job"]));
    check(post.clone(), "/api/v1/labels", &stretch, names.clone()).await;
    check(get.clone(), "/api/v1/labels", &stretch, names).await;
    let escaped = "/api/v1/label/U__http_2e_status/values";
    check(get.clone(), escaped, &stretch, success(json!(["x"]))).await;
    let matching =
        [("match[]", "{__name__=\"up\"}"), ("start", "1699999000"), ("end", "1700003600")];
    let values = "/api/v1/label/__name__/values";
    check(get.clone(), values, &matching, success(json!(["up"]))).await;
    let series = success(json!([{"__name__": "up", "http.status": "x", "job": "node"}]));
    check(post, "/api/v1/series", &matching, series).await;
    check(get.clone(), "/api/v1/metadata", &[("limit_per_metric", "1")], success(json!({}))).await;
    let rules = success(json!({"groups": []}));
    check(get, "/api/v1/rules", &[], rules).await;
    let (_, build) = world.get("/api/v1/status/buildinfo").await;
    assert!(build["data"].get("features").is_none() && build["data"]["version"].is_string());
    assert_eq!(world.get("/api/v1/query_exemplars").await.0, 404);
}

#[tokio::test]
async fn metadata_tells_what_metrics_are() {
    let world = World::plain().await;
    let one = |name: &str, kind, help: &str| {
        let (help, unit) = (help.to_owned(), String::new());
        (name.to_owned(), MetricMetadata { kind, help, unit })
    };
    let described = vec![
        one("a_total", MetricType::Counter, "As."),
        one("b", MetricType::Gauge, "Bs."),
        one("b", MetricType::Unknown, "Other bs."),
    ];
    world.state.keep_metadata(described).unwrap();
    let check = async |query: &str, expect: Value| {
        world.check(&format!("/api/v1/metadata{query}"), 200, success(expect)).await;
    };
    let view = |kind: &str, help: &str| json!({"type": kind, "help": help, "unit": ""});
    let a = json!([view("counter", "As.")]);
    let b = json!([view("gauge", "Bs."), view("unknown", "Other bs.")]);
    check("", json!({"a_total": a, "b": b})).await;
    check("?limit=1", json!({"a_total": a})).await;
    check("?limit=0", json!({})).await;
    check("?limit=-1&metric=b", json!({"b": b})).await;
    check("?metric=b&limit_per_metric=1", json!({"b": [view("gauge", "Bs.")]})).await;
    check("?metric=c", json!({})).await;
    for name in ["limit", "limit_per_metric"] {
        let path = format!("/api/v1/metadata?{name}=x");
        world.check_error(&path, 400, "bad_data", &format!("{name} must be a number")).await;
    }
}

#[tokio::test]
async fn targets_are_the_hosts() {
    let world = World::plain().await;
    let id = world.enroll("web1");
    let revoked = world.enroll("web2");
    world.state.revoke_host(revoked, &super::world::by()).unwrap();
    world.fleet.refresh(&world.state).unwrap();
    let target = |health: &str, error: &str, scraped: &str| {
        json!({
            "discoveredLabels": {"__address__": "web1", "__meta_upkeep_host": id,
                "__meta_upkeep_hostname": "web1", "job": "node"},
            "labels": {"instance": "web1", "job": "node"}, "scrapePool": "node", "scrapeUrl": "",
            "globalUrl": "", "lastError": error, "lastScrape": scraped, "lastScrapeDuration": 0.0,
            "health": health, "scrapeInterval": "10s", "scrapeTimeout": "10s",
        })
    };
    let check = async |query: &str, active: Value, counts: Value| {
        let data =
            json!({"activeTargets": active, "droppedTargets": [], "droppedTargetCounts": counts});
        world.check(&format!("/api/v1/targets{query}"), 200, success(data)).await;
    };
    let unknown = target("unknown", "it has not connected yet", "0001-01-01T00:00:00Z");
    check("", json!([unknown]), json!({"node": 0})).await;
    world.fleet.member(id).unwrap().heard(START_MS + 1000);
    let up = target("up", "", "2023-11-14T22:13:21Z");
    check("?state=active", json!([up]), json!({})).await;
    check("?state=dropped", json!([]), json!({"node": 0})).await;
    check("?state=Any&scrapePool=node", json!([up]), json!({"node": 0})).await;
    check("?scrapePool=other", json!([]), json!({})).await;
    world.time_ms.store(START_MS + 600_000, Ordering::Relaxed);
    let silent = "nothing came from it since 2023-11-14T22:13:21Z";
    check("?state=active", json!([target("down", silent, "2023-11-14T22:13:21Z")]), json!({}))
        .await;
}

#[tokio::test]
async fn expressions_are_formatted_and_parsed() {
    let world = World::plain().await;
    for method in [Method::GET, Method::POST] {
        let ask = |path: &str, text: &str| {
            let request = world.request(method.clone(), path, Some("read"));
            let pair = [("query", text.to_owned())];
            if method == Method::POST { request.form(&pair) } else { request.query(&pair) }
        };
        let (_, body) = answer(ask("/api/v1/format_query", "sum(a)by(b)")).await;
        assert_eq!(body, success(json!("sum by (b) (a)")));
        let (_, body) = answer(ask("/api/v1/parse_query", "(1)")).await;
        let number = json!({"type": "numberLiteral", "val": "1"});
        assert_eq!(body, success(json!({"type": "parenExpr", "expr": number})));
        for path in ["/api/v1/format_query", "/api/v1/parse_query"] {
            let (status, body) = answer(ask(path, "sum(")).await;
            assert_eq!((status.as_u16(), &body["errorType"]), (400, &json!("bad_data")));
            let error = body["error"].as_str().unwrap();
            assert!(error.starts_with("invalid parameter \"query\": "), "{error}");
        }
    }
}

#[tokio::test]
async fn long_answers_are_compressed_for_who_takes_that() {
    let world = World::plain().await;
    for number in 0..2000 {
        world.commit("up", &[("instance", &format!("host-{number:04}"))], &[(0, 1.0)]);
    }
    let request = |path: &str| world.request(Method::GET, path, Some("read"));
    let check = async |path: &str, is_large: bool| {
        let plain = request(path).send().await.unwrap();
        assert!(plain.headers().get(header::CONTENT_ENCODING).is_none());
        let plain = plain.bytes().await.unwrap();
        let packed = request(path).header(header::ACCEPT_ENCODING, "gzip").send().await.unwrap();
        let encoding = packed.headers().get(header::CONTENT_ENCODING).cloned();
        let packed = packed.bytes().await.unwrap();
        if is_large {
            assert_eq!(encoding.unwrap(), "gzip");
            assert!(packed.starts_with(&[0x1f, 0x8b]) && packed.len() < plain.len() / 4);
        } else {
            assert_eq!((encoding, packed), (None, plain));
        }
    };
    check("/api/v1/query?query=up&time=1700000000", true).await;
    check("/api/v1/query_range?query=up&start=1700000000&end=1700000100&step=1", true).await;
    check("/api/v1/series?match[]=up", true).await;
    check("/api/v1/query?query=1%2B1", false).await;
    check("/api/v1/label/job/values", false).await;
}

#[tokio::test]
async fn look_ups_have_a_time_limit() {
    let world = World::plain().await;
    world.commit("up", &[], &[(0, 1.0)]);
    let error = "query timed out in the look-up of series";
    let (status, kind) = (ErrorType::Timeout.status().as_u16(), ErrorType::Timeout.word());
    for path in ["series?match[]=up&", "labels?", "label/job/values?"] {
        world.check_error(&format!("/api/v1/{path}timeout=0"), status, kind, error).await;
        assert_eq!(world.get(&format!("/api/v1/{path}timeout=1m")).await.0, 200);
    }
}
