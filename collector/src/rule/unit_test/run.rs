//! Runs one unit test: time passes from 0 in steps of the evaluation interval, all groups are evaluated
//! at each, and what then fires or is computed is held against what is expected.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use upkeep_model::Labels;
use upkeep_promql::{Limits, Step, Value, format_value};

use super::Difference;
use super::file::{AlertCase, ExpectedAlert, ExpressionCase, Test, TestFile};
use crate::notify::Annotations;
use crate::rule::Settings;
use crate::rule::file::Group;
use crate::rule::group::{LiveGroup, Surroundings};
use crate::rule::memory::Memory;
use crate::rule::record::Recorder;
use crate::rule::snapshot::{Health, Phase, RuleKind};
use crate::yaml::Place;

/// What came out otherwise than the test says.
pub(super) struct Mismatch {
    pub(super) place: Place,
    pub(super) what: String,
    pub(super) difference: Option<Difference>,
}

pub(super) fn run(file: &TestFile, test: &Test, groups: Vec<Group>) -> Vec<Mismatch> {
    let memory = Arc::new(Memory::default());
    if let Err(error) = memory.record(points(test)) {
        return vec![Mismatch { place: test.place, what: error.to_string(), difference: None }];
    }
    let interval = Duration::from_millis(u64::try_from(file.interval_ms).unwrap_or(0));
    let mut live: Vec<_> = groups
        .into_iter()
        .map(|group| LiveGroup::new(group, interval, false, surroundings(&memory, test)))
        .collect();
    let mut mismatches = Vec::new();
    let mut broken = BTreeSet::new();
    let mut at_ms = 0_i64;
    loop {
        for group in &mut live {
            group.evaluate(at_ms);
            note_failures(group, (test.place, at_ms), &mut broken, &mut mismatches);
        }
        let next_ms = at_ms.saturating_add(file.interval_ms);
        let due = test.alerts.iter().filter(|case| (at_ms..next_ms).contains(&case.at_ms));
        mismatches.extend(due.filter_map(|case| judge_alerts(case, firing(&live, &case.name))));
        if next_ms > test.end_ms() {
            break;
        }
        at_ms = next_ms;
    }
    let expressions = test.expressions.iter();
    mismatches.extend(expressions.filter_map(|case| judge_expression(case, &memory, file.fuzzy)));
    mismatches.sort_by_key(|mismatch| mismatch.place);
    mismatches
}

/// The samples of the test's series.
fn points(test: &Test) -> Vec<(Labels, i64, f64)> {
    let times = || (0_i64..).map(|number| number.saturating_mul(test.step_ms));
    let samples = test.series.iter().flat_map(|(labels, steps)| {
        let timed = times().zip(steps);
        timed.filter_map(move |(at_ms, step)| match step {
            Step::Value(value) => Some((labels.clone(), at_ms, *value)),
            Step::Gap | Step::Native => None,
        })
    });
    samples.collect()
}

fn surroundings(memory: &Arc<Memory>, test: &Test) -> Surroundings {
    let settings = Settings::default();
    Surroundings {
        source: Arc::clone(memory) as _,
        recorder: Arc::clone(memory) as _,
        limits: settings.limits,
        timeout: settings.timeout,
        external_url: test.external_url.clone(),
        external_labels: test.external_labels.clone(),
        tell_again: Duration::MAX,
        settle: settings.settle,
    }
}

/// A rule that fails is a mismatch of its own, once for each reason.
fn note_failures(
    group: &LiveGroup,
    (place, at_ms): (Place, i64),
    broken: &mut BTreeSet<(String, String)>,
    mismatches: &mut Vec<Mismatch>,
) {
    for rule in &group.status().rules {
        let Health::Failed(reason) = &rule.health else { continue };
        if broken.insert((rule.name.clone(), reason.clone())) {
            let what = format!("the rule `{}` fails at {}: {reason}", rule.name, time(at_ms));
            mismatches.push(Mismatch { place, what, difference: None });
        }
    }
}

/// The alerts of a name that fire, of all groups.
fn firing(live: &[LiveGroup], name: &str) -> Vec<ExpectedAlert> {
    let rules = live.iter().flat_map(|group| group.status().rules.clone());
    let alerts = rules.filter(|rule| rule.name == name).flat_map(|rule| match rule.kind {
        RuleKind::Recording => Vec::new(),
        RuleKind::Alerting { alerts, .. } => alerts,
    });
    let firing = alerts.filter(|alert| alert.phase == Phase::Firing);
    firing
        .map(|alert| ExpectedAlert { labels: alert.labels, annotations: alert.annotations })
        .collect()
}

fn judge_alerts(case: &AlertCase, got: Vec<ExpectedAlert>) -> Option<Mismatch> {
    let listed = |alerts: &[ExpectedAlert]| {
        let mut lines: Vec<_> = alerts.iter().map(alert_line).collect();
        lines.sort();
        lines
    };
    let difference = Difference { expected: listed(&case.expected), got: listed(&got) };
    if difference.expected == difference.got {
        return None;
    }
    let what = format!("alerts `{}` at {}", case.name, time(case.at_ms));
    Some(Mismatch { place: case.place, what, difference: Some(difference) })
}

/// Labels and annotations in full, each quoted, so that two alerts of one line are the same.
fn alert_line(alert: &ExpectedAlert) -> String {
    let annotations = |annotations: &Annotations| {
        let pairs = annotations.iter().map(|(name, text)| format!("{name}={text:?}"));
        pairs.collect::<Vec<_>>().join(", ")
    };
    format!("{} annotations {{{}}}", alert.labels, annotations(&alert.annotations))
}

fn judge_expression(case: &ExpressionCase, memory: &Memory, fuzzy: bool) -> Option<Mismatch> {
    let mismatch = |difference, why: &str| {
        let what = format!("expression `{}` at {}{why}", case.query, time(case.at_ms));
        Some(Mismatch { place: case.place, what, difference })
    };
    let answer = match case.query.instant(memory, case.at_ms, &Limits::default()) {
        Ok(answer) => answer,
        Err(error) => return mismatch(None, &format!(" fails: {error}")),
    };
    let mut got = match answer.value {
        Value::Vector(points) => points.into_iter().map(|one| (one.labels, one.value)).collect(),
        Value::Scalar { value, .. } => vec![(Labels::default(), value)],
        Value::Text { .. } => {
            return mismatch(None, " gives a string, a vector or scalar is wanted");
        }
        Value::Matrix(_) => {
            return mismatch(None, " gives a range vector, a vector or scalar is wanted");
        }
    };
    let mut expected = case.expected.clone();
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    got.sort_by(|one, other| one.0.cmp(&other.0));
    let is_same = |(one, other): (&(Labels, f64), &(Labels, f64))| {
        one.0 == other.0 && same_value(one.1, other.1, fuzzy)
    };
    if expected.len() == got.len() && expected.iter().zip(&got).all(is_same) {
        return None;
    }
    let listed = |samples: &[(Labels, f64)]| {
        samples.iter().map(|(labels, value)| format!("{labels} {}", format_value(*value))).collect()
    };
    mismatch(Some(Difference { expected: listed(&expected), got: listed(&got) }), "")
}

fn same_value(one: f64, other: f64, fuzzy: bool) -> bool {
    let is_next = || one.next_up() == other || one.next_down() == other;
    #[expect(clippy::float_cmp, reason = "whoever writes a test says how exact it is")]
    let is_same = one == other || (one.is_nan() && other.is_nan());
    is_same || (fuzzy && is_next())
}

fn time(at_ms: i64) -> String {
    let duration = Duration::from_millis(u64::try_from(at_ms).unwrap_or(0));
    humantime::format_duration(duration).to_string()
}
