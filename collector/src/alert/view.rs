//! What can be asked about alerts, and how they are shown.

use regex::Regex;
use upkeep_model::{Labels, Matcher};
use uuid::Uuid;

use crate::notify::{Alert, Fingerprint};
use crate::state::Acknowledgement;

/// Which alerts are wanted.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    /// All of them must match.
    pub matchers: Vec<Matcher>,
    /// One of the receivers must match, if this is given.
    pub receiver: Option<Regex>,
    /// Which are left out though they match.
    pub without: LeftOut,
}

/// Alerts that are not wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Those that people are told of.
    pub active: bool,
    /// Those that are silenced.
    pub silenced: bool,
    /// Those that are inhibited.
    pub inhibited: bool,
    /// Groups that are not told of at this time of the day.
    pub muted: bool,
}

/// An alert that fires, and why people are not told of it, if so.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertView {
    /// The alert.
    pub alert: Alert,
    /// What stands for its labels.
    pub fingerprint: Fingerprint,
    /// When it counts as resolved if nobody speaks of it again, in milliseconds since 1970.
    pub expires_at_ms: i64,
    /// When it was last spoken of, in milliseconds since 1970.
    pub updated_at_ms: i64,
    /// Who is told of it.
    pub receivers: Vec<String>,
    /// The silences that hold for it.
    pub silenced_by: Vec<Uuid>,
    /// The alert that inhibits it.
    pub inhibited_by: Option<Fingerprint>,
    /// Who takes care of it.
    pub acknowledgement: Option<Acknowledgement>,
    /// Whether it comes and goes too often for each time to be told.
    pub is_flapping: bool,
}

/// Alerts that one receiver is told of together.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupView {
    /// What they were brought together by.
    pub labels: Labels,
    /// Who is told.
    pub receiver: String,
    /// The time intervals for which nobody is told now.
    pub muted_by: Vec<String>,
    /// Those that are wanted.
    pub alerts: Vec<AlertView>,
}

impl AlertFilter {
    /// Whether an alert of these labels may be wanted.
    pub(super) fn wants_labels(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels))
    }

    /// Whether an alert or group of this receiver may be wanted.
    pub(super) fn wants_receiver(&self, receiver: &str) -> bool {
        self.receiver.as_ref().is_none_or(|wanted| wanted.is_match(receiver))
    }

    /// Whether an alert is wanted, its labels and receivers aside.
    pub(super) fn wants(&self, view: &AlertView) -> bool {
        let LeftOut { active, silenced, inhibited, .. } = self.without;
        (!active || view.is_suppressed())
            && (!silenced || view.silenced_by.is_empty())
            && (!inhibited || view.inhibited_by.is_none())
    }
}

impl AlertView {
    /// Whether people are not told of it.
    pub fn is_suppressed(&self) -> bool {
        !self.silenced_by.is_empty() || self.inhibited_by.is_some()
    }
}
