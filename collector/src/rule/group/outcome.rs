//! What the result of an expression becomes: recorded series, or candidates for alerts.

use std::collections::BTreeSet;
use std::sync::Arc;

use upkeep_model::{Labels, METRIC_NAME};
use upkeep_promql::{Point, Value};

use super::{RuleError, Surroundings};
use crate::notify::{ALERT_NAME, Annotations};
use crate::rule::alert_rule::Candidate;
use crate::rule::file::{AlertKind, Kind, Rule};
use crate::rule::template::{Ask, Context, Site, Template};

/// Answers templates that ask at the given moment.
pub(super) fn ask(surroundings: &Surroundings, at_ms: i64) -> Ask {
    let surroundings = surroundings.clone();
    Arc::new(move |text| {
        let query = upkeep_promql::parse(text).map_err(|error| error.to_string())?;
        let limits = surroundings.limits_from_now();
        let answer = query.instant(&*surroundings.source, at_ms, &limits);
        let value = answer.map_err(|error| error.to_string())?.value;
        vector(value).map_err(|error| error.to_string())
    })
}

pub(super) fn vector(value: Value) -> Result<Vec<Point>, RuleError> {
    match value {
        Value::Vector(points) => Ok(points),
        Value::Scalar { at_ms, value } => {
            Ok(vec![Point { labels: Labels::default(), at_ms, value }])
        }
        Value::Text { .. } => Err(RuleError::Type("string")),
        Value::Matrix(_) => Err(RuleError::Type("range vector")),
    }
}

/// The names of the series that a rule writes.
pub(super) fn names(rule: &Rule) -> Vec<String> {
    match &rule.kind {
        Kind::Record { name } => vec![name.clone()],
        Kind::Alert(_) => vec!["ALERTS".to_owned(), "ALERTS_FOR_STATE".to_owned()],
    }
}

pub(super) fn recorded(
    name: &str,
    rule: &Rule,
    vector: Vec<Point>,
) -> Result<Vec<(Labels, f64)>, RuleError> {
    let mut seen = BTreeSet::new();
    let mut series = Vec::with_capacity(vector.len());
    for point in vector {
        let mut labels = point.labels.with(METRIC_NAME, name);
        for label in &rule.labels {
            labels.set(label.name(), label.text());
        }
        if !seen.insert(labels.clone()) {
            return Err(RuleError::Repeated(labels));
        }
        series.push((labels, point.value));
    }
    Ok(series)
}

pub(super) fn candidate(
    kind: &AlertKind,
    rule: &Rule,
    point: &Point,
    site: &Site<'_>,
) -> Candidate {
    let context = Context::new(&point.labels, point.value, site);
    // A text that cannot be filled in says so in its place: an alert must not be lost for it.
    let fill = |template: &Template| {
        template.render(&context).unwrap_or_else(|error| format!("<{error}>").into())
    };
    let mut labels = point.labels.clone();
    labels.remove(METRIC_NAME);
    for label in &rule.labels {
        labels.set(label.name(), fill(label));
    }
    labels.set(ALERT_NAME, kind.name.clone());
    let annotations: Annotations =
        kind.annotations.iter().map(|text| (text.shared_name(), fill(text))).collect();
    Candidate { labels, annotations, value: point.value }
}

/// Where the expression can be looked at.
pub(super) fn generator_url(external_url: &str, expression: &str) -> String {
    let page = format!("{}/graph", external_url.trim_end_matches('/'));
    match reqwest::Url::parse(&page) {
        Ok(mut url) => {
            url.query_pairs_mut().append_pair("g0.expr", expression).append_pair("g0.tab", "1");
            url.to_string()
        }
        Err(_) => String::new(),
    }
}
