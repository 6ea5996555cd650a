//! What a channel sends: a group of alerts and what they have in common.

use std::collections::BTreeMap;

use upkeep_model::Labels;

#[cfg(test)]
use super::Origin;
use super::{Alert, Annotations, NotifyError, payload};

/// A group of alerts for one receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// The receiver's name.
    pub receiver: String,
    /// What it is called if it reports something instead of telling of alerts; what are alerts else
    /// are its entries then, and are not said to fire.
    pub subject: Option<String>,
    /// What identifies the group.
    pub group_key: String,
    /// The labels that the group's alerts were brought together by.
    pub group_labels: Labels,
    /// The alerts, firing ones first; never empty.
    pub alerts: Vec<Alert>,
    /// The address under which people reach this server.
    pub external_url: String,
    /// When it was made, in milliseconds since 1970. What ends later than that is firing.
    pub at_ms: i64,
}

/// Whether anything of a group still fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Something does.
    Firing,
    /// Nothing does.
    Resolved,
}

impl Status {
    /// The word for it in payloads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

impl Notification {
    /// It as JSON, as webhooks and commands get it.
    ///
    /// # Errors
    /// Never in practice: nothing in it has a form that JSON lacks.
    pub fn payload(&self) -> Result<Vec<u8>, NotifyError> {
        payload::json(self, 0)
    }

    /// Whether anything of it fires.
    pub fn status(&self) -> Status {
        if self.firing() > 0 { Status::Firing } else { Status::Resolved }
    }

    /// How many of the alerts fire.
    pub fn firing(&self) -> usize {
        self.alerts.iter().filter(|alert| !alert.is_resolved(self.at_ms)).count()
    }

    /// The status of one of its alerts.
    pub fn status_of(&self, alert: &Alert) -> Status {
        if alert.is_resolved(self.at_ms) { Status::Resolved } else { Status::Firing }
    }

    /// The labels that all alerts share.
    pub fn common_labels(&self) -> Labels {
        let mut alerts = self.alerts.iter();
        let mut common = alerts.next().map(|alert| alert.labels.clone()).unwrap_or_default();
        for alert in alerts {
            let before = common.clone();
            common.retain(|name| before.get(name) == alert.labels.get(name));
        }
        common
    }

    /// The annotations that all alerts share.
    pub fn common_annotations(&self) -> Annotations {
        let mut alerts = self.alerts.iter();
        let mut common = alerts.next().map(|alert| alert.annotations.clone()).unwrap_or_default();
        for alert in alerts {
            common = common.filtered(|name, text| alert.annotations.get(name) == Some(text));
        }
        common
    }

    /// A line for a subject or title: the status, how many fire, and what the group is about.
    pub fn title(&self) -> String {
        if let Some(subject) = &self.subject {
            return subject.clone();
        }
        let count = match self.status() {
            Status::Firing => format!("FIRING:{}", self.firing()),
            Status::Resolved => "RESOLVED".to_owned(),
        };
        let shared: BTreeMap<_, _> = self.group_labels.iter().collect();
        let common = self.common_labels();
        let more: Vec<_> = common
            .iter()
            .filter(|(name, _)| !shared.contains_key(name))
            .map(|(_, value)| value)
            .collect();
        let about: Vec<_> = shared.into_values().collect();
        let mut title = format!("[{count}]");
        if !about.is_empty() {
            title.push_str(&format!(" {}", about.join(" ")));
        }
        if !more.is_empty() {
            title.push_str(&format!(" ({})", more.join(" ")));
        }
        title
    }
}

#[cfg(test)]
pub(super) fn sample() -> Notification {
    let alert = |instance: &str, ends_at_ms| Alert {
        labels: Labels::new([
            ("alertname", "HostDown"),
            ("instance", instance),
            ("severity", "critical"),
        ]),
        annotations: Annotations::from([
            ("summary".to_owned(), format!("{instance} is silent")),
            ("action".to_owned(), "look whether it runs".to_owned()),
            ("outcome".to_owned(), "it reports again".to_owned()),
        ]),
        starts_at_ms: 1_700_000_000_250,
        ends_at_ms,
        holds_for: None,
        generator_url: "https://upkeep.example.org/graph?g0.expr=up".into(),
        origin: Origin::Rule,
    };
    Notification {
        receiver: "ops".to_owned(),
        subject: None,
        group_key: "{}:{alertname=\"HostDown\"}".to_owned(),
        group_labels: Labels::new([("alertname", "HostDown")]),
        alerts: vec![alert("web1", None), alert("web2", Some(1_700_000_060_000))],
        external_url: "https://upkeep.example.org".to_owned(),
        at_ms: 1_700_000_060_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_alerts_share_and_what_is_wrong_is_told() {
        let mut notification = sample();
        assert_eq!(notification.status(), Status::Firing);
        assert_eq!(notification.title(), "[FIRING:1] HostDown (critical)");
        assert_eq!(notification.common_labels().len(), 2);
        assert_eq!(notification.common_annotations().len(), 2);
        notification.alerts.remove(0);
        assert_eq!(notification.title(), "[RESOLVED] HostDown (web2 critical)");
    }
}
