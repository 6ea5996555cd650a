//! What all channels by HTTP have in common, held against a server that answers as it is told.

mod hostile;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::notification::sample;
use super::*;

/// An answer: its status, a header, its text.
pub(super) type Told = (u16, Option<(header::HeaderName, String)>, &'static str);

/// A service that keeps what it got and gives the answers that it was told to, then its own success.
pub(super) struct Service {
    pub(super) address: SocketAddr,
    got: Arc<Mutex<Vec<(String, Value)>>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Script {
    got: Arc<Mutex<Vec<(String, Value)>>>,
    answers: Arc<Mutex<VecDeque<Told>>>,
    success: (u16, &'static str),
}

async fn take(State(script): State<Script>, uri: Uri, body: Bytes) -> Response {
    let body = serde_json::from_slice(&body).unwrap();
    script.got.lock().unwrap().push((uri.to_string(), body));
    let told = script.answers.lock().unwrap().pop_front();
    let (status, header, text) = told.unwrap_or((script.success.0, None, script.success.1));
    let status = StatusCode::from_u16(status).unwrap();
    match header {
        Some((name, value)) => (status, [(name, value)], text).into_response(),
        None => (status, text).into_response(),
    }
}

impl Service {
    pub(super) async fn start(success: (u16, &'static str), answers: Vec<Told>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(answers.into()));
        let script = Script { got: Arc::clone(&got), answers, success };
        let app = Router::new()
            .fallback(take)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(script);
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, got, task }
    }

    /// The paths and messages that came.
    pub(super) fn got(&self) -> Vec<(String, Value)> {
        self.got.lock().unwrap().clone()
    }

    /// The one message that came.
    pub(super) fn message(&self) -> Value {
        let [(_, message)] = &self.got()[..] else { panic!("{:?}", self.got()) };
        message.clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn local() -> HttpSettings {
    HttpSettings {
        timeout: Duration::from_secs(20),
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..HttpSettings::default()
    }
}

pub(super) fn secret(text: &str) -> Secret {
    Secret::Inline(text.to_owned())
}

/// What stands in addresses and messages and must never show in an error.
pub(super) const TOKEN: &str = "T0p-s3cret-t0ken";

/// A channel of each kind, and what its service says to a message that it takes.
fn channels(
    address: SocketAddr,
    http: &HttpSettings,
) -> Vec<(ChannelSettings, (u16, &'static str))> {
    let url = format!("http://{address}/services/{TOKEN}");
    let settings = [
        slack::tests::settings(&url, http.clone()),
        msteams::tests::settings(&url, http.clone()),
        pagerduty::tests::settings(&url, http.clone()),
        telegram::tests::settings(&format!("http://{address}"), http.clone()),
        ntfy::tests::settings(&format!("http://{address}/"), http.clone()),
        ChannelSettings::Webhook(WebhookSettings {
            url: secret(&url),
            send_resolved: true,
            max_alerts: 0,
            http: http.clone(),
        }),
    ];
    let successes = [
        (200, "ok"),
        (202, ""),
        (202, r#"{"status":"success","message":"Event processed","dedup_key":"x"}"#),
        (200, r#"{"ok":true,"result":{"message_id":1}}"#),
        (200, r#"{"id":"x","time":1,"event":"message","topic":"t"}"#),
        (200, ""),
    ];
    settings.into_iter().zip(successes).collect()
}

/// How a channel of each kind fares with a service that gives these answers.
async fn each<Check: AsyncFn(&str, Channel, &Service)>(
    answers: impl Fn() -> Vec<Told>,
    check: Check,
) {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let count = channels(nowhere, &local()).len();
    for at in 0..count {
        let success = channels(nowhere, &local())[at].1;
        let service = Service::start(success, answers()).await;
        let (settings, _) = channels(service.address, &local()).swap_remove(at);
        let channel = Channel::new(settings).unwrap();
        let kind = channel.kind().to_owned();
        check(&kind, channel, &service).await;
    }
}

#[tokio::test]
async fn what_is_taken_is_told() {
    each(Vec::new, async |kind, channel, service| {
        channel.send(&sample()).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        let text = service.message().to_string();
        for expect in ["HostDown", "web1", "look whether it runs", "it reports again"] {
            assert!(text.contains(expect), "{kind}: {expect} is not in {text}");
        }
    })
    .await;
}

#[tokio::test]
async fn refusals_for_good_and_for_now_are_told_apart_and_show_no_secret() {
    const NO: &str = "no\r\nsuch T0p-s3cret-t0ken here";
    let check = async |status: u16, is_permanent: bool| {
        each(
            || vec![(status, None, NO)],
            async |kind, channel, _| {
                let error = channel.send(&sample()).await.unwrap_err();
                let text = error.to_string();
                assert_eq!(error.is_permanent(), is_permanent, "{kind}: {text}");
                assert!(text.contains(&status.to_string()), "{kind}: {text}");
                assert!(
                    !text.contains(TOKEN) && text.ends_with("no  such [hidden] here"),
                    "{text}"
                );
                channel.send(&sample()).await.unwrap();
            },
        )
        .await;
    };
    check(400, true).await;
    check(403, true).await;
    check(404, true).await;
    check(408, false).await;
    check(429, false).await;
    check(500, false).await;
    check(503, false).await;
}

#[tokio::test]
async fn a_service_that_asks_for_silence_gets_it() {
    let check = async |status: u16, wait: &str, seconds: u64| {
        let answer = || vec![(status, Some((header::RETRY_AFTER, wait.to_owned())), "slower")];
        each(answer, async |kind, channel, service| {
            let error = channel.send(&sample()).await.unwrap_err();
            assert!(error.to_string().contains("slower"), "{kind}: {error}");
            let second = channel.send(&sample()).await;
            if seconds == 0 {
                assert!(second.is_ok(), "{kind}: {second:?}");
                return;
            }
            let error = second.unwrap_err();
            let NotifyError::Silence { seconds: left, .. } = &error else { panic!("{error}") };
            assert!(*left <= seconds && *left + 10 >= seconds, "{kind}: {left} s");
            assert!(!error.is_permanent() && !error.to_string().contains(TOKEN), "{error}");
            assert_eq!(service.got().len(), 1, "{kind} was told all the same");
        })
        .await;
    };
    check(429, "60", 60).await;
    check(503, "60", 60).await;
    check(429, "999999999", 900).await;
    check(429, "0", 0).await;
    check(429, "soon", 0).await;
    check(404, "60", 0).await;
    // By the date that the server sends along; one that is past asks for nothing.
    check(429, "Fri, 01 Jan 2100 00:00:00 GMT", 900).await;
    check(429, "Thu, 01 Jan 1970 00:00:00 GMT", 0).await;
}

#[tokio::test]
async fn silence_ends() {
    let answer = || vec![(429, Some((header::RETRY_AFTER, "1".to_owned())), "")];
    each(answer, async |kind, channel, service| {
        assert!(channel.send(&sample()).await.is_err());
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        channel.send(&sample()).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(service.got().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let target = Service::start((200, ""), Vec::new()).await;
    let location = format!("http://{}/elsewhere", target.address);
    let answer = || vec![(307, Some((header::LOCATION, location.clone())), "")];
    each(answer, async |kind, channel, service| {
        let error = channel.send(&sample()).await.unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("307"), "{kind}: {error}");
        assert_eq!((service.got().len(), target.got().len()), (1, 0), "{kind}");
    })
    .await;
}

#[tokio::test]
async fn nothing_is_sent_inside_unless_it_is_allowed() {
    let service = Service::start((200, ""), Vec::new()).await;
    let world = HttpSettings::default();
    for (settings, _) in channels(service.address, &world) {
        let error = Channel::new(settings).unwrap().send(&sample()).await.unwrap_err();
        assert!(matches!(error, NotifyError::Forbidden { .. }), "{error}");
    }
    assert!(service.got().is_empty());
}

#[tokio::test]
async fn hanging_and_garbage_are_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = listener.local_addr().unwrap();
    let impatient = HttpSettings { timeout: Duration::from_millis(100), ..local() };
    for (settings, _) in channels(hanging, &impatient) {
        let error = Channel::new(settings).unwrap().send(&sample()).await.unwrap_err();
        assert!(!error.is_permanent() && error.to_string().contains("timed out"), "{error}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let babbling = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            drop(stream.read(&mut request).await);
            drop(stream.write_all(&[0xff; 100_000]).await);
        }
    });
    for (settings, _) in channels(babbling, &local()) {
        let error = Channel::new(settings).unwrap().send(&sample()).await.unwrap_err();
        assert!(!error.is_permanent() && !error.to_string().contains(TOKEN), "{error}");
        assert!(error.to_string().len() < 500, "{error}");
    }
    task.abort();
}
