//! A digest before it is sent, and as a message.

use std::sync::Arc;

use upkeep_model::Labels;

use crate::notify::{ALERT_NAME, Alert, Annotations, Notification, Origin};

/// The most entries of a digest; how many more there are is said in a last one.
const MOST_ENTRIES: usize = 60;

/// Which digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What became of alerts.
    Weekly,
    /// What happened since yesterday.
    Daily,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Weekly, Self::Daily];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weekly => "weekly",
            Self::Daily => "daily",
        }
    }

    /// The name of the alerts that its entries are for those who only know alerts.
    fn alert_name(self) -> &'static str {
        match self {
            Self::Weekly => "WeeklyDigest",
            Self::Daily => "DailyDigest",
        }
    }
}

/// A digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub kind: Kind,
    /// What it is called.
    pub title: String,
    /// What it says; nothing if there is nothing to say.
    pub entries: Vec<Entry>,
}

/// A piece of a digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What it is about, in a line.
    pub summary: String,
    /// What there is to say about it, each text by its name.
    pub texts: Vec<(String, String)>,
    /// What it is about for programs.
    pub labels: Vec<(String, String)>,
}

impl Report {
    /// A digest of these entries, or of as many as fit.
    pub(super) fn of(kind: Kind, title: String, mut entries: Vec<Entry>) -> Self {
        let beyond = entries.len().saturating_sub(MOST_ENTRIES);
        if beyond > 0 {
            entries.truncate(MOST_ENTRIES);
            entries.push(Entry { summary: format!("and {beyond} more"), ..Entry::default() });
        }
        Self { kind, title, entries }
    }

    /// The digest as a message.
    pub(super) fn notification(
        &self,
        receiver: &str,
        external_url: &str,
        now_ms: i64,
    ) -> Notification {
        let name = self.kind.alert_name();
        Notification {
            receiver: receiver.to_owned(),
            subject: Some(self.title.clone()),
            group_key: format!("digest/{}", self.kind.name()),
            group_labels: Labels::new([(ALERT_NAME, name)]),
            alerts: self.entries.iter().map(|entry| entry.alert(name, now_ms)).collect(),
            external_url: external_url.to_owned(),
            at_ms: now_ms,
        }
    }
}

impl Entry {
    fn alert(&self, name: &str, now_ms: i64) -> Alert {
        let labels = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = labels.chain([(ALERT_NAME, name), ("severity", "info")]);
        let mut annotations: Annotations = self.texts.iter().cloned().collect();
        annotations.set("summary", &self.summary);
        Alert {
            labels: Labels::new(labels),
            annotations,
            starts_at_ms: now_ms,
            ends_at_ms: None,
            holds_for: None,
            generator_url: Arc::from(""),
            origin: Origin::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_a_message_with_an_entry_an_alert() {
        let entry = Entry {
            summary: "demote A".to_owned(),
            texts: vec![("why".to_owned(), "nobody cares".to_owned())],
            labels: vec![("rule".to_owned(), "A".to_owned())],
        };
        let report = Report::of(Kind::Weekly, "Weekly".to_owned(), vec![entry]);
        let message = report.notification("ops", "https://x", 5);
        assert_eq!((message.title().as_str(), message.alerts.len()), ("Weekly", 1));
        let alert = &message.alerts[0];
        let labels = "{alertname=\"WeeklyDigest\", rule=\"A\", severity=\"info\"}";
        assert_eq!(alert.labels.to_string(), labels);
        assert_eq!(
            (alert.annotations.get("summary"), alert.annotations.get("why")),
            (Some("demote A"), Some("nobody cares"))
        );
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let many = |count| Report::of(Kind::Daily, String::new(), vec![Entry::default(); count]);
        assert_eq!(many(MOST_ENTRIES).entries.len(), MOST_ENTRIES);
        let long = many(MOST_ENTRIES + 7);
        assert_eq!(long.entries.len(), MOST_ENTRIES + 1);
        assert_eq!(long.entries.last().unwrap().summary, "and 7 more");
    }
}
