//! A notification as people read it: cleaned, bounded, what to do first. Each channel puts it into
//! its own markup.

use jiff::Timestamp;
use reqwest::Url;
use serde::Serialize;

use super::text::{one_line, paragraph};
use super::{ACTION, Alert, Notification, OUTCOME, OWNER, RUNBOOK_URL, Status};

/// The most characters of a message's title, and of names.
pub(super) const MAX_TITLE: usize = 200;
const MAX_NAME: usize = 100;

/// The most labels, and annotations, that are shown of one alert.
const MAX_PAIRS: usize = 40;

/// About how many bytes of texts a whole message shows, so that hostile ones cannot make it as large
/// as their number allows.
const MAX_TOTAL: usize = 200_000;

/// The longest address that is shown as a link.
const MAX_LINK: usize = 2_000;

/// How much of a notification is shown.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// How many alerts.
    pub(super) alerts: usize,
    /// How many characters of one text.
    pub(super) text: usize,
}

/// A notification.
#[derive(Serialize)]
pub(super) struct View {
    pub(super) title: String,
    pub(super) receiver: String,
    pub(super) is_firing: bool,
    pub(super) external_url: String,
    pub(super) alerts: Vec<AlertView>,
    /// How many alerts are not shown.
    pub(super) hidden: usize,
}

/// One of its alerts.
#[derive(Serialize)]
pub(super) struct AlertView {
    pub(super) name: String,
    pub(super) status: &'static str,
    pub(super) is_firing: bool,
    pub(super) since: String,
    pub(super) until: String,
    pub(super) action: String,
    pub(super) outcome: String,
    pub(super) owner: String,
    /// The address of the page that says more about the alert's kind.
    pub(super) runbook: Option<String>,
    /// What other annotations say.
    pub(super) annotations: Vec<(String, String)>,
    pub(super) labels: Vec<(String, String)>,
    /// Where the rule can be seen.
    pub(super) source: Option<String>,
}

/// A piece of an alert's text.
pub(super) enum Part<'a> {
    /// What it is about.
    Heading(String),
    /// A text behind a word that says what it is.
    Pair(&'a str, &'a str),
    /// An address behind a word.
    Link(&'static str, &'a str),
}

/// What a channel makes of alerts: as much as fits, and how many do not.
pub(super) struct Fitted<T> {
    pub(super) pieces: Vec<T>,
    pub(super) hidden: usize,
}

impl View {
    /// A notification within bounds.
    pub(super) fn of(notification: &Notification, bounds: Bounds) -> Self {
        let mut left = MAX_TOTAL;
        let mut alerts = Vec::new();
        for alert in notification.alerts.iter().take(bounds.alerts) {
            let mut alert = AlertView::of(alert, notification.status_of(alert), bounds.text);
            if notification.subject.is_some() {
                alert.become_entry();
            }
            let Some(rest) = left.checked_sub(alert.size()) else { break };
            left = rest;
            alerts.push(alert);
        }
        Self {
            title: one_line(&notification.title(), MAX_TITLE),
            receiver: one_line(&notification.receiver, MAX_NAME),
            is_firing: notification.status() == Status::Firing && notification.subject.is_none(),
            external_url: notification.external_url.clone(),
            hidden: notification.alerts.len() - alerts.len(),
            alerts,
        }
    }

    /// The alerts in a channel's markup, one after the other while there is room: whole if that fits,
    /// else by their headings.
    pub(super) fn fit<T>(
        &self,
        room: usize,
        render: impl Fn(Vec<Part<'_>>) -> T,
        size: impl Fn(&T) -> usize,
    ) -> Fitted<T> {
        let (mut pieces, mut left) = (Vec::new(), room);
        for alert in &self.alerts {
            let forms = [alert.parts(), vec![Part::Heading(alert.heading())]];
            let fitting = forms.into_iter().map(&render).find(|piece| size(piece) <= left);
            let Some(piece) = fitting else { break };
            left -= size(&piece);
            pieces.push(piece);
        }
        let hidden = self.hidden + self.alerts.len() - pieces.len();
        Fitted { pieces, hidden }
    }
}

impl AlertView {
    fn of(alert: &Alert, status: Status, max_text: usize) -> Self {
        let annotation =
            |name: &str| paragraph(alert.annotations.get(name).unwrap_or_default(), max_text);
        let runbook = alert.annotations.get(RUNBOOK_URL).and_then(link);
        let is_shown_apart = |name: &str| {
            [ACTION, OUTCOME, OWNER].contains(&name) || (name == RUNBOOK_URL && runbook.is_some())
        };
        let others = alert.annotations.iter().filter(|(name, _)| !is_shown_apart(name));
        Self {
            name: one_line(alert.name(), MAX_TITLE),
            status: status.name(),
            is_firing: status == Status::Firing,
            since: moment(alert.starts_at_ms),
            until: alert.ends_at_ms.map(moment).unwrap_or_default(),
            action: annotation(ACTION),
            outcome: annotation(OUTCOME),
            owner: annotation(OWNER),
            annotations: others
                .take(MAX_PAIRS)
                .map(|(name, text)| (one_line(name, MAX_NAME), paragraph(text, max_text)))
                .collect(),
            labels: alert
                .labels
                .iter()
                .take(MAX_PAIRS)
                .map(|(name, value)| (one_line(name, MAX_NAME), one_line(value, max_text)))
                .collect(),
            source: link(&alert.generator_url),
            runbook,
        }
    }

    /// Shows it as the entry of a report: under its summary, and without saying that it fires.
    fn become_entry(&mut self) {
        let is_summary = |(name, _): &mut (String, String)| name == "summary";
        if let Some((_, summary)) = self.annotations.extract_if(.., is_summary).next() {
            self.name = one_line(&summary, MAX_TITLE);
        }
        self.labels.retain(|(name, _)| !["alertname", "severity"].contains(&name.as_str()));
        self.is_firing = false;
        self.status = "";
        self.since.clear();
    }

    fn size(&self) -> usize {
        let pairs = self.annotations.iter().chain(&self.labels);
        let pairs: usize = pairs.map(|(name, text)| name.len() + text.len()).sum();
        let texts = [&self.name, &self.action, &self.outcome, &self.owner];
        pairs + texts.into_iter().map(String::len).sum::<usize>()
    }

    fn heading(&self) -> String {
        if self.since.is_empty() {
            return self.name.clone();
        }
        let instance = self.labels.iter().find(|(name, _)| name == "instance");
        let place = instance.map_or_else(String::new, |(_, value)| format!(" on {value}"));
        let time = match (self.is_firing, self.since.as_str(), self.until.as_str()) {
            (false, since, until) if !until.is_empty() => format!(", from {since} to {until}"),
            (_, since, _) => format!(", since {since}"),
        };
        let status = self.status.to_uppercase();
        format!("{status}: {}{}{time}", self.name, one_line(&place, MAX_TITLE))
    }

    /// Everything that there is to say, what to do before all else.
    fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = vec![Part::Heading(self.heading())];
        let firing = [("DO", &self.action), ("SO THAT", &self.outcome)];
        let firing = firing.into_iter().filter(|_| self.is_firing);
        let always = [("owner", &self.owner)];
        let named = firing.chain(always).filter(|(_, text)| !text.is_empty());
        parts.extend(named.map(|(name, text)| Part::Pair(name, text)));
        let links = [("runbook", &self.runbook), ("rule", &self.source)];
        let annotations = self.annotations.iter().map(|(name, text)| Part::Pair(name, text));
        parts.extend(annotations);
        let links = links.into_iter().filter_map(|(name, url)| Some((name, url.as_deref()?)));
        parts.extend(links.map(|(name, url)| Part::Link(name, url)));
        let is_in_heading = |name: &str| ["alertname", "instance"].contains(&name);
        let labels = self.labels.iter().filter(|(name, _)| !is_in_heading(name));
        parts.extend(labels.map(|(name, value)| Part::Pair(name, value)));
        parts
    }
}

/// An address that may become a link: of the web, and nothing that runs.
pub(super) fn link(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > MAX_LINK || text.chars().any(char::is_control) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    // As the library writes it: nothing in it can end an attribute or a link's markup.
    let written = String::from(url.clone()).replace('\'', "%27").replace('|', "%7C");
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(written)
}

/// What stands for alerts that are not shown; nothing if all are.
pub(super) fn more(hidden: usize) -> Option<String> {
    match hidden {
        0 => None,
        1 => Some("and one more alert".to_owned()),
        _ => Some(format!("and {hidden} more alerts")),
    }
}

fn moment(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms)
        .map(|at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::notification::sample;

    const BOUNDS: Bounds = Bounds { alerts: 100, text: 50 };

    fn lines(parts: Vec<Part<'_>>) -> String {
        let line = |part| match part {
            Part::Heading(text) => format!("{text}\n"),
            Part::Pair(name, text) => format!("{name}: {text}\n"),
            Part::Link(name, url) => format!("{name} -> {url}\n"),
        };
        parts.into_iter().map(line).collect()
    }

    #[test]
    fn what_to_do_comes_first_and_links_are_links() {
        let mut notification = sample();
        let annotations = &mut notification.alerts[0].annotations;
        annotations.set("owner", "team hosts");
        annotations.set("runbook_url", "https://example.org/down");
        let view = View::of(&notification, BOUNDS);
        let fitted = view.fit(10_000, lines, String::len);
        assert_eq!(
            fitted.pieces,
            [
                "FIRING: HostDown on web1, since 2023-11-14 22:13:20 UTC\n\
                 DO: look whether it runs\n\
                 SO THAT: it reports again\n\
                 owner: team hosts\n\
                 summary: web1 is silent\n\
                 runbook -> https://example.org/down\n\
                 rule -> https://upkeep.example.org/graph?g0.expr=up\n\
                 severity: critical\n",
                "RESOLVED: HostDown on web2, from 2023-11-14 22:13:20 UTC to 2023-11-14 22:14:20 UTC\n\
                 summary: web2 is silent\n\
                 rule -> https://upkeep.example.org/graph?g0.expr=up\n\
                 severity: critical\n",
            ]
        );
    }

    #[test]
    fn entries_of_a_report_are_not_said_to_fire() {
        let mut notification = sample();
        notification.subject = Some("Weekly digest".to_owned());
        let view = View::of(&notification, BOUNDS);
        assert_eq!((view.title.as_str(), view.is_firing), ("Weekly digest", false));
        let fitted = view.fit(10_000, lines, String::len);
        assert!(fitted.pieces[0].starts_with("web1 is silent\n"), "{:?}", fitted.pieces);
        let text = fitted.pieces.concat();
        assert!(!text.contains("FIRING") && !text.contains("severity"), "{text}");
    }

    #[test]
    fn what_does_not_fit_is_shortened_then_counted() {
        let view = View::of(&sample(), Bounds { alerts: 100, text: 50 });
        let check = |room: usize, expect: (usize, usize)| {
            let fitted = view.fit(room, lines, String::len);
            assert_eq!((fitted.pieces.len(), fitted.hidden), expect, "{room}");
            assert!(fitted.pieces.iter().map(String::len).sum::<usize>() <= room);
        };
        check(1_000, (2, 0));
        check(200, (2, 0));
        check(100, (1, 1));
        check(10, (0, 2));
        let view = View::of(&sample(), Bounds { alerts: 1, text: 50 });
        assert_eq!(view.fit(1_000, lines, String::len).hidden, 1);
    }

    #[test]
    fn only_addresses_of_the_web_become_links() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(link(text).as_deref(), expect, "{text}");
        };
        check(" https://example.org/a ", Some("https://example.org/a"));
        check("http://example.org/?a=b|c", Some("http://example.org/?a=b%7Cc"));
        check("https://example.org/\"><b>'x", Some("https://example.org/%22%3E%3Cb%3E%27x"));
        check("javascript:alert(1)", None);
        check("data:text/html,x", None);
        check("file:///etc/passwd", None);
        check("/docs/runbook", None);
        check("https://exa\nmple.org/", None);
        check(&format!("https://example.org/{}", "a".repeat(MAX_LINK)), None);
    }
}
