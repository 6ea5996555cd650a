//! The tree of routes: which receiver hears of an alert, together with which others.

use std::time::Duration;

use upkeep_model::{Labels, Matcher};

use super::interval::Hours;

/// How a route's alerts are brought together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// By the values of these labels.
    By(Vec<String>),
    /// By all labels: every alert by itself.
    ByAll,
}

/// When a route's groups are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a new group waits for more alerts.
    pub group_wait: Duration,
    /// How long after one look at a group the next one comes.
    pub group_interval: Duration,
    /// After how long the same is told again.
    pub repeat_interval: Duration,
}

/// Alertmanager's defaults.
impl Default for Timing {
    fn default() -> Self {
        Self {
            group_wait: Duration::from_secs(30),
            group_interval: Duration::from_mins(5),
            repeat_interval: Duration::from_hours(4),
        }
    }
}

/// Who else is told when nobody acknowledges an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// How long after it was first heard of.
    pub after: Duration,
    /// The receiver.
    pub to: String,
}

/// One route; what it does not say it has from the one above it.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// What identifies it: the matchers on the way to it.
    pub key: String,
    /// All of them must match.
    pub matchers: Vec<Matcher>,
    /// Who hears of its alerts.
    pub receiver: String,
    /// How its alerts are brought together.
    pub grouping: Grouping,
    /// When its groups are told of.
    pub timing: Timing,
    /// When they may be told of at all; not passed on to the routes below.
    pub hours: Hours,
    /// Who else is told when nobody acknowledges its alerts.
    pub escalation: Option<Escalation>,
    /// Whether the routes after this one are looked at too.
    pub goes_on: bool,
    /// More special routes, looked at in order.
    pub routes: Vec<Self>,
}

impl Route {
    /// The routes that an alert takes: of those below the first that matches, and the next ones as
    /// long as they go on; this one itself if none does. Empty if this one does not match.
    pub fn matching(&self, labels: &Labels) -> Vec<&Self> {
        if !self.matchers.iter().all(|matcher| matcher.matches(labels)) {
            return Vec::new();
        }
        let mut found = Vec::new();
        for route in &self.routes {
            let matching = route.matching(labels);
            let is_last = !matching.is_empty() && !route.goes_on;
            found.extend(matching);
            if is_last {
                break;
            }
        }
        if found.is_empty() {
            found.push(self);
        }
        found
    }

    /// The labels by which an alert is grouped here.
    pub fn group_labels(&self, labels: &Labels) -> Labels {
        let mut group = labels.clone();
        if let Grouping::By(names) = &self.grouping {
            group.retain(|name| names.iter().any(|wanted| wanted == name));
        }
        group
    }

    /// What identifies a group of this route, as Alertmanager writes it.
    pub fn group_key(&self, group_labels: &Labels) -> String {
        format!("{}:{group_labels}", self.key)
    }
}

/// The route key's part for a route's matchers.
pub(super) fn key_part(matchers: &[Matcher]) -> String {
    let matchers: Vec<_> = matchers.iter().map(Matcher::to_string).collect();
    format!("{{{}}}", matchers.join(","))
}
