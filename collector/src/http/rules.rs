//! `/api/v1/rules`: the rules, how their last evaluation went, and their alerts, in Prometheus' JSON.

use axum::extract::State;
use axum::response::Response;
use data_encoding::HEXLOWER;
use serde::Serialize;
use sha2::{Digest, Sha256};
use upkeep_model::{Labels, Matcher};

use super::alerts::AlertView;
use super::error::ApiError;
use super::parameters::Parameters;
use super::{Services, prometheus, series, time};
use crate::notify::Annotations;
use crate::rule::{AlertStatus, GroupStatus, Health, Phase, RuleKind, RuleStatus, Snapshot};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rules {
    groups: Vec<GroupView>,
    /// What to give as `group_next_token` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    group_next_token: Option<String>,
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
    selectors: Vec<Vec<Matcher>>,
}

/// Which groups of those that are wanted.
struct Page {
    /// So many.
    limit: usize,
    /// From the one of this token on.
    from: Option<String>,
}

/// `GET /api/v1/rules`: parameters `type`, `rule_name[]`, `rule_group[]`, `file[]`, `match[]` (of the
/// rules' labels), `exclude_alerts`, `group_limit`, `group_next_token`.
pub(super) async fn list(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let wanted = Wanted::parse(&parameters)?;
    let page = Page::parse(&parameters)?;
    Ok(prometheus::success(page.of(&services.rules.snapshot(), &wanted)?))
}

impl Page {
    fn parse(parameters: &Parameters) -> Result<Self, ApiError> {
        let from = parameters.get("group_next_token").map(str::to_owned);
        let Some(text) = parameters.get("group_limit") else {
            let why = "group_limit needs to be present in order to paginate over the groups";
            return match from {
                Some(_) => Err(ApiError::parameter("group_next_token", why)),
                None => Ok(Self { limit: usize::MAX, from: None }),
            };
        };
        let refused = |why: String| ApiError::parameter("group_limit", why);
        let limit: i32 = text.parse().map_err(|error| {
            refused(format!("group_limit needs to be a valid number: {text:?}: {error}"))
        })?;
        let positive = usize::try_from(limit).ok().filter(|limit| *limit > 0);
        let refused = || refused("group_limit needs to be greater than 0".to_owned());
        Ok(Self { limit: positive.ok_or_else(refused)?, from })
    }

    fn of(&self, snapshot: &Snapshot, wanted: &Wanted) -> Result<Rules, ApiError> {
        let mut groups = snapshot.groups.as_slice();
        if let Some(from) = &self.from {
            let place = groups.iter().position(|group| token(group) == *from);
            let gone = || {
                let why = format!("invalid group_next_token '{from}'. were rule groups changed?");
                ApiError::parameter("group_next_token", why)
            };
            groups = place.and_then(|place| groups.get(place..)).ok_or_else(gone)?;
        }
        let mut rules = Rules { groups: Vec::new(), group_next_token: None };
        for group in groups {
            let Some(view) = wanted.group(group) else { continue };
            if rules.groups.len() == self.limit {
                rules.group_next_token = Some(token(group));
                break;
            }
            rules.groups.push(view);
        }
        Ok(rules)
    }
}

/// Names a group among those of all files.
fn token(group: &GroupStatus) -> String {
    let file = group.file.display();
    HEXLOWER.encode(&Sha256::digest(format!("{file};{}", group.name)))
}

impl Wanted {
    fn parse(parameters: &Parameters) -> Result<Self, ApiError> {
        let kind = parameters.get("type").map(str::to_lowercase);
        let (alerting, recording) = match kind.as_deref() {
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
            selectors: series::selectors(parameters)?,
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
        if rules.is_empty() {
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
        of_kind && accepts(&self.names, &rule.name) && self.selects(&rule.labels)
    }

    fn selects(&self, labels: &Labels) -> bool {
        let fits = |all: &Vec<Matcher>| all.iter().all(|matcher| matcher.matches(labels));
        self.selectors.is_empty() || self.selectors.iter().any(fits)
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
