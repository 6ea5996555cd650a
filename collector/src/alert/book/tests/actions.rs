//! Which alerts have an action run, and when: once, when people begin to be told.

use super::*;
use crate::notify::{Annotations, PREDEFINED_ACTION};

/// A group of everything, `I` that mutes what begins with `T`, and somebody to escalate to.
const ACTING: &str = "
global: {resolve_timeout: 10h}
route:
  {receiver: a, group_by: [], group_wait: 10s, group_interval: 60s, escalate_to: b, escalate_after: 5s}
inhibit_rules:
  - source_matchers: [alertname=I]
    target_matchers: ['alertname=~\"T.*\"']
receivers: [{name: a}, {name: b, webhook_configs: [{url: 'http://x'}]}]
";

fn asking(name: &str, starts_at_ms: i64, ends_at_ms: Option<i64>) -> Alert {
    Alert {
        annotations: Annotations::from([(PREDEFINED_ACTION.to_owned(), format!(" {name}-act "))]),
        origin: Origin::Rule,
        ..alert(name, starts_at_ms, ends_at_ms)
    }
}

impl World {
    /// The actions that were ordered until a moment, in the order of their names.
    fn ordered(&mut self, until_ms: i64) -> Vec<String> {
        self.run(until_ms);
        let orders = self.book.take_orders().into_iter();
        let mut names: Vec<_> =
            orders.map(|order| format!("{} of {}", order.action, order.alert.name())).collect();
        names.sort();
        names
    }
}

#[test]
fn an_action_is_ordered_once_when_people_begin_to_be_told() {
    let mut world = World::new(ACTING);
    world.push(0, vec![asking("A", 0, None), alert("B", 0, None)]);
    // Whom the route escalates to is told before, and that begins nothing.
    assert_eq!(world.ordered(9_000), [] as [&str; 0]);
    assert_eq!(world.ordered(11_000), ["A-act of A"], "though nobody is there to be told");
    world.push(20_000, vec![asking("A", 0, None), asking("C", 20_000, None)]);
    assert_eq!(world.ordered(60_000), [] as [&str; 0], "a group waits for its interval");
    assert_eq!(world.ordered(1_000_000), ["C-act of C"]);
    world.push(1_000_001, vec![asking("A", 0, Some(1_000_001))]);
    assert_eq!(world.ordered(2_000_000), [] as [&str; 0], "what is over asks for nothing");
    world.push(2_000_001, vec![asking("A", 2_000_000, None)]);
    assert_eq!(world.ordered(3_000_000), ["A-act of A"], "what returns is another alert");
}

#[test]
fn alerts_of_others_and_what_is_muted_have_no_action_run() {
    let mut world = World::new(ACTING);
    let outside = Alert { origin: Origin::Outside, ..asking("A", 0, None) };
    let empty = Alert { annotations: Annotations::new(), ..asking("B", 0, None) };
    let i = alert("I", 0, None);
    world.push(0, vec![outside, empty, i.clone(), asking("T", 0, None), asking("S", 0, None)]);
    let matchers = crate::alert::matchers("alertname=S").unwrap();
    world.silence(1, draft(matchers, 1, 100_000));
    assert_eq!(world.ordered(99_000), [] as [&str; 0]);
    assert_eq!(world.ordered(131_000), ["S-act of S"], "when its silence is over");
    world.push(140_000, vec![Alert { ends_at_ms: Some(140_000), ..i }]);
    assert_eq!(world.ordered(300_000), ["T-act of T"], "when it is inhibited no longer");
}

#[test]
fn outside_of_its_hours_a_route_has_no_action_run() {
    let config = "
global: {resolve_timeout: 10h}
route: {receiver: a, routes: [{receiver: a, group_wait: 10s, group_interval: 60s, mute_time_intervals: [night]}]}
time_intervals: [{name: night, time_intervals: [{times: [{start_time: '00:00', end_time: '01:00'}]}]}]
receivers: [{name: a}]
";
    let mut world = World::new(config);
    world.push(0, vec![asking("A", 0, None)]);
    assert_eq!(world.ordered(3_599_000), [] as [&str; 0]);
    assert_eq!(world.ordered(3_700_000), ["A-act of A"]);
}

#[test]
fn a_restart_runs_no_action_again_and_forgets_none() {
    let (_folder, state) = crate::state::temporary();
    let mut world = World::new(ACTING);
    world.push(0, vec![asking("A", 0, None)]);
    assert_eq!(world.ordered(11_000), ["A-act of A"]);
    world.push(12_000, vec![asking("B", 12_000, None)]);
    restart(&mut world, &state, ACTING, 13_000);
    world.push(14_000, vec![asking("A", 0, None)]);
    assert_eq!(world.ordered(1_000_000), ["B-act of B"]);
}
