//! What is muted is not told, and nothing is lost by it.

use super::*;

/// A group of everything, and `I` that mutes what begins with `T` while it fires.
const INHIBITING: &str = "
global: {resolve_timeout: 10h}
route: {receiver: a, group_by: [], group_wait: 10s, group_interval: 60s, repeat_interval: 5h}
inhibit_rules:
  - source_matchers: [alertname=I]
    target_matchers: ['alertname=~\"T.*\"']
receivers:
  - name: a
    webhook_configs: [{url: 'http://x'}]
";

#[test]
fn what_fires_only_while_it_is_muted_is_told_of_never() {
    let mut world = World::new(INHIBITING);
    world.push(0, vec![alert("I", 0, None), alert("T", 0, None)]);
    assert_eq!(world.log(20_000), ["10 a0 First I!"]);
    world.push(30_000, vec![alert("T", 0, Some(30_000))]);
    world.push(135_000, vec![alert("I", 0, Some(135_000))]);
    assert_eq!(world.log(1_000_000), ["190 a0 AllResolved I."]);
    assert!(world.book.alerts.is_empty() && world.book.groups.is_empty());
    assert!(world.book.records.is_empty());
}

#[test]
fn what_fires_still_when_it_is_no_longer_muted_is_told_then() {
    let mut world = World::new(INHIBITING);
    world.push(0, vec![alert("I", 0, None), alert("T", 0, None)]);
    world.push(80_000, vec![alert("I", 0, Some(80_000))]);
    assert_eq!(world.log(1_000_000), ["10 a0 First I!", "130 a0 NewFiring T!I."]);
}

#[test]
fn the_end_of_what_was_told_is_told_once_it_is_no_longer_muted() {
    let mut world = World::new(INHIBITING);
    world.push(0, vec![alert("T1", 0, None), alert("T2", 0, None)]);
    world.push(20_000, vec![alert("I", 20_000, None)]);
    assert_eq!(world.log(80_000), ["10 a0 First T1!T2!", "70 a0 NewFiring I!"]);
    world.push(90_000, vec![alert("T1", 0, Some(90_000))]);
    assert_eq!(world.log(200_000), [] as [&str; 0], "it is muted");
    world.push(210_000, vec![alert("I", 20_000, Some(210_000))]);
    // What was told before and fires still is news to the channel, as its last message left it out.
    assert_eq!(world.log(260_000), ["250 a0 NewFiring T2!T1.I."]);
    world.push(270_000, vec![alert("T2", 0, Some(270_000))]);
    assert_eq!(world.log(320_000), ["310 a0 AllResolved T2."]);
    assert!(world.book.alerts.is_empty() && world.book.records.is_empty());
}

#[test]
fn an_end_is_owed_over_a_restart_too() {
    let (_folder, state) = crate::state::temporary();
    let mut world = World::new(INHIBITING);
    world.push(0, vec![alert("T", 0, None)]);
    world.push(20_000, vec![alert("I", 20_000, None)]);
    world.push(90_000, vec![alert("T", 0, Some(90_000))]);
    assert_eq!(world.log(200_000), ["10 a0 First T!", "70 a0 NewFiring I!"]);
    restart(&mut world, &state, INHIBITING, 210_000);
    world.push(220_000, vec![alert("I", 20_000, Some(220_000))]);
    assert_eq!(world.log(300_000), ["270 a0 AllResolved T.I."]);
}

#[test]
fn whoever_is_not_told_of_ends_is_owed_none() {
    let config = INHIBITING.replace("url: 'http://x'", "url: 'http://x', send_resolved: false");
    let mut world = World::new(&config);
    world.push(0, vec![alert("T", 0, None)]);
    world.push(20_000, vec![alert("I", 20_000, None)]);
    world.push(90_000, vec![alert("T", 0, Some(90_000))]);
    world.run(200_000);
    assert_eq!(world.book.alerts.len(), 1, "only what fires is kept");
    // It returns, which is news.
    world.push(210_000, vec![alert("I", 20_000, Some(210_000)), alert("T", 210_000, None)]);
    assert_eq!(world.log(300_000), ["10 a0 First T!", "70 a0 NewFiring I!", "250 a0 NewFiring T!"]);
}

#[test]
fn a_retry_of_what_is_muted_by_now_is_left_out() {
    let mut world = World::new(INHIBITING);
    world.outcome = |_| Outcome::Failed { reason: "status 503".to_owned(), random: 0.0 };
    world.push(0, vec![alert("T", 0, None)]);
    assert_eq!(world.log(10_500), ["10 a0 First T!"]);
    world.push(10_600, vec![alert("I", 10_600, None)]);
    world.outcome = |_| Outcome::Told;
    assert_eq!(world.log(60_000), ["11 a0 First I!"]);
}

/// Muted within the first hour of 1970, or told only then: by the key `mute` or `active`.
fn hours(key: &str) -> String {
    format!(
        "
global: {{resolve_timeout: 10h}}
time_intervals:
  - name: first
    time_intervals: [{{times: [{{start_time: '00:00', end_time: '01:00'}}], years: ['1970']}}]
route:
  receiver: a
  routes:
    - matchers: [alertname!=other]
      group_by: []
      group_wait: 10s
      group_interval: 60s
      {key}_time_intervals: [first]
      routes:
        - matchers: [alertname=inner]
receivers:
  - name: a
    webhook_configs: [{{url: 'http://x'}}]
"
    )
}

#[test]
fn a_route_is_silent_in_its_hours_and_tells_after() {
    const HOUR_MS: i64 = 3_600_000;
    let mut world = World::new(&hours("mute"));
    world.push(0, vec![alert("A", 0, None), alert("B", 0, None), alert("inner", 0, None)]);
    world.push(100_000, vec![alert("B", 0, Some(100_000))]);
    assert_eq!(world.log(HOUR_MS - 1), ["10 a0 First inner!"], "hours are not passed on");
    assert_eq!(world.log(HOUR_MS + 60_000), ["3610 a0 First A!"]);

    let mut world = World::new(&hours("active"));
    world.push(0, vec![alert("A", 0, None)]);
    assert_eq!(world.log(HOUR_MS - 1), ["10 a0 First A!"]);
    world.push(HOUR_MS + 1_000, vec![alert("A", 0, Some(HOUR_MS + 1_000))]);
    world.push(HOUR_MS + 2_000, vec![alert("B", HOUR_MS, None)]);
    assert_eq!(world.log(4 * HOUR_MS), [] as [&str; 0]);
    assert_eq!(world.book.alerts.len(), 2, "its end is kept until it may be told");
}
