//! Who would get an alert, and why: for `routing test`.

use serde::Serialize;
use upkeep_model::{Labels, Matcher};

use super::route::Route;
use super::routing::Routing;

/// What becomes of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The routes that it takes, in order.
    pub ways: Vec<Way>,
    /// The rules that may keep it from being told.
    pub inhibited_by: Vec<Inhibitor>,
}

/// One route that an alert takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// Who is told.
    pub receiver: String,
    /// By how many channels; by none nobody hears of it.
    pub channels: usize,
    /// The matchers on the way to the route, the first route's before all.
    pub route: String,
    /// The labels that its group has in common.
    pub group_labels: Labels,
    /// After how many seconds a new group is told.
    pub group_wait_s: u64,
    /// After how many seconds a group that changed is told again.
    pub group_interval_s: u64,
    /// After how many seconds the same is told again.
    pub repeat_interval_s: u64,
    /// The time intervals for which nobody is told at the moment asked for.
    pub muted_by: Vec<String>,
    /// Who else is told if nobody acknowledges.
    pub escalates: Option<Escalates>,
}

/// Who else is told, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Escalates {
    /// The receiver.
    pub to: String,
    /// After how many seconds.
    pub after_s: u64,
}

/// An inhibition rule that an alert is a target of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inhibitor {
    /// What an alert that inhibits it matches.
    pub source: String,
    /// What of its labels such an alert shares.
    pub equal: Labels,
}

impl Routing {
    /// What becomes of an alert of these labels that is told at a moment, in milliseconds since 1970.
    pub fn explain(&self, labels: &Labels, at_ms: i64) -> Explanation {
        let ways =
            self.root.matching(labels).into_iter().map(|route| self.way(route, labels, at_ms));
        let targets = self.inhibit_rules.iter().filter(|rule| {
            // A rule that an alert matches both sides of is not for it alone to say.
            rule.target.iter().all(|matcher| matcher.matches(labels))
        });
        let inhibited_by = targets.map(|rule| Inhibitor {
            source: shown(&rule.source),
            equal: Labels::new(
                rule.equal.iter().map(|name| (name.as_str(), labels.get(name).unwrap_or_default())),
            ),
        });
        Explanation { ways: ways.collect(), inhibited_by: inhibited_by.collect() }
    }

    fn way(&self, route: &Route, labels: &Labels, at_ms: i64) -> Way {
        let receiver = self.receivers.iter().find(|receiver| receiver.name == route.receiver);
        let muted_by = route.hours.muted_by(at_ms).into_iter();
        let escalates = route.escalation.as_ref();
        Way {
            receiver: route.receiver.clone(),
            channels: receiver.map_or(0, |receiver| receiver.channels.len()),
            route: route.key.clone(),
            group_labels: route.group_labels(labels),
            group_wait_s: route.timing.group_wait.as_secs(),
            group_interval_s: route.timing.group_interval.as_secs(),
            repeat_interval_s: route.timing.repeat_interval.as_secs(),
            muted_by: muted_by.map(|interval| interval.name.clone()).collect(),
            escalates: escalates.map(|escalation| Escalates {
                to: escalation.to.clone(),
                after_s: escalation.after.as_secs(),
            }),
        }
    }
}

fn shown(matchers: &[Matcher]) -> String {
    let matchers: Vec<_> = matchers.iter().map(Matcher::to_string).collect();
    format!("{{{}}}", matchers.join(","))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::alert::routing;

    const CONFIG: &str = "
time_intervals:
  - name: nights
    time_intervals: [{times: [{start_time: '00:00', end_time: '06:00'}]}]
route:
  receiver: ops
  group_by: [alertname]
  routes:
    - matchers: [team=db]
      receiver: databases
      mute_time_intervals: [nights]
      continue: true
    - matchers: [severity=critical]
      group_wait: 0s
      group_by: ['...']
inhibit_rules:
  - source_matchers: [alertname=HostDown]
    target_matchers: [severity=warning]
    equal: [instance]
receivers:
  - name: ops
    webhook_configs: [{url: 'http://x'}, {url: 'http://y'}]
  - name: databases
";

    #[test]
    fn an_alert_takes_its_ways_for_a_reason() {
        let routing = routing::parse(Path::new("r.yml"), CONFIG, &Default::default()).unwrap();
        let check = |labels: &[(&str, &str)], hour: i64, expect: &[&str]| {
            let labels = Labels::new(labels.iter().copied());
            let explained = routing.explain(&labels, hour * 3_600_000);
            let ways = explained.ways.iter().map(|way| {
                format!(
                    "{} {} {} {} {} {}",
                    way.receiver,
                    way.channels,
                    way.route,
                    way.group_labels,
                    way.group_wait_s,
                    way.muted_by.join("+")
                )
            });
            let inhibitors = explained.inhibited_by.iter();
            let inhibitors = inhibitors.map(|one| format!("{} {}", one.source, one.equal));
            assert_eq!(ways.chain(inhibitors).collect::<Vec<_>>(), expect, "{labels}");
        };
        check(&[("alertname", "A"), ("x", "1")], 1, &["ops 2 {} {alertname=\"A\"} 30 "]);
        check(
            &[("alertname", "A"), ("team", "db"), ("severity", "critical")],
            1,
            &[
                "databases 0 {}/{team=\"db\"} {alertname=\"A\"} 30 nights",
                "ops 2 {}/{severity=\"critical\"} {alertname=\"A\", severity=\"critical\", team=\"db\"} 0 ",
            ],
        );
        check(
            &[("team", "db"), ("severity", "warning"), ("instance", "web1")],
            7,
            &[
                "databases 0 {}/{team=\"db\"} {} 30 ",
                "{alertname=\"HostDown\"} {instance=\"web1\"}",
            ],
        );
    }
}
