use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rustls::crypto::ring;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::notify::Authorization;
use crate::notify::notification::sample;

/// A server that answers as told and keeps what it got.
struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<(HeaderMap, serde_json::Value)>>>,
    task: JoinHandle<()>,
}

type Shared = (
    Arc<Mutex<Vec<(HeaderMap, serde_json::Value)>>>,
    Arc<Mutex<VecDeque<(StatusCode, &'static str)>>>,
);

async fn take(State((got, answers)): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    got.lock().unwrap().push((headers, serde_json::from_slice(&body).unwrap()));
    let answer = answers.lock().unwrap().pop_front().unwrap_or((StatusCode::OK, ""));
    if answer.0.is_redirection() {
        return (answer.0, [(header::LOCATION, answer.1)]).into_response();
    }
    answer.into_response()
}

impl Receiver {
    async fn start(answers: &[(StatusCode, &'static str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(answers.iter().copied().collect()));
        let app = Router::new().fallback(take).with_state((Arc::clone(&got), answers));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, got, task }
    }

    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn settings(url: String) -> WebhookSettings {
    WebhookSettings {
        url: Secret::Inline(url),
        send_resolved: true,
        max_alerts: 0,
        http: HttpSettings {
            timeout: Duration::from_secs(5),
            allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
            ..HttpSettings::default()
        },
    }
}

fn webhook(address: SocketAddr) -> Webhook {
    Webhook::new(settings(format!("http://{address}/hook?token=hidden"))).unwrap()
}

#[tokio::test]
async fn the_payload_is_alertmanagers() {
    let receiver = Receiver::start(&[]).await;
    let answer = webhook(receiver.address).send(&sample()).await.unwrap();
    assert_eq!(answer, "200");
    let got = receiver.got.lock().unwrap();
    let (headers, payload) = &got[0];
    assert_eq!(headers["content-type"], "application/json");
    let expect = serde_json::json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"HostDown\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "ops",
        "groupLabels": {"alertname": "HostDown"},
        "commonLabels": {"alertname": "HostDown", "severity": "critical"},
        "commonAnnotations": {"action": "look whether it runs", "outcome": "it reports again"},
        "externalURL": "https://upkeep.example.org",
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "HostDown", "instance": "web1", "severity": "critical"},
                "annotations": {
                    "action": "look whether it runs",
                    "outcome": "it reports again",
                    "summary": "web1 is silent",
                },
                "startsAt": "2023-11-14T22:13:20.25Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "https://upkeep.example.org/graph?g0.expr=up",
                "fingerprint": sample().alerts[0].fingerprint().to_string(),
            },
            {
                "status": "resolved",
                "labels": {"alertname": "HostDown", "instance": "web2", "severity": "critical"},
                "annotations": {
                    "action": "look whether it runs",
                    "outcome": "it reports again",
                    "summary": "web2 is silent",
                },
                "startsAt": "2023-11-14T22:13:20.25Z",
                "endsAt": "2023-11-14T22:14:20Z",
                "generatorURL": "https://upkeep.example.org/graph?g0.expr=up",
                "fingerprint": sample().alerts[1].fingerprint().to_string(),
            },
        ],
    });
    assert_eq!(*payload, expect);
}

#[tokio::test]
async fn a_long_group_is_cut_and_says_so() {
    let receiver = Receiver::start(&[]).await;
    let mut settings = settings(format!("http://{}", receiver.address));
    settings.max_alerts = 1;
    Webhook::new(settings).unwrap().send(&sample()).await.unwrap();
    let got = receiver.got.lock().unwrap();
    assert_eq!(got[0].1["truncatedAlerts"], 1);
    assert_eq!(got[0].1["alerts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn answers_are_told_apart_and_show_no_secret() {
    let check = async |status: StatusCode, is_permanent: bool| {
        let receiver = Receiver::start(&[(status, "no\r\nroom")]).await;
        let error = webhook(receiver.address).send(&sample()).await.unwrap_err();
        assert_eq!(error.is_permanent(), is_permanent, "{error}");
        let text = error.to_string();
        assert!(text.contains(status.as_str()) && !text.contains("hidden"), "{text}");
        assert!(!text.contains('\n') && text.ends_with("no  room"), "{text}");
    };
    check(StatusCode::BAD_REQUEST, true).await;
    check(StatusCode::NOT_FOUND, true).await;
    check(StatusCode::TOO_MANY_REQUESTS, false).await;
    check(StatusCode::INTERNAL_SERVER_ERROR, false).await;
    check(StatusCode::SERVICE_UNAVAILABLE, false).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Receiver::start(&[]).await;
    let location: &'static str = Box::leak(format!("http://{}/", target.address).into_boxed_str());
    let receiver = Receiver::start(&[(StatusCode::TEMPORARY_REDIRECT, location)]).await;
    let error = webhook(receiver.address).send(&sample()).await.unwrap_err();
    assert!(error.to_string().contains("answered 307") && error.is_permanent(), "{error}");
    assert_eq!((receiver.count(), target.count()), (1, 0));
}

#[tokio::test]
async fn nothing_is_sent_inside_unless_it_is_allowed() {
    let receiver = Receiver::start(&[]).await;
    let port = receiver.address.port();
    let check = async |host: &str| {
        let mut settings = settings(format!("http://{host}:{port}/"));
        settings.http.allow_networks.clear();
        let error = Webhook::new(settings).unwrap().send(&sample()).await.unwrap_err();
        assert!(matches!(error, NotifyError::Forbidden { .. }), "{host}: {error}");
        assert!(error.is_permanent() && error.to_string().contains("allow_networks"), "{error}");
    };
    // A name, and the ways to write an address that browsers and libraries accept.
    for host in ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"] {
        check(host).await;
    }
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn nobody_there_is_worth_another_try() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = webhook(address).send(&sample()).await.unwrap_err();
    assert!(!error.is_permanent() && matches!(error, NotifyError::Unreachable { .. }), "{error}");
    assert!(!error.to_string().contains("hidden"), "{error}");
}

#[tokio::test]
async fn a_receiver_that_hangs_is_left_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(format!("http://{}/", listener.local_addr().unwrap()));
    settings.http.timeout = Duration::from_millis(100);
    let error = Webhook::new(settings).unwrap().send(&sample()).await.unwrap_err();
    assert!(!error.is_permanent() && error.to_string().contains("timed out"), "{error}");
}

#[tokio::test]
async fn secrets_are_read_when_they_are_used() {
    let receiver = Receiver::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (url, token) = (folder.path().join("url"), folder.path().join("token"));
    let mut settings = settings(String::new());
    settings.url = Secret::File(url.clone());
    let credentials = Secret::File(token.clone());
    settings.http.authorization =
        Some(Authorization::Header { scheme: "Bearer".to_owned(), credentials });
    let webhook = Webhook::new(settings).unwrap();
    let error = webhook.send(&sample()).await.unwrap_err();
    assert!(!error.is_permanent() && error.to_string().contains("url"), "{error}");
    std::fs::write(&url, format!("http://{}/\n", receiver.address)).unwrap();
    std::fs::write(&token, "first\n").unwrap();
    webhook.send(&sample()).await.unwrap();
    std::fs::write(&token, "second\n").unwrap();
    webhook.send(&sample()).await.unwrap();
    let got = receiver.got.lock().unwrap();
    let tokens: Vec<_> = got.iter().map(|(headers, _)| headers["authorization"].clone()).collect();
    assert_eq!(tokens, ["Bearer first", "Bearer second"]);
}

#[tokio::test]
async fn tls_is_checked_and_a_ca_can_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, certified.cert.pem()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certified.cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der())
                .unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let service = hyper::service::service_fn(async |_| {
                Ok::<_, std::convert::Infallible>(hyper::Response::new(String::new()))
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            let _ =
                hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new())
                    .serve_connection(io, service)
                    .await;
        }
    });
    let mut settings = settings(format!("https://localhost:{port}/"));
    settings.http.allow_networks.push("::1/128".parse().unwrap());
    let error = Webhook::new(settings.clone()).unwrap().send(&sample()).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    settings.http.ca_file = Some(ca_file);
    Webhook::new(settings).unwrap().send(&sample()).await.unwrap();
    server.abort();
}
