//! Somebody takes care of an alert, or nobody does and others are told.

use super::*;
use crate::state::Acknowledgement;

/// Repeats every 300 s; `boss` is told after 200 s of what nobody acknowledges.
const ESCALATING: &str = "
global: {resolve_timeout: 1h}
route:
  receiver: a
  group_by: []
  group_wait: 10s
  group_interval: 60s
  repeat_interval: 300s
  escalate_after: 200s
  escalate_to: boss
receivers:
  - name: a
    webhook_configs: [{url: 'http://x'}]
  - name: boss
    webhook_configs: [{url: 'http://y'}]
";

fn acknowledge(world: &mut World, name: &str, at_ms: i64, expires_at_ms: Option<i64>) {
    world.run(at_ms - 1);
    let made = Acknowledgement {
        author: "me".to_owned(),
        note: "on my way".to_owned(),
        made_at_ms: at_ms,
        expires_at_ms,
    };
    let fingerprint = alert(name, 0, None).fingerprint();
    assert!(world.book.fires(fingerprint, at_ms));
    world.book.take_acknowledgement(fingerprint, Some(made));
}

#[test]
fn what_somebody_takes_care_of_is_not_repeated_until_it_is_over() {
    let mut world = World::new(CONFIG);
    world.push(0, vec![alert("A", 0, None)]);
    acknowledge(&mut world, "A", 20_000, None);
    assert_eq!(world.log(1_000_000), ["10 a0 First A!"]);
    // What is new is told all the same, and with it the group is repeated.
    world.push(1_000_000, vec![alert("B", 1_000_000, None)]);
    assert_eq!(world.log(1_400_000), ["1030 a0 NewFiring A!B!", "1390 a0 Repeat A!B!"]);
    world.push(1_400_000, vec![alert("B", 1_000_000, Some(1_400_000))]);
    world.push(1_500_000, vec![alert("A", 0, Some(1_500_000))]);
    assert_eq!(world.log(1_600_000), ["1450 a0 NewResolved A!B.", "1510 a0 AllResolved A."]);
    // It fires anew, and nobody takes care of that.
    world.push(1_700_000, vec![alert("A", 1_700_000, None)]);
    assert_eq!(world.log(2_100_000), ["1710 a0 First A!", "2070 a0 Repeat A!"]);
}

#[test]
fn an_acknowledgement_that_expires_lets_repeats_go_on() {
    let mut world = World::new(CONFIG);
    world.push(0, vec![alert("A", 0, None)]);
    acknowledge(&mut world, "A", 20_000, Some(600_000));
    assert_eq!(world.log(650_000), ["10 a0 First A!", "610 a0 Repeat A!"]);
}

#[test]
fn an_acknowledgement_ends_with_its_alert_even_if_that_returns_at_once() {
    let mut world = World::new(CONFIG);
    world.push(0, vec![alert("A", 0, None)]);
    acknowledge(&mut world, "A", 20_000, None);
    world.push(30_000, vec![alert("A", 0, Some(30_000))]);
    world.push(31_000, vec![alert("A", 31_000, None)]);
    assert_eq!(world.log(400_000), ["10 a0 First A!", "370 a0 Repeat A!"]);
}

#[test]
fn others_are_told_of_what_nobody_takes_care_of() {
    let mut world = World::new(ESCALATING);
    world.push(0, vec![alert("A", -900_000, None), alert("B", 0, None)]);
    acknowledge(&mut world, "B", 20_000, None);
    // How long it fired before we heard of it is nobody's fault here.
    assert_eq!(world.log(250_000), ["0 a0 First A!B!", "200 boss0 First A!"]);
    world.push(260_000, vec![alert("A", 0, Some(260_000)), alert("B", 0, Some(260_000))]);
    assert_eq!(world.log(350_000), ["260 boss0 AllResolved A.", "300 a0 AllResolved A.B."]);
    assert!(world.book.alerts.is_empty() && world.book.groups.is_empty());
    assert!(world.book.records.is_empty() && world.book.acknowledgements.is_empty());
}

#[test]
fn what_is_over_or_taken_care_of_in_time_escalates_to_nobody() {
    let mut world = World::new(ESCALATING);
    world.push(0, vec![alert("A", 0, None), alert("B", 0, None)]);
    world.push(100_000, vec![alert("A", 0, Some(100_000))]);
    acknowledge(&mut world, "B", 150_000, None);
    world.push(500_000, vec![alert("B", 0, Some(500_000))]);
    let told = world.log(900_000);
    assert!(told.iter().all(|line| !line.contains("boss")), "{told:?}");
    assert!(world.book.alerts.is_empty() && world.book.groups.is_empty());
}

#[test]
fn a_restart_neither_hastens_an_escalation_nor_forgets_who_takes_care() {
    let (_folder, state) = crate::state::temporary();
    let mut world = World::new(ESCALATING);
    world.push(0, vec![alert("A", 0, None), alert("B", 0, None)]);
    assert_eq!(world.log(20_000), ["10 a0 First A!B!"]);
    let fingerprint = alert("B", 0, None).fingerprint();
    let made = Acknowledgement {
        author: "me".to_owned(),
        note: String::new(),
        made_at_ms: 0,
        expires_at_ms: None,
    };
    let by = crate::state::By { actor: "api-token:me".to_owned(), at_ms: 0 };
    state.acknowledge(&fingerprint.to_string(), &made, &by).unwrap();
    state.acknowledge("00000000000000ff", &made, &by).unwrap();
    restart(&mut world, &state, ESCALATING, 100_000);
    world.book.restore_acknowledgements(state.acknowledgements().unwrap());
    assert_eq!(world.log(250_000), ["200 boss0 First A!"]);
    state.change_alerts(&world.book.take_changes()).unwrap();
    let kept: Vec<_> = state.acknowledgements().unwrap().into_keys().collect();
    assert_eq!(kept, [fingerprint.to_string()], "of an alert that is no more nothing is kept");
}
