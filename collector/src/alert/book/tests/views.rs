//! What is shown of the book.

use regex::Regex;

use super::*;
use crate::alert::matcher;
use crate::alert::view::{AlertFilter, LeftOut};

const TWO: &str = "
time_intervals:
  - name: never
    time_intervals: [{years: ['1970']}]
route:
  receiver: a
  group_by: [alertname]
  routes:
    - matchers: [alertname=~\"B|C\"]
      receiver: b
      continue: true
      mute_time_intervals: [never]
    - receiver: a
inhibit_rules:
  - source_matchers: [alertname=A]
    target_matchers: [alertname=B]
receivers:
  - name: a
    webhook_configs: [{url: 'http://x'}]
  - name: b
";

fn filter(matchers: &str, receiver: &str, without: LeftOut) -> AlertFilter {
    let matchers = if matchers.is_empty() { Vec::new() } else { matcher::parse(matchers).unwrap() };
    let receiver = (!receiver.is_empty()).then(|| Regex::new(receiver).unwrap());
    AlertFilter { matchers, receiver, without }
}

/// `A` fires, inhibits `B`; `C` is silenced; `D` is over.
fn world() -> World {
    let mut world = World::new(TWO);
    let silent = draft(vec![Matcher::equal("alertname", "C")], 0, 1_000_000);
    world.silence(0, silent);
    let alerts = ["A", "B", "C", "D"].map(|name| alert(name, 0, None));
    world.push(0, alerts.to_vec());
    world.push(10, vec![alert("D", 0, Some(10))]);
    world
}

#[test]
fn alerts_are_shown_with_what_keeps_them_from_being_told() {
    let world = world();
    let check = |filter: &AlertFilter, expect: &[&str]| {
        let mut shown: Vec<_> = world
            .book
            .alerts(filter, 1_000)
            .into_iter()
            .map(|view| {
                let silenced = view.silenced_by.len();
                let inhibited = view.inhibited_by.map(|_| "inhibited").unwrap_or_default();
                format!("{} {} {silenced}{inhibited}", view.alert.name(), view.receivers.join("+"))
            })
            .collect();
        shown.sort();
        assert_eq!(shown, expect, "{filter:?}");
    };
    let none = LeftOut::default();
    check(&filter("", "", none), &["A a 0", "B b+a 0inhibited", "C b+a 1"]);
    check(&filter("alertname!=A", "", none), &["B b+a 0inhibited", "C b+a 1"]);
    check(&filter("", "^(?:b)$", none), &["B b+a 0inhibited", "C b+a 1"]);
    check(&filter("", "^(?:x)$", none), &[]);
    check(&filter("", "", LeftOut { active: true, ..none }), &["B b+a 0inhibited", "C b+a 1"]);
    check(&filter("", "", LeftOut { silenced: true, ..none }), &["A a 0", "B b+a 0inhibited"]);
    check(&filter("", "", LeftOut { inhibited: true, ..none }), &["A a 0", "C b+a 1"]);
}

#[test]
fn groups_are_shown_with_those_of_their_alerts_that_are_wanted() {
    let world = world();
    let check = |filter: &AlertFilter, expect: &[&str]| {
        let groups = world.book.groups(filter, 1_000).into_iter();
        let shown = groups.map(|group| {
            let name = group.labels.get("alertname").unwrap_or_default().to_owned();
            format!("{name} {} {} {}", group.receiver, group.muted_by.join("+"), group.alerts.len())
        });
        assert_eq!(shown.collect::<Vec<_>>(), expect, "{filter:?}");
    };
    let none = LeftOut::default();
    let all = ["A a  1", "B a  1", "B b never 1", "C a  1", "C b never 1"];
    check(&filter("", "", none), &all);
    check(&filter("", "^(?:b)$", none), &["B b never 1", "C b never 1"]);
    check(&filter("", "", LeftOut { muted: true, ..none }), &["A a  1"]);
    check(&filter("", "", LeftOut { silenced: true, ..none }), &all[..3]);
}

#[test]
fn without_a_routing_file_alerts_are_shown_and_forgotten() {
    let nobody = crate::alert::Routing::nobody();
    let channels = BTreeMap::new();
    let (root, resolve_timeout) = (nobody.root, nobody.resolve_timeout);
    let routes = Routes { root, channels, resolve_timeout, inhibit_rules: Vec::new() };
    let book = Book::new(routes, String::new());
    let mut world = World { book, sent: Vec::new(), outcome: |_| Outcome::Told };
    world.push(0, vec![alert("A", 0, None)]);
    let shown = world.book.alerts(&AlertFilter::default(), 1_000);
    assert_eq!((shown.len(), shown[0].receivers.len()), (1, 0));
    world.push(1_000, vec![alert("A", 0, Some(1_000))]);
    assert_eq!(world.log(1_000_000), [] as [&str; 0]);
    assert!(world.book.alerts.is_empty() && world.book.groups.is_empty());
}
