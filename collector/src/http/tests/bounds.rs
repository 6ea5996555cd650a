//! What no request can do, whoever it comes from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use reqwest::{Method, StatusCode, header};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use upkeep_store::Store;

use super::world::{World, answer, digester, dispatching, reloader, write_in};
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::http::{
    BODY_TIMEOUT, HANDSHAKE_TIMEOUT, HEADER_TIMEOUT, MAX_BODY_BYTES, Meters, Readiness, ServeError,
    Services, serve,
};
use crate::ledger::Ledger;
use crate::query::{Engine, Settings};
use crate::rule::reloading;
use crate::state::{FILE_NAME, State};

/// Sends raw bytes and returns everything that comes until the server closes.
async fn raw(world: &World, sent: &str) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    String::from_utf8(received).unwrap()
}

#[tokio::test]
async fn pages_that_are_not_there_are_error_objects() {
    let world = World::plain().await;
    world.check_error("/nowhere", 404, "not_found", "no such page: /nowhere").await;
    let (status, body) = answer(world.request(Method::PUT, "/api/v1/query", Some("read"))).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(body["error"], "PUT is not a method of /api/v1/query");
    let response = world.request(Method::PUT, "/api/v1/query", None).send().await.unwrap();
    let allowed = response.headers()[header::ALLOW].to_str().unwrap();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
}

#[tokio::test]
async fn an_oversized_body_is_refused() {
    let world = World::plain().await;
    let head = "POST /api/v1/query HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer read\r\n\
                Connection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let announced = format!("{head}Content-Length: {}\r\n\r\n", MAX_BODY_BYTES + 1);
    let answer = raw(&world, &announced).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too_large"), "{answer}");

    let chunk = "a".repeat(MAX_BODY_BYTES + 1);
    let in_chunks = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n0\r\n\r\n",
        chunk.len()
    );
    let answer = raw(&world, &in_chunks).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too_large"), "{answer}");

    let fitting = format!("{head}Content-Length: 9\r\n\r\nquery=1%2B1");
    assert!(raw(&world, &fitting).await.starts_with("HTTP/1.1 200"));
}

/// Runs in real time, since sockets do not heed a paused clock.
#[tokio::test]
async fn a_slow_or_silent_peer_is_cut_off() {
    let (plain, secure) = (World::plain().await, World::secure().await);
    let check = async |world: &World, sent: &str, timeout: Duration, said: &str| {
        let since = Instant::now();
        let answer = raw(world, sent).await;
        let lasted = since.elapsed();
        assert!(answer.starts_with(said) && !answer.contains("200 OK"), "{answer}");
        assert!(lasted > timeout / 2 && lasted < timeout * 2, "{lasted:?}");
    };
    let without_body = "POST /api/v1/query HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer read\r\n\
                        Content-Type: application/x-www-form-urlencoded\r\n\
                        Content-Length: 9\r\n\r\nquery";
    tokio::join!(
        check(&plain, "GET /-/healthy HTTP/1.1\r\nHost:", HEADER_TIMEOUT, ""),
        check(&plain, "", HEADER_TIMEOUT, ""),
        check(&secure, "", HANDSHAKE_TIMEOUT, ""),
        check(&plain, without_body, BODY_TIMEOUT, "HTTP/1.1 408"),
    );
}

#[tokio::test]
async fn a_form_that_is_none_is_bad_data() {
    let world = World::plain().await;
    let request = world
        .request(Method::POST, "/api/v1/query", Some("read"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body("query=%ff%fe");
    let (status, body) = answer(request).await;
    assert_eq!((status.as_u16(), &body["errorType"]), (400, &json!("bad_data")), "{body}");
}

#[tokio::test]
async fn readiness_tells_what_is_missing() {
    let world = World::plain().await;
    world.check("/-/ready", 200, json!({"ready": true, "reasons": []})).await;
    world.readiness.hold("rules", "being read");
    world.check("/-/ready", 503, json!({"ready": false, "reasons": ["rules: being read"]})).await;
    world.readiness.release("rules");
    world.check("/-/healthy", 200, json!({"healthy": true})).await;
    assert_eq!(world.get("/-/ready").await.0, StatusCode::OK);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_code() {
    let world = World::plain().await;
    world.get("/api/v1/hosts/one").await;
    world.get("/api/v1/hosts/two").await;
    world.get("/made-up").await;
    let response = world.request(Method::GET, "/metrics", Some("read")).send().await.unwrap();
    let text = response.text().await.unwrap();
    for line in [
        r#"upkeep_http_requests_total{handler="/api/v1/hosts/{host}",code="404"} 2"#,
        r#"upkeep_http_requests_total{handler="none",code="404"} 1"#,
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("made-up") && text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn plain_http_beyond_loopback_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(&folder.path().join(FILE_NAME)).unwrap();
    let store = Arc::new(Store::open(&folder.path().join("samples"), Default::default()).unwrap());
    let mut registry = Registry::default();
    let meters = Meters::register(&mut registry);
    let fleet = Arc::new(Fleet::load(&state, 0).unwrap());
    let (clock, shutdown) = (Clock::system(), CancellationToken::new());
    let (alerts, _dispatcher) = dispatching(&state, &clock, &shutdown);
    let engine = Engine::new(Arc::clone(&store), Settings::default());
    let (rules, ledger) = (Arc::default(), Ledger::default());
    let services = Services {
        digester: digester(&rules, &ledger, &engine, &clock),
        ledger,
        clock,
        reloader: reloader(reloading().0, &alerts),
        alerts,
        write_in: write_in(&store, &state, &fleet),
        fleet,
        state,
        engine,
        rules,
        alertmanagers: Default::default(),
        charts: Arc::default(),
        readiness: Arc::new(Readiness::default()),
        registry: Arc::new(registry),
        meters,
    };
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = serve(listener, None, services, shutdown).await;
    assert!(matches!(refused, Err(ServeError::Plain(_))), "{refused:?}");
}

#[tokio::test]
async fn shutdown_ends_idle_connections() {
    let world = World::plain().await;
    world.get("/-/healthy").await;
    let since = Instant::now();
    world.stop().await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}
