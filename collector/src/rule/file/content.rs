//! What a group says, without where it stands: two groups of the same content are evaluated alike.

use std::time::Duration;

use super::{AlertKind, Group, Kind, Rule};
use crate::rule::template::Template;

/// The content of a group. Comments, order of keys and line breaks are none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    interval: Option<Duration>,
    limit: usize,
    query_offset: Duration,
    rules: Vec<RuleContent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct RuleContent {
    identity: Identity,
    query: String,
    hold: Duration,
    keep_firing: Duration,
    annotations: Vec<(String, String)>,
}

/// What a rule is recognised by when the rest of it was changed, as in Prometheus: its kind, name and
/// labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    is_alert: bool,
    name: String,
    labels: Vec<(String, String)>,
}

impl Group {
    /// What it says.
    pub fn content(&self) -> Content {
        Content {
            interval: self.interval,
            limit: self.limit,
            query_offset: self.query_offset,
            rules: self.rules.iter().map(rule_content).collect(),
        }
    }
}

impl Rule {
    /// What it is recognised by.
    pub fn identity(&self) -> Identity {
        Identity {
            is_alert: matches!(self.kind, Kind::Alert(_)),
            name: self.name().to_owned(),
            labels: texts(&self.labels),
        }
    }
}

fn rule_content(rule: &Rule) -> RuleContent {
    let (hold, keep_firing, annotations) = match &rule.kind {
        Kind::Record { .. } => (Duration::ZERO, Duration::ZERO, Vec::new()),
        Kind::Alert(AlertKind { hold, keep_firing, annotations, .. }) => {
            (*hold, *keep_firing, texts(annotations))
        }
    };
    let query = rule.query.to_string();
    RuleContent { identity: rule.identity(), query, hold, keep_firing, annotations }
}

/// Names and texts in the order of the names.
fn texts(templates: &[Template]) -> Vec<(String, String)> {
    let pair = |one: &Template| (one.name().to_owned(), one.text().to_owned());
    let mut texts: Vec<_> = templates.iter().map(pair).collect();
    texts.sort();
    texts
}
