//! The daily digest: control charts that were broken, hosts that are silent, security updates that are
//! pending. Pure but for the texts of the questions.

use std::collections::BTreeMap;

use upkeep_promql::Point;

use super::report::{Entry, Kind, Report};

/// Which control charts were broken within the last day, by instance, signal and rule.
pub(super) const BROKEN_CHARTS: &str =
    "max by (instance, signal, rule) (max_over_time(upkeep_chart_broken[1d])) > 0";

/// Which hosts are silent.
pub(super) const SILENT_HOSTS: &str = "up == 0";

/// Which hosts lack security updates, and how many.
pub(super) const SECURITY_UPDATES: &str =
    "sum by (instance) (upkeep_updates_pending{security=\"true\"}) > 0";

/// So many hosts are named in one entry.
const MOST_HOSTS: usize = 40;

/// What was asked, or why there is no answer.
pub(super) type Found = Result<Vec<Point>, String>;

/// The digest of what was found; without entries if there is nothing to tell.
pub(super) fn daily(charts: Found, silent: Found, updates: Found) -> Report {
    let mut entries = Vec::new();
    take(&mut entries, "control charts", charts, |points| broken(&points));
    take(&mut entries, "silent hosts", silent, |points| {
        let hosts = points.iter().map(|point| instance(point).to_owned());
        hosts_entry("silent", hosts.collect(), "is silent", "are silent")
    });
    take(&mut entries, "security updates", updates, |points| {
        let hosts = points.iter().map(|point| format!("{} ({})", instance(point), point.value));
        let (one, more) = ("lacks security updates", "lack security updates");
        hosts_entry("security updates", hosts.collect(), one, more)
    });
    let title = match entries.len() {
        0 => "Daily digest: nothing to tell".to_owned(),
        1 => "Daily digest: one thing to look at".to_owned(),
        count => format!("Daily digest: {count} things to look at"),
    };
    Report::of(Kind::Daily, title, entries)
}

/// Adds what an answer comes to; what is not known is said not to be.
fn take(
    entries: &mut Vec<Entry>,
    what: &str,
    found: Found,
    read: impl Fn(Vec<Point>) -> Vec<Entry>,
) {
    match found {
        Ok(points) => entries.extend(read(points)),
        Err(why) => entries.push(Entry {
            summary: format!("{what}: not known"),
            texts: vec![("why".to_owned(), why)],
            ..Entry::default()
        }),
    }
}

/// One entry a host: its signals, and for each of them which of the chart's rules were broken.
fn broken(points: &[Point]) -> Vec<Entry> {
    let mut hosts: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for point in points {
        let label = |name| point.labels.get(name).unwrap_or_default();
        let signals = hosts.entry(instance(point)).or_default();
        signals.entry(label("signal")).or_default().push(label("rule"));
    }
    let entries = hosts.into_iter().map(|(host, signals)| {
        let charts = if signals.len() == 1 { "chart" } else { "charts" };
        let texts = signals.iter().map(|(signal, rules)| {
            let mut rules = rules.clone();
            rules.sort_unstable();
            ((*signal).to_owned(), rules.join(", "))
        });
        Entry {
            summary: format!("{host}: {} control {charts} broken", signals.len()),
            texts: texts.collect(),
            labels: vec![("instance".to_owned(), host.to_owned())],
        }
    });
    entries.collect()
}

/// One entry that names hosts; none if there are none.
fn hosts_entry(what: &str, mut hosts: Vec<String>, one: &str, more: &str) -> Vec<Entry> {
    hosts.sort();
    hosts.dedup();
    let count = hosts.len();
    let mut named = hosts.get(..MOST_HOSTS).unwrap_or(&hosts).join(", ");
    if count > MOST_HOSTS {
        named.push_str(&format!(" and {} more", count - MOST_HOSTS));
    }
    let summary = match count {
        0 => return Vec::new(),
        1 => format!("1 host {one}"),
        _ => format!("{count} hosts {more}"),
    };
    let labels = vec![("about".to_owned(), what.to_owned())];
    vec![Entry { summary, texts: vec![("hosts".to_owned(), named)], labels }]
}

fn instance(point: &Point) -> &str {
    point.labels.get("instance").unwrap_or("without an instance")
}

#[cfg(test)]
mod tests {
    use upkeep_model::Labels;

    use super::*;

    fn point(labels: &[(&str, &str)], value: f64) -> Point {
        Point { labels: Labels::new(labels.iter().copied()), at_ms: 0, value }
    }

    fn chart(instance: &str, signal: &str, rule: &str) -> Point {
        point(&[("instance", instance), ("signal", signal), ("rule", rule)], 1.0)
    }

    /// Each entry as a line.
    fn lines(report: &Report) -> Vec<String> {
        let line = |entry: &Entry| {
            let texts = entry.texts.iter().map(|(name, text)| format!("{name}={text}"));
            format!("{}: {}", entry.summary, texts.collect::<Vec<_>>().join("; "))
        };
        report.entries.iter().map(line).collect()
    }

    #[test]
    fn what_happened_since_yesterday_is_told_by_host() {
        let charts = vec![
            chart("web2", "load", "drift"),
            chart("web1", "memory", "eight on one side"),
            chart("web1", "load", "drift"),
            chart("web1", "load", "beyond 3 sigma"),
        ];
        let silent = vec![point(&[("instance", "db1")], 0.0)];
        let updates =
            vec![point(&[("instance", "web2")], 3.0), point(&[("instance", "web1")], 12.0)];
        let report = daily(Ok(charts), Ok(silent), Ok(updates));
        assert_eq!(report.title, "Daily digest: 4 things to look at");
        let expect = [
            "web1: 2 control charts broken: load=beyond 3 sigma, drift; memory=eight on one side",
            "web2: 1 control chart broken: load=drift",
            "1 host is silent: hosts=db1",
            "2 hosts lack security updates: hosts=web1 (12), web2 (3)",
        ];
        assert_eq!(lines(&report), expect);
    }

    #[test]
    fn a_day_without_anything_has_no_entries_and_what_is_unknown_is_said() {
        assert!(daily(Ok(Vec::new()), Ok(Vec::new()), Ok(Vec::new())).entries.is_empty());
        let report = daily(Ok(Vec::new()), Err("the disk is gone".to_owned()), Ok(Vec::new()));
        assert_eq!(lines(&report), ["silent hosts: not known: why=the disk is gone"]);
    }

    #[test]
    fn of_many_hosts_some_are_named() {
        let many =
            (0..MOST_HOSTS + 2).map(|number| point(&[("instance", &format!("h{number:03}"))], 0.0));
        let report = daily(Ok(Vec::new()), Ok(many.collect()), Ok(Vec::new()));
        let line = &lines(&report)[0];
        assert!(
            line.starts_with("42 hosts are silent: hosts=h000, ")
                && line.ends_with("h039 and 2 more")
        );
    }

    #[test]
    fn the_questions_can_be_asked() {
        for text in [BROKEN_CHARTS, SILENT_HOSTS, SECURITY_UPDATES] {
            assert!(upkeep_promql::parse(text).is_ok(), "{text}");
        }
    }
}
