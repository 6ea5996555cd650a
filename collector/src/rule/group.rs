//! One group at work: evaluates its rules in order, writes their results, and says which alerts
//! are to be told and what is to be stored about them.

mod look;
mod news;
mod outcome;
mod takeover;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use upkeep_model::{Labels, stale_marker};
use upkeep_promql::{EvalError, Limits, Source};

use super::ahead::{Ahead, Habit, accepts_any};
use super::alert_rule::{self, AlertRule, Transition};
use super::file::{Group, INFORMATIONAL, Kind, Rule, SEVERITY};
use super::record::{RecordError, RecordedPoint, Recorder};
use super::snapshot::{GroupStatus, Health, Muted, RuleKind, RuleStatus};
use super::template::{Ask, Site};
use crate::ledger::{News, Origin};
use crate::notify::Alert;
use crate::state::{RuleAlert, RuleAlertChanges};

use look::Look;
use outcome::{ask, candidate, generator_url, recorded, vector};
pub(super) use takeover::Takeover;

/// A pending alert from before a longer outage begins to wait anew: whether its condition held all
/// the while is not known.
const OUTAGE_TOLERANCE_MS: i64 = 60 * 60 * 1000;

/// What a group works with.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) source: Arc<dyn Source + Send + Sync>,
    pub(super) recorder: Arc<dyn Recorder>,
    pub(super) limits: Limits,
    pub(super) timeout: Duration,
    pub(super) external_url: String,
    /// What templates see as `$externalLabels`.
    pub(super) external_labels: Labels,
    pub(super) tell_again: Duration,
    pub(super) settle: Duration,
}

/// What an evaluation leaves to be done.
#[derive(Debug, Default)]
pub(super) struct Evaluation {
    /// Alerts that somebody is to be told about.
    pub(super) alerts: Vec<Alert>,
    /// What is to be stored.
    pub(super) changes: RuleAlertChanges,
    /// What happened, for the log.
    pub(super) transitions: Vec<Transition>,
    /// What of it the ledger of usefulness is told.
    pub(super) news: Vec<News>,
}

/// Why a rule has no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum RuleError {
    #[error(transparent)]
    Evaluation(#[from] EvalError),
    #[error("the expression gives a {0}, a vector or scalar is wanted")]
    Type(&'static str),
    #[error("the rule gives {found} alerts or series, its group's limit is {limit}")]
    Limit { found: usize, limit: usize },
    #[error("two series of the result have the same labels with those of the rule: {0}")]
    Repeated(Labels),
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A group with everything that it remembers between evaluations.
pub(super) struct LiveGroup {
    definition: Group,
    key: String,
    interval: Duration,
    surroundings: Surroundings,
    rules: Vec<LiveRule>,
    /// The names of the series that it writes.
    own: BTreeSet<String>,
    last_evaluation_ms: Option<i64>,
    evaluation_time: Duration,
    pub(super) missed: u64,
}

struct LiveRule {
    definition: Rule,
    key: String,
    /// What it is called in the ledger.
    origin: Arc<Origin>,
    muted: Option<Muted>,
    require_outcome: bool,
    /// Whether it can be evaluated for some hosts alone.
    is_local: bool,
    habit: Habit,
    generator_url: Arc<str>,
    alerts: AlertRule,
    /// The series that the last evaluation wrote; those that the next one lacks are ended.
    written: BTreeSet<Labels>,
    health: Health,
    last_evaluation_ms: Option<i64>,
    evaluation_time: Duration,
    failures: u64,
}

impl LiveGroup {
    pub(super) fn new(
        definition: Group,
        interval: Duration,
        require_outcome: bool,
        surroundings: Surroundings,
    ) -> Self {
        let mut definition = definition;
        let mut names = BTreeMap::new();
        let rules = std::mem::take(&mut definition.rules).into_iter().map(|rule| {
            let count: &mut u32 = names.entry(rule.name().to_owned()).or_default();
            *count += 1;
            let key = match *count {
                1 => rule.name().to_owned(),
                count => format!("{}#{count}", rule.name()),
            };
            let origin = news::origin(&definition, &key);
            LiveRule::new(rule, (key, origin), require_outcome, &surroundings.external_url)
        });
        let rules: Vec<_> = rules.collect();
        let own = rules.iter().flat_map(|rule| outcome::names(&rule.definition)).collect();
        Self {
            key: definition.key(),
            definition,
            interval,
            surroundings,
            rules,
            own,
            last_evaluation_ms: None,
            evaluation_time: Duration::ZERO,
            missed: 0,
        }
    }

    /// What the group is called where it is stored: its file and name.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Takes up the alerts from before a restart; `evaluated_at_ms` is when the group was last
    /// evaluated.
    pub(super) fn restore(
        &mut self,
        stored: Vec<RuleAlert>,
        evaluated_at_ms: Option<i64>,
        now_ms: i64,
    ) {
        // By a clock that went back it is not known how long it was.
        let outage_ms =
            evaluated_at_ms.map_or(i64::MAX, |at_ms| now_ms.saturating_sub(at_ms).saturating_abs());
        // Within the lookback the last samples from before still count, and nothing seems gone.
        let settle_until_ms = if outage_ms > self.surroundings.limits.lookback_ms {
            now_ms.saturating_add(milliseconds(self.surroundings.settle))
        } else {
            now_ms
        };
        let mut by_rule: BTreeMap<String, Vec<RuleAlert>> = BTreeMap::new();
        for alert in stored {
            if alert.fired_at_ms.is_some() || outage_ms <= OUTAGE_TOLERANCE_MS {
                by_rule.entry(alert.rule.clone()).or_default().push(alert);
            }
        }
        for rule in &mut self.rules {
            rule.alerts.restore(by_rule.remove(&rule.key).unwrap_or_default(), settle_until_ms);
        }
    }

    /// Goes on by a clock that was set by so much, and shows `now_ms`.
    pub(super) fn clock_was_set(&mut self, by_ms: i64, now_ms: i64) {
        let settle_until_ms = now_ms.saturating_add(milliseconds(self.surroundings.settle));
        for rule in &mut self.rules {
            rule.alerts.clock_was_set(by_ms, settle_until_ms);
        }
    }

    /// Evaluates every rule for the given moment.
    pub(super) fn evaluate(&mut self, now_ms: i64) -> Evaluation {
        let started = Instant::now();
        let mut surroundings = self.surroundings.clone();
        let at_ms = now_ms.saturating_sub(milliseconds(self.definition.query_offset));
        let look = Look { now_ms, at_ms, hosts: None };
        let ask = ask(&surroundings, at_ms);
        let ahead = surroundings.read_ahead(at_ms);
        let mut prepared = 0;
        let mut evaluation = Evaluation::default();
        let mut unwritten = Unwritten::default();
        for place in 0..self.rules.len() {
            if self.rules.get(place).is_some_and(|rule| unwritten.is_read_by(&rule.definition)) {
                self.write(&mut unwritten);
            }
            if place == prepared {
                let habits = self.rules.iter().skip(place).map(|rule| &rule.habit);
                prepared += ahead.prepare(habits, &self.own);
            }
            let Some(rule) = self.rules.get_mut(place) else { continue };
            let rule_started = Instant::now();
            let limit = self.definition.limit;
            let changes = &mut evaluation.changes;
            let result = rule.evaluate(&surroundings, &ask, limit, look, changes);
            ahead.teach(&mut rule.habit);
            rule.last_evaluation_ms = Some(now_ms);
            rule.evaluation_time = rule_started.elapsed();
            match result {
                Ok(result) => {
                    rule.became(Health::Ok, &self.key);
                    evaluation.news.extend(rule.news(&result.transitions, now_ms));
                    evaluation.transitions.extend(result.transitions);
                    unwritten.add(place, result.points);
                }
                Err(error) => rule.became(Health::Failed(error.to_string()), &self.key),
            }
            evaluation.alerts.extend(rule.due(now_ms, surroundings.tell_again, self.interval));
        }
        self.write(&mut unwritten);
        self.last_evaluation_ms = Some(now_ms);
        self.evaluation_time = started.elapsed();
        evaluation
    }

    fn write(&mut self, unwritten: &mut Unwritten) {
        let Unwritten { points, places, .. } = std::mem::take(unwritten);
        if points.is_empty() {
            return;
        }
        if let Err(error) = self.surroundings.recorder.record(points) {
            for (at, rule) in self.rules.iter_mut().enumerate() {
                if places.contains(&at) {
                    rule.became(
                        Health::Failed(RuleError::from(error.clone()).to_string()),
                        &self.key,
                    );
                }
            }
        }
    }

    /// What the group is and how its last evaluation went.
    pub(super) fn status(&self) -> Arc<GroupStatus> {
        Arc::new(GroupStatus {
            name: self.definition.name.clone(),
            file: self.definition.file.clone(),
            interval: self.interval,
            limit: self.definition.limit,
            last_evaluation_ms: self.last_evaluation_ms,
            evaluation_time: self.evaluation_time,
            missed: self.missed,
            rules: self.rules.iter().map(LiveRule::status).collect(),
        })
    }
}

/// Results that are not written yet. They are written together, but before a rule that reads them.
#[derive(Default)]
struct Unwritten {
    points: Vec<RecordedPoint>,
    places: BTreeSet<usize>,
    names: BTreeSet<String>,
}

impl Unwritten {
    fn add(&mut self, place: usize, points: Vec<RecordedPoint>) {
        if points.is_empty() {
            return;
        }
        self.places.insert(place);
        for (labels, ..) in &points {
            let name = labels.metric_name().unwrap_or_default();
            if !self.names.contains(name) {
                self.names.insert(name.to_owned());
            }
        }
        self.points.extend(points);
    }

    /// Whether a selector of the rule, or a template, may read one of the series.
    fn is_read_by(&self, rule: &Rule) -> bool {
        if self.names.is_empty() {
            return false;
        }
        matches!(rule.kind, Kind::Alert(_) if rule.asks())
            || rule.query.selectors().iter().any(|matchers| accepts_any(matchers, &self.names))
    }
}

/// What one rule gave.
struct RuleResult {
    points: Vec<RecordedPoint>,
    transitions: Vec<Transition>,
}

impl LiveRule {
    fn new(
        definition: Rule,
        (key, origin): (String, Origin),
        require_outcome: bool,
        external_url: &str,
    ) -> Self {
        let (hold, keep_firing) = match &definition.kind {
            Kind::Alert(alert) => (alert.hold, alert.keep_firing),
            Kind::Record { .. } => (Duration::ZERO, Duration::ZERO),
        };
        Self {
            key,
            origin: Arc::new(origin),
            muted: definition.muted(require_outcome),
            require_outcome,
            is_local: look::is_local(&definition),
            habit: Habit::default(),
            generator_url: generator_url(external_url, &definition.query.to_string()).into(),
            alerts: AlertRule::new(hold, keep_firing),
            definition,
            written: BTreeSet::new(),
            health: Health::Unknown,
            last_evaluation_ms: None,
            evaluation_time: Duration::ZERO,
            failures: 0,
        }
    }

    /// Whether anybody is told of this rule's alerts.
    fn is_told(&self) -> bool {
        !self.muted.is_some_and(Muted::is_whole) && matches!(self.definition.kind, Kind::Alert(_))
    }

    /// The alerts that somebody is to be told of now.
    fn due(&mut self, now_ms: i64, again: Duration, interval: Duration) -> Vec<Alert> {
        if !self.is_told() {
            return Vec::new();
        }
        let mut due = self.alerts.take_due(now_ms, again, interval, &self.generator_url);
        due.retain(|alert| self.tells(alert));
        due
    }

    /// Whether anybody is told of this alert: its severity may come from a template or its series.
    fn tells(&self, alert: &Alert) -> bool {
        !self.require_outcome || alert.labels.get(SEVERITY) != Some(INFORMATIONAL)
    }

    fn evaluate(
        &mut self,
        surroundings: &Surroundings,
        ask: &Ask,
        limit: usize,
        look: Look<'_>,
        changes: &mut RuleAlertChanges,
    ) -> Result<RuleResult, RuleError> {
        let Look { now_ms, at_ms, .. } = look;
        let limits = surroundings.limits_from_now();
        let answer = self.definition.query.instant(&*surroundings.source, at_ms, &limits)?;
        let vector = vector(answer.value)?;
        let is_above = |found: usize| limit > 0 && found > limit;
        let (series, transitions) = match &self.definition.kind {
            Kind::Record { .. } if is_above(vector.len()) => {
                return Err(RuleError::Limit { found: vector.len(), limit });
            }
            Kind::Record { name } => (recorded(name, &self.definition, vector)?, Vec::new()),
            Kind::Alert(kind) => {
                let Surroundings { external_url, external_labels, .. } = surroundings;
                let site = Site { external_url, external_labels, ask, now_ms };
                let points = vector.iter();
                let candidates: Vec<_> =
                    points.map(|point| candidate(kind, &self.definition, point, &site)).collect();
                if let Some(labels) = alert_rule::repeated(&candidates) {
                    return Err(RuleError::Repeated(labels.clone()));
                }
                let transitions =
                    self.alerts.transition_of(candidates, |labels| look.covers(labels), now_ms);
                self.note(&transitions, changes);
                let found = self.alerts.count();
                if is_above(found) {
                    // As in Prometheus, none is left rather than some that happen to be the first.
                    for fingerprint in self.alerts.clear() {
                        changes.remove(&self.key, &fingerprint.to_string());
                    }
                    return Err(RuleError::Limit { found, limit });
                }
                (self.alerts.series(), transitions)
            }
        };
        Ok(RuleResult { points: self.points(series, look), transitions })
    }

    /// The points of this evaluation: the series that there are, and the end of those that are gone.
    fn points(&mut self, mut series: Vec<(Labels, f64)>, look: Look<'_>) -> Vec<RecordedPoint> {
        series.retain(|(labels, _)| look.covers(labels));
        let now: BTreeSet<_> = series.iter().map(|(labels, _)| labels.clone()).collect();
        let is_gone = |labels: &Labels| look.covers(labels) && !now.contains(labels);
        let ended: Vec<_> = self.written.extract_if(.., is_gone).collect();
        self.written.extend(now);
        let ended = ended.into_iter().map(|labels| (labels, look.at_ms, stale_marker()));
        series.into_iter().map(|(labels, value)| (labels, look.at_ms, value)).chain(ended).collect()
    }

    /// What the transitions mean for what is stored.
    fn note(&self, transitions: &[Transition], changes: &mut RuleAlertChanges) {
        for transition in transitions {
            match self.alerts.stored(&self.key, transition.fingerprint) {
                Some(alert) => changes.store(alert),
                None => changes.remove(&self.key, &transition.fingerprint.to_string()),
            }
        }
    }

    /// Takes the new health; what changed is logged, and only that.
    fn became(&mut self, health: Health, group: &str) {
        if let Health::Failed(reason) = &health {
            self.failures += 1;
            if self.health != health {
                tracing::warn!(group, rule = self.key, %reason, "the rule failed");
            }
        } else if matches!(self.health, Health::Failed(_)) {
            tracing::info!(group, rule = self.key, "the rule works again");
        }
        self.health = health;
    }

    fn status(&self) -> RuleStatus {
        let kind = match &self.definition.kind {
            Kind::Record { .. } => RuleKind::Recording,
            Kind::Alert(alert) => RuleKind::Alerting {
                hold: alert.hold,
                keep_firing: alert.keep_firing,
                annotations: alert
                    .annotations
                    .iter()
                    .map(|text| (text.name().to_owned(), text.text().to_owned()))
                    .collect(),
                muted: self.muted,
                alerts: self.alerts.statuses(),
            },
        };
        let labels = self.definition.labels.iter();
        RuleStatus {
            name: self.definition.name().to_owned(),
            key: self.key.clone(),
            query: self.definition.query.to_string(),
            labels: Labels::new(labels.map(|label| (label.name(), label.text()))),
            kind,
            health: self.health.clone(),
            last_evaluation_ms: self.last_evaluation_ms,
            evaluation_time: self.evaluation_time,
            failures: self.failures,
        }
    }
}

impl Surroundings {
    /// From now on reads through what it gives back.
    fn read_ahead(&mut self, at_ms: i64) -> Arc<Ahead> {
        let deadline = self.limits_from_now().deadline;
        let ahead = Arc::new(Ahead::new(Arc::clone(&self.source), at_ms, deadline));
        self.source = Arc::clone(&ahead) as Arc<dyn Source + Send + Sync>;
        ahead
    }

    fn limits_from_now(&self) -> Limits {
        Limits { deadline: Instant::now().checked_add(self.timeout), ..self.limits.clone() }
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
