//! `/api/v2/silences` and `/api/v2/silence/{id}`.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use upkeep_model::{Labels, MatchOperator, Matcher};
use uuid::Uuid;

use super::super::Services;
use super::super::body::Body;
use super::super::error::ApiError;
use super::super::parameters::Parameters;
use super::filter;
use super::moment::{self, Moment};
use crate::alert::{Silence, SilenceDraft, SilenceState};
use crate::auth::Caller;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct SilenceView {
    id: String,
    status: SilenceStatus,
    updated_at: String,
    comment: String,
    created_by: String,
    ends_at: String,
    matchers: Vec<MatcherView>,
    starts_at: String,
    annotations: BTreeMap<String, String>,
    /// Ours: the only times between start and end at which it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    recurrence: Option<Value>,
}

#[derive(Serialize)]
struct SilenceStatus {
    state: &'static str,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MatcherView {
    is_equal: Option<bool>,
    is_regex: bool,
    name: String,
    value: String,
}

/// A silence as clients want it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct PostedSilence {
    #[serde(default)]
    id: Option<String>,
    matchers: Vec<MatcherView>,
    starts_at: Moment,
    ends_at: Moment,
    created_by: String,
    comment: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    recurrence: Option<Value>,
}

#[derive(Serialize)]
pub(in crate::http) struct Made {
    #[serde(rename = "silenceID")]
    silence_id: String,
}

/// `GET /api/v2/silences`.
pub(in crate::http) async fn list(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Json<Vec<SilenceView>>, ApiError> {
    let matchers = filter::matchers(&parameters, "filter")?;
    let mut wanted = Vec::new();
    for state in [SilenceState::Active, SilenceState::Pending, SilenceState::Expired] {
        if filter::flag(&parameters, state.name())? {
            wanted.push(state);
        }
    }
    let silences = services.alerts.silences().await?.into_iter();
    let views = silences
        .filter(|(silence, state)| wanted.contains(state) && is_about(silence, &matchers))
        .map(|(silence, state)| SilenceView::of(silence, state));
    Ok(Json(views.collect()))
}

/// `POST /api/v2/silences`.
pub(in crate::http) async fn put(
    State(services): State<Services>,
    Extension(caller): Extension<Caller>,
    Body(posted): Body<PostedSilence>,
) -> Result<Json<Made>, ApiError> {
    let id = services.alerts.put_silence(posted.read()?, services.by(&caller)).await?;
    Ok(Json(Made { silence_id: id.to_string() }))
}

/// `GET /api/v2/silence/{id}`.
pub(in crate::http) async fn show(
    State(services): State<Services>,
    Path(id): Path<String>,
) -> Result<Json<SilenceView>, ApiError> {
    let wanted = identity(&id)?;
    let silences = services.alerts.silences().await?;
    let found = silences.into_iter().find(|(silence, _)| silence.record.id == wanted);
    let (silence, state) =
        found.ok_or_else(|| ApiError::not_found(format!("there is no silence {wanted}")))?;
    Ok(Json(SilenceView::of(silence, state)))
}

/// `DELETE /api/v2/silence/{id}`: ends it; it is shown as over for a while.
pub(in crate::http) async fn expire(
    State(services): State<Services>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    services.alerts.expire_silence(identity(&id)?, services.by(&caller)).await?;
    Ok(StatusCode::OK)
}

fn identity(text: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(text).map_err(|error| ApiError::bad_data(format!("silence {text:?}: {error}")))
}

/// Whether the values that a silence's matchers name are those that are looked for.
fn is_about(silence: &Silence, wanted: &[Matcher]) -> bool {
    let named = silence.record.matchers.iter().map(|one| (one.name(), one.value()));
    let named = Labels::new(named);
    wanted.iter().all(|matcher| matcher.matches(&named))
}

impl SilenceView {
    fn of(silence: Silence, state: SilenceState) -> Self {
        let record = silence.record;
        Self {
            id: record.id.to_string(),
            status: SilenceStatus { state: state.name() },
            updated_at: moment::text(record.updated_at_ms),
            comment: record.comment,
            created_by: record.created_by,
            ends_at: moment::text(record.ends_at_ms),
            matchers: record.matchers.iter().map(MatcherView::of).collect(),
            starts_at: moment::text(record.starts_at_ms),
            annotations: record.annotations,
            recurrence: record.recurrence.and_then(|json| serde_json::from_str(&json).ok()),
        }
    }
}

impl MatcherView {
    fn of(matcher: &Matcher) -> Self {
        let (is_regex, is_equal) = match matcher.operator() {
            MatchOperator::Equal => (false, true),
            MatchOperator::NotEqual => (false, false),
            MatchOperator::Matches => (true, true),
            MatchOperator::NotMatches => (true, false),
        };
        let (name, value) = (matcher.name().to_owned(), matcher.value().to_owned());
        Self { is_equal: Some(is_equal), is_regex, name, value }
    }

    fn read(self) -> Result<Matcher, ApiError> {
        if self.name.is_empty() {
            return Err(ApiError::bad_data("a matcher's name is empty"));
        }
        let operator = match (self.is_regex, self.is_equal.unwrap_or(true)) {
            (false, true) => MatchOperator::Equal,
            (false, false) => MatchOperator::NotEqual,
            (true, true) => MatchOperator::Matches,
            (true, false) => MatchOperator::NotMatches,
        };
        Matcher::new(self.name, operator, self.value)
            .map_err(|error| ApiError::bad_data(error.to_string()))
    }
}

impl PostedSilence {
    fn read(self) -> Result<SilenceDraft, ApiError> {
        let missing = |name: &str| ApiError::bad_data(format!("{name} must be given"));
        let id = self.id.filter(|id| !id.is_empty());
        Ok(SilenceDraft {
            id: id.map(|id| identity(&id)).transpose()?,
            matchers: self.matchers.into_iter().map(MatcherView::read).collect::<Result<_, _>>()?,
            starts_at_ms: self.starts_at.0.ok_or_else(|| missing("startsAt"))?,
            ends_at_ms: self.ends_at.0.ok_or_else(|| missing("endsAt"))?,
            created_by: self.created_by,
            comment: self.comment,
            annotations: self.annotations.unwrap_or_default(),
            recurrence: self
                .recurrence
                .filter(|recurrence| !recurrence.is_null())
                .map(|recurrence| recurrence.to_string()),
        })
    }
}
