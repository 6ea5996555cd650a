//! A receiver of webhooks that can be told to fail.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::until;

/// What arrived, each with the moment of its arrival.
type Inbox = Arc<Mutex<Vec<(Instant, Value)>>>;

#[derive(Clone, Default)]
struct Desk {
    inbox: Inbox,
    answer: Arc<AtomicU16>,
    refused: Arc<AtomicU16>,
}

/// An HTTP server on loopback that keeps the JSON bodies posted to it.
pub struct WebhookServer {
    url: String,
    desk: Desk,
}

impl WebhookServer {
    /// Starts the server; it ends with the test's runtime.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let desk = Desk::default();
        desk.answer.store(200, Ordering::SeqCst);
        let router = Router::new().route("/hook", post(receive)).with_state(desk.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, desk })
    }

    /// Where to post.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers with this status from now on; a body is kept only when it is answered with 200.
    pub fn answer_with(&self, status: u16) {
        self.desk.answer.store(status, Ordering::SeqCst);
    }

    /// How many posts were answered with something else than 200.
    pub fn refused(&self) -> u16 {
        self.desk.refused.load(Ordering::SeqCst)
    }

    /// Everything that was accepted so far.
    pub fn received(&self) -> Vec<(Instant, Value)> {
        self.desk.inbox.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a notification that has an alert of this name in this state, and gives that alert.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn await_alert(
        &self,
        name: &str,
        status: &str,
        within: Duration,
    ) -> Result<(Instant, Value)> {
        let found = || {
            self.received().into_iter().find_map(|(at, body)| {
                let alerts = body["alerts"].as_array()?.clone();
                let alert = alerts.into_iter().find(|alert| {
                    alert["labels"]["alertname"] == name && alert["status"] == status
                })?;
                Some((at, alert))
            })
        };
        until(&format!("a webhook with {name} {status}"), within, || {
            let found = found();
            async move { Ok(found) }
        })
        .await
    }
}

async fn receive(State(desk): State<Desk>, Json(body): Json<Value>) -> StatusCode {
    let status = desk.answer.load(Ordering::SeqCst);
    if status == 200 {
        let mut inbox = desk.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.push((Instant::now(), body));
    } else {
        desk.refused.fetch_add(1, Ordering::SeqCst);
    }
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
