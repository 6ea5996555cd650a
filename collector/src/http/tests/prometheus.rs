//! Prometheus' query API: shapes, parameters and words.

use reqwest::Method;
use serde_json::{Value, json};

use super::world::{World, answer};

async fn with_samples() -> World {
    let world = World::plain().await;
    let values = |offset: f64| -> Vec<(i64, f64)> {
        (0..5_u32).map(|step| (i64::from(step) * 15, offset + f64::from(step))).collect()
    };
    world.commit("up", &[("job", "node"), ("instance", "web1")], &values(0.0));
    world.commit("up", &[("job", "node"), ("instance", "web2")], &values(10.0));
    world.commit("load", &[("job", "other"), ("http.status", "x")], &[(0, 0.5)]);
    world
}

fn success(data: Value) -> Value {
    json!({"status": "success", "data": data})
}

#[tokio::test]
async fn instant_queries_have_prometheus_form() {
    let world = with_samples().await;
    let metric = json!({"__name__": "up", "instance": "web1", "job": "node"});
    let vector = |metric: &Value, at: Value, value: &str| {
        let result = json!([{"metric": metric, "value": [at, value]}]);
        success(json!({"resultType": "vector", "result": result}))
    };
    let check = async |query: &str, expect: Value| {
        world.check(&format!("/api/v1/query?{query}"), 200, expect).await;
    };
    let scalar = json!({"resultType": "scalar", "result": [4, "2"]});
    check("query=1%2B1&time=4", success(scalar)).await;
    let text = json!({"resultType": "string", "result": [4.5, "a\"b"]});
    check("query=%22a%5C%22b%22&time=4.5", success(text)).await;
    let one = vector(&metric, json!(1_700_000_060), "4");
    check("query=up{instance=%22web1%22}&time=1700000060", one.clone()).await;
    check("query=up{instance=%22web1%22}&time=2023-11-14T22:14:20Z", one).await;
    let none = success(json!({"resultType": "vector", "result": []}));
    check("query=nothing&time=1700000060", none.clone()).await;
    check("query=up&time=1700001060", none.clone()).await;
    check("query=load&time=1700000060&lookback_delta=30s", none).await;
    let sum = vector(&json!({}), json!(1_700_000_060), "18");
    check("query=sum(up)&time=1700000060", sum).await;
    let matrix = json!({"resultType": "matrix", "result": [{"metric": metric,
        "values": [[1_700_000_045, "3"], [1_700_000_060, "4"]]}]});
    check("query=up{instance=%22web1%22}[30s]&time=1700000060", success(matrix)).await;
    let (_, cut) = world.get("/api/v1/query?query=up&time=1700000060&limit=1").await;
    assert_eq!(cut["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(cut["warnings"], json!(["results truncated due to limit"]));
}

#[tokio::test]
async fn range_queries_have_prometheus_form() {
    let world = with_samples().await;
    let path = "/api/v1/query_range?query=sum(up)&start=1700000000&end=1700000060&step=30s";
    let matrix = json!({"resultType": "matrix", "result": [{"metric": {}, "values":
        [[1_700_000_000, "10"], [1_700_000_030, "14"], [1_700_000_060, "18"]]}]});
    world.check(path, 200, success(matrix)).await;
}

#[tokio::test]
async fn parameters_may_come_as_a_form() {
    let world = with_samples().await;
    let request = world
        .request(Method::POST, "/api/v1/query?time=1", Some("read"))
        .form(&[("query", "1+1"), ("time", "4")]);
    let expect = success(json!({"resultType": "scalar", "result": [4, "2"]}));
    assert_eq!(answer(request).await.1, expect);
    let request = world
        .request(Method::POST, "/api/v1/series", Some("read"))
        .form(&[("match[]", "load"), ("match[]", "up{instance=\"web1\"}")]);
    let expect = success(json!([
        {"__name__": "load", "http.status": "x", "job": "other"},
        {"__name__": "up", "instance": "web1", "job": "node"},
    ]));
    assert_eq!(answer(request).await.1, expect);
}

#[tokio::test]
async fn bad_parameters_are_named_in_prometheus_words() {
    let world = with_samples().await;
    let check = async |path: &str, name: &str, why: &str| {
        let error = format!("invalid parameter {name:?}: {why}");
        world.check_error(&format!("/api/v1/{path}"), 400, "bad_data", &error).await;
    };
    let time = "cannot parse \"x\" to a valid timestamp";
    let duration = "cannot parse \"x\" to a valid duration";
    check("query?query=up&time=x", "time", time).await;
    check("query?query=up&timeout=x", "timeout", duration).await;
    check("query?query=up&lookback_delta=x", "lookback_delta", duration).await;
    check("query?query=up&limit=-1", "limit", "limit must be non-negative").await;
    check("series?match[]=up&start=x", "start", time).await;
    let missing = "cannot parse \"\" to a valid timestamp";
    check("query_range?query=up&end=1&step=1", "start", missing).await;
    let order = "end timestamp must not be before start time";
    check("query_range?query=up&start=2&end=1&step=1", "end", order).await;
    check("query_range?query=up&start=0&end=60&step=x", "step", duration).await;
    let step = "zero or negative query resolution step widths are not accepted. Try a positive \
                integer";
    check("query_range?query=up&start=0&end=60&step=0", "step", step).await;
    check("query_range?query=up&start=0&end=60&step=-1", "step", step).await;
    let of_type = "invalid expression type \"range vector\" for range query, must be Scalar or \
                   instant Vector";
    check("query_range?query=up[5m]&start=0&end=1&step=1", "query", of_type).await;
}

#[tokio::test]
async fn what_does_not_parse_is_bad_data() {
    let world = with_samples().await;
    let check = async |path: &str, name: &str, why: &str| {
        let (code, body) = world.get(&format!("/api/v1/{path}")).await;
        let error = body["error"].as_str().unwrap();
        assert_eq!((code.as_u16(), &body["errorType"]), (400, &json!("bad_data")), "{path}");
        assert_eq!(error, format!("invalid parameter {name:?}: {why}"), "{path}");
    };
    let unclosed = "1:5: parse error: unclosed left parenthesis";
    check("query?query=sum(", "query", unclosed).await;
    check("query", "query", "unknown position: parse error: no expression found in input").await;
    check("series?match[]=1%2B1", "match[]", "1:1: parse error: unexpected number \"1\"").await;
    let open = "1:4: parse error: unexpected end of input inside braces";
    check("labels?match[]=up{", "match[]", open).await;
}

#[tokio::test]
async fn every_class_of_error_has_its_code() {
    let world = with_samples().await;
    let check = async |path: &str, status: u16, kind: &str, error: &str| {
        world.check_error(&format!("/api/v1/{path}"), status, kind, error).await;
    };
    check("series", 400, "bad_data", "no match[] parameter provided").await;
    let resolution = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing \
                      the query resolution (?step=XX)";
    let path = "query_range?query=up&start=0&end=11001&step=1";
    check(path, 400, "bad_data", resolution).await;
    let timeout = "query timed out in expression evaluation";
    check("query?query=up&time=1700000060&timeout=0", 503, "timeout", timeout).await;
    let (code, body) = world.get("/api/v1/query?query=up%2Bon(job)up&time=1700000060").await;
    assert_eq!((code.as_u16(), &body["errorType"]), (422, &json!("execution")), "{body}");
}

#[tokio::test]
async fn labels_and_their_values_are_listed() {
    let world = with_samples().await;
    let check = async |path: &str, expect: Value| {
        world.check(&format!("/api/v1/{path}"), 200, success(expect)).await;
    };
    check("labels", json!(["__name__", "http.status", "instance", "job"])).await;
    check("labels?match[]=up", json!(["__name__", "instance", "job"])).await;
    check("labels?match[]=up&match[]=load&start=1700090000", json!([])).await;
    check("label/job/values", json!(["node", "other"])).await;
    check("label/U__http_2e_status/values", json!(["x"])).await;
    check("label/instance/values?match[]=up{instance=~%22.*2%22}", json!(["web2"])).await;
    check("label/nothing/values", json!([])).await;
    let (_, cut) = world.get("/api/v1/label/job/values?limit=1").await;
    assert_eq!(cut["data"], json!(["node"]));
    assert_eq!(cut["warnings"], json!(["results truncated due to limit"]));
}

#[tokio::test]
async fn build_information_has_no_features() {
    let world = World::plain().await;
    let (_, body) = world.get("/api/v1/status/buildinfo").await;
    assert!(body["data"]["version"].as_str().unwrap().starts_with("3."));
    assert_eq!(body["data"].get("features"), None);
}
