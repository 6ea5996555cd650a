//! Remote write, as senders see it.

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::world::{START_MS, World};
use crate::remote::MAX_PACKED_BYTES;

/// One series with one sample as a packed message.
fn body(name: &str, at_ms: i64, value: f64) -> Vec<u8> {
    let field = |tag: u8, bytes: &[u8]| {
        [&[tag << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    };
    let label = field(1, &[field(1, b"__name__"), field(2, name.as_bytes())].concat());
    let mut sample = vec![1 << 3 | 1];
    sample.extend(value.to_le_bytes());
    sample.push(2 << 3);
    let mut rest = at_ms as u64;
    while rest >= 0x80 {
        sample.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    sample.push(rest as u8);
    let message = field(1, &[label, field(2, &sample)].concat());
    snap::raw::Encoder::new().compress_vec(&message).unwrap()
}

async fn write(world: &World, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
    let mut request = world.request(Method::POST, "/api/v1/write", Some("write")).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.headers().get(header::RETRY_AFTER), None);
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    if status == StatusCode::NO_CONTENT {
        assert_eq!(text, "");
        return (status, text);
    }
    let error: Value = serde_json::from_str(&text).unwrap();
    (status, error["error"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn samples_are_stored_before_the_answer() {
    let world = World::plain().await;
    assert_eq!(write(&world, &[], body("x", START_MS, 1.5)).await.0, 204);
    let result = json!([{"metric": {"__name__": "x"}, "value": [START_MS / 1000, "1.5"]}]);
    let data = json!({"resultType": "vector", "result": result});
    let path = format!("/api/v1/query?query=x&time={}", START_MS / 1000);
    world.check(&path, 200, json!({"status": "success", "data": data})).await;
}

#[tokio::test]
async fn what_will_never_be_stored_is_told_in_a_way_that_ends_the_matter() {
    let world = World::plain().await;
    let check = async |headers: &[(&str, &str)], body: Vec<u8>, status: u16, expect: &str| {
        let (found, said) = write(&world, headers, body).await;
        assert!((found, said.contains(expect)) == (status, true), "{found} {said}");
    };
    let good = || body("x", START_MS, 1.5);
    let version_2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    check(&[("content-type", version_2)], good(), 415, "is not accepted").await;
    check(&[("content-type", "text/plain")], good(), 415, "text/plain").await;
    check(&[("content-encoding", "zstd")], good(), 415, "zstd").await;
    check(&[], b"no snappy".to_vec(), 400, "cannot be unpacked").await;
    check(&[], body("x", START_MS + 700_000, 1.0), 400, "too far in the future").await;
    check(&[], body("x", 1_000, 1.0), 400, "too old sample").await;
    check(&[], vec![0; MAX_PACKED_BYTES + 1], 400, "is longer than").await;
    // Longer than what other requests may have.
    check(&[], vec![0; 2 * 1024 * 1024], 400, "cannot be unpacked").await;
}

#[tokio::test]
async fn a_store_that_takes_nothing_is_told_as_something_that_passes() {
    let world = World::plain().await;
    world.store.close().unwrap();
    let request = world.request(Method::POST, "/api/v1/write", Some("write"));
    let response = request.body(body("x", START_MS, 1.5)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "5");
}
