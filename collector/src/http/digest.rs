//! `/api/v1/digest`: a digest as it would be sent now, and sending one.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::parameters::Parameters;
use super::{Services, prometheus};
use crate::digest::{Entry, Kind, Report, Told};

#[derive(Serialize)]
struct Shown {
    kind: &'static str,
    title: String,
    /// Who gets it when it is due; null if nobody does.
    receiver: Option<String>,
    entries: Vec<EntryView>,
}

#[derive(Serialize)]
struct EntryView {
    summary: String,
    texts: Map<String, Value>,
    labels: Map<String, Value>,
}

#[derive(Serialize)]
struct Sent {
    kind: &'static str,
    title: String,
    /// Empty if there was nothing to send.
    channels: Vec<ToldView>,
}

#[derive(Serialize)]
struct ToldView {
    channel: usize,
    kind: String,
    outcome: &'static str,
    /// What was wrong; null if nothing was.
    answer: Option<String>,
}

/// `GET`: parameter `kind`.
pub(super) async fn show(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let Report { kind, title, entries } = services.digester.report(wanted(&parameters)?).await;
    let receiver = services.digester.courier().map(|courier| courier.receiver().to_owned());
    let entries = entries.into_iter().map(EntryView::of).collect();
    Ok(prometheus::success(Shown { kind: kind.name(), title, receiver, entries }))
}

/// `POST`: parameter `kind`. It is sent whether it is due or not, and again when it is.
pub(super) async fn send(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let kind = wanted(&parameters)?;
    let report = services.digester.report(kind).await;
    let told = services.digester.send(&report).await;
    let told = told.map_err(|error| ApiError::bad_data(error.to_string()))?;
    let channels = told.into_iter().map(ToldView::of).collect();
    Ok(prometheus::success(Sent { kind: kind.name(), title: report.title, channels }))
}

fn wanted(parameters: &Parameters) -> Result<Kind, ApiError> {
    let Some(text) = parameters.get("kind") else { return Ok(Kind::Weekly) };
    let known = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    known.ok_or_else(|| ApiError::parameter("kind", "it must be weekly or daily"))
}

impl EntryView {
    fn of(entry: Entry) -> Self {
        let map = |pairs: Vec<(String, String)>| {
            pairs.into_iter().map(|(name, text)| (name, Value::String(text))).collect()
        };
        Self { summary: entry.summary, texts: map(entry.texts), labels: map(entry.labels) }
    }
}

impl ToldView {
    fn of(told: Told) -> Self {
        let answer = told.outcome.err().map(|error| error.to_string());
        let outcome = if answer.is_some() { "failed" } else { "told" };
        Self { channel: told.channel, kind: told.kind, outcome, answer }
    }
}
