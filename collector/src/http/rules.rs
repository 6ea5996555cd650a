//! `/api/v1/rules`: the rules, how their last evaluation went, and their alerts, in Prometheus' JSON.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use upkeep_model::Labels;

use super::alerts::AlertView;
use super::error::ApiError;
use super::parameters::Parameters;
use super::{Services, prometheus, time};
use crate::notify::Annotations;
use crate::rule::{AlertStatus, GroupStatus, Health, Phase, RuleKind, RuleStatus};

#[derive(Serialize)]
struct Rules {
    groups: Vec<GroupView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupView {
    name: String,
    file: String,
    rules: Vec<RuleView>,
    /// Seconds.
    interval: f64,
    limit: usize,
    /// Seconds.
    evaluation_time: f64,
    last_evaluation: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleView {
    #[serde(flatten)]
    kind: KindView,
    name: String,
    query: String,
    labels: Labels,
    health: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// Seconds.
    evaluation_time: f64,
    last_evaluation: String,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
enum KindView {
    Alerting {
        state: &'static str,
        /// Seconds.
        duration: f64,
        /// Seconds.
        keep_firing_for: f64,
        annotations: Annotations,
        alerts: Vec<AlertView>,
        /// Ours: why the rule notifies nobody.
        #[serde(skip_serializing_if = "Option::is_none")]
        muted_reason: Option<&'static str>,
    },
    Recording {},
}

/// Which rules a request wants.
struct Wanted {
    alerting: bool,
    recording: bool,
    alerts: bool,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
}

/// `GET /api/v1/rules`: parameters `type`, `rule_name[]`, `rule_group[]`, `file[]`,
/// `exclude_alerts`.
pub(super) async fn list(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let wanted = Wanted::parse(&parameters)?;
    let snapshot = services.rules.snapshot();
    let groups = snapshot.groups.iter().filter_map(|group| wanted.group(group)).collect();
    Ok(prometheus::success(Rules { groups }))
}

impl Wanted {
    fn parse(parameters: &Parameters) -> Result<Self, ApiError> {
        let (alerting, recording) = match parameters.get("type") {
            None => (true, true),
            Some("alert") => (true, false),
            Some("record") => (false, true),
            Some(other) => {
                return Err(ApiError::parameter("type", format!("not supported value {other:?}")));
            }
        };
        let alerts = match parameters.get("exclude_alerts") {
            None | Some("false" | "0") => true,
            Some("true" | "1") => false,
            Some(other) => {
                let why = format!("cannot parse {other:?} to a valid boolean");
                return Err(ApiError::parameter("exclude_alerts", why));
            }
        };
        let all = |name| parameters.all(name).map(str::to_owned).collect();
        Ok(Self {
            alerting,
            recording,
            alerts,
            names: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
        })
    }

    /// A group with those of its rules that are wanted, or `None` if there are none.
    fn group(&self, group: &GroupStatus) -> Option<GroupView> {
        let file = group.file.display().to_string();
        if !accepts(&self.groups, &group.name) || !accepts(&self.files, &file) {
            return None;
        }
        let wanted = group.rules.iter().filter(|rule| self.rule(rule));
        let rules: Vec<RuleView> = wanted.map(|rule| rule_view(rule, self.alerts)).collect();
        let filtered = !(self.alerting && self.recording && self.names.is_empty());
        if filtered && rules.is_empty() {
            return None;
        }
        Some(GroupView {
            name: group.name.clone(),
            file,
            rules,
            interval: group.interval.as_secs_f64(),
            limit: group.limit,
            evaluation_time: group.evaluation_time.as_secs_f64(),
            last_evaluation: time::text_or_zero(group.last_evaluation_ms),
        })
    }

    fn rule(&self, rule: &RuleStatus) -> bool {
        let of_kind = match rule.kind {
            RuleKind::Alerting { .. } => self.alerting,
            RuleKind::Recording => self.recording,
        };
        of_kind && accepts(&self.names, &rule.name)
    }
}

/// An empty list of names accepts every name.
fn accepts(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|wanted| wanted == name)
}

fn rule_view(rule: &RuleStatus, with_alerts: bool) -> RuleView {
    let (health, last_error) = match &rule.health {
        Health::Unknown => ("unknown", None),
        Health::Ok => ("ok", None),
        Health::Failed(reason) => ("err", Some(reason.clone())),
    };
    RuleView {
        kind: kind_view(&rule.kind, rule.health == Health::Unknown, with_alerts),
        name: rule.name.clone(),
        query: rule.query.clone(),
        labels: rule.labels.clone(),
        health,
        last_error,
        evaluation_time: rule.evaluation_time.as_secs_f64(),
        last_evaluation: time::text_or_zero(rule.last_evaluation_ms),
    }
}

fn kind_view(kind: &RuleKind, never_evaluated: bool, with_alerts: bool) -> KindView {
    let RuleKind::Alerting { hold, keep_firing, annotations, muted, alerts } = kind else {
        return KindView::Recording {};
    };
    let shown = if with_alerts { alerts.as_slice() } else { &[] };
    KindView::Alerting {
        state: if never_evaluated { "unknown" } else { worst_state(alerts) },
        duration: hold.as_secs_f64(),
        keep_firing_for: keep_firing.as_secs_f64(),
        annotations: annotations.clone(),
        alerts: shown.iter().map(AlertView::of).collect(),
        muted_reason: muted.map(|muted| muted.reason()),
    }
}

/// The state of a rule is that of its worst alert.
fn worst_state(alerts: &[AlertStatus]) -> &'static str {
    if alerts.iter().any(|alert| alert.phase == Phase::Firing) {
        Phase::Firing.name()
    } else if alerts.is_empty() {
        "inactive"
    } else {
        Phase::Pending.name()
    }
}
